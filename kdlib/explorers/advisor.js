// The advisor: a file of one's own, dropped on the page, and what to do with it. The mathematics is in advice.js, which
// runs in a worker; its source comes with the state.

import { guessed, read, samples, seem } from "./arrays.js";
import { attributes, canvas, describe, explorer, line, plot, show } from "./page.js";

const RULES = {
  rho: [(v) => v >= 0 && v <= 1 && (v === 0 || v >= 1e-300), "lie in [0, 1]", "give a fraction, such as 0.9 for 90 %"],
  T: [(v) => v >= 1e-3 && v <= 1e6, "lie between 1e-3 and 1e6", "T = 1 leaves the logits as they are, T > 1 softens them"],
};
const DEPTHS = [1, 2, 3, 4, 5];

const number = (name) => {
  const [valid, rule, remedy] = RULES[name];
  return {
    name, valid,
    show(input, value) {
      if (!input.matches(":focus")) input.value = value;
      input.setCustomValidity("");
      input.removeAttribute("aria-invalid");
    },
    take(input) {
      const value = input.value === "" ? NaN : Number(input.value);
      const fine = valid(value);
      input.setCustomValidity(fine ? "" : `${name} must ${rule}, got ${input.value || "nothing"}: ${remedy}`);
      if (!fine) input.setAttribute("aria-invalid", "true");
      return fine ? value : undefined;
    },
  };
};

const CONTROLS = [
  number("rho"),
  number("T"),
  {
    name: "depth", valid: (v) => DEPTHS.includes(v),
    show: (input, value) => { input.value = value; }, take: (input) => Number(input.value),
  },
];

const PARTS = {
  features: "features", teacher: "teacher’s answers", label: "given labels", gives: "answers are", held_out: "held out",
};
const COLUMNS = ["ρ", "T", "λ", "loss", "± to the chosen", "mistakes", "avoid"];
const STYLES = ["kd-right", "kd-fit", "kd-wrong"]; // of curves at three temperatures

const strength = ({ rho, T }) => (T ** 2 * (1 - rho)) / rho;
const percent = (share) => `${(100 * share).toFixed(1)} %`;
const element = (tag, text, values = {}) =>
  attributes(Object.assign(document.createElement(tag), { textContent: text }), values);

/** Round numbers from 0 to the first that is not below the largest. */
function ticksUpTo(most) {
  const power = 10 ** Math.floor(Math.log10(most));
  const step = [0.2, 0.5, 1, 2].map((v) => v * power).find((v) => most / v <= 5);
  return Array.from({ length: Math.ceil(most / step) + 1 }, (_, i) => Number((i * step).toPrecision(6)));
}

const powersWithin = (from, to, base = 10) => {
  const first = Math.ceil(Math.log(from) / Math.log(base) - 1e-9);
  const last = Math.floor(Math.log(to) / Math.log(base) + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => base ** (first + i));
};

/** A function that gives a worker a task, and with none stops it: of each only the last one is answered. */
function calculator(source) {
  // No module: a page that was opened as a file may start none.
  const code = new Blob([source.replace(/^export /gm, ""), `
onmessage = ({ data }) => {
  let before = 0;
  const tell = (share) => { if (share >= before + 0.02) postMessage({ share: (before = share) }); };
  try { postMessage({ advice: { ...advise(data, tell) } }); }
  catch (error) { postMessage({ refused: error.message }); }
};`], { type: "text/javascript" });
  let worker;
  return (task, hear) => {
    worker?.terminate();
    if (!task) return;
    const address = URL.createObjectURL(code);
    worker = new Worker(address);
    worker.onmessage = ({ data }) => {
      if (!("share" in data)) URL.revokeObjectURL(address);
      hear(data);
    };
    worker.onerror = () => hear({ refused: "This browser lets no worker compute here." });
    worker.postMessage(task);
  };
}

/** The curves' picture: shares of mistakes, and the forecast. */
function learning(svg, id) {
  const { axis, layer } = plot(svg, `${id}-learning`);
  const names = ["kd-band", "kd-right", "kd-wrong", "kd-teacher", "kd-fit"];
  const [band, soft, hard, usual, chosen] = names.map((name) => layer("path", name));
  return (width, { sizes, curves, ahead }) => {
    const N = sizes.at(-1);
    const ticks = ticksUpTo(100 * Math.max(...Object.values(curves).flat(), ...ahead.map(({ high }) => high)));
    const frame = axis({
      width, height: 250, left: 48, x: { range: [sizes[0], 4.6 * N], log: true, title: "samples n",
        ticks: powersWithin(sizes[0] / N, 4, 2).map((times) => Math.round(times * N)) },
      y: { range: [0, ticks.at(-1)], ticks, title: "mistakes, %" },
    });
    const path = (node, xs, ys) => node.setAttribute("d", line(xs, ys.map((v) => 100 * v), frame));
    path(soft, sizes, curves.soft);
    path(hard, sizes, curves.hard);
    path(usual, sizes, curves.default);
    path(chosen, ahead.map(({ n }) => n), ahead.map(({ error }) => error));
    const ends = [...ahead, ...ahead.toReversed()].map(({ n }) => n);
    path(band, ends, [...ahead.map(({ high }) => high), ...ahead.toReversed().map(({ low }) => low)]);
  };
}

/** The cells' picture: the loss over the strength of the labels, a curve for each temperature. */
function grid(svg, id) {
  const { axis, layer } = plot(svg, `${id}-cells`);
  const bars = layer("path", "kd-bars");
  const paths = STYLES.map((name) => layer("path", name));
  const dots = [...STYLES, "kd-ends"].map((name) => layer("path", `kd-dot ${name}`));
  const rings = { usual: layer("circle", "kd-default"), chosen: layer("circle", "kd-chosen") };
  return (width, { cells, rho, T, default: usual }) => {
    const inner = cells.filter((cell) => cell.rho > 0 && cell.rho < 1);
    const [least, most] = [Math.min(...inner.map(strength)) / 4, Math.max(...inner.map(strength)) * 4];
    const at = (cell) => (cell.rho === 1 ? least : cell.rho === 0 ? most : strength(cell));
    const ticks = ticksUpTo(Math.max(...cells.map(({ estimate, error }) => estimate + error)));
    const powers = powersWithin(least, most);
    const frame = axis({
      width, height: 250, left: 56,
      x: { range: [least / 1.6, most * 1.6], log: true, ticks: powers, digits: powers[0] < 0.1 ? 2 : 1,
        title: "λ = T²(1 − ρ)/ρ, strength of the labels" },
      y: { range: [0, ticks.at(-1)], ticks, digits: 2, title: "loss" },
    });
    const temperatures = [1, 4, 10];
    const of = (i) => inner.filter((cell) => cell.T === temperatures[i]).sort((a, b) => strength(a) - strength(b));
    const place = (cell) => [frame.x(at(cell)), frame.y(cell.estimate)].map((v) => v.toFixed(1));
    const mark = (cell) => {
      const [x, y] = place(cell).map(Number);
      return cell.avoid ? `M${x - 4} ${y - 4}l8 8m0-8l-8 8` : `M${x - 2.5} ${y}h5`;
    };
    paths.forEach((path, i) => path.setAttribute("d", line(of(i).map(at), of(i).map(({ estimate }) => estimate), frame)));
    const others = cells.filter((cell) => !inner.includes(cell) || !temperatures.includes(cell.T));
    dots.forEach((path, i) => path.setAttribute("d", (i < 3 ? of(i) : others).map(mark).join("")));
    bars.setAttribute("d", cells.map((cell) => {
      const x = place(cell)[0];
      return `M${x} ${frame.y(cell.estimate - cell.error).toFixed(1)}V${frame.y(cell.estimate + cell.error).toFixed(1)}`;
    }).join(""));
    const ring = (node, [r, t]) => {
      const [cx, cy] = place(cells.find((cell) => cell.rho === r && cell.T === t));
      attributes(node, { cx, cy, r: node === rings.chosen ? 8 : 5 });
    };
    ring(rings.usual, usual);
    ring(rings.chosen, [rho, T]);
  };
}

function build({ host, id, model }) {
  const label = (name, text) => `<label for="${id}-${name}">${text}</label>`;
  const select = (name, text, options = []) => `${label(name, text)}<select id="${id}-${name}" name="${name}">`
    + `${options.map((value) => `<option>${value}</option>`).join("")}</select>`;
  const typed = (name, text, step) => `${label(name, text)}<input id="${id}-${name}" name="${name}" type="number" `
    + `min="0" step="${step}" aria-describedby="${id}-note">`;
  const example = model.get("example");
  host.innerHTML = `
    <div class="kd-drop">
      <div class="kd-presets">${label("file", "A file of yours")}
        <input type="file" id="${id}-file" accept=".csv,.npz,.tsv,.txt" aria-describedby="${id}-where">
        <span>or <button type="button" data-do="example">${example.title}</button></span></div>
      <p class="kd-remark" id="${id}-where">CSV or NPZ, up to some 1000 samples; you may drop it here. It is read and
        computed on in this page alone: nothing leaves your browser. The student is a wide network, and labels are taken
        for right; for a linear head, or labels of which a known share is wrong, there is <code>kdlib.advise</code>.</p>
    </div>
    <div class="kd-form">
      <div class="kd-columns" hidden>${Object.entries(PARTS).map(([name, text]) => select(name, text)).join("")}
        ${label("scaled", "scale features")}<input id="${id}-scaled" name="scaled" type="checkbox" checked></div>
      ${typed("rho", "<i>ρ</i> of your default", 0.05)}${typed("T", "<i>T</i> of your default", 0.5)}
      ${select("depth", "hidden layers", DEPTHS)}
    </div>
    <progress max="1" value="0" aria-label="computed so far" hidden></progress>
    <p class="kd-note" id="${id}-note" role="status"></p>
    <div data-part="found" hidden>
      <div class="kd-report" aria-live="polite"></div>
      <div class="kd-pair">
        <div>${canvas(id, "learning")}<p class="kd-legend" aria-hidden="true">
          <span class="kd-fit">chosen, and its forecast</span> <span class="kd-teacher">default</span><span class="kd-right">teacher alone</span>
          <span class="kd-wrong">labels alone</span></p></div>
        <div>${canvas(id, "cells")}<p class="kd-legend" aria-hidden="true"><span class="kd-right"><i>T</i> = 1</span>
          <span class="kd-fit"><i>T</i> = 4</span><span class="kd-wrong"><i>T</i> = 10</span>
          <span class="kd-dot kd-ends">at the edges <i>ρ</i> = 1, <i>ρ</i> = 0</span>
          <span class="kd-dot kd-chosen">chosen</span> <span class="kd-dot kd-default">default</span><span class="kd-dot kd-avoid">avoid</span></p></div>
      </div>
      <details><summary>All cells in numbers</summary><div role="region" aria-label="all cells" tabindex="0">
        <table class="kd-same"><thead><tr>${COLUMNS.map((text) => `<th scope="col">${text}</th>`).join("")}</tr></thead>
        <tbody></tbody></table></div></details>
      <div class="kd-presets"><button type="button" data-do="text">Save the report as text</button>
        <button type="button" data-do="json">Save it as JSON</button></div>
    </div>`;
  const find = (selector) => host.querySelector(selector);
  const [progress, note, columns, found] = ["progress", ".kd-note", ".kd-columns", "[data-part=found]"].map(find);
  const [file, drop] = ["input[type=file]", ".kd-drop"].map(find);
  const parts = Object.fromEntries([...Object.keys(PARTS), "scaled"].map((name) => [name, find(`[name=${name}]`)]));
  const pictures = host.querySelectorAll("svg");
  const drawings = [learning(pictures[0], id), grid(pictures[1], id)];
  const compute = calculator(model.get("solver"));
  let name, arrays, asked, given, advice, opening;
  let said = ["", false];

  const write = (text, wrong) => {
    if (note.textContent !== text) note.textContent = text; // what is new is read aloud
    note.classList.toggle("kd-refused", wrong);
  };
  const say = (text, wrong = false) => write(...(said = [text, wrong]));

  function forget() {
    compute();
    advice = undefined;
    found.hidden = progress.hidden = true;
  }

  async function open(title, content) {
    forget();
    [name, arrays, asked] = [title, undefined, undefined];
    columns.hidden = true;
    const mine = (opening = Symbol(title));
    let held;
    try {
      held = await read(title, await content);
    } catch (error) {
      if (opening === mine) say(error.message, true);
      return;
    }
    if (opening !== mine) return; // another one came while this was read
    arrays = held;
    const options = (names, others = []) => [...others, ...names.map((one) => [one, one])].map(([value, text]) =>
      element("option", text, { value }));
    const names = arrays.map((array) => array.name);
    const guess = guessed(arrays);
    parts.features.replaceChildren(...options(names, [["", "all other numbers"]]));
    parts.held_out.replaceChildren(...options(names, [["", "none"]]));
    parts.teacher.replaceChildren(...options(names));
    parts.label.replaceChildren(...options(names));
    parts.gives.replaceChildren(...options(["logits", "probabilities"]));
    for (const [part, value] of Object.entries(guess)) parts[part].value = value;
    parts.gives.value = seem(arrays.find((array) => array.name === guess.teacher));
    columns.hidden = false;
    begin();
  }

  /** Compute, if anything that counts has changed. */
  function begin() {
    const refused = [...host.querySelectorAll("input")].find((input) => input.validity.customError);
    if (refused) {
      write(refused.validationMessage, true);
      return;
    }
    const valueOf = (node) => (node.type === "checkbox" ? node.checked : node.value);
    const roles = Object.fromEntries(Object.entries(parts).map(([part, node]) => [part, valueOf(node)]));
    const settings = { default: [model.get("rho"), model.get("T")], depth: model.get("depth") };
    const task = JSON.stringify([roles, settings]);
    if (!arrays || task === asked) {
      write(...said);
      return;
    }
    asked = task;
    forget();
    try {
      given = samples(arrays, roles);
    } catch (error) {
      say(error.message, true);
      return;
    }
    progress.hidden = false;
    progress.value = 0;
    say(`${summary()} Computing …`);
    compute({ ...given, ...settings }, (answer) => {
      if (answer.share) progress.value = answer.share;
      else {
        progress.hidden = true;
        if (answer.refused) say(answer.refused, true);
        else tell(answer.advice);
      }
    });
  }

  /** What was read, so that a reader may see whether it is what was meant. */
  function summary() {
    const { y, d, K, names, notes, held_out } = given;
    const others = held_out ? ` and ${held_out.y.length} held out` : "";
    const classes = `${K} classes (${names.slice(0, 10).join(", ")}${K > 10 ? ", …" : ""})`;
    return [`${name}: ${y.length} samples${others}, ${d} features, ${classes}.`, ...notes].join(" ");
  }

  function tell(answer) {
    advice = answer;
    say(summary());
    find(".kd-report").replaceChildren(...advice.report.map((text) => element("p", text)));
    find("tbody").replaceChildren(...advice.cells.map(({ rho, T, estimate, error, mistakes, avoid }) => {
      const lambda = rho === 1 ? "0" : rho === 0 ? "∞" : String(Number(strength({ rho, T }).toPrecision(3)));
      const row = document.createElement("tr");
      const [loss, apart] = [show(estimate, 4), show(error, 4)];
      const texts = [Number(rho.toPrecision(4)), rho % 1 ? T : "any", lambda, loss, apart, percent(mistakes), avoid ? "avoid" : ""];
      row.append(...texts.map((text) => element("td", text)));
      return row;
    }));
    found.hidden = false;
    draw();
  }

  function save(title, content) {
    const href = URL.createObjectURL(new Blob([content], { type: "application/octet-stream" }));
    element("a", "", { href, download: title }).click();
    setTimeout(() => URL.revokeObjectURL(href), 1000);
  }
  const saved = {
    text: () => save("advice.txt", [summary(), ...advice.report, ""].join("\n\n")),
    json: () => save("advice.json", JSON.stringify({ file: name, ...advice }, null, 1)),
  };
  for (const [kind, act] of Object.entries(saved)) find(`[data-do=${kind}]`).addEventListener("click", act);
  find("[data-do=example]").addEventListener("click", () => {
    file.value = "";
    open(example.name, new TextEncoder().encode(example.text).buffer);
  });
  file.addEventListener("change", () => file.files.length && open(file.files[0].name, file.files[0].arrayBuffer()));
  for (const node of Object.values(parts)) node.addEventListener("input", () => {
    if (node === parts.teacher) parts.gives.value = seem(arrays.find((array) => array.name === node.value));
    begin();
  });
  const over = (event) => {
    event.preventDefault();
    event.stopPropagation();
    drop.classList.toggle("kd-over", event.type === "dragover");
  };
  for (const kind of ["dragover", "dragleave"]) host.addEventListener(kind, over);
  host.addEventListener("drop", (event) => {
    over(event);
    const [dropped] = event.dataTransfer.files;
    if (dropped) open(dropped.name, dropped.arrayBuffer());
  });

  function draw() {
    begin();
    if (!advice) return;
    drawings.forEach((drawing, i) => drawing(Math.max(pictures[i].getBoundingClientRect().width, 240), advice));
    const [now, double, four] = advice.forecasts;
    describe(pictures[0], `Mistakes against the number of samples: ${percent(now.error)} at ${now.n}; expected `
      + `${percent(double.error)} at ${double.n} and ${percent(four.error)} at ${four.n}.`);
    describe(pictures[1], `Loss of each cell against the strength of the labels. ${advice.report[0]} `
      + `${advice.avoid.length} of ${advice.cells.length} cells are to be avoided.`);
  }

  return { layout() {}, draw };
}

export const { mount, render } = explorer({ kind: "advisor", prefix: "a.", controls: CONTROLS, build });
export default { render };
