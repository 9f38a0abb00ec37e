// What a figure's passport offers, taken from the figure itself: its curves as CSV, its still picture as SVG.
addEventListener("DOMContentLoaded", () => {
  const TYPES = {
    f8: Float64Array, f4: Float32Array, i4: Int32Array, u4: Uint32Array, i2: Int16Array, u2: Uint16Array, i1: Int8Array, u1: Uint8Array,
  };

  /** Numbers, which plotly may hold as base64. */
  const plain = (values) =>
    values?.bdata ? [...new TYPES[values.dtype](Uint8Array.from(atob(values.bdata), (c) => c.charCodeAt(0)).buffer)] : [...(values ?? [])];

  const quoted = (value) => (/[",\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);

  /** One line for each point of a curve: its panel, its curve, where it is, and its errors. Words in the plot are none. */
  function csv(traces) {
    const panels = [...new Set(traces.map((trace) => trace.yaxis ?? "y"))];
    const lines = traces.filter(({ mode }) => mode !== "text").flatMap((trace) => {
      const curve = trace.name.replace(/<[^>]*>/g, "") + (trace.fill ? " (band)" : "");
      const columns = [trace.x, trace.y, trace.error_x?.array, trace.error_y?.array].map(plain);
      return columns[1].map((_, i) => [panels.indexOf(trace.yaxis ?? "y") + 1, quoted(curve), ...columns.map((values) => values[i] ?? "")].join());
    });
    return ["panel,curve,x,y,error_x,error_y", ...lines, ""].join("\n");
  }

  function take(name, address) {
    const link = document.createElement("a");
    link.href = address;
    link.download = name;
    link.click();
  }

  for (const offers of document.querySelectorAll(".kd-take")) {
    const figure = offers.parentElement.previousElementSibling;
    const plot = figure.querySelector(".kd-figure");
    if (!plot) continue;
    offers.hidden = false;
    offers.addEventListener("click", ({ target }) => {
      if (target.value === "svg") take(`${figure.id}.svg`, (plot.still ?? plot.querySelector("img")).src);
      if (target.value !== "csv" || !plot.data) return;
      const address = URL.createObjectURL(new Blob([csv(plot.data)], { type: "text/csv" }));
      take(`${figure.id}.csv`, address);
      setTimeout(() => URL.revokeObjectURL(address), 1000);
    });
  }
});
