// The student explorer: a one-dimensional task, and the converged student that learns it from an imperfect teacher.

import { effectiveLogit, HARD_LABELS_ALONE, target } from "./distillation.js";
import {
  attributes, canvas, describe, dot, explorer, fill, follow, line, plot, RATIO, show, sliders, svgNode, TEMPERATURE,
} from "./page.js";
import { nestedStudents, ntk } from "./students.js";
import { combine, sampleSize, sizesOf, stopping, whole } from "./task.js";

const GRID = Array.from({ length: 193 }, (_, i) => (i - 96) / 32); // the boundaries of the task among them

const controls = (task) => [
  RATIO,
  TEMPERATURE,
  sampleSize(task),
  stopping(task),
  {
    name: "draw", label: "draw of samples", valid: whole(task.samples.length), min: 1, max: task.samples.length, step: 1,
  },
];

/** The task's students: a function of the state, which solves for all sizes and leaves one to be drawn. */
export function experiment({ network, boundaries, samples, epochs, x_t, coefficients }) {
  const label = (x) => boundaries.filter((b) => b < x).length % 2;
  const teacherOnGrid = ntk(GRID, x_t, network);
  // Only a new draw costs a factorisation, and only once; `prepare` makes one that has not been asked for.
  const draws = samples.map((x) => {
    let drawn;
    return () => (drawn ??= {
      x, y: x.map(label), features: ntk(x, x_t, network), students: nestedStudents(x, GRID, network),
    });
  });

  // Probability under x ~ N(0, 1) that the curve has the wrong sign. No boundary lies within a cell of the grid,
  // and there a curve is a straight line.
  const cells = GRID.slice(1).map((end, i) => {
    const middle = (GRID[i] + end) / 2;
    return { side: label(middle) ? 1 : -1, weight: Math.exp((-middle * middle) / 2) };
  });
  const total = cells.reduce((sum, { weight }) => sum + weight, 0);
  const error = (z) => cells.reduce((sum, { side, weight }, i) => {
    const [a, b] = [side * z[i], side * z[i + 1]];
    const wrong = Math.max(-a, 0) + Math.max(-b, 0);
    return sum + (wrong && (weight * wrong) / (Math.abs(a) + Math.abs(b)));
  }, 0) / total;

  let prepared = 0;
  const prepare = () => prepared < draws.length && draws[prepared++]();
  const solve = ({ rho, T, epoch, draw }) => {
    const a = coefficients[epochs.indexOf(epoch)];
    const { x, y, features, students } = draws[draw - 1]();
    const z_t = combine(features, a);
    const targets = z_t.map((z, i) => target(z, y[i], rho, T));
    const c = students.coordinates(targets);
    return {
      x, y, z_t, targets, error, teacher: combine(teacherOnGrid, a), norms: students.weightNorms(c),
      student: (n) => students.predict([c], n)[0],
    };
  };
  return Object.assign(solve, { prepare });
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;

function inWords(rho, n, { wrong, corrected }, { teacher, student }) {
  const samples = n === 1 ? "the one sample" : wrong ? `${wrong} of ${n} samples` : `all ${n} samples`;
  const targets =
    rho === 0 ? HARD_LABELS_ALONE
      : rho === 1 ? "ρ = 1: the teacher alone. The student copies it, mistakes included."
        : wrong === 0 ? `The teacher is right about ${samples}; hard labels only push its answers away from zero.`
          : `The teacher is wrong about ${samples}; hard labels correct ${
            corrected < wrong ? corrected || "none" : ["", "it", "both"][wrong] ?? "them all"}.`;
  const verdict =
    Math.abs(student - teacher) < 0.005 ? "Student and teacher err about equally often."
      : student > teacher
        ? `The teacher errs less: away from its ${n === 1 ? "sample" : `${n} samples`} the student can only guess.`
        : rho === 1 ? "That it errs less is luck." : "The student beats its teacher.";
  return `${targets} ${verdict}`;
}

function build({ host, id, model, change, controls }) {
  const { pictures: [picture, chart], tell } = fill(host, `
    ${canvas(id, "title")}
    <p class="kd-legend" aria-hidden="true">
      <span class="kd-fit">the student</span><span class="kd-teacher">its teacher</span>
      <span class="kd-dot kd-right">target, teacher right</span>
      <span class="kd-dot kd-wrong">target, teacher wrong</span><span class="kd-split">side of the true class</span></p>
    <div class="kd-desk">
      ${sliders(id, controls)}
      ${canvas(id, "norms", "kd-drag")}
    </div>
    <dl class="kd-readout">
      <div class="kd-fit"><dt>student’s error</dt><dd data-read="student"></dd></div>
      <div><dt>teacher’s error</dt><dd data-read="teacher"></dd></div>
      <div><dt>norm |Δ<i>w<sub>n</sub></i>|</dt><dd data-read="norm"></dd></div>
    </dl>`);

  const task = model.get("task");
  const sizes = sizesOf(task);
  const solve = experiment(task);

  const truth = picture.appendChild(svgNode("g", { class: "kd-truth" }));
  const main = plot(picture, id);
  const rightSide = main.layer("path", "kd-split");
  const curves = { teacher: main.layer("path", "kd-teacher"), student: main.layer("path", "kd-fit") };
  const marks = { right: main.layer("path", "kd-dot kd-right"), wrong: main.layer("path", "kd-dot kd-wrong") };

  const side = plot(chart, `${id}-side`);
  const level = side.layer("path", "kd-teacher");
  const guide = side.layer("line", "kd-guide");
  const growth = side.layer("path", "kd-fit");
  const here = side.layer("path", "kd-point kd-fit");
  let frame, chartFrame, reach;

  const ends = [GRID[0], ...task.boundaries, GRID.at(-1)];
  const classes = ends.slice(1).map((end, i) => ({ from: ends[i], to: end, label: i % 2 }));

  function layout() {
    chartFrame = side.axis({
      width: Math.max(chart.getBoundingClientRect().width, 180), height: 190, left: 58,
      x: { range: [0.9, 222], log: true, ticks: [1, 10, 100], title: "samples" },
      y: { range: [0.04, 2000], log: true, ticks: [0.1, 1, 10, 100, 1000], title: "weight norm" },
    });
    reach = undefined;
  }

  /**
   * The logits shown reach as far as any target of this teacher, whatever the soft ratio. The scale stands still
   * while rho, n or the draw moves; T stretches it only when it is low, as targets grow like z_t / T. At rho = 0 logits
   * are in units of t.
   */
  function scale(teacher, rho, T) {
    const most = Math.max(...teacher.map(Math.abs));
    const smallest = Math.min(rho || 1, RATIO.step);
    const needed = rho ? 1.05 * Math.max(...[T, 20].map((t) => effectiveLogit(most, 1, smallest, t))) : 1.6;
    if (needed === reach) return;
    reach = needed;
    const width = Math.max(host.clientWidth, 260);
    const step = [0.5, 5, 10, 20, 50].find((step) => reach / step < 4) ?? 100;
    const ticks = [-3, -2, -1, 0, 1, 2, 3].map((k) => k * step).filter((z) => Math.abs(z) < reach);
    frame = main.axis({
      width, height: Math.round(Math.min(410, Math.max(300, width * 0.56))), top: 34,
      x: { range: [GRID[0], GRID.at(-1)], ticks: [-3, -2, -1, 0, 1, 2, 3], title: "input x" },
      y: { range: [-reach, reach], ticks, title: rho ? "logit" : "logit / t" },
    });
    const { x, y } = frame;
    rightSide.setAttribute("d", classes.map(({ from, to, label }) =>
      `M${x(from)} ${y(0)}V${y(label ? reach : -reach)}H${x(to)}V${y(0)}Z`).join(""));
    truth.replaceChildren();
    const text = (content, values) => { truth.appendChild(svgNode("text", values)).textContent = content; };
    text("class", { x: frame.left - 7, y: 19, "text-anchor": "end" });
    for (const { from, to, label } of classes) {
      const box = { x: x(from), width: x(to) - x(from), y: 6, height: 18 };
      truth.appendChild(svgNode("rect", { ...box, class: `kd-class-${label}` }));
      text(label, { x: (x(from) + x(to)) / 2, y: 19, "text-anchor": "middle" });
    }
  }

  function draw() {
    const [rho, T, n, epoch, draw] = controls.map(({ name }) => model.get(name));
    const now = solve({ rho, T, epoch, draw });
    const student = now.student(n);
    scale(now.teacher, rho, T);
    curves.teacher.setAttribute("d", rho ? line(GRID, now.teacher, frame) : "");
    curves.student.setAttribute("d", line(GRID, student, frame));
    const count = { right: 0, wrong: 0, corrected: 0 };
    const drawn = { right: "", wrong: "" };
    for (let i = 0; i < n; i++) {
      const side = now.y[i] ? 1 : -1;
      const kind = side * now.z_t[i] > 0 ? "right" : "wrong";
      count[kind]++;
      count.corrected += kind === "wrong" && side * now.targets[i] > 0;
      const [x, y] = [frame.x(now.x[i]), frame.y(now.targets[i])].map((v) => v.toFixed(1));
      drawn[kind] += `M${x} ${y}${kind === "right" ? "h0" : "m-4-4l8 8m0-8l-8 8"}`;
    }
    for (const kind of ["right", "wrong"]) marks[kind].setAttribute("d", drawn[kind]);

    const { x, y, left, right, top, bottom } = chartFrame;
    const norm = task.weight_norms[task.epochs.indexOf(epoch)];
    level.setAttribute("d", rho ? `M${left} ${y(norm)}H${right}` : "");
    growth.setAttribute("d", line(sizes, now.norms, chartFrame));
    attributes(guide, { x1: x(n), x2: x(n), y1: top, y2: bottom });
    here.setAttribute("d", dot(chartFrame, n, now.norms[n - 1]));

    const error = { teacher: now.error(now.teacher), student: now.error(student) };
    const inUnits = (norm) => (rho ? show(norm) : `${show(norm)} t`);
    const shown = {
      teacher: percent(error.teacher), student: percent(error.student), norm: inUnits(now.norms[n - 1]),
    };
    tell(shown, inWords(rho, n, count, error));
    describe(picture, `Logits against the input from −3 to 3, at rho = ${rho}, T = ${T}: `
      + `a teacher stopped after ${epoch} epochs, wrong in ${shown.teacher}, `
      + `and its student of ${n} samples, wrong in ${shown.student}.`);
    describe(chart, `Weight norm against samples: ${inUnits(now.norms[0])} for 1, ${shown.norm} for ${n}, `
      + `${inUnits(now.norms.at(-1))} for ${sizes.length}${rho ? `; the teacher’s own is ${show(norm)}` : ""}.`);
  }

  // The draws are made ready, one at a time, as soon as somebody comes to the explorer.
  const prepare = () => solve.prepare() && setTimeout(prepare, 20);
  for (const comes of ["pointerenter", "focusin"]) host.addEventListener(comes, prepare, { once: true });
  follow(chart, (x) => change("n", Math.round(Math.max(1, Math.min(sizes.length, chartFrame.at(x))))));
  return { layout, draw };
}

export const { mount, render } = explorer({ kind: "student", prefix: "s.", controls, build });
export default { render };
