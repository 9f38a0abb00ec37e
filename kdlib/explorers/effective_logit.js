// The effective-logit explorer: Eq. 3 against the teacher's logit.

import { effectiveLogit } from "./distillation.js";
import {
  attributes, canvas, describe, dot, explorer, fill, follow, line, plot, RATIO, show, signed, sliders, TEMPERATURE,
} from "./page.js";

const Z_MAX = 10; // teacher logits shown
const VIEW = 12; // effective logits shown

const CONTROLS = [
  RATIO,
  TEMPERATURE,
  {
    name: "z_t", label: "<i>z<sub>t</sub></i> teacher’s logit", min: -Z_MAX, max: Z_MAX, step: 0.1, text: signed,
    valid: (v) => Math.abs(v) <= Z_MAX,
  },
];

function build({ host, id, model, change }) {
  const { pictures: [svg], tell } = fill(host, `
    ${canvas(id, "title", "kd-drag")}
    <div class="kd-side">
      <p class="kd-legend" aria-hidden="true">
        <span class="kd-right">student, teacher right</span><span class="kd-wrong">student, teacher wrong</span>
        <span class="kd-teacher">a copy of the teacher</span><span class="kd-split">no student answers here</span></p>
      ${sliders(id, CONTROLS)}
    </div>
    <dl class="kd-readout">
      <div class="kd-right"><dt>student, teacher right</dt><dd data-read="right"></dd></div>
      <div class="kd-wrong"><dt>student, teacher wrong</dt><dd data-read="wrong"></dd></div>
      <div><dt>no student within ±</dt><dd data-read="t"></dd></div>
    </dl>`);

  const { axis, layer } = plot(svg, id);
  const split = layer("rect", "kd-split");
  const teacher = layer("path", "kd-teacher");
  const curves = { wrong: layer("path", "kd-wrong"), right: layer("path", "kd-right") };
  const guide = layer("line", "kd-guide");
  const points = { wrong: layer("path", "kd-point kd-wrong"), right: layer("path", "kd-point kd-right") };
  let frame;

  function layout() {
    const width = Math.max(svg.getBoundingClientRect().width, 260);
    const ticks = [-10, -5, 0, 5, 10];
    frame = axis({
      width, height: Math.round(Math.min(400, Math.max(230, width * 0.7))),
      x: { range: [-Z_MAX, Z_MAX], ticks, title: "teacher’s logit" },
      y: { range: [-VIEW, VIEW], ticks, title: "student’s logit" },
    });
    teacher.setAttribute("d", line([-Z_MAX, Z_MAX], [-Z_MAX, Z_MAX], frame));
  }

  // Only z_t >= 0 is solved; the other half follows from z(-z_t, 1 - y) = -z(z_t, y).
  function branch(y, rho, T) {
    const z_t = Array.from({ length: 81 }, (_, i) => (i * Z_MAX) / 80);
    const z = z_t.map((z) => Math.min(Math.max(effectiveLogit(z, y, rho, T), -2 * VIEW), 2 * VIEW));
    return line(z_t, z, frame) + line(z_t.map((z) => -z), z.map((z) => -z), frame);
  }

  function draw() {
    const [rho, T, z_t] = ["rho", "T", "z_t"].map((name) => model.get(name));
    curves.right.setAttribute("d", branch(1, rho, T));
    curves.wrong.setAttribute("d", branch(0, rho, T));
    const label = z_t >= 0 ? 1 : 0;
    const t = effectiveLogit(0, 1, rho, T);
    const z = { right: effectiveLogit(z_t, label, rho, T), wrong: effectiveLogit(z_t, 1 - label, rho, T) };
    const edge = Math.min(t, VIEW);
    const { left, right, top, bottom, x, y } = frame;
    attributes(split, { x: left, width: right - left, y: y(edge), height: y(-edge) - y(edge) });
    attributes(guide, { x1: x(z_t), x2: x(z_t), y1: top, y2: bottom });
    for (const side of ["right", "wrong"]) points[side].setAttribute("d", dot(frame, z_t, z[side], 5));
    const corrected = label ? z.wrong < 0 : z.wrong > 0;
    tell(
      { t: show(t), right: signed(z.right), wrong: signed(z.wrong) },
      rho === 0 ? "ρ = 0: hard labels alone. The loss has no finite minimiser; logits grow without end towards ±∞."
        : rho === 1 ? "ρ = 1: the teacher alone. The student copies it, right or wrong."
          : rho <= T / (1 + T) ? "Hard labels outweigh the teacher: every wrong answer of the teacher is corrected."
            : corrected ? "A wrong teacher this unsure is corrected. A more confident one will not be."
              : "A wrong teacher this confident is believed: the hard labels are too weak to correct it.",
    );
    describe(svg, `Student’s logit against teacher’s logit at rho = ${rho}, T = ${T}: no student answers within ${show(t)} of zero; `
      + `at z_t = ${show(z_t)}, ${signed(z.right)} if the teacher is right, ${signed(z.wrong)} if it is wrong.`);
  }

  follow(svg, (x) => change("z_t", Math.round(10 * Math.max(-Z_MAX, Math.min(Z_MAX, frame.at(x)))) / 10));
  return { layout, draw };
}

export const { mount, render } = explorer({ kind: "effective-logit", prefix: "", controls: CONTROLS, build });
export default { render };
