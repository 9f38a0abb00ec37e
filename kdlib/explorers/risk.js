// The risk explorer: Theorem 1 and the power function's bound, for students of a perfect teacher.

import { HARD_LABELS_ALONE, target } from "./distillation.js";
import {
  attributes, canvas, describe, dot, explorer, fill, follow, line, plot, RATIO, show, sliders, svgNode, TEMPERATURE,
} from "./page.js";
import { apart, nestedStudents, ntk } from "./students.js";
import { combine, sampleSize, stopping, stopsOf } from "./task.js";

const X = 3; // inputs shown: -X to X
const controls = (task) => [RATIO, TEMPERATURE, sampleSize(task), stopping(task)];
const BOUNDS = ["risk", "power", "theorem"]; // from the smallest on

// On a cell of the grid, curves count as straight lines. Where the line from u to v is positive, up to its zero:
const until = (u, v) => (v > 0 ? 1 : u > 0 ? u / (u - v) : 0);

/** Share of a cell on which the line from a to b is less, in size, than the one from g to h. */
function within(a, b, g, h) {
  if (Math.abs(a) < g && Math.abs(b) < h) return 1;
  if (a * b > 0 && Math.abs(a) >= g && Math.abs(b) >= h) return 0;
  const end = Math.min(until(g - a, h - b), until(g + a, h + b));
  const start = 1 - Math.min(until(h - b, g - a), until(h + b, g + a));
  return Math.max(0, end - start);
}

/**
 * Oracle, students of all sizes and their bounds: a function of the state. At rho = 1 the oracle is the teacher. Else
 * the student of all samples stands in: no network of finite norm jumps as the targets do.
 */
export function experiment({ network, samples: [x], epochs, x_t, coefficients, weight_norms }) {
  const even = Array.from({ length: 256 * X + 1 }, (_, i) => i / 128 - X);
  const grid = [...new Set([...even, ...x.filter((v) => Math.abs(v) < X)])].sort((a, b) => a - b);
  const where = x.map((v) => grid.indexOf(v)); // of each sample; -1 beyond the grid
  const students = nestedStudents(x, grid, network);
  const [features, teacherOnGrid] = [ntk(x, x_t, network), ntk(grid, x_t, network)];
  const lengths = Float64Array.from(grid, (v) => Math.sqrt(ntk([v], [v], network)[0][0])); // |phi(x)|

  // Of each phi(x), the length that no sample has shown: P_n(x)^2 = Theta(x, x) - sum of F_i(x)^2.
  const hidden = lengths.map((length) => length * length);
  const distances = students.features.map((F) => {
    for (let k = 0; k < F.length; k++) hidden[k] -= F[k] * F[k];
    return hidden.map((square) => Math.sqrt(Math.max(square, 0)));
  });

  // Probability of each cell under x ~ N(0, 1) in [-X, X].
  const masses = grid.slice(1).map((end, k) => (end - grid[k]) * Math.exp(-(((grid[k] + end) / 2) ** 2) / 2));
  const total = masses.reduce((sum, mass) => sum + mass);
  const weights = Float64Array.from(masses, (mass) => mass / total);

  return ({ rho, T, epoch }) => {
    const a = coefficients[epochs.indexOf(epoch)];
    const targets = combine(features, a).map((z) => target(z, z > 0 ? 1 : 0, rho, T));
    const c = students.coordinates(targets);
    const sum = new Float64Array(grid.length);
    const curves = students.features.map((F, i) => {
      for (let k = 0; k < F.length; k++) sum[k] += c[i] * F[k];
      return sum.slice();
    });
    const norms = students.weightNorms(c);
    const oracle = rho === 1 ? Float64Array.from(combine(teacherOnGrid, a)) : curves.at(-1);
    const norm = rho === 1 ? weight_norms[epochs.indexOf(epoch)] : norms.at(-1);
    // gap_n^2 = |w_*|^2 - |w_n|^2, which for the stand-in is a sum over the samples that are yet to come.
    let square = rho === 1 ? norm * norm - norms.at(-1) ** 2 : 0;
    const gaps = new Float64Array(c.length);
    for (let i = c.length - 1; i >= 0; square += c[i--] ** 2) gaps[i] = Math.sqrt(Math.max(square, 0));

    /** Of each cell, the share on which the student of n samples errs, or may err by a bound. */
    const shares = (n) => {
      const [z, P, gap] = [curves[n - 1], distances[n - 1], gaps[n - 1]];
      const [risk, power, theorem] = BOUNDS.map(() => new Float64Array(weights.length));
      for (let k = 0; k < weights.length; k++) {
        const [a, b] = [oracle[k], oracle[k + 1]];
        risk[k] = apart(a, b, z[k], z[k + 1]);
        power[k] = within(a, b, gap * P[k], gap * P[k + 1]);
        theorem[k] = within(a, b, gap * lengths[k], gap * lengths[k + 1]);
      }
      return { risk, power, theorem };
    };
    const bounds = (n) => {
      const parts = shares(n);
      const probability = (name) => parts[name].reduce((sum, share, k) => sum + weights[k] * share, 0);
      return Object.fromEntries(BOUNDS.map((name) => [name, probability(name)]));
    };
    return {
      x, grid, where, targets, lengths, oracle, norm, norms, curves, gaps, distances, shares, bounds,
      angles: gaps.map((gap, i) => Math.atan2(gap, norms[i])),
    };
  };
}

const percent = (share) => `${(100 * share).toFixed(share < 0.0995 ? 2 : 1)} %`;

function inWords(rho, n, all, { risk, theorem, power }) {
  if (rho < 1) {
    const standIn = `${rho ? "" : `${HARD_LABELS_ALONE} `}The targets jump at the class boundaries, so no oracle of finite norm exists, and the student of `
      + `all ${all} samples stands in for it.`;
    return n === all
      ? `${standIn} Here it is compared with itself: the angle and the bounds vanish because of that, not by learning.`
      : `${standIn} The angle must vanish at n = ${all}, an artefact: mistrust all that comes near.`;
  }
  const says = power < 0.0005 ? "" : ` The power function knows where the samples are, and leaves ${percent(power)}.`;
  if (theorem > 0.9995)
    return `Theorem 1 says nothing: its strip is wider than any feature reaches along w∗.${says}`;
  const slack = risk > 0.00005 ? `, ${Number((theorem / risk).toPrecision(2))} times the risk` : "";
  return `Outside the strip both must agree, and Theorem 1 counts what lies within: ${percent(theorem)}${slack}.${says}`;
}

function build({ host, id, model, change, controls }) {
  const { pictures: [picture, disk, chart], tell } = fill(host, `
    ${canvas(id, "functions")}
    <p class="kd-legend" aria-hidden="true">
      <span class="kd-teacher">the oracle <i>z</i><sub>∗</sub></span>
      <span class="kd-fit">the student <i>z<sub>n</sub></i></span>
      <span class="kd-band">where <i>z</i><sub>∗</sub> may be</span></p>
    ${sliders(id, controls)}
    <dl class="kd-readout">
      <div><dt>angle <i>α<sub>n</sub></i></dt><dd data-read="angle"></dd></div>
      <div class="kd-wrong"><dt>risk <i>R<sub>n</sub></i>, measured</dt><dd data-read="risk"></dd></div>
      <div class="kd-fit"><dt>power bound</dt><dd data-read="power"></dd></div>
      <div class="kd-right"><dt>Theorem 1’s bound</dt><dd data-read="theorem"></dd></div>
    </dl>
    <div class="kd-pair">
      ${canvas(id, "plane")}
      ${canvas(id, "bounds", "kd-drag")}
    </div>
    <p class="kd-legend" aria-hidden="true">
      <span class="kd-features">features φ(x)</span><span class="kd-dot kd-sample">those of samples</span>
      <span class="kd-wedge">signs differ</span><span class="kd-strip">what Theorem 1 counts</span></p>`);

  const task = model.get("task");
  const [solve, sizes, all] = [experiment(task), stopsOf(task), task.samples[0].length];

  const strips = picture.appendChild(svgNode("g", { class: "kd-strips" }));
  const main = plot(picture, id);
  const band = main.layer("path", "kd-band");
  const curves = { oracle: main.layer("path", "kd-teacher"), student: main.layer("path", "kd-fit") };
  const dots = main.layer("path", "kd-dot");

  const side = plot(chart, `${id}-side`);
  const guide = side.layer("line", "kd-guide");
  const growth = Object.fromEntries(BOUNDS.map((name) => [name, side.layer("path", `kd-bound-${name}`)]));
  const here = Object.fromEntries(BOUNDS.map((name) => [name, side.layer("path", `kd-point kd-bound-${name}`)]));

  const rim = disk.appendChild(svgNode("clipPath", { id: `${id}-rim` })).appendChild(svgNode("circle"));
  const inside = disk.appendChild(svgNode("g", { "clip-path": `url(#${id}-rim)` }));
  const add = (parent, tag, name) => parent.appendChild(svgNode(tag, { class: name }));
  const plane = {
    strip: add(inside, "path", "kd-strip"), wedge: add(inside, "path", "kd-wedge"),
    normals: add(inside, "path", "kd-normals"),
    rim: add(disk, "circle", "kd-rim"), thales: add(disk, "path", "kd-thales"),
    curve: add(disk, "path", "kd-curve"), wrong: add(disk, "path", "kd-bound-risk"),
    oracle: add(disk, "path", "kd-arrow"), student: add(disk, "path", "kd-arrow kd-fit"),
    samples: add(disk, "path", "kd-dot"), marks: add(disk, "g", "kd-marks"),
  };
  let frame, chartFrame, rows, centre, radius, reach, unit, known;

  function layout() {
    const ticks = [1, 10, 100];
    chartFrame = side.axis({
      width: Math.max(chart.getBoundingClientRect().width, 180), height: 270,
      x: { range: [0.9, 222], log: true, ticks, title: "samples" },
      y: { range: [0.02, 140], log: true, ticks: [0.1, ...ticks], title: "probability in %" },
    });
    const [width, height] = [Math.max(disk.getBoundingClientRect().width, 180), 270];
    attributes(disk, { viewBox: `0 0 ${width} ${height}` });
    centre = [width / 2, height / 2];
    radius = Math.min(height / 2 - 14, width / 2 - 24);
    for (const circle of [rim, plane.rim]) attributes(circle, { cx: centre[0], cy: centre[1], r: radius });
    reach = undefined;
  }

  /** Logits up to a round number that leaves room above the oracle. It stands still while n moves. */
  function scale(oracle, title) {
    const most = 1.2 * oracle.reduce((most, z) => Math.max(most, Math.abs(z)), 0);
    const needed = [2, 3, 5, 8, 12, 16, 20, 30, 50].find((z) => z >= most) ?? 100;
    if (needed === reach && title === unit) return;
    [reach, unit] = [needed, title];
    const width = Math.max(host.clientWidth, 260);
    const step = [1, 2, 5, 10, 20].find((step) => reach / step < 4) ?? 50;
    frame = main.axis({
      width, height: Math.round(Math.min(330, Math.max(290, width * 0.45))), left: 52, top: 48,
      x: { range: [-X, X], ticks: [-3, -2, -1, 0, 1, 2, 3], title: "input x" },
      y: {
        range: [-reach, reach], title,
        ticks: [-3, -2, -1, 0, 1, 2, 3].map((k) => k * step).filter((z) => Math.abs(z) < reach),
      },
    });
    const names = { risk: "risk", power: "power", theorem: "Thm 1" };
    strips.replaceChildren();
    rows = Object.fromEntries(BOUNDS.map((name, i) => {
      const y = 9 + 14 * i;
      strips.appendChild(svgNode("line", { x1: frame.left, x2: frame.right, y1: y, y2: y }));
      const label = strips.appendChild(svgNode("text", { x: frame.left - 7, y: y + 4, "text-anchor": "end" }));
      label.textContent = names[name];
      return [name, { y, path: strips.appendChild(svgNode("path", { class: `kd-bound-${name}` })) }];
    }));
  }

  /** Functions of x: the student, the band that holds the oracle, and where it errs or may err. */
  function drawFunctions(now, n) {
    const { grid, x, targets, oracle } = now;
    const [z, P, gap] = [now.curves[n - 1], now.distances[n - 1], now.gaps[n - 1]];
    const shares = now.shares(n);
    curves.oracle.setAttribute("d", line(grid, oracle, frame));
    curves.student.setAttribute("d", line(grid, z, frame));
    const lower = line([...grid].reverse(), z.map((v, k) => v - gap * P[k]).reverse(), frame);
    band.setAttribute("d", `${line(grid, z.map((v, k) => v + gap * P[k]), frame)}${lower.replace("M", "L")}Z`);
    dots.setAttribute("d", x.slice(0, n).map((v, i) =>
      `M${frame.x(v).toFixed(1)} ${frame.y(targets[i]).toFixed(1)}h0`).join(""));
    for (const name of BOUNDS) {
      const { y, path } = rows[name];
      let d = "";
      let end; // neighbouring pieces are joined
      for (let k = 0; k + 1 < grid.length; k++) {
        const share = shares[name][k];
        if (!share) continue;
        const to = frame.x(grid[k] + share * (grid[k + 1] - grid[k])).toFixed(1);
        d += end === k ? `H${to}` : `M${frame.x(grid[k]).toFixed(1)} ${y}H${to}`;
        end = k + 1;
      }
      path.setAttribute("d", d);
    }
    return shares.risk;
  }

  /** The plane of oracle and student, and the features' shadows in it. */
  function drawPlane(now, n, wrong) {
    const { grid, lengths, oracle, norm } = now;
    const [z, gap, angle] = [now.curves[n - 1], now.gaps[n - 1], now.angles[n - 1]];
    const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
    // A feature's component along the student is z_n / |w_n|; along what is missing from it, (z_* - z_n) / gap.
    const points = Array.from(grid, (_, k) => {
      const along = z[k] / (now.norms[n - 1] * lengths[k]);
      const across = gap > 1e-6 * norm ? (oracle[k] - z[k]) / (gap * lengths[k]) : 0;
      return [cos * along + sin * across, sin * along - cos * across];
    });
    const longest = Math.sqrt(points.reduce((most, [a, b]) => Math.max(most, a * a + b * b), 0));
    const place = ([a, b], unit = longest) => [centre[0] + (a * radius) / unit, centre[1] - (b * radius) / unit];
    const at = (point, unit) => place(point, unit).map((v) => v.toFixed(1)).join(" ");
    const path = (points, unit) => points.map((point, i) => `${i ? "L" : "M"}${at(point, unit)}`).join("");
    plane.curve.setAttribute("d", path(points));
    plane.samples.setAttribute("d", now.where.slice(0, n).map((k) => (k < 0 ? "" : `M${at(points[k])}h0`)).join(""));
    plane.wrong.setAttribute("d", points.slice(1).map((end, k) => (wrong[k] ? path([points[k], end]) : "")).join(""));

    const edge = Math.min(sin / longest, 1.1);
    plane.strip.setAttribute("d", `${path([[-edge, -1], [edge, -1], [edge, 1], [-edge, 1]], 1)}Z`);
    const normal = [-2 * sin, 2 * cos];
    const sector = (s) => `${path([[0, 0], [0, 2 * s], [-2 * s, 2 * s], normal.map((v) => s * v)], 1)}Z`;
    plane.wedge.setAttribute("d", sector(1) + sector(-1));
    plane.normals.setAttribute("d", path([[0, -1], [0, 1]], 1) + path([normal, normal.map((v) => -v)], 1));

    const tip = [cos * cos, cos * sin];
    const arrow = ([a, b], angle) => {
      const barb = (turn) => [a - 0.07 * Math.cos(angle + turn), b - 0.07 * Math.sin(angle + turn)];
      return path([[0, 0], [a, b]], 1) + path([barb(0.42), [a, b], barb(-0.42)], 1);
    };
    plane.oracle.setAttribute("d", arrow([1, 0], 0));
    plane.student.setAttribute("d", arrow(tip, angle));
    // A projection's tip lies on the circle of Thales: the gap is at a right angle to the student.
    const half = (radius / 2).toFixed(1);
    plane.thales.setAttribute("d",
      `M${at([0, 0], 1)}A${half} ${half} 0 0 1 ${at([1, 0], 1)}M${at(tip, 1)}L${at([1, 0], 1)}`);
    plane.marks.replaceChildren();
    const text = (content, [x, y], values) =>
      Object.assign(plane.marks.appendChild(svgNode("text", { x, y, ...values })), { textContent: content });
    const beside = (point, right, down) => place(point, 1).map((v, i) => v + [right, down][i]);
    text("w∗", beside([1, 0], 6, 13), {});
    text("wₙ", beside(tip, 10 * cos - 26 * sin, -6), { class: "kd-fit" });
    if (sin > 0.3) text("gap", beside([(1 + tip[0]) / 2, tip[1] / 2], 5, -3), {});
    text(`rim: ${longest.toPrecision(2)} |φ|`, [0, 2 * centre[1] - 3], {});
  }

  function drawBounds(n, now) {
    const { x, top, bottom } = chartFrame;
    const shown = (share) => Math.max(100 * share, 1e-3); // zero lies below the chart
    attributes(guide, { x1: x(n), x2: x(n), y1: top, y2: bottom });
    for (const name of BOUNDS) {
      growth[name].setAttribute("d", line(sizes, known.growth.map((bounds) => shown(bounds[name])), chartFrame));
      here[name].setAttribute("d", dot(chartFrame, n, shown(now[name])));
    }
  }

  function draw() {
    const [rho, T, n, epoch] = controls.map(({ name }) => model.get(name));
    const key = [rho, T, epoch].join();
    if (known?.key !== key) {
      known = { key, ...solve({ rho, T, epoch }) };
      known.growth = sizes.map(known.bounds);
    }
    const now = known.bounds(n);
    scale(known.oracle, rho ? "logit" : "logit / t");
    drawPlane(known, n, drawFunctions(known, n));
    drawBounds(n, now);
    const shown = { angle: `${show((known.angles[n - 1] * 180) / Math.PI, 1)}°` };
    for (const name of BOUNDS) shown[name] = percent(now[name]);
    tell(shown, inWords(rho, n, all, now));
    const setting = `at rho = ${rho}, T = ${T}, with a teacher stopped after ${epoch} epochs`;
    describe(picture, `Logits against the input from −3 to 3, ${setting}: the oracle, and a student of ${n} samples with a `
      + `band that the oracle cannot leave. They disagree in ${shown.risk}; the band straddles zero where the power `
      + `function’s bound counts, in ${shown.power}.`);
    describe(disk, `The plane of the oracle’s and the student’s weights, ${shown.angle} apart, with the features of all `
      + `inputs as a curve. It is in the wedge of disagreement for ${shown.risk} of inputs, and in Theorem 1’s strip `
      + `for ${shown.theorem}.`);
    describe(chart, `Probability against samples, for ${n} of them: risk ${shown.risk}, power function’s bound `
      + `${shown.power}, Theorem 1’s ${shown.theorem}; for ${all}: ${BOUNDS.map((name) => percent(known.growth.at(-1)[name])).join(", ")}.`);
  }

  follow(chart, (x) => change("n", Math.round(Math.max(1, Math.min(all, chartFrame.at(x))))));
  return { layout, draw };
}

export const { mount, render } = explorer({ kind: "risk", prefix: "r.", controls, build });
export default { render };
