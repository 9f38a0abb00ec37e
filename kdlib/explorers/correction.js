// The correction explorer: a teacher that errs in the plane, its student, and what hard labels do about it.

import { HARD_LABELS_ALONE, sigma, target } from "./distillation.js";
import {
  among, attributes, canvas, describe, dot, explorer, fill, follow, line, plot, RATIO, show, signed, sliders, svgNode,
  TEMPERATURE,
} from "./page.js";
import { apart, nestedStudents } from "./students.js";

const SIDE = 37; // points of the map's grid on each side of [-1, 1]^2
const PLACE = Array.from({ length: SIDE }, (_, i) => (2 * i) / (SIDE - 1) - 1);
const RATIOS = [0, 0.01, 0.1, 0.2, 0.35, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 1];
const BESIDE = [16, 64, 256]; // sizes whose projections are drawn beside that of n

const controls = ({ sizes, epochs }) => [
  RATIO,
  TEMPERATURE,
  { name: "n", label: "<i>n</i> samples", ...among(sizes) },
  { name: "epoch", label: "teacher’s epochs", ...among(epochs) },
];

// The squares of the grid, by their first corners, and how many of a square's four corners are in class 1.
const SQUARES = Array.from(Array(SIDE * (SIDE - 1)).keys()).filter((k) => (k + 1) % SIDE);
const positive = (z, k) => (z[k] > 0) + (z[k + 1] > 0) + (z[k + SIDE] > 0) + (z[k + SIDE + 1] > 0);

/** Students of all soft ratios and projections at all epochs: a function of the rest of the state. */
export function experiment({ network, x, epochs, z_g, z_t, truth, teachers }) {
  const grid = Float64Array.from(truth.flatMap((_, k) => [PLACE[k % SIDE], PLACE[Math.floor(k / SIDE)]]));
  const students = nestedStudents(Float64Array.from(x), grid, network);
  const y = z_g.map((z) => (z > 0 ? 1 : 0));
  const [g, t] = [students.coordinates(z_g), z_t.map(students.coordinates)];

  // Share of the map with the wrong sign. A square of the grid that a boundary may cross is crossed by four lines.
  const theirs = SQUARES.map((k) => positive(truth, k));
  const error = (z) => {
    let sum = 0;
    SQUARES.forEach((k, i) => {
      const ours = positive(z, k);
      if (ours % 4 === 0 && theirs[i] % 4 === 0) sum += ours !== theirs[i];
      else
        for (const up of [0.125, 0.375, 0.625, 0.875]) {
          const on = (z, k) => (1 - up) * z[k] + up * z[k + SIDE];
          sum += apart(on(truth, k), on(truth, k + 1), on(z, k), on(z, k + 1)) / 4;
        }
    });
    return sum / SQUARES.length;
  };

  // <dw_h, dw_c> for all n at one epoch, from recursive residuals; see kdlib.hard_label_projection.
  const project = (e, T) => {
    const h = students.coordinates(z_t[e].map((z, i) => (T * T * (y[i] - sigma(z))) / (sigma(z / T) * sigma(-z / T))));
    let [tt, tg, th, gg, hh, projection, complement] = [0, 0, 0, 0, 0, 0, 0];
    return Array.from(h, (_, i) => {
      const [t_i, before] = [t[e][i], tt];
      const along = before && t_i / before;
      const [left_g, left_h] = [g[i] - along * tg, h[i] - along * th];
      [tt, tg, th] = [tt + t_i * t_i, tg + t_i * g[i], th + t_i * h[i]];
      [gg, hh] = [gg + g[i] * g[i], hh + h[i] * h[i]];
      projection += (before / tt) * left_g * left_h;
      complement += (before / tt) * left_g * left_g;
      return { projection, cosine: projection / Math.sqrt(hh * complement), derivative: projection / Math.sqrt(gg * tt) };
    });
  };

  const wrong = teachers.map(error);
  const hard = {}; // at each n, the error of hard labels alone, whatever teacher and temperature
  let projected = {};
  return ({ T, n, epoch }) => {
    const e = epochs.indexOf(epoch);
    const targets = (rho) => z_t[e].slice(0, n).map((z, i) => target(z, y[i], rho, T));
    const at = (ratios) => students.predict(ratios.map((rho) => students.coordinates(targets(rho))), n);
    hard[n] ??= error(at([0])[0]);
    const drawn = at(RATIOS.slice(1));
    if (projected.T !== T) projected = { T, all: epochs.map((_, e) => project(e, T)) };
    return {
      y, z_t: z_t[e], targets, student: (rho) => drawn[RATIOS.indexOf(rho) - 1] ?? at([rho])[0], error, wrong,
      teacher: teachers[e], errors: [hard[n], ...drawn.map(error)], projections: projected.all,
    };
  };
}

/**
 * Outlines of {z > 0} on the map, as closed loops of points [column, row], by marching squares. A rim of barely
 * negative values outside the map closes them.
 */
export function outlines(z) {
  const W = SIDE + 2;
  const at = (i, j) => (i > 0 && j > 0 && i <= SIDE && j <= SIDE ? z[(j - 1) * SIDE + i - 1] : -1e-12);
  // Around each square, anticlockwise: where the sign turns from + to - a line begins, and it ends where + begins. An
  // edge is 2 k if it leads right from corner k, 2 k + 1 if it leads up. Where one square's line ends, the next one's
  // begins.
  const next = new Map();
  for (let j = 0; j + 1 < W; j++)
    for (let i = 0; i + 1 < W; i++) {
      const corners = [at(i, j), at(i + 1, j), at(i + 1, j + 1), at(i, j + 1)];
      const count = corners.reduce((sum, v) => sum + (v > 0), 0);
      if (count % 4 === 0) continue;
      const k = j * W + i;
      const edges = [2 * k, 2 * (k + 1) + 1, 2 * (k + W), 2 * k + 1];
      const positive = (m) => corners[m % 4] > 0;
      const saddle = count === 2 && positive(0) === positive(2);
      const joined = saddle && corners[0] + corners[1] + corners[2] + corners[3] > 0;
      for (let m = 0; m < 4; m++) {
        if (!positive(m) || positive(m + 1)) continue;
        let end = m + 1;
        while (positive(end) || !positive(end + 1)) end++;
        next.set(edges[m], edges[(saddle && !joined ? m + 3 : end) % 4]);
      }
    }
  const point = (edge) => {
    const [k, up] = [edge >> 1, edge & 1];
    const [i, j] = [k % W, Math.floor(k / W)];
    const [from, to] = [at(i, j), up ? at(i, j + 1) : at(i + 1, j)];
    const share = from / (from - to);
    return [i - 1 + (up ? 0 : share), j - 1 + (up ? share : 0)];
  };
  const loops = [];
  for (const start of next.keys()) {
    const loop = [];
    for (let edge = start; next.has(edge);) {
      loop.push(point(edge));
      const following = next.get(edge);
      next.delete(edge);
      edge = following;
    }
    loops.push(loop);
  }
  return loops;
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;

function inWords(rho, { error, errors }, cosine) {
  const [from, to] = [errors.at(-1), error].map(percent);
  if (rho === 0)
    return `${HARD_LABELS_ALONE} It errs ${from === to ? "as often as" : error < errors.at(-1) ? "less than" : "more than"} `
      + "the teacher’s copy.";
  const turn = !Number.isFinite(cosine) ? "The first hard labels pull beyond all measure."
    : Math.abs(cosine) < 0.01 ? "The projection is nearly zero: a little hard label hardly turns the student."
      : cosine > 0 ? "The projection is positive: a little hard label turns the student towards the truth."
        : "The projection is negative: a little hard label turns the student away from the truth.";
  if (rho === 1) {
    const best = RATIOS[errors.indexOf(Math.min(...errors))];
    const where = best === 1 ? "No other soft ratio does better." : `The error is least near ρ = ${best}.`;
    return `${turn} ρ = 1: the teacher alone, mistakes included. ${where}`;
  }
  if (from === to) return `${turn} The error at this ρ is still that of soft labels alone, ${to}.`;
  const falls = error < errors.at(-1);
  const start = !(Math.abs(cosine) >= 0.01) ? "The error" : falls === cosine > 0 ? "And the error" : "Yet the error";
  return `${turn} ${start}, ${from} with soft labels alone, ${falls ? "falls" : "rises"}: ${to} at this ρ.`;
}

function build({ host, id, model, change, controls }) {
  const { pictures: [map, ...charts], tell } = fill(host, `
    ${canvas(id, "map", "kd-map")}
    <div class="kd-charts">
      ${canvas(id, "errors", "kd-drag")}
      ${canvas(id, "projections", "kd-drag")}
      <p class="kd-legend" aria-hidden="true">
        <span class="kd-right">this <i>n</i></span><span class="kd-beside">other <i>n</i></span>
        <span class="kd-split">teacher beats hard labels</span></p>
    </div>
    <p class="kd-legend" aria-hidden="true">
      <span class="kd-truth">truth</span><span class="kd-teacher">teacher</span>
      <span class="kd-fit">student</span><span class="kd-error">student wrong</span>
      <span class="kd-dot kd-both">classes 1, 0</span><span class="kd-dot kd-both kd-wrong">teacher wrong</span></p>
    ${sliders(id, controls)}
    <dl class="kd-readout">
      <div class="kd-fit"><dt>student’s error</dt><dd data-read="student"></dd></div>
      <div><dt>with <i>ρ</i> = 1</dt><dd data-read="soft"></dd></div>
      <div><dt>with <i>ρ</i> = 0</dt><dd data-read="hard"></dd></div>
      <div><dt>teacher’s error</dt><dd data-read="teacher"></dd></div>
      <div class="kd-wrong"><dt>samples corrected</dt><dd data-read="corrected"></dd></div>
      <div class="kd-right"><dt>∂ cos <i>α</i> / ∂(1−<i>ρ</i>)</dt><dd data-read="derivative"></dd></div>
    </dl>`);

  const task = model.get("task");
  const { epochs } = task;
  const solve = experiment(task);

  const plane = plot(map, id);
  const layers = {
    error: plane.layer("path", "kd-error"), truth: plane.layer("path", "kd-truth"),
    right: { 1: plane.layer("path", "kd-dot"), 0: plane.layer("path", "kd-ring") },
    student: plane.layer("path", "kd-fit"), teacher: plane.layer("path", "kd-teacher"),
    wrong: { 1: plane.layer("path", "kd-dot kd-wrong"), 0: plane.layer("path", "kd-ring kd-wrong") },
  };
  const [side, below] = charts.map((chart, i) => plot(chart, `${id}-${i}`));
  const level = side.layer("path", "kd-teacher");
  const curve = side.layer("path", "kd-fit");
  const over = below.layer("path", "kd-split");
  const beside = BESIDE.map(() => below.layer("path", "kd-beside"));
  const projection = below.layer("path", "kd-right");
  const guides = [side, below].map(({ layer }) => layer("line", "kd-guide"));
  const here = [side.layer("path", "kd-point kd-fit"), below.layer("path", "kd-point kd-right")];
  const names = below.layer("g", "kd-names");
  let frame, sideFrame, belowFrame, widths, reach, lowest, known, truth;

  const inside = (loops) => loops.map((loop) => `${line(loop.map(([i]) => i), loop.map(([, j]) => j), {
    x: (i) => frame.x((2 * i) / (SIDE - 1) - 1), y: (j) => frame.y((2 * j) / (SIDE - 1) - 1) })}Z`).join("");

  function layout() {
    widths = [map, ...charts].map((svg) => Math.max(svg.getBoundingClientRect().width, 180));
    const [width, ticks] = [widths[0], [-1, -0.5, 0, 0.5, 1]];
    frame = plane.axis({ // a square
      width, height: width - 4, x: { range: [-1, 1], ticks, title: "x₁" }, y: { range: [-1, 1], ticks, title: "x₂" },
    });
    truth = inside(outlines(task.truth));
    layers.truth.setAttribute("d", truth);
    reach = lowest = undefined;
  }

  /** Errors up to a round number, and projections from one on. Both stand still while rho moves. */
  function scale(errors, cosines) {
    const most = 107 * Math.max(...errors);
    const needed = [4, 6, 8, 12, 16, 20, 30, 40, 60].find((round) => round >= most) ?? 100;
    if (needed !== reach) {
      reach = needed;
      sideFrame = side.axis({
        width: widths[1], height: 178, left: 56,
        x: { range: [0, 1], ticks: [0, 0.2, 0.4, 0.6, 0.8, 1], title: "soft ratio ρ" },
        y: { range: [0, reach], ticks: [0, 1, 2, 3, 4].map((k) => (k * reach) / 4), title: "error in %" },
      });
    }
    const low = Math.min(...cosines) < -0.2 ? -1 : -0.2; // low temperatures only
    if (low !== lowest) {
      lowest = low;
      belowFrame = below.axis({
        width: widths[2], height: 178, left: 56,
        x: { range: [6, 30000], log: true, ticks: [16, 64, 256, 1024, 4096, 16384], title: "teacher’s epochs" },
        y: { range: [low, 0.5], ticks: low < -0.5 ? [-1, -0.5, 0, 0.5] : [-0.2, 0, 0.2, 0.4], title: "projection, cos" },
      });
    }
  }

  /** The map: boundaries, where the student errs, and the samples. Returns how many wrong ones are corrected. */
  function drawMap(now, student, n, targets) {
    const outline = inside(outlines(student));
    layers.student.setAttribute("d", outline);
    layers.error.setAttribute("d", truth + outline); // filled where inside one of them only
    layers.teacher.setAttribute("d", inside(outlines(now.teacher)));
    const marks = { right: ["", ""], wrong: ["", ""] };
    const count = { wrong: 0, corrected: 0 };
    for (let i = 0; i < n; i++) {
      const y = now.y[i];
      const kind = now.z_t[i] > 0 === (y > 0) ? "right" : "wrong";
      const [a, b] = [frame.x(task.x[2 * i]), frame.y(task.x[2 * i + 1])].map((v) => v.toFixed(1));
      const r = kind === "right" ? 2.2 : 3.6;
      marks[kind][y] += y ? `M${a} ${b}h0` : `M${a} ${b}m-${r} 0a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0-${2 * r} 0`;
      count.wrong += kind === "wrong";
      count.corrected += kind === "wrong" && targets[i] > 0 === (y > 0);
    }
    for (const kind of ["right", "wrong"]) for (const y of [0, 1]) layers[kind][y].setAttribute("d", marks[kind][y]);
    return count;
  }

  function drawCharts(now, rho, n, epoch, error) {
    const cosines = (n) => now.projections.map((all) => all[n - 1].cosine);
    scale([...now.errors, now.wrong[epochs.indexOf(epoch)]], [n, ...BESIDE].flatMap(cosines));
    const wrong = 100 * now.wrong[epochs.indexOf(epoch)];
    level.setAttribute("d", line([0, 1], [wrong, wrong], sideFrame));
    curve.setAttribute("d", line(RATIOS, now.errors.map((v) => 100 * v), sideFrame));
    const path = (values) => (values.every(Number.isFinite) ? line(epochs, values, belowFrame) : "");
    projection.setAttribute("d", path(cosines(n)));
    BESIDE.forEach((n, i) => beside[i].setAttribute("d", path(cosines(n))));
    names.replaceChildren();
    BESIDE.forEach((n) => {
      const [first] = cosines(n);
      if (!Number.isFinite(first)) return;
      const label = svgNode("text", { x: belowFrame.x(16) - 4, y: belowFrame.y(first) + 4, "text-anchor": "end" });
      names.appendChild(label).textContent = n;
    });
    // Epochs at which the teacher errs less than the student of hard labels, each halfway to its neighbours.
    const { left, right, top, bottom, x } = belowFrame;
    const less = epochs.filter((_, e) => now.wrong[e] < now.errors[0]);
    const [first, last] = [epochs[0], epochs.at(-1)];
    over.setAttribute("d", less.map((epoch) => {
      const from = epoch === first ? left : x(epoch / Math.SQRT2);
      return `M${from} ${top}H${epoch === last ? right : x(epoch * Math.SQRT2)}V${bottom}H${from}Z`;
    }).join(""));

    const cosine = cosines(n)[epochs.indexOf(epoch)];
    const marker = [[sideFrame, rho, 100 * error], [belowFrame, epoch, cosine]];
    marker.forEach(([frame, a, b], i) => {
      attributes(guides[i], { x1: frame.x(a), x2: frame.x(a), y1: frame.top, y2: frame.bottom });
      here[i].setAttribute("d", dot(frame, a, b));
    });
    return { cosine, less };
  }

  function draw() {
    const [rho, T, n, epoch] = controls.map(({ name }) => model.get(name));
    const key = [T, n, epoch].join();
    if (known?.key !== key) known = { key, ...solve({ T, n, epoch }) };
    const student = known.student(rho);
    const error = known.error(student);
    const e = epochs.indexOf(epoch);
    const { wrong, corrected } = drawMap(known, student, n, known.targets(rho));
    const { cosine, less } = drawCharts(known, rho, n, epoch, error);
    const { derivative } = known.projections[e][n - 1];
    const shown = {
      student: percent(error), soft: percent(known.errors.at(-1)), hard: percent(known.errors[0]),
      teacher: percent(known.wrong[e]), corrected: `${corrected} of ${wrong}`,
      derivative: !Number.isFinite(derivative) ? "–" : Math.abs(derivative) < 1000 ? signed(derivative)
        : `${derivative > 0 ? "+" : "−"}${Math.abs(derivative).toExponential(1).replace("e+", "e")}`,
    };
    tell(shown, inWords(rho, { error, errors: known.errors }, cosine));
    describe(map, `Class boundaries in the plane, at rho = ${rho} and T = ${T}: the truth’s, that of a teacher stopped `
      + `after ${epoch} epochs, wrong on ${shown.teacher} of the square, and that of its student of ${n} samples, wrong on `
      + `${shown.student}.`);
    const least = Math.min(...known.errors);
    describe(charts[0], `The student’s error against rho: ${shown.hard} at 0, ${shown.student} at ${rho}, ${shown.soft} `
      + `at 1; least, ${percent(least)}, near ${RATIOS[known.errors.indexOf(least)]}. The teacher’s is ${shown.teacher}.`);
    describe(charts[1], `Theorem 2’s projection, as a cosine, against the teacher’s epochs, for ${n} samples: `
      + `${known.projections.map((all) => show(all[n - 1].cosine)).join(", ")}. The teacher errs less than the `
      + `student of hard labels ${less.length ? `after ${less.join(", ")} epochs` : "never"}.`);
  }

  follow(charts[0], (x) => change("rho", Math.round(100 * Math.min(1, Math.max(0, sideFrame.at(x)))) / 100));
  follow(charts[1], (x) => {
    const stop = Math.round(Math.log2(Math.min(epochs.at(-1), Math.max(epochs[0], belowFrame.at(x)))));
    change("epoch", 2 ** stop);
  });
  return { layout, draw };
}

export const { mount, render } = explorer({ kind: "correction", prefix: "c.", controls, build });
export default { render };
