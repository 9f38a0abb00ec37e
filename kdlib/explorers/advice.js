// The advisor in the browser: the steps are those of kdlib.advise, whose docstring numbers them.

import { classEffectiveLogit } from "./class_distillation.js";
import { effectiveLogit } from "./distillation.js";
import { eliminate, ntk } from "./students.js";

const SOFT = [1, 1]; // the ends, where T plays no part
const HARD = [0, 1];
const [FEWEST, FEW] = [50, 300]; // labels below which there is no verdict, or a warning
const STEPS = 4; // sizes from one number of samples to its double
const [FITTED, LEAST] = [17, 5]; // sizes that a forecast is made from, at most and at least

const GRID = [SOFT, ...[1, 4, 10].flatMap((T) =>
  [0.1, 0.3, 1, 3, 10, 30].map((strength) => [T ** 2 / (T ** 2 + strength), T])), HARD];

const sum = (values) => values.reduce((total, v) => total + v, 0);
const mean = (values) => sum(values) / values.length;
const deviation = (values, degrees = 0) => {
  const middle = mean(values);
  return Math.sqrt(sum(values.map((v) => (v - middle) ** 2)) / (values.length - degrees));
};
const median = (values) => {
  const sorted = Float64Array.from(values).sort();
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
};
const same = (cell) => (other) => cell[0] === other[0] && cell[1] === other[1];
const distinct = (cells) => cells.filter((cell, i) => cells.findIndex(same(cell)) === i);
const atEnd = ([rho, T]) => (rho === 1 ? SOFT : rho === 0 ? HARD : [rho, T]);
const row = (x, d, i) => x.subarray(i * d, (i + 1) * d);

// ---- students, judged on what they have not seen ----

/** Step 1: of equal inputs the first, in the order that takes samples evenly from the whole file, with their places there. */
function spread({ x, z, y, places = [...y.keys()] }, d) {
  const seen = new Set();
  const first = y.map((_, i) => i).filter((i) => {
    const key = row(x, d, i).join();
    return !seen.has(key) && seen.add(key);
  });
  const place = first.map((_, i) => (i * ((5 ** 0.5 - 1) / 2)) % 1);
  const order = [...first.keys()].sort((a, b) => place[a] - place[b] || a - b).map((i) => first[i]);
  const inputs = new Float64Array(order.length * d);
  order.forEach((i, k) => inputs.set(row(x, d, i), k * d));
  return { x: inputs, z: order.map((i) => z[i]), y: order.map((i) => y[i]), order: order.map((i) => places[i]) };
}

/** Of one sample in one cell: one number for two classes, else K; see kdlib.distillation.targets and class_targets. */
function targets(z, y, [rho, T]) {
  if (z.length === 1) return [rho === 0 ? 2 * y - 1 : effectiveLogit(z[0], y, rho, T)];
  return rho === 0 ? z.map((_, k) => (k === y) - 1 / z.length) : classEffectiveLogit(z, y, rho, T);
}

/** The logits of a teacher that puts the label first: it changes places with the class that was. */
function corrected(z, y) {
  if (z.length === 1) return [Math.abs(z[0]) * (2 * y - 1)];
  const top = z.indexOf(Math.max(...z));
  return z.map((v, k) => (k === top ? z[y] : k === y ? z[top] : v));
}

/** Step 4: of the given label over the best other class; the classes' values are `f(0)`, `f(1)`, ... */
function margin(f, K, y) {
  if (K === 1) return (2 * y - 1) * f(0);
  let best = -Infinity;
  for (let k = 0; k < K; k++) if (k !== y) best = Math.max(best, f(k));
  return f(y) - best;
}

const isRight = ({ z, y }) => z.map((logits, i) => Number(margin((k) => logits[k], logits.length, y[i]) > 0));

/** Raise if a pivot is noise: then a sample is a combination of earlier ones; as kdlib does. */
function requireIndependent(rows, diagonal, order) {
  const noise = 10 * rows.length * Number.EPSILON;
  const i = rows.findIndex((values, k) => !(values[k] ** 2 > noise * diagonal[k]));
  if (i >= 0)
    throw new RangeError(`samples must be independent, but to this kernel sample ${order[i] + 1} is a combination of others, `
      + "up to rounding: drop it, or another one that is nearly the same");
}

/**
 * Step 3: margins of all cells, after each of the sizes: calls `use(s, margins)`, margins being a list for each cell.
 * Sums over the samples run once for all sizes.
 */
function judged({ x, y, wanted, others, d, depth, order, sizes, tell }, use) {
  const N = y.length;
  const [cells, K] = [wanted[0].length, wanted[0][0].length];
  const network = { depth, sigma_w: 1, sigma_b: 1, d };
  const kernel = ntk(x, others ? Float64Array.from([...x, ...others.x]) : x, network, true);
  const diagonal = kernel.map((values, i) => values[i]);
  const z = wanted.map((values) => values.flat());
  // [Theta | B | z] becomes [L^T | L^-1 B | c]: B is the kernel at what is held out, or else the unit matrix.
  const end = others ? kernel[0].length : 2 * N;
  const rows = eliminate(kernel.map((values, i) => {
    const whole = new Float64Array(end + z[i].length);
    whole.set(values);
    if (!others) whole[N + i] = 1;
    whole.set(z[i], end);
    return whole;
  }), (i) => tell((0.8 * (i + 1) ** 2) / N ** 2));
  requireIndependent(rows, diagonal, order);

  const judges = others?.y ?? y;
  const sums = z[0].map(() => new Float64Array(judges.length));
  const precision = new Float64Array(N); // diagonal of Theta_m^-1
  const margins = Array.from({ length: cells }, () => new Float64Array(judges.length));
  const answer = (i, j, m) => (others || i >= m ? sums[j][i] : z[i][j] - sums[j][i] / precision[i]);
  rows.forEach((values, m) => {
    // What sample m adds at samples that came before it, and itself, to alpha; later on, to what the student says.
    const added = others ? values.subarray(N, end) : values.slice(0, N);
    if (!others) {
      added.set(values.subarray(N, N + m + 1));
      for (let i = 0; i <= m; i++) precision[i] += added[i] ** 2;
      for (const one of sums) one[m] = 0;
    }
    sums.forEach((one, j) => {
      const c = values[end + j];
      for (let i = 0; i < one.length; i++) one[i] += c * added[i];
    });
    const s = sizes.indexOf(m + 1);
    if (s < 0) return;
    margins.forEach((of, c) => judges.forEach((label, i) => {
      of[i] = margin((k) => answer(i, c * K + k, m + 1), K, label);
    }));
    use(s, margins);
    tell(0.8 + (0.2 * (m + 1)) / N);
  });
}

/** Step 5. */
function losses(margins) {
  const scale = median(margins.map(Math.abs));
  return margins.map((m) => 1 / (1 + Math.exp(8 * (m === 0 ? 0 : m / scale))));
}

/** The mean of paired differences, and its standard error; what rounding makes is no difference. */
function difference(a, b) {
  const paired = a.map((v, i) => (Math.abs(v - b[i]) < 1e-9 ? 0 : v - b[i]));
  return [mean(paired), deviation(paired, 1) / Math.sqrt(paired.length)];
}

// ---- forecasts ----

/** Step 10: by the line through the logarithms of the last sizes. */
function extrapolated(sizes, shares, n) {
  const [u, v] = [sizes, shares].map((values) => values.slice(-FITTED).map(Math.log));
  const [u0, v0] = [mean(u), mean(v)];
  const square = sum(u.map((a) => (a - u0) ** 2));
  const slope = square ? Math.min(sum(u.map((a, i) => (a - u0) * (v[i] - v0))) / square, 0) : 0;
  return Math.exp(v0 + slope * (Math.log(n) - u0));
}

/** Logarithmic errors of the forecasts that could be made so many sizes before each: pairs of i and the error. */
function misses(sizes, shares, steps) {
  const found = [];
  for (let i = LEAST; steps && i + steps <= sizes.length; i++) {
    const then = extrapolated(sizes.slice(0, i), shares.slice(0, i), sizes[i + steps - 1]);
    found.push([i, Math.log(shares[i + steps - 1] / then)]);
  }
  return found;
}

/** Step 11: half the band's width so many sizes ahead, in logarithms. */
function width(sizes, shares, judges, steps) {
  const wrong = misses(sizes, shares, steps).map(([, miss]) => miss ** 2);
  if (steps && !wrong.length) return Infinity;
  const last = shares.at(-1);
  return 2 * Math.sqrt((steps ? mean(wrong) : 0) + (1 - last) / (last * judges));
}

/** Step 12: how many later shares were inside the bands made before them, and of how many. */
function coverage(sizes, shares, judges, steps) {
  const tried = misses(sizes, shares, steps).filter(([i]) => i >= LEAST + steps);
  const inside = tried.filter(([i, miss]) => Math.abs(miss) <= width(sizes.slice(0, i), shares.slice(0, i), judges, steps));
  return [inside.length, tried.length];
}

function between(at, xs, ys) {
  const i = Math.min(Math.max(xs.findIndex((x) => x >= at), 1), xs.length - 1);
  return ys[i - 1] + ((ys[i] - ys[i - 1]) * (at - xs[i - 1])) / (xs[i] - xs[i - 1]);
}

/** The share of mistakes at n samples, and half the width of its band in logarithms. */
function expected({ sizes, curves, judged: judges }, n, curve = "chosen") {
  const [shares, N] = [curves[curve], sizes.at(-1)];
  const widths = [0, STEPS, 2 * STEPS].map((steps) => width(sizes, shares, judges, steps));
  if (n <= N) {
    const now = sizes.length > 1 ? between(Math.log(n), sizes.map(Math.log), shares.map(Math.log)) : Math.log(shares[0]);
    return [Math.exp(now), widths[0]];
  }
  const [known, ahead] = [widths.filter(Number.isFinite).length, Math.log2(n / N)];
  return [extrapolated(sizes, shares, n), ahead > known - 1 ? Infinity : between(ahead, [0, 1, 2], widths)];
}

/** The share of mistakes to expect at n samples, up to 4 N, with its band. */
export function forecast(advice, n, curve) {
  const [error, half] = expected(advice, n, curve);
  return { error: Math.min(error, 1), low: error * Math.exp(-half), high: Math.min(error * Math.exp(half), 1) };
}

/** Step 13. */
function more(advice) {
  const N = advice.sizes.at(-1);
  for (const n of [2 * N, 4 * N]) {
    const [error, half] = expected(advice, n);
    const most = error * Math.exp(half / 2);
    if (most < advice.curves.chosen.at(-1)) return expected(advice, n, "soft")[0] <= most ? "queries" : "labels";
  }
  return "neither";
}

// ---- in words ----

/** As Python's format `f` writes a number: one that lies exactly between two goes to the even one. */
function fixed(v, digits) {
  const up = v.toFixed(digits);
  const between = new RegExp(`\\.\\d{${digits}}50*$`).test(v.toFixed(20));
  return between && up.at(-1) % 2 ? (up - Math.sign(v) * 10 ** -digits).toFixed(digits) : up;
}

/** As Python's format `g` writes a number. */
function general(v, digits = 6) {
  const [mantissa, power] = v.toExponential(digits - 1).split("e");
  if (v === 0 || (power >= -4 && power < digits)) return String(Number(v.toPrecision(digits)));
  return `${Number(mantissa)}e${power[0]}${power.slice(1).padStart(2, "0")}`;
}

/** The error to one digit and the value as far as that; see kdlib.statistics.as_far_as. */
function asFarAs(value, error) {
  if (!error) return general(value, 3);
  const rounded = Number(error.toPrecision(1));
  const places = Math.max(0, -Math.floor(Math.log10(rounded)));
  return [value, rounded].map((v) => fixed(v, places).replace(/^-(0\.?0*)$/, "$1")).join(" ± ");
}

const percent = (share) => `${fixed(100 * share, 1)}%`;

const nameOf = ([rho, T]) => ({ 1: "the teacher alone (rho = 1)", 0: "the labels alone (rho = 0)" })[rho]
  ?? `rho = ${general(rho, 4)}, T = ${general(T)}`;

/** Sentences, and whether they forbid an answer. */
function warnings({ x, z, y }, d, others, copies, best, useless) {
  const labels = others?.y ?? y;
  const [found, right] = [[], isRight({ z, y })];
  let forbidden = false;
  if (labels.length < FEW) {
    forbidden = labels.length < FEWEST;
    found.push(`Only ${labels.length} labels judge the students: ${FEW} are enough, and below ${FEWEST} there is no verdict.`);
  }
  if (new Set(labels).size < 2) {
    forbidden = true;
    found.push("All labels that judge the students are the same: they cannot tell good students from bad.");
  }
  if (others) {
    const there = isRight(others);
    const error = deviation([...right, ...there]) * Math.sqrt(1 / right.length + 1 / there.length);
    if (mean(right) - mean(there) > 3 * error)
      found.push(`The teacher is right on ${percent(mean(right))} of the given labels, and on only ${percent(mean(there))} `
        + "of those held out: it seems to have seen the given ones, and on new samples labels will correct more of it.");
    const known = new Set(y.map((_, i) => row(x, d, i).join()));
    const shared = others.y.filter((_, i) => known.has(row(others.x, d, i).join())).length;
    if (shared) found.push(`${shared} of the samples held out are among the given ones: their students have seen them.`);
  } else if (right.every(Boolean) && useless > 0.05) {
    forbidden = true;
    found.push(`The teacher is right on all ${right.length} labels, where students of the labels alone err on `
      + `${percent(useless)} of those they have not seen: it seems to have seen them. Pass held_out with samples that it `
      + "has not seen.");
  }
  if (copies) found.push(`${copies} samples have the inputs of earlier ones and were left out.`);
  const spreads = Array.from({ length: d }, (_, k) => deviation(y.map((_, i) => x[i * d + k]))).filter((v) => v > 0);
  const size = Math.sqrt(mean(x.map((v) => v * v)));
  if (spreads.length && Math.max(...spreads) > 100 * median(spreads))
    found.push("A feature varies over a hundred times as much as most, which then hardly count: divide each by its standard "
      + "deviation.");
  if (size && !(size >= 0.01 && size <= 100))
    found.push(`Features are about ${general(size, 1)} in size, where a network's biases `
      + `${size > 1 ? "hardly count" : "are nearly all that counts"}: bring them to about 1.`);
  if (best === HARD && !others)
    found.push("The labels alone came out best, and leave-one-out is too kind to them: pass held_out to make sure.");
  return { found, forbidden };
}

function sentences(advice) {
  const share = (value) => `${fixed(100 * value, 1)} %`;
  const [usual, N] = [nameOf(advice.default), advice.sizes.at(-1)];
  const [now, double, four] = [1, 2, 4].map((times) => forecast(advice, times * N));
  const band = ({ low, high }) => `(${share(low)} to ${share(high)})`;
  const held = Object.entries(advice.coverage).filter(([, [, tried]]) => tried).map(([times, [inside, tried]]) =>
    `${inside} of ${tried} trials at ${times} times as many`);
  const { cell, gain, error } = advice.best;
  const mistakes = (of) => advice.cells.find(({ rho, T }) => rho === of[0] && T === of[1]).mistakes;
  return [
    { move: `Move from ${usual} to ${nameOf([advice.rho, advice.T])}.`, keep: `Keep ${usual}.`,
      undecided: `Undecided: there is no reason to leave ${usual}.` }[advice.verdict],
    `Mistakes: ${share(now.error)} with ${N} samples, ${share(double.error)} expected with ${2 * N} ${band(double)} and `
      + `${share(four.error)} with ${4 * N} ${band(four)}.`,
    ...held.length ? [`Such bands, made from fewer samples, held what came later in ${held.join(" and ")}.`] : [],
    { labels: "More labelled samples would help.",
      queries: "More samples would help, and the teacher's answers to them will do: they need no labels.",
      neither: "Neither more labels nor more answers of the teacher would clearly help." }[advice.more],
    `The least loss, on ${advice.judged} samples, is that of ${nameOf(cell)}: ${asFarAs(gain, error)} below the default's `
      + `(${share(mistakes(cell))} of mistakes against ${share(mistakes(advice.default))}). What was chosen for being small `
      + "will be less so elsewhere.",
    ...(advice.avoid.length ? [`Avoid ${advice.avoid.map(nameOf).join("; ")}.`] : []),
    `A teacher that always put the given label first would lead to ${share(advice.perfect)} of mistakes at best, and `
      + `one that knew nothing, to ${share(advice.useless)}.`,
    ...advice.warnings.map((warning) => `Warning: ${warning}`),
  ];
}

// ---- the advice ----

/**
 * Advice on samples: x (n d numbers, a sample after the other), z (a list of logits for each, of one for two classes)
 * and y (0, 1, ...), with d features; others of the same kind may be held out. `places` says where samples stand in a
 * file that has others, too. `tell` hears which share is done.
 */
export function advise(task, tell = () => {}) {
  const { d, held_out = null, default: usual = [0.9, 4], depth = 3, reluctance = 1, ...given } = task;
  const single = ({ z, ...rest }) => ({ ...rest, z: z[0].length === 2 ? z.map(([a, b]) => [b - a]) : z });
  const others = held_out && single(held_out);
  const samples = spread(single(given), d);
  const { z, y } = samples;
  const N = y.length;
  if (N < 8) throw new RangeError(`x must hold at least 8 different samples, got ${N}: curves begin there`);
  const byDefault = atEnd(usual);
  const cells = distinct([...(given.cells ?? GRID).map(atEnd), byDefault]);
  const all = distinct([...cells, SOFT, HARD]);
  const wanted = z.map((logits, i) => [...all.map((cell) => targets(logits, y[i], cell)),
    ...cells.map((cell) => targets(corrected(logits, y[i]), y[i], cell))]);

  const sizes = [...new Set(Array.from({ length: 40 * STEPS }, (_, k) => Math.floor(N * 2 ** (-k / STEPS) + 0.5)))]
    .filter((n) => n >= 8).reverse();
  const shares = [];
  let margins;
  judged({ ...samples, wanted, others, d, depth, sizes, tell }, (s, found) => {
    shares[s] = found.map((of) => of.filter((m) => m <= 0).length / of.length);
    margins = found; // those of all samples come last
  });
  const judges = margins[0].length;
  const share = (cell, s) => shares[s][all.findIndex(same(cell))];
  const last = sizes.length - 1;

  const loss = cells.map((_, c) => losses(margins[c]));
  const [means, ifRight] = [loss.map(mean), cells.map((_, c) => mean(losses(margins[all.length + c])))];
  const least = (values) => values.findIndex((v) => v <= Math.min(...values) * (1 + 1e-9));
  const best = least(means);
  const [gain, error] = difference(loss[cells.findIndex(same(byDefault))], loss[best]);
  const useless = share(HARD, last);
  const { found, forbidden } = warnings(samples, d, others, given.y.length - N, cells[best], useless);
  const verdict = forbidden ? "undecided" : gain > Math.max(reluctance * error, 0) ? "move" : "keep";
  const chosen = verdict === "move" ? cells[best] : byDefault;
  const table = cells.map(([rho, T], c) => {
    const [worse, apart] = difference(loss[c], loss[cells.findIndex(same(chosen))]);
    return { rho, T, estimate: means[c], error: apart, mistakes: shares[last][c],
      avoid: verdict !== "undecided" && worse > 2 * apart };
  });
  const curve = (cell) => sizes.map((_, s) => (share(cell, s) * judges + 0.5) / (judges + 1));
  const advice = {
    rho: chosen[0], T: chosen[1], verdict, default: byDefault, cells: table,
    avoid: table.filter(({ avoid }) => avoid).map(({ rho, T }) => [rho, T]),
    perfect: shares[last][all.length + least(ifRight)], useless, sizes,
    curves: { chosen: curve(chosen), default: curve(byDefault), soft: curve(SOFT), hard: curve(HARD) },
    warnings: found, judged: judges, best: { cell: cells[best], gain, error },
  };
  advice.coverage = Object.fromEntries([1, 2].map((i) => [2 ** i, coverage(sizes, advice.curves.chosen, judges, i * STEPS)]));
  advice.more = more(advice);
  advice.forecasts = [1, 2, 4].map((times) => ({ n: times * N, ...forecast(advice, times * N) }));
  const ahead = [...sizes, ...Array.from({ length: 8 }, (_, k) => Math.round(N * 2 ** ((k + 1) / 4)))];
  advice.ahead = ahead.map((n) => ({ n, ...forecast(advice, n) }));
  advice.report = sentences(advice);
  return advice;
}
