// The effective-logit explorer: Eq. 3 solved and drawn in the browser.
// One module, two homes: anywidget calls `render` in a live notebook; a static page inlines the
// module and calls `mount` with a model that lives in the page's address.

const Z_MAX = 10; // teacher logits shown
const VIEW = 12; // effective logits shown
const softplus = (v) => Math.max(v, 0) + Math.log1p(Math.exp(-Math.abs(v)));
const sigma = (v) => (v > 0 ? 1 / (1 + Math.exp(-v)) : Math.exp(v) / (1 + Math.exp(v)));

/** Root z of (rho/T) [sigma(z/T) - sigma(zt/T)] + (1-rho) [sigma(z) - y] = 0; see kdlib.effective_logit. */
export function effectiveLogit(zt, y, rho, T) {
  if (!(rho >= 0 && rho <= 1 && T > 0 && T < Infinity && Number.isFinite(zt) && (y === 0 || y === 1)))
    throw new RangeError(`need finite z_t, y_g 0 or 1, 0 <= rho <= 1, T > 0; got ${[zt, y, rho, T]}`);
  if (rho === 1) return zt;
  if (rho === 0) return y ? Infinity : -Infinity;
  if (y === 0) return -effectiveLogit(-zt, 1, rho, T);
  // x = (z - start)/T is the root of the increasing function
  // F(x) = log(1 - e^-x) + softplus(z) - softplus(-z/T) - c, found by Newton's method in log x.
  const start = Math.max(zt, -750 * T);
  const c = Math.log(T) + Math.log1p(-rho) - Math.log(rho) + softplus(start / T);
  let low = 0;
  let high = Math.LN2 + Math.max(c + 2 * Math.LN2 + Math.max(-start / T, 0) - start, 0) / T;
  // Where to begin: the smaller of the two approximations that kdlib begins with.
  const logQ = c - Math.max(start, 0);
  const q = Math.exp(Math.min(logQ, 0));
  const near = logQ < 0 ? Math.log1p((q * (1 + Math.exp(-start / T))) / (1 - q)) : Infinity;
  const v = Math.min(softplus(Math.log(T) + c - start), 1e300);
  const crossed = Math.max(v * (1 - Math.log1p(v) / (2 + v)), c - start) / T;
  let x = Math.max(Math.min(near, crossed, high), 1e-300);
  for (let step = 0; step < 200; step++) {
    const z = start + T * x;
    const rise = -Math.expm1(-x);
    const F = Math.log(rise) + softplus(z) - softplus(-z / T) - c;
    if (F < 0) low = x;
    else high = x;
    const slope = Math.exp(-x) / rise + T * sigma(z) + sigma(-z / T);
    let next = x * Math.exp(-F / (slope * x));
    if (!(next >= low && next <= high)) next = (low + high) / 2;
    const change = Math.abs(next - x);
    x = next;
    // Newton's error is squared at each step: after this one it is below the last bit.
    if (change <= 1e-9 * Math.min(x, 1, 1 / T) || T * change <= 1e-17 * (1 + Math.abs(zt))) break;
  }
  return start + T * x;
}

// ---- small tools ----

const svgNode = (tag, attributes = {}) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
};

const show = (v, digits = 2) =>
  v === Infinity ? "+∞" : v === -Infinity ? "−∞" : v.toFixed(digits).replace("-", "−").replace(/^−(0\.?0*)$/, "$1");

const signed = (v) => (v > 0 && Number.isFinite(v) ? "+" : "") + show(v);

// T runs on a logarithmic slider and stops at round numbers: 0.1 … 1, 1.1, 1.3 … 20.
const fromLog = (v) => Number((10 ** v).toPrecision(2));

const CONTROLS = [
  { name: "rho", symbol: "ρ", meaning: "soft ratio", min: 0, max: 1, step: 0.01 },
  { name: "T", symbol: "T", meaning: "temperature", min: -1, max: 1.3, step: 0.05, read: fromLog, write: Math.log10 },
  { name: "z_t", symbol: "z<sub>t</sub>", meaning: "teacher’s logit", min: -Z_MAX, max: Z_MAX, step: 0.1 },
];

const VALID = {
  rho: (v) => v >= 0 && v <= 1,
  T: (v) => v > 0 && v < Infinity,
  z_t: (v) => Math.abs(v) <= Z_MAX,
};

/** A model with anywidget's interface whose state is the page's address: #rho=0.3&T=2&z_t=-1. */
export function addressModel(defaults) {
  const listeners = {};
  const state = { ...defaults };
  const emit = (name) => (listeners[`change:${name}`] ?? []).forEach((callback) => callback());
  const read = () => {
    const given = new URLSearchParams(location.hash.slice(1));
    for (const name of Object.keys(VALID)) {
      const text = given.get(name);
      const value = Number(text);
      if (text !== null && text.trim() !== "" && VALID[name](value)) {
        state[name] = value;
        emit(name);
      }
    }
  };
  read();
  addEventListener("hashchange", read);
  return {
    get: (name) => state[name],
    set(name, value) {
      state[name] = value;
      emit(name);
    },
    save_changes() {
      const hash = Object.keys(VALID).map((name) => `${name}=${state[name]}`).join("&");
      history.replaceState(history.state, "", `#${hash}`);
    },
    on: (event, callback) => (listeners[event] ??= []).push(callback),
    off: (event, callback) => (listeners[event] = (listeners[event] ?? []).filter((other) => other !== callback)),
  };
}

// ---- the explorer ----

let count = 0;

export function mount(host, model) {
  // A page inlines the module once for each explorer, so a count would begin anew: hosts there have names.
  const id = host.id || `kd-effective-logit-${++count}`;
  host.classList.add("kd-explorer");
  host.innerHTML = `
    <svg role="img" aria-labelledby="${id}-title"><title id="${id}-title"></title></svg>
    <p class="kd-legend" aria-hidden="true">
      <span class="kd-right">right teacher</span><span class="kd-wrong">wrong teacher</span>
      <span class="kd-teacher">the teacher itself</span><span class="kd-split">the split</span></p>
    <div class="kd-controls">${CONTROLS.map(({ name, symbol, meaning, min, max, step }) => `
      <label for="${id}-${name}"><i>${symbol}</i> ${meaning}</label>
      <input id="${id}-${name}" name="${name}" type="range" min="${min}" max="${max}" step="${step}">
      <output for="${id}-${name}"></output>`).join("")}
    </div>
    <dl class="kd-readout">
      <div><dt>threshold <i>t</i></dt><dd data-read="t"></dd></div>
      <div class="kd-right"><dt><i>z</i><sub>eff</sub>, teacher right</dt><dd data-read="right"></dd></div>
      <div class="kd-wrong"><dt><i>z</i><sub>eff</sub>, teacher wrong</dt><dd data-read="wrong"></dd></div>
    </dl>
    <p class="kd-note"></p>`;

  const svg = host.querySelector("svg");
  const title = svg.querySelector("title");
  const note = host.querySelector(".kd-note");
  const read = Object.fromEntries([...host.querySelectorAll("[data-read]")].map((n) => [n.dataset.read, n]));
  const axes = svg.appendChild(svgNode("g", { class: "kd-axes" }));
  const clip = svg.appendChild(svgNode("clipPath", { id: `${id}-clip` })).appendChild(svgNode("rect"));
  const plot = svg.appendChild(svgNode("g", { "clip-path": `url(#${id}-clip)` }));
  const layer = (tag, name) => plot.appendChild(svgNode(tag, { class: name }));
  const split = layer("rect", "kd-split");
  const teacher = layer("path", "kd-teacher");
  const curves = { wrong: layer("path", "kd-wrong"), right: layer("path", "kd-right") };
  const guide = layer("line", "kd-guide");
  const points = { wrong: layer("circle", "kd-wrong"), right: layer("circle", "kd-right") };
  let frame; // pixel geometry of the plot

  function layout() {
    const width = Math.max(host.clientWidth, 260);
    const height = Math.round(Math.min(400, Math.max(260, width * 0.58)));
    const [left, right, top, bottom] = [44, 12, 10, 42];
    frame = {
      left, right: width - right, top, bottom: height - bottom,
      x: (z) => left + ((z + Z_MAX) / (2 * Z_MAX)) * (width - left - right),
      y: (z) => top + ((VIEW - z) / (2 * VIEW)) * (height - top - bottom),
      z: (x) => ((x - left) / (width - left - right)) * 2 * Z_MAX - Z_MAX,
    };
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const box = { x: left, y: top, width: frame.right - left, height: frame.bottom - top };
    for (const [key, value] of Object.entries(box)) clip.setAttribute(key, value);
    axes.replaceChildren();
    const text = (content, x, y, anchor, extra = {}) => {
      axes.appendChild(svgNode("text", { x, y, "text-anchor": anchor, ...extra })).textContent = content;
    };
    for (const z of [-10, -5, 0, 5, 10]) {
      const zero = z === 0 ? { class: "kd-zero" } : {};
      axes.appendChild(svgNode("line", { x1: frame.x(z), x2: frame.x(z), y1: top, y2: frame.bottom, ...zero }));
      axes.appendChild(svgNode("line", { x1: left, x2: frame.right, y1: frame.y(z), y2: frame.y(z), ...zero }));
      text(show(z, 0), frame.x(z), frame.bottom + 16, "middle");
      text(show(z, 0), left - 7, frame.y(z) + 4, "end");
    }
    text("teacher’s logit", (left + frame.right) / 2, height - 6, "middle");
    const middle = (top + frame.bottom) / 2;
    text("student’s logit", 13, middle, "middle", { transform: `rotate(-90 13 ${middle})` });
    teacher.setAttribute("d", `M${frame.x(-Z_MAX)} ${frame.y(-Z_MAX)}L${frame.x(Z_MAX)} ${frame.y(Z_MAX)}`);
    draw();
  }

  // Only z_t >= 0 is solved; the other half follows from z(-z_t, 1 - y) = -z(z_t, y).
  function branch(y, rho, T) {
    const half = [];
    for (let z = 0; z <= Z_MAX; z += Z_MAX / 80) {
      const value = Math.min(Math.max(effectiveLogit(z, y, rho, T), -2 * VIEW), 2 * VIEW);
      half.push([z, value]);
    }
    const path = (sign) => half
      .map(([z, v], i) => `${i ? "L" : "M"}${frame.x(sign * z).toFixed(1)} ${frame.y(sign * v).toFixed(1)}`).join("");
    return path(1) + path(-1);
  }

  function draw() {
    const [rho, T, z_t] = ["rho", "T", "z_t"].map((name) => model.get(name));
    for (const { name, write = (v) => v } of CONTROLS) {
      const input = host.querySelector(`input[name=${name}]`);
      const value = model.get(name);
      const text = name === "z_t" ? signed(value) : String(value);
      input.value = write(value);
      input.setAttribute("aria-valuetext", text);
      input.nextElementSibling.value = text.replace("-", "−");
    }
    curves.right.setAttribute("d", branch(1, rho, T));
    curves.wrong.setAttribute("d", branch(0, rho, T));
    const label = z_t >= 0 ? 1 : 0;
    const t = effectiveLogit(0, 1, rho, T);
    const z = { right: effectiveLogit(z_t, label, rho, T), wrong: effectiveLogit(z_t, 1 - label, rho, T) };
    const edge = Math.min(t, VIEW);
    split.setAttribute("x", frame.left);
    split.setAttribute("width", frame.right - frame.left);
    split.setAttribute("y", frame.y(edge));
    split.setAttribute("height", frame.y(-edge) - frame.y(edge));
    for (const [key, value] of Object.entries({ x1: frame.x(z_t), x2: frame.x(z_t), y1: frame.top, y2: frame.bottom }))
      guide.setAttribute(key, value);
    for (const side of ["right", "wrong"]) {
      points[side].setAttribute("r", Math.abs(z[side]) <= VIEW ? 5 : 0);
      points[side].setAttribute("cx", frame.x(z_t));
      points[side].setAttribute("cy", frame.y(Math.max(-VIEW, Math.min(VIEW, z[side]))));
    }
    read.t.textContent = show(t);
    read.right.textContent = signed(z.right);
    read.wrong.textContent = signed(z.wrong);
    const corrected = label ? z.wrong < 0 : z.wrong > 0;
    note.textContent =
      rho === 0 ? "ρ = 0: hard labels alone. The loss has no finite minimiser; logits grow without end towards ±∞."
        : rho === 1 ? "ρ = 1: the teacher alone. The student copies it, right or wrong."
          : rho <= T / (1 + T) ? "Hard labels outweigh the teacher: every wrong answer of the teacher is corrected."
            : corrected ? "A wrong teacher this unsure is corrected. A more confident one will not be."
              : "A wrong teacher this confident is believed: the hard labels are too weak to correct it.";
    title.textContent = `Student’s logit against teacher’s logit at rho = ${rho}, T = ${T}: split of half-width ${show(t)}; `
      + `at z_t = ${show(z_t)}, ${signed(z.right)} if the teacher is right, ${signed(z.wrong)} if it is wrong.`;
  }

  const change = (name, value) => {
    model.set(name, value);
    model.save_changes();
  };
  for (const { name, read: toValue = Number } of CONTROLS)
    host.querySelector(`input[name=${name}]`).addEventListener("input", (event) => {
      change(name, toValue(Number(event.target.value)));
    });
  const drag = (event) => {
    const x = event.clientX - svg.getBoundingClientRect().left;
    change("z_t", Math.round(10 * Math.max(-Z_MAX, Math.min(Z_MAX, frame.z(x)))) / 10);
  };
  svg.addEventListener("pointerdown", (event) => {
    svg.setPointerCapture(event.pointerId);
    drag(event);
  });
  svg.addEventListener("pointermove", (event) => svg.hasPointerCapture(event.pointerId) && drag(event));

  layout();
  for (const { name } of CONTROLS) model.on(`change:${name}`, draw);
  const observer = new ResizeObserver(layout);
  observer.observe(host);
  return () => {
    observer.disconnect();
    for (const { name } of CONTROLS) model.off(`change:${name}`, draw);
  };
}

function render({ model, el }) {
  const host = el.appendChild(document.createElement("div"));
  // JupyterLab binds the arrow keys before a slider sees them, unless they stop at the window.
  const keep = (event) => host.contains(event.target) && event.stopPropagation();
  addEventListener("keydown", keep, true);
  const unmount = mount(host, model);
  return () => {
    removeEventListener("keydown", keep, true);
    unmount();
  };
}

export default { render };
