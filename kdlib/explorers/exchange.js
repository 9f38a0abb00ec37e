// What a recipe's settings amount to in the form of Eq. 2, and the way back: the browser's copy of kdlib.recipes.

const softFactor = ({ T, t_squared, reduction, classes }) =>
  (t_squared ? T * T : 1) / (reduction === "mean" ? classes : 1);

/** The mixture of settings that are not refused. */
export function mixture(settings) {
  const { soft, hard, T } = settings;
  const pull = soft * softFactor(settings);
  const kappa = pull ? (T * hard) / pull : Infinity;
  return { rho: T / (T + kappa), kappa, lambda: T * kappa, scale: pull + hard, correctsAll: kappa >= 1, T };
}

/** Soft and hard weight, which add up to one, that mean the same under the conventions of another recipe. */
export function weights({ kappa, T }, { t_squared, reduction, classes }) {
  if (kappa === Infinity) return { soft: 0, hard: 1 };
  const soft = T / softFactor({ T, t_squared, reduction, classes });
  return { soft: soft / (soft + kappa), hard: kappa / (soft + kappa) };
}

const needsClasses = ({ reduction, classes }) => reduction === "mean" && classes === null;

const RULES = {
  soft: [(v) => v >= 0 && v < Infinity, "be finite and at least 0", "give the factor in front of this part of the loss"],
  T: [(v) => v >= 1e-100 && v <= 1e100, "be positive and finite", "T = 1 leaves the logits as they are, T > 1 softens them"],
  classes: [(v) => Number.isSafeInteger(v) && v >= 2, "be a whole number from 2 up", "write classes = 2, for example"],
};
RULES.hard = RULES.soft;

/** What is wrong with a value that was typed, or nothing. */
export function refusal(name, value) {
  const [holds, rule, remedy] = RULES[name];
  return holds(value) ? "" : `${name} must ${rule}, got ${value}: ${remedy}`;
}

/** What is wrong with settings each of which is right, or nothing. */
export function disagreement(settings) {
  if (!settings.soft && !settings.hard)
    return "soft and hard must not both be 0: nothing would be learnt; give one of them a weight";
  return needsClasses(settings) ? "With the reduction “mean” the number of classes counts: give K." : "";
}

export const brief = (v) => String(Number(v.toPrecision(3)));

/** The answer in words, and a warning for each convention that decides it. */
export function answer(settings) {
  const { kappa, T, correctsAll } = mixture(settings);
  const size = brief(kappa);
  const first = kappa === 0
    ? "Your converged student follows its teacher everywhere, wrong or right: no hard label says otherwise."
    : kappa === Infinity
      ? "Your converged student follows the labels alone: its teacher has no weight."
      : correctsAll
        ? `No teacher can win against a label: it would have to be surer of a wrong class by more than κ = ${size}, and `
          + "probabilities differ by less than 1."
        : `Your converged student follows a wrong teacher where it is sure by more than κ = ${size}: where, at T = `
          + `${brief(T)}, its probability of a wrong class exceeds that of the label by more than this.`;
  const others = [
    ["The factor T² decides", settings.t_squared ? "Without it" : "With it", { t_squared: !settings.t_squared }],
    ["The reduction decides", settings.reduction === "mean" ? "With “batchmean”" : "With “mean”",
      { reduction: settings.reduction === "mean" ? "batchmean" : "mean" }],
  ];
  return [first, ...others.flatMap(([what, how, change]) => {
    const other = { ...settings, ...change };
    if (needsClasses(other)) return [];
    const changed = mixture(other);
    return changed.correctsAll === correctsAll ? [] : [
      `${what}. ${how}, κ would be ${brief(changed.kappa)}, and `
      + (correctsAll ? "a teacher surer than that would win." : "no teacher could win."),
    ];
  })];
}

/** A recipe's settings as its own code spells them, with weights that keep four digits of the smaller one. */
function spelled({ soft, hard, T, pattern }) {
  const smaller = Math.min(soft, hard);
  const places = smaller ? Math.min(16, Math.max(0, 4 - Math.floor(Math.log10(smaller)))) : 6;
  const short = (v) => (places ? v.toFixed(places).replace(/\.?0+$/, "") : v.toFixed(0));
  const values = { soft: short(soft), hard: short(hard), T: String(Number(T.toPrecision(6))) };
  return pattern.replace(/{(\w+)}/g, (_, name) => values[name]);
}

/** The same student in other recipes, by their names: one for each way of writing it. */
export function equivalents(settings, recipes) {
  const own = mixture(settings);
  const seen = new Set();
  const found = {};
  for (const [name, recipe] of Object.entries(recipes)) {
    const { arguments: pattern, t_squared, reduction, T } = recipe;
    const key = [pattern, t_squared, reduction].join();
    if (seen.has(key) || !/{soft}|{hard}/.test(pattern)) continue;
    seen.add(key);
    const there = { t_squared, reduction, classes: settings.classes ?? recipe.classes };
    found[name] = !pattern.includes("{T}") && own.T !== T ? `has no temperature: only T = ${brief(T)}`
      : needsClasses(there) ? "divides by the number of classes: give K"
        : spelled({ ...weights(own, there), T: own.T, pattern });
  }
  return found;
}
