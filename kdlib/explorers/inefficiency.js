// The inefficiency explorer: tasks of graded difficulty in one dimension, a student, and how fast its weights still grow.

import { effectiveLogit, HARD_LABELS_ALONE, target } from "./distillation.js";
import {
  among, attributes, canvas, describe, dot, explorer, fill, follow, line, plot, RATIO, show, sliders,
} from "./page.js";
import { nestedStudents, ntk } from "./students.js";

const GRID = Array.from({ length: 193 }, (_, i) => (i - 96) / 32);
const WINDOW = 1.35;

const controls = ({ modes, epochs, flips, sizes }) => [
  { name: "q", label: "<i>q</i> modes", ...among(modes) },
  { name: "epoch", label: "teacher’s epochs", ...among(epochs) },
  RATIO,
  { name: "p_flip", label: "<i>p</i><sub>flip</sub>", ...among(flips) },
  { name: "n", label: "<i>n</i> samples", ...among(sizes) },
];

/** Data inefficiency at some sizes from the norms of some runs, and its standard errors; see kdlib.data_inefficiency. */
export function dataInefficiency(norms, sizes) {
  const R = norms.length;
  const found = sizes.map((n) => {
    const [low, high] = [Math.floor(n / WINDOW), Math.ceil(n * WINDOW)];
    const total = (i) => norms.reduce((sum, run) => sum + run[i - 1], 0);
    const [below, above] = [total(low), total(high)];
    const length = Math.log(high / low);
    const leftOut = norms.map((run) => Math.log((above - run[high - 1]) / (below - run[low - 1])) / length);
    const mean = leftOut.reduce((sum, v) => sum + v, 0) / R;
    const spread = leftOut.reduce((sum, v) => sum + (v - mean) ** 2, 0);
    return [Math.log(above / below) / length, Math.sqrt(((R - 1) / R) * spread)];
  });
  return { values: found.map(([value]) => value), errors: found.map(([, error]) => error) };
}

/** Whether sample i of a run has its sign flipped: a fixed sequence that fills [0, 1) evenly. */
const flipped = (run, i, p) => (0.6180339887 * (i + 1) + 0.7548776662 * run) % 1 < p;

/** The task's students: a function of the state, which leaves the student of the first run to be drawn. */
export function experiment({ network, samples, x_t, modes, epochs, sizes, T, coefficients }) {
  const combine = (rows, a) => rows.map((row) => row.reduce((sum, value, j) => sum + value * a[j], 0));
  const grid = Float64Array.from([...GRID, ...samples[0]]).sort(); // the student's peaks are at its samples
  const teacherOnGrid = ntk(grid, x_t, network);
  let runs;
  const factorised = () => (runs ??= samples.map((x, r) => ({
    features: ntk(x, x_t, network), students: nestedStudents(x, r ? [] : grid, network),
  })));
  // Flips change signs only: the targets before them are kept.
  let kept = {};
  return ({ q, epoch, rho, p_flip }) => {
    const key = [q, epoch, rho].join();
    if (kept.key !== key) {
      const a = coefficients[modes.indexOf(q)][epochs.indexOf(epoch)];
      const targets = factorised().map(({ features }) => combine(features, a).map((z) => target(z, z > 0 ? 1 : 0, rho, T)));
      kept = { key, targets, teacher: combine(teacherOnGrid, a) };
    }
    const signs = samples.map((x, r) => x.map((_, i) => (flipped(r, i, p_flip) ? -1 : 1)));
    const c = runs.map(({ students }, r) => students.coordinates(kept.targets[r].map((z, i) => signs[r][i] * z)));
    const norms = c.map((values, r) => runs[r].students.weightNorms(values));
    return {
      grid, teacher: kept.teacher, signs: signs[0], targets: kept.targets[0].map((z, i) => signs[0][i] * z), norms,
      inefficiency: dataInefficiency(norms, sizes), student: (n) => runs[0].students.predict([c[0]], n)[0],
    };
  };
}

function inWords(rho, p_flip, value) {
  const what = p_flip ? "Flipped signs are noise, which no number of samples resolves"
    : rho === 1 ? "A smooth target: once its details are resolved, more samples change little"
      : "Hard labels tear the target apart at each boundary";
  const how = p_flip ? "given samples enough, the curve ends at the level of noise, near 1 in one dimension"
    : rho === 1 ? "the curve falls towards zero" : "given samples enough, the curve ends near one half";
  return `${rho ? "" : `${HARD_LABELS_ALONE} `}${what}: ${how}.${!p_flip && rho === 1 && value > 0.5 ? " Not yet here: to so few samples it looks like noise." : ""}`;
}

function build({ host, id, model, change, controls }) {
  const { pictures: [picture, chart], tell } = fill(host, `
    ${canvas(id, "title")}
    <p class="kd-legend" aria-hidden="true">
      <span class="kd-fit">the student</span><span class="kd-teacher">its teacher</span>
      <span class="kd-dot kd-right">target</span><span class="kd-dot kd-wrong">target, sign flipped</span>
      <span class="kd-split">side of the true class</span></p>
    <div class="kd-desk">
      ${sliders(id, controls)}
      ${canvas(id, "curve", "kd-drag")}
    </div>
    <dl class="kd-readout">
      <div class="kd-fit"><dt>inefficiency <i>I</i>(<i>n</i>)</dt><dd data-read="value"></dd></div>
      <div><dt>its standard error</dt><dd data-read="error"></dd></div>
      <div><dt>mean norm |Δ<i>w<sub>n</sub></i>|</dt><dd data-read="norm"></dd></div>
    </dl>`);

  const task = model.get("task");
  const { sizes } = task;
  const solve = experiment(task);

  const main = plot(picture, id);
  const rightSide = main.layer("path", "kd-split");
  const curves = { teacher: main.layer("path", "kd-teacher"), student: main.layer("path", "kd-fit") };
  const marks = { kept: main.layer("path", "kd-dot kd-right"), flipped: main.layer("path", "kd-dot kd-wrong") };

  const side = plot(chart, `${id}-side`);
  const band = side.layer("path", "kd-split");
  const levels = side.layer("path", "kd-teacher");
  const guide = side.layer("line", "kd-guide");
  const curve = side.layer("path", "kd-fit");
  const here = side.layer("path", "kd-point kd-fit");
  let frame, chartFrame, shape;

  function layout() {
    chartFrame = side.axis({
      width: Math.max(chart.getBoundingClientRect().width, 180), height: 230,
      x: { range: [1.9, 100], log: true, ticks: [2, 5, 10, 20, 50, 100], title: "samples" },
      y: { range: [-0.1, 1.7], ticks: [0, 0.5, 1, 1.5], title: "inefficiency" },
    });
    const { y, left, right } = chartFrame;
    levels.setAttribute("d", [0.5, 1].map((level) => `M${left} ${y(level)}H${right}`).join(""));
    shape = undefined;
  }

  /** Axes that stand still while rho, p or n moves, and change with the teacher; at rho = 0 in units of t. */
  function scale(teacher, q, epoch, rho) {
    const key = [q, epoch, rho === 0].join();
    if (key === shape) return;
    shape = key;
    const most = Math.max(...teacher.map(Math.abs));
    const reach = rho ? 1.05 * effectiveLogit(most, 1, 0.01, task.T) : 1.6;
    const step = [0.5, 5, 10, 20, 50].find((step) => reach / step < 4) ?? 100;
    const width = Math.max(host.clientWidth, 260);
    frame = main.axis({
      width, height: Math.round(Math.min(380, Math.max(280, width * 0.5))),
      x: { range: [GRID[0], GRID.at(-1)], ticks: [-3, -2, -1, 0, 1, 2, 3], title: "input x" },
      y: {
        range: [-reach, reach], ticks: [-3, -2, -1, 0, 1, 2, 3].map((k) => k * step).filter((z) => Math.abs(z) < reach),
        title: rho ? "logit" : "logit / t",
      },
    });
    const { x, y } = frame;
    const ends = [GRID[0], ...task.boundaries[task.modes.indexOf(q)], GRID.at(-1)];
    rightSide.setAttribute("d", ends.slice(1).map((end, i) =>
      `M${x(ends[i])} ${y(0)}V${y(i % 2 ? -reach : reach)}H${x(end)}V${y(0)}Z`).join(""));
  }

  function draw() {
    const [q, epoch, rho, p_flip, n] = controls.map(({ name }) => model.get(name));
    const now = solve({ q, epoch, rho, p_flip });
    scale(now.teacher, q, epoch, rho);
    curves.teacher.setAttribute("d", rho ? line(now.grid, now.teacher, frame) : "");
    curves.student.setAttribute("d", line(now.grid, now.student(n), frame));
    const drawn = { kept: "", flipped: "" };
    for (let i = 0; i < n; i++) {
      const [x, y] = [frame.x(task.samples[0][i]), frame.y(now.targets[i])].map((v) => v.toFixed(1));
      if (now.signs[i] > 0) drawn.kept += `M${x} ${y}h0`;
      else drawn.flipped += `M${x} ${y}m-4-4l8 8m0-8l-8 8`;
    }
    for (const kind of ["kept", "flipped"]) marks[kind].setAttribute("d", drawn[kind]);

    const { x, top, bottom } = chartFrame;
    const { values, errors } = now.inefficiency;
    const edge = (sign) => values.map((v, i) => v + 2 * sign * errors[i]);
    const back = line([...sizes].reverse(), edge(-1).reverse(), chartFrame).replace("M", "L");
    band.setAttribute("d", `${line(sizes, edge(1), chartFrame)}${back}Z`);
    curve.setAttribute("d", line(sizes, values, chartFrame));
    const i = sizes.indexOf(n);
    attributes(guide, { x1: x(n), x2: x(n), y1: top, y2: bottom });
    here.setAttribute("d", dot(chartFrame, n, values[i]));

    const norm = now.norms.reduce((sum, run) => sum + run[n - 1], 0) / now.norms.length;
    const shown = { value: show(values[i]), error: show(errors[i]), norm: rho ? show(norm) : `${show(norm)} t` };
    tell(shown, inWords(rho, p_flip, values[i]));
    describe(picture, `Logits against the input from −3 to 3: a teacher of ${q} modes, stopped after `
      + `${epoch} epochs, and the student of ${n} of its answers at rho = ${rho}, a share ${p_flip} of them with the sign flipped.`);
    describe(chart, `Data inefficiency against the number of samples, with a band of two standard `
      + `errors over ${task.samples.length} runs: ${show(values[0])} at 2, ${show(values[i])} at ${n}, ${show(values.at(-1))} at `
      + `${sizes.at(-1)}. Dotted: one half, hard labels; one, noise.`);
  }

  follow(chart, (x) => change("n", Math.round(Math.max(sizes[0], Math.min(sizes.at(-1), chartFrame.at(x))))));
  return { layout, draw };
}

export const { mount, render } = explorer({ kind: "inefficiency", prefix: "i.", controls, build });
export default { render };
