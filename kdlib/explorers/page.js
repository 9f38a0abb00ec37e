// What explorers share: sliders, things to try, plots, a state that lives in the page's address, and two homes. anywidget
// calls `render` in a live notebook; a static page inlines the module and calls `mount` with a model of its own.

export const attributes = (node, values) => {
  for (const [key, value] of Object.entries(values)) node.setAttribute(key, value);
  return node;
};

export const svgNode = (tag, values = {}) => attributes(document.createElementNS("http://www.w3.org/2000/svg", tag), values);

export const show = (v, digits = 2) =>
  v === Infinity ? "+∞" : v === -Infinity ? "−∞" : v.toFixed(digits).replace("-", "−").replace(/^−(0\.?0*)$/, "$1");

export const signed = (v) => (v > 0 && Number.isFinite(v) ? "+" : "") + show(v);

// ---- sliders ----

/** A slider that stops at the given values, in increasing order; others are shown at the nearest stop. */
export const stops = (values) => ({
  min: 0,
  max: values.length - 1,
  step: 1,
  read: (i) => values[i],
  write: (v) => values.reduce((best, value, i) => (Math.abs(value - v) < Math.abs(values[best] - v) ? i : best), 0),
});

export const among = (values) => ({ ...stops(values), valid: (v) => values.includes(v) });

export const RATIO = {
  name: "rho", label: "<i>ρ</i> soft ratio", min: 0, max: 1, step: 0.01, valid: (v) => v >= 0 && v <= 1,
};

// T runs on a logarithmic slider and stops at round numbers: 0.1 … 1, 1.1, 1.3 … 20.
export const TEMPERATURE = {
  name: "T", label: "<i>T</i> temperature", min: -1, max: 1.3, step: 0.05, valid: (v) => v > 0 && v < Infinity,
  read: (v) => Number((10 ** v).toPrecision(2)), write: Math.log10,
};

export const sliders = (id, controls) => `<div class="kd-controls">${controls.map(({ name, label, min, max, step }) => `
  <label for="${id}-${name}">${label}</label>
  <input id="${id}-${name}" name="${name}" type="range" min="${min}" max="${max}" step="${step}">
  <output for="${id}-${name}" aria-hidden="true"></output>`).join("")}
</div>`;

export const canvas = (id, name, kind = "") =>
  `<svg class="${kind}" role="img" aria-labelledby="${id}-${name}"><title id="${id}-${name}"></title></svg>`;

export const describe = (svg, text) => { svg.querySelector("title").textContent = text; };

/**
 * Fill the host; returns its pictures, and `tell`, which writes the readouts and the note below them. To a screen reader
 * they are told when they have come to rest, and not before something has moved.
 */
export function fill(host, html) {
  host.innerHTML = `${html}<p class="kd-note"></p><p class="kd-told" role="status"></p>`;
  const [note, told] = host.querySelectorAll(".kd-note, .kd-told");
  const inWords = (node) => Array.from(node.children, (part) => part.textContent).join(" ");
  let [waiting, before] = [];
  const say = () => {
    const now = `${Array.from(host.querySelectorAll(".kd-readout > div"), inWords).join("; ")}. ${note.textContent}`;
    if (before !== undefined && now !== before) told.textContent = now;
    before = now;
  };
  const read = Object.fromEntries([...host.querySelectorAll("[data-read]")].map((n) => [n.dataset.read, n]));
  return {
    pictures: host.querySelectorAll("svg"),
    tell(readings, words) {
      for (const [name, text] of Object.entries(readings)) read[name].textContent = text;
      note.textContent = words;
      clearTimeout(waiting);
      waiting = setTimeout(say, 600);
    },
  };
}

/**
 * A finger that comes down may be about to scroll the page: `decided` is called when it has moved sideways or is lifted.
 * If the page scrolls instead, the browser cancels the touch. Returns what tells whether a finger still waits.
 */
function whenSideways(node, decided) {
  let start;
  const decide = (event) => {
    start = undefined;
    decided(event);
  };
  node.addEventListener("pointerdown", (event) => { start = event.pointerType === "touch" ? event : undefined; });
  node.addEventListener("pointermove", (event) => start && Math.abs(event.clientX - start.clientX) > 8 && decide(event));
  node.addEventListener("pointerup", (event) => start && decide(event));
  node.addEventListener("pointercancel", () => { start = undefined; });
  return () => start !== undefined;
}

/** Keep a slider where it is until it is certain that the finger on it does not scroll the page. */
function steady(input) {
  let [kept, wanted] = [];
  const waits = whenSideways(input, () => {
    if (wanted === undefined) return;
    input.value = wanted;
    input.dispatchEvent(new Event("input"));
  });
  input.addEventListener("pointerdown", () => { [kept, wanted] = [input.value]; });
  input.addEventListener("input", (event) => {
    if (!waits()) return;
    wanted = input.value;
    input.value = kept;
    event.stopImmediatePropagation();
  }, true);
}

/**
 * Tell `move` where the pointer is in the picture, and whether it has just come, while it is held down. What `holds`
 * says for which pointers; unless it is given, a finger that scrolls the page does not count.
 */
export function follow(svg, move, holds) {
  const tell = (event) => {
    const { left, top } = svg.getBoundingClientRect();
    move(event.clientX - left, event.clientY - top, event.type === "pointerdown");
  };
  const waits = holds ? () => false : whenSideways(svg, tell);
  svg.addEventListener("pointerdown", (event) => {
    if (event.button || (holds && !holds(event))) return; // the main button only
    svg.setPointerCapture(event.pointerId);
    if (!waits()) tell(event);
  });
  svg.addEventListener("pointermove", (event) => svg.hasPointerCapture(event.pointerId) && !waits() && tell(event));
}

// ---- things to try ----

/** Buttons with the words of each example, which set its state; `show` marks those whose state it is. */
function tries(host, examples, model, put) {
  const rows = examples.map(([words, state]) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: words });
    button.addEventListener("click", () => put(state));
    return { button, state: Object.entries(state) };
  });
  if (rows.length) {
    const group = attributes(document.createElement("div"), { class: "kd-tries", role: "group", "aria-label": "Try" });
    group.append(...rows.map(({ button }) => button));
    let above = host.querySelector(".kd-controls, .kd-form");
    while (above.parentElement !== host) above = above.parentElement;
    above.after(group);
  }
  return () => rows.forEach(({ button, state }) => button.setAttribute("aria-pressed",
    state.every(([name, value]) => String(model.get(name)) === String(value))));
}

/** A button that copies a link to the present state, or shows it where the browser refuses to copy. */
function linkButton(host, link) {
  const foot = attributes(document.createElement("p"), { class: "kd-foot" });
  foot.innerHTML = `<button type="button">Copy link to this state</button>
    <input readonly hidden aria-label="link to this state"> <span role="status"></span>`;
  const [button, field, said] = foot.children;
  const copied = async () => {
    try {
      await navigator.clipboard.writeText(link());
    } catch {
      Object.assign(field, { hidden: false, value: link() }).select();
      if (!document.execCommand("copy")) return false;
    }
    field.hidden = true;
    return true;
  };
  button.addEventListener("click", async () => {
    said.textContent = "";
    const done = await copied();
    (done ? button : field).focus();
    said.textContent = done ? "Copied." : "The browser refuses to copy: the link is selected, copy it by key.";
  });
  host.append(foot);
}

/**
 * Scroll to the explorer that the address speaks of, the first if there are several. Formulas and figures above it are
 * still to come and push it away: it is followed until the reader does something.
 */
function reveal(host) {
  if (globalThis.kdSought) return;
  globalThis.kdSought = host;
  const watch = new ResizeObserver(() => host.scrollIntoView({ behavior: "instant" }));
  watch.observe(document.body);
  const acts = ["wheel", "touchstart", "pointerdown", "keydown"];
  const leave = () => {
    watch.disconnect();
    globalThis.kdSought = undefined;
    for (const act of acts) removeEventListener(act, leave, true);
  };
  for (const act of acts) addEventListener(act, leave, { capture: true, passive: true });
  setTimeout(leave, 10_000);
}

// ---- plots ----

/** A plot in a picture: axes, and above them layers that are clipped to the frame. */
export function plot(svg, id) {
  const axes = svg.appendChild(svgNode("g", { class: "kd-axes" }));
  const clip = svg.appendChild(svgNode("clipPath", { id: `${id}-clip` })).appendChild(svgNode("rect"));
  const inside = svg.appendChild(svgNode("g", { "clip-path": `url(#${id}-clip)` }));

  /** Draw the axes; returns the frame in pixels, its scales x and y, and the inverse of x. */
  function axis({ width, height, left = 44, top = 10, x, y }) {
    const [right, bottom] = [width - 12, height - 42];
    const scale = ({ range: [from, to], log }, start, end) => {
      const to01 = log ? (v) => Math.log(v / from) / Math.log(to / from) : (v) => (v - from) / (to - from);
      return (v) => start + to01(v) * (end - start);
    };
    const frame = { left, right, top, bottom, x: scale(x, left, right), y: scale(y, bottom, top) };
    frame.at = (pixel) => {
      const share = (pixel - left) / (right - left);
      const [from, to] = x.range;
      return x.log ? from * (to / from) ** share : from + share * (to - from);
    };

    attributes(svg, { viewBox: `0 0 ${width} ${height}` });
    attributes(clip, { x: left, y: top, width: right - left, height: bottom - top });
    axes.replaceChildren();
    const line = (v, ends) => axes.appendChild(svgNode("line", { ...ends, ...(v === 0 && { class: "kd-zero" }) }));
    const text = (content, values) => { axes.appendChild(svgNode("text", values)).textContent = content; };
    const tick = (v, { digits = 1 }) => show(v, v % 1 ? digits : 0);
    for (const v of x.ticks) {
      line(v, { x1: frame.x(v), x2: frame.x(v), y1: top, y2: bottom });
      text(tick(v, x), { x: frame.x(v), y: bottom + 16, "text-anchor": "middle" });
    }
    for (const v of y.ticks) {
      line(v, { x1: left, x2: right, y1: frame.y(v), y2: frame.y(v) });
      text(tick(v, y), { x: left - 7, y: frame.y(v) + 4, "text-anchor": "end" });
    }
    const middle = (top + bottom) / 2;
    text(x.title, { x: (left + right) / 2, y: height - 6, "text-anchor": "middle" });
    text(y.title, { x: 13, y: middle, "text-anchor": "middle", transform: `rotate(-90 13 ${middle})` });
    return frame;
  }

  return { axis, layer: (tag, name) => inside.appendChild(svgNode(tag, { class: name })) };
}

export const line = (xs, ys, { x, y }) =>
  Array.from(xs, (v, i) => `${i ? "L" : "M"}${x(v).toFixed(1)} ${y(ys[i]).toFixed(1)}`).join("");

/** A dot in a plot, as a path; where it would leave the frame, an arrowhead at the edge. None if it is nowhere. */
export function dot({ x, y, left, right, top, bottom }, at, value, r = 4.5) {
  const [across, up] = [Math.max(left, Math.min(right, x(at))), y(value)].map((v) => Number(v.toFixed(1)));
  if (Number.isNaN(up)) return "";
  if (up < top) return `M${across} ${top}l7 12h-14z`;
  if (up > bottom) return `M${across} ${bottom}l7-12h-14z`;
  return `M${across - r} ${up}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0`;
}

// ---- two homes ----

/** A model with anywidget's interface whose state is the page's address: #rho=0.3&T=2&z_t=-1. */
function pageModel(state, controls, prefix, sought) {
  const listeners = {};
  const emit = (name) => (listeners[`change:${name}`] ?? []).forEach((callback) => callback());
  const given = () => new URLSearchParams(location.hash.slice(1));
  const put = (name, value) => {
    state[name] = value;
    emit(name);
  };
  const read = () => {
    let found = false;
    for (const { name, parse = Number, valid, clears = [] } of controls) {
      const text = given().get(prefix + name);
      if (text === null || text.trim() === "" || !valid(parse(text), state)) continue;
      for (const other of clears) put(other, null);
      put(name, parse(text));
      found = true;
    }
    return found;
  };
  const fill = (address) => {
    for (const { name } of controls) {
      if (state[name] === null) address.delete(prefix + name);
      else address.set(prefix + name, state[name]);
    }
    return address;
  };
  // Other explorers' keys stay in the address; the name of a section, which has no value, does not.
  const write = () => {
    const address = given();
    for (const [key, value] of Array.from(address)) if (!value) address.delete(key);
    history.replaceState(history.state, "", `#${fill(address)}`);
  };
  let writing;
  // A page that is loaded again, or gone back to, stands where the reader left it.
  if (read() && performance.getEntriesByType("navigation")[0]?.type === "navigate") sought();
  addEventListener("hashchange", () => read() && sought());
  return {
    get: (name) => state[name],
    set: put,
    link: () => `${location.href.split("#")[0]}#${fill(new URLSearchParams())}`,
    // Browsers limit how often an address may change: it is written when the slider rests.
    save_changes() {
      clearTimeout(writing);
      writing = setTimeout(write, 150);
    },
    on: (event, callback) => (listeners[event] ??= []).push(callback),
    off: (event, callback) => (listeners[event] = (listeners[event] ?? []).filter((other) => other !== callback)),
  };
}

// How a slider shows a value, and gives one; another kind of control brings its own.
const SLIDER = {
  show(input, value, { write = (v) => v, text = String }) {
    input.value = write(value);
    input.setAttribute("aria-valuetext", text(value));
    input.nextElementSibling.value = text(value).replace("-", "−");
  },
  take: (input, { read = Number }) => read(Number(input.value)),
};

/**
 * An explorer from its parts: the controls, of which those with a label have sliders, and those that `show` their
 * value bring their own; their keys' prefix in the address; and `build`, which fills the host and returns `layout`,
 * called when the host's size has changed, `draw`, called when the state has, and perhaps `press`, which is told of
 * keys. A control may hold nothing, null, and be set to that when another one that `clears` it changes. Where the task
 * says what values there are, the controls are a function of it.
 */
export function explorer({ kind, prefix, controls: given, build }) {
  const controlsOf = (task) => (typeof given === "function" ? given(task) : given);

  function mount(host, model) {
    const controls = controlsOf(model.get("task"));
    // Across the modules of a page, each of which has its own names.
    const id = `kd-${kind}-${(globalThis.kdExplorers = (globalThis.kdExplorers ?? 0) + 1)}`;
    host.classList.add("kd-explorer", `kd-${kind}`);
    const change = (name, value) => {
      for (const other of controls.find((control) => control.name === name)?.clears ?? []) model.set(other, null);
      model.set(name, value);
      model.save_changes();
    };
    const { layout, draw, press } = build({ host, id, model, change, controls });
    let still = false; // while one thing after another is set
    const put = (state) => {
      still = true;
      for (const [name, value] of Object.entries(state)) model.set(name, value);
      still = false;
      model.save_changes();
      refresh();
    };
    const mark = tries(host, model.get("examples") ?? [], model, put);
    if (model.link) linkButton(host, model.link);
    const dials = controls.filter(({ label, show }) => label || show).map((control) => ({ ...SLIDER, ...control }));
    const inputs = dials.map(({ name }) => host.querySelector(`[name=${name}]`));
    const refresh = () => {
      if (still) return;
      dials.forEach((dial, i) => dial.show(inputs[i], model.get(dial.name), dial, model));
      draw();
      mark();
    };
    host.querySelectorAll("input[type=range]").forEach(steady);
    dials.forEach((dial, i) => {
      inputs[i].addEventListener("input", () => {
        const value = dial.take(inputs[i], dial, model);
        if (value === undefined) draw(); // it was refused
        else change(dial.name, value);
      });
    });
    for (const { name } of controls) model.on(`change:${name}`, refresh);
    layout();
    refresh();
    const observer = new ResizeObserver(() => { layout(); draw(); });
    observer.observe(host);
    // JupyterLab binds the arrow keys before a slider sees them, unless they stop at the window; Ctrl-S is for it.
    const keep = (event) => {
      if (!host.contains(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
      event.stopPropagation();
      press?.(event);
    };
    addEventListener("keydown", keep, true);
    return () => {
      observer.disconnect();
      removeEventListener("keydown", keep, true);
      for (const { name } of controls) model.off(`change:${name}`, refresh);
    };
  }

  // In a notebook the copy that needs no kernel stands until there is a live view, whichever comes first.
  const live = (globalThis.kdLive ??= new Set());
  const copies = (name) => document.querySelectorAll(`[data-copy="${name}"]`);

  return {
    mount(host, state) {
      if (live.has(host.dataset.copy)) return host.remove();
      const unmount = mount(host, pageModel(state, controlsOf(state.task), prefix, () => reveal(host)));
      host.addEventListener("kd-live", () => { unmount(); host.remove(); });
    },
    render({ model, el }) {
      const copy = model.get("_copy");
      live.add(copy);
      for (const host of copies(copy)) host.dispatchEvent(new Event("kd-live"));
      return mount(el.appendChild(document.createElement("div")), model);
    },
  };
}
