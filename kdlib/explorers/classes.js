// The explorer of K classes: a teacher's answer as bars, and whom the label beats in its converged student.

import { centred, classEffectiveLogit, pairwise, softmax } from "./class_distillation.js";
import {
  attributes, canvas, describe, explorer, fill, follow, plot, RATIO, show, signed, sliders, svgNode, TEMPERATURE,
} from "./page.js";

const MOST = 10; // classes
const LARGEST = 500; // of a teacher's logits
const RANGE = [0.001, 0.999]; // of a probability that is set by hand
const REACHES = [2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 20000];
const TOUCH = 22; // around a bar's end, where a finger takes hold of it

const CONTROLS = [
  {
    name: "z_t", parse: (text) => text.split(",").map((v) => (v.trim() ? Number(v) : NaN)),
    valid: (z) => z.length >= 2 && z.length <= MOST && z.every((v) => Math.abs(v) <= LARGEST),
  },
  {
    name: "y_g", label: "<i>y<sub>g</sub></i> the label", min: 0, max: MOST - 1, step: 1,
    valid: (y, { z_t }) => y in z_t,
  },
  RATIO,
  { ...TEMPERATURE, valid: (v) => v >= 1e-3 && v <= 1e6 },
];
const CLASSES = { name: "K", label: "<i>K</i> classes", min: 2, max: MOST, step: 1 };

/** How alike a class is to the right one, as a logit: each class another one. */
const likeness = (k) => Number((0.4 * ((7 * k) % 10)).toFixed(1));

const teacher = (label, rival) => (K, y) => {
  const wrong = (y + Math.ceil(K / 2)) % K;
  return Array.from({ length: K }, (_, k) => (k === y ? label : k === wrong ? rival : likeness(k)));
};

const PRESETS = {
  "confident and right": teacher(12, 5), "confident and wrong": teacher(5, 12), "torn between two": teacher(9, 10),
  uniform: (K) => Array.from({ length: K }, () => 0),
};

const percent = (share) => `${(100 * share).toFixed(1)} %`;

/** Two numbers in as few decimals as show which is larger. */
function compared(a, b) {
  const digits = [2, 3, 4, 5, 6, 8].find((digits) => a.toFixed(digits) !== b.toFixed(digits)) ?? 2;
  return [a, b].map((v) => show(v, digits));
}

const named = (classes) =>
  (classes.length === 1 ? `class ${classes[0]}` : `classes ${classes.slice(0, -1).join(", ")} and ${classes.at(-1)}`);
const capital = (text) => text[0].toUpperCase() + text.slice(1);

function inWords(z_t, y, rho, { leads, kappa, beaten }) {
  if (rho === 0)
    return "ρ = 0: hard labels alone. The loss has no finite minimiser: the label’s logit grows without end, whatever "
      + "the teacher says. The probabilities are drawn in this limit.";
  const best = (classes) => classes.filter((k) => z_t[k] === Math.max(...classes.map((j) => z_t[j])));
  const wrong = [...z_t.keys()].filter((k) => k !== y);
  const ahead = wrong.filter((k) => !beaten[k]);
  const level = ahead.filter((k) => leads[k] === kappa || z_t[k] === z_t[y]);
  const alone = rho === 1 ? "ρ = 1: the teacher alone, which the student copies. " : "";
  if (!ahead.length) {
    if (alone) return `${alone}It is right, so the label wins.`;
    if (kappa >= 1)
      return `The label wins, whatever the teacher says: no class can be surer than it by κ = ${show(kappa)}, as `
        + "probabilities differ by 1 at most.";
    const [rival] = best(wrong);
    if (z_t[rival] <= z_t[y]) return "The label wins: the teacher prefers no other class to it.";
    const [lead, threshold] = compared(leads[rival], kappa);
    return `The label wins: the teacher is surer of class ${rival}, but only by ${lead} < κ = ${threshold}.`;
  }
  const winners = best(ahead);
  if (level.includes(winners[0])) return `${alone}The label and ${named(winners)} are level: none wins.`;
  const [lead, threshold] = compared(leads[winners[0]], kappa);
  const also = ahead.filter((k) => !winners.includes(k) && !level.includes(k));
  const [who, them] = winners.length > 1 ? [`${capital(named(winners))} win, level with each other`, "them"]
    : [`Class ${winners[0]} wins`, "it"];
  return `${alone}${who}: the teacher is surer of ${them} than of the label, by ${lead} > κ = ${threshold}.`
    + (also.length ? ` ${capital(named(also))} ${also.length > 1 ? "beat" : "beats"} the label, too.` : "");
}

/** Bars of all classes in a picture: the teacher's, in three colours, and beside them the student's. */
function bars(svg, id) {
  const { axis, layer } = plot(svg, id);
  const paths = Object.fromEntries(["other", "right", "wrong", "fit"].map((name) => [name, layer("path", `kd-${name}`)]));
  const numbers = svg.appendChild(svgNode("g"));
  return {
    layer,
    axis({ K, range, ...rest }) {
      const frame = axis({ ...rest, x: { range: [-0.5, K - 0.5], ticks: [], title: "class" } });
      numbers.replaceChildren();
      for (let k = 0; k < K; k++)
        numbers.appendChild(svgNode("text", { x: frame.x(k), y: frame.bottom + 16, "text-anchor": "middle" })).textContent = k;
      return frame;
    },
    /** Which class has which colour; values of the teacher, and of the student unless they are infinite. */
    draw({ x, y }, colours, theirs, ours) {
      const d = { other: "", right: "", wrong: "", fit: "" };
      const bar = (k, value, from, to) => {
        const [left, right, end] = [x(k + from), x(k + to), y(value)].map((v) => v.toFixed(1));
        return `M${left} ${y(0).toFixed(1)}V${end}H${right}V${y(0).toFixed(1)}Z`;
      };
      colours.forEach((colour, k) => {
        d[colour] += bar(k, theirs[k], -0.4, 0);
        if (Number.isFinite(ours[k])) d.fit += bar(k, ours[k], 0.04, 0.38);
      });
      for (const [name, path] of Object.entries(d)) paths[name].setAttribute("d", path);
      colours.forEach((colour, k) => {
        const { classList } = numbers.children[k];
        if (!classList.contains(`kd-${colour}`)) classList.value = `kd-${colour}`; // styles cost more than a look
      });
    },
  };
}

function build({ host, id, model, change }) {
  const { pictures: [main, ...pictures], tell } = fill(host, `
    <div class="kd-presets" role="group" aria-label="A teacher that is"><span aria-hidden="true">A teacher that is</span>
      ${Object.keys(PRESETS).map((name) => `<button type="button">${name}</button>`).join("\n      ")}</div>
    ${canvas(id, "bars", "kd-map kd-drag")}
    <div class="kd-charts">${canvas(id, "logits")}${canvas(id, "answers")}</div>
    <p class="kd-legend" aria-hidden="true">
      <span class="kd-right">teacher: the label</span><span class="kd-wrong">teacher: beats the label</span>
      <span class="kd-other">teacher: does not</span><span class="kd-fit">student</span>
      <span class="kd-threshold">the label’s bar + <i>κ</i></span></p>
    ${sliders(id, [CONTROLS[2], CONTROLS[3], CONTROLS[1], CLASSES])}
    <dl class="kd-readout">
      <div class="kd-wrong"><dt>threshold <i>κ</i></dt><dd data-read="kappa"></dd></div>
      <div><dt><i>q<sub>j</sub></i> − <i>q<sub>y</sub></i>, strongest rival</dt><dd data-read="lead"></dd></div>
      <div class="kd-fit"><dt>student’s share for the label</dt><dd data-read="label"></dd></div>
    </dl>`);
  attributes(main, { role: "group" }); // its bars are sliders
  const [label, classes] = ["y_g", "K"].map((name) => host.querySelector(`input[name=${name}]`));
  const state = () => {
    const [z_t, y_g, rho, T] = CONTROLS.map(({ name }) => model.get(name));
    return { z_t, y: Math.min(y_g, z_t.length - 1), rho, T };
  };

  const top = bars(main, id);
  const threshold = top.layer("path", "kd-threshold");
  const kappaMark = top.layer("text", "kd-kappa");
  kappaMark.textContent = "κ";
  const knobs = main.appendChild(svgNode("g"));
  const sides = pictures.map((svg, i) => bars(svg, `${id}-${i}`));
  let frame, sideFrames, columns, reach;

  /** The teacher's logits if class k has the probability p at T, and the others keep their ratios. */
  function set(k, p) {
    const { z_t, T } = state();
    const others = z_t.filter((_, j) => j !== k);
    const most = Math.max(...others);
    const level = most + T * Math.log(others.reduce((sum, z) => sum + Math.exp((z - most) / T), 0));
    const digits = 2 + Math.max(0, Math.ceil(-Math.log10(T))); // short in the address, and fine in units of T
    const z = Number((level + T * Math.log(p / (1 - p))).toFixed(digits));
    change("z_t", z_t.map((old, j) => (j === k ? Math.max(-LARGEST, Math.min(LARGEST, z)) : old)));
  }

  /** A bar as a slider. */
  function column(k, { x, top, bottom }) {
    const node = knobs.appendChild(svgNode("g", {
      role: "slider", tabindex: 0, "aria-orientation": "vertical", "aria-valuemin": 0, "aria-valuemax": 100,
    }));
    const [left, width] = [x(k - 0.5), x(1) - x(0)];
    node.appendChild(svgNode("rect", { x: left, y: top, width, height: bottom - top + 22 }));
    const knob = node.appendChild(svgNode("rect", { class: "kd-knob", x: left, width, height: 2 * TOUCH }));
    // Held by a finger it moves, and the page does not; elsewhere the page does.
    knob.addEventListener("touchstart", (event) => event.preventDefault(), { passive: false });
    return { node, knob };
  }

  function press(event) {
    const k = columns.findIndex(({ node }) => node === event.target);
    if (k < 0) return;
    const { z_t, T } = state();
    const now = softmax(z_t, T)[k];
    const to = { ArrowUp: now + 0.01, ArrowRight: now + 0.01, ArrowDown: now - 0.01, ArrowLeft: now - 0.01,
      PageUp: now + 0.1, PageDown: now - 0.1, Home: 0, End: 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const within = Math.max(RANGE[0], Math.min(RANGE[1], to));
    if (within > now === to > now) set(k, within); // a bar beyond the range stays there
  }

  const size = (svg) => Math.max(svg.getBoundingClientRect().width, 180);

  function layout() {
    const K = model.get("z_t").length;
    const width = size(main);
    const ticks = [0, 0.2, 0.4, 0.6, 0.8, 1];
    frame = top.axis({ K, width, left: 56, height: Math.round(Math.max(270, Math.min(370, 0.9 * width))),
      y: { range: [0, 1], ticks, title: "probability at temperature T" } });
    const held = columns?.findIndex(({ node }) => node === document.activeElement);
    knobs.replaceChildren();
    columns = Array.from({ length: K }, (_, k) => column(k, frame));
    columns[held]?.node.focus();
    sideFrames = [undefined, sides[1].axis({ K, width: size(pictures[1]), height: 178, left: 56,
      y: { range: [0, 1], ticks: [0, 0.5, 1], title: "probability at 1" } })];
    reach = undefined;
  }

  /** The logits' chart, up to a round number, which stands still while they move a little. */
  function scale(K, logits) {
    const most = Math.max(...logits.filter(Number.isFinite).map(Math.abs));
    const needed = REACHES.find((round) => round >= most) ?? most;
    if (needed === reach) return;
    reach = needed;
    sideFrames[0] = sides[0].axis({ K, width: size(pictures[0]), height: 178, left: 56,
      y: { range: [-reach, reach], ticks: [-reach, -reach / 2, 0, reach / 2, reach], title: "logit" } });
  }

  function draw() {
    const { z_t, y, rho, T } = state();
    const K = z_t.length;
    if (K !== columns.length) layout();
    for (const [input, value] of [[label, y], [classes, K]]) {
      if (input === label) input.max = K - 1;
      input.value = value;
      input.nextElementSibling.value = value;
      input.setAttribute("aria-valuetext", value);
    }
    const rule = pairwise(z_t, y, rho, T);
    const { q, kappa, leads, beaten } = rule;
    const z = classEffectiveLogit(z_t, y, rho, T);
    const centre = centred(z_t);
    const answer = softmax(z);
    const colours = beaten.map((lost, k) => (k === y ? "right" : lost ? "other" : "wrong"));
    scale(K, [...centre, ...z]);
    top.draw(frame, colours, q, softmax(z, T));
    sides[0].draw(sideFrames[0], colours, centre, z);
    sides[1].draw(sideFrames[1], colours, softmax(z_t), answer);

    const line = Math.min(q[y] + kappa, 2);
    const foot = frame.x(y - 0.2);
    threshold.setAttribute("d", `M${frame.left} ${frame.y(line)}H${frame.right}M${foot} ${frame.y(q[y])}V${frame.y(line)}`);
    const [from, to] = [frame.y(q[y]), Math.max(frame.y(line), frame.top)];
    attributes(kappaMark, { x: foot - 4, y: (from + to) / 2 + 4, "text-anchor": "end", opacity: from - to > 16 ? 1 : 0 });
    columns.forEach(({ node, knob }, k) => {
      attributes(node, {
        "aria-label": `teacher’s probability of class ${k}${k === y ? ", the label" : ""}`,
        "aria-valuenow": (100 * q[k]).toFixed(1),
        "aria-valuetext": percent(q[k]) + (k === y ? "" : beaten[k] ? ", beaten by the label" : ", not beaten by the label"),
      });
      knob.setAttribute("y", frame.y(q[k]) - TOUCH);
    });

    tell({
      kappa: kappa < 100 ? show(kappa) : kappa === Infinity ? "+∞" : kappa.toPrecision(3).replace(/e\+?/, "e"),
      lead: signed(Math.max(...leads.filter((_, k) => k !== y))), label: percent(answer[y]),
    }, inWords(z_t, y, rho, rule));
    const list = (values, text) => values.map((v, k) => `class ${k}, ${text(v)}`).join("; ");
    describe(main, `Probabilities at temperature ${T}, rho = ${rho}, label ${y}. Student: ${list(softmax(z, T), percent)}. `
      + `The label beats a class unless the teacher is surer of it by kappa = ${show(kappa)}.`);
    describe(pictures[0], `Logits with mean zero. Teacher: ${list(centre, signed)}. Student: ${list(z, signed)}.`);
    describe(pictures[1], `Probabilities at temperature 1. Teacher: ${list(softmax(z_t), percent)}. Student: `
      + `${list(answer, percent)}.`);
  }

  host.querySelectorAll("button").forEach((button) => button.addEventListener("click", () => {
    const { z_t, y } = state();
    change("z_t", PRESETS[button.textContent](z_t.length, y));
  }));
  classes.addEventListener("input", () => {
    const { z_t, y } = state();
    const K = Number(classes.value);
    if (y >= K) change("y_g", K - 1);
    change("z_t", Array.from({ length: K }, (_, k) => z_t[k] ?? likeness(k)));
  });
  let held;
  follow(main, (x, y, begun) => {
    const within = (v, least, most) => Math.max(least, Math.min(most, v));
    if (begun) held = within(Math.round(frame.at(x)), 0, columns.length - 1);
    set(held, within((frame.bottom - y) / (frame.bottom - frame.top), ...RANGE));
  }, ({ pointerType, target }) => pointerType !== "touch" || target.classList.contains("kd-knob"));
  return { layout, draw, press };
}

export const { mount, render } = explorer({ kind: "classes", prefix: "k.", controls: CONTROLS, build });
export default { render };
