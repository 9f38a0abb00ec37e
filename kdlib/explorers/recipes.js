// The exchange office: a form for a recipe's settings, and what they mean.

import { answer, brief, disagreement, equivalents, mixture, refusal } from "./exchange.js";
import { attributes, canvas, describe, explorer, svgNode } from "./page.js";

const published = (model, name) => model.get("recipes")[model.get("recipe")]?.[name];

const NUMBER = {
  show(input, value, { name }, model) {
    const typing = input.matches(":focus") && !input.dataset.left;
    if (!typing) input.value = value ?? published(model, name) ?? "";
    input.setCustomValidity("");
    input.removeAttribute("aria-invalid");
  },
  /** What was typed; null if that is the published value, or nothing; undefined if it is refused. */
  take(input, { name }, model) {
    const empty = input.value === "" && !input.validity.badInput;
    const value = input.validity.badInput ? NaN : Number(input.value);
    const wrong = empty ? "" : refusal(name, value);
    input.setCustomValidity(wrong);
    if (wrong) input.setAttribute("aria-invalid", "true");
    else input.removeAttribute("aria-invalid");
    return wrong ? undefined : empty || value === published(model, name) ? null : value;
  },
};

const PLAIN = {
  show(input, value, { name }, model) {
    const now = value ?? published(model, name);
    if (input.type === "checkbox") input.checked = now;
    else input.value = now;
  },
  take(input, { name }, model) {
    const now = input.type === "checkbox" ? input.checked : input.value;
    return now === published(model, name) ? null : now;
  },
};

const number = (name) => ({ name, valid: (v) => !refusal(name, v), ...NUMBER });
const SETTINGS = ["soft", "hard", "T", "t_squared", "reduction", "classes"];
const CONTROLS = [
  {
    name: "recipe", parse: String, valid: (v, { recipes }) => Object.hasOwn(recipes, v), clears: SETTINGS,
    show: (input, value) => { input.value = value; }, take: (input) => input.value,
  },
  number("soft"),
  number("hard"),
  number("T"),
  { name: "t_squared", parse: (text) => ({ true: true, false: false })[text], valid: (v) => v !== undefined, ...PLAIN },
  { name: "reduction", parse: String, valid: (v) => ["batchmean", "mean"].includes(v), ...PLAIN },
  number("classes"),
];

const LABELS = {
  recipe: "recipe to begin with", soft: "weight of the soft part", hard: "weight of the hard part",
  T: "<i>T</i> temperature", t_squared: "soft part times <i>T</i><sup>2</sup>", reduction: "reduction of the soft part",
  classes: "<i>K</i> number of classes",
};

/** What of a recipe was changed, in words. */
const changes = (recipe, changed) => {
  const said = {
    t_squared: (v) => (v ? "with T²" : "without T²"), reduction: (v) => `reduction “${v}”`, classes: (v) => `K = ${v}`,
    T: (v) => `T = ${v}`, soft: (v) => `soft weight ${v}`, hard: (v) => `hard weight ${v}`,
  };
  const parts = Object.entries(changed).map(([name, value]) => said[name](value));
  return `${recipe}, ${parts.length ? `changed: ${parts.join(", ")}` : "as published"}. `;
};

const SCALE = [1e-3, 1e3]; // of kappa

function build({ host, id, model }) {
  const recipes = model.get("recipes");
  const label = (name) => `<label for="${id}-${name}">${LABELS[name]}</label>`;
  const input = (name, attributes) => `${label(name)}<input id="${id}-${name}" name="${name}" ${attributes}>`;
  const numeric = (name, step, least) =>
    input(name, `type="number" step="${step}" min="${least}" aria-describedby="${id}-note"`);
  const select = (name, options) => `${label(name)}<select id="${id}-${name}" name="${name}">`
    + `${options.map(([value, text]) => `<option value="${value}">${text}</option>`).join("")}</select>`;
  host.innerHTML = `
    <div class="kd-form">
      ${select("recipe", Object.keys(recipes).map((name) => [name, name]))}
      ${numeric("soft", 0.05, 0)}${numeric("hard", 0.05, 0)}${numeric("T", 0.5, 0)}
      ${input("t_squared", 'type="checkbox"')}
      ${select("reduction", [["batchmean", "batchmean"], ["mean", "mean"]])}
      ${numeric("classes", 1, 2)}
    </div>
    <dl class="kd-readout">
      <div><dt><i>κ</i> decides who wins</dt><dd data-read="kappa"></dd></div>
      <div><dt><i>ρ</i> soft ratio of Eq. 2</dt><dd data-read="rho"></dd></div>
      <div><dt><i>λ</i> pull on small logits, per class</dt><dd data-read="lambda"></dd></div>
    </dl>
    <div aria-live="polite"><p class="kd-note" id="${id}-note"></p><ul class="kd-warnings"></ul></div>
    ${canvas(id, "title")}
    <p class="kd-legend" aria-hidden="true"><span class="kd-dot kd-published">published</span>
      <span class="kd-dot kd-yours">yours</span><span class="kd-split">no teacher can win</span></p>
    <table class="kd-same"><caption>The same student elsewhere. Weights add up to one.</caption>
      <thead><tr><th scope="col">Recipe</th><th scope="col">Settings</th></tr></thead><tbody></tbody></table>
    <p class="kd-remark"></p>`;
  const find = (selector) => host.querySelector(selector);
  const svg = find("svg");
  const fields = [...host.querySelectorAll("[name]")];
  host.addEventListener("focusout", ({ target }) => {
    const control = CONTROLS.find(({ name }) => name === target.name);
    if (control && !target.validity.customError) {
      target.dataset.left = true;
      control.show(target, model.get(target.name), control, model);
      delete target.dataset.left;
    }
  });

  let width;
  const layout = () => { width = Math.max(host.clientWidth, 260); };
  const across = (kappa) => {
    const share = Math.log(kappa / SCALE[0]) / Math.log(SCALE[1] / SCALE[0]);
    return 14 + (width - 28) * Math.min(1, Math.max(0, share));
  };

  /** Published recipes on a logarithmic scale of kappa, and this one. */
  function picture(kappa, classes) {
    attributes(svg, { viewBox: `0 0 ${width} 74` });
    for (const node of [...svg.children].slice(1)) node.remove();
    const add = (tag, values) => svg.appendChild(svgNode(tag, values));
    add("rect", { class: "kd-split", x: across(1), y: 4, width: width - 14 - across(1), height: 34 });
    for (let power = -3; power <= 3; power += 1) {
      const x = across(10 ** power);
      add("line", { x1: x, x2: x, y1: 4, y2: 42 });
      if (width < 500 && Math.abs(power) === 2) continue; // no room for its label
      add("text", { x, y: 56, "text-anchor": power < -2 ? "start" : power > 2 ? "end" : "middle" }).textContent =
        power < -2 ? "κ ≤ 0.001" : power > 2 ? "≥ 1000" : brief(10 ** power);
    }
    add("line", { class: "kd-zero", x1: 14, x2: width - 14, y1: 21, y2: 21 });
    for (const recipe of Object.values(recipes)) {
      const settings = { ...recipe, classes: recipe.classes ?? classes };
      if (!disagreement(settings)) add("circle", { class: "kd-published", cx: across(mixture(settings).kappa), cy: 21, r: 4 });
    }
    if (kappa !== undefined) add("path", { class: "kd-yours", d: `M${across(kappa)} 2v38` });
    const where = kappa === undefined ? "none is drawn" : `yours at ${brief(kappa)}`;
    describe(svg, `Kappa of the published recipes on a logarithmic scale; ${where}. From 1 on no teacher can win.`);
  }

  function draw() {
    const name = model.get("recipe");
    const entries = SETTINGS.map((setting) => [setting, model.get(setting)]);
    const changed = Object.fromEntries(entries.filter(([, value]) => value !== null));
    const settings = { ...recipes[name], ...changed };
    const refused = fields.find((node) => node.validity.customError)?.validationMessage;
    const wrong = refused || disagreement(settings);
    const found = wrong ? {} : mixture(settings);
    for (const read of ["kappa", "rho", "lambda"]) {
      const value = found[read];
      find(`[data-read=${read}]`).textContent = wrong ? "–" : value === Infinity ? "∞" : String(Number(value.toPrecision(4)));
    }
    const [first, ...warnings] = wrong ? [wrong] : answer(settings);
    find(".kd-note").textContent = (refused ? "" : changes(name, changed)) + first;
    const item = (tag, text) => Object.assign(document.createElement(tag), { textContent: text });
    find(".kd-warnings").replaceChildren(...warnings.map((text) => item("li", text)));
    find("tbody").replaceChildren(...Object.entries(wrong ? {} : equivalents(settings, recipes)).map(([other, text]) => {
      const row = document.createElement("tr");
      row.append(attributes(item("th", other), { scope: "row" }), document.createElement("td"));
      row.lastChild.append(item(text.includes(": only T") || text.includes(": give K") ? "span" : "code", text));
      return row;
    }));
    find(".kd-remark").textContent = recipes[name].note;
    picture(found.kappa, settings.classes);
  }

  return { layout, draw };
}

export const { mount, render } = explorer({ kind: "recipes", prefix: "x.", controls: CONTROLS, build });
export default { render };
