// Arrays from a file: columns of a CSV, or what NumPy's savez wrote, compressed or not. An array has a name, a width
// (numbers for each sample) and values, a sample after the other: numbers, or text.

const MOST = 64 * 2 ** 20; // bytes

/** What a reader of files and numbers refuses: the rule, the value and the remedy in one line. */
export const refuse = (name, rule, got, remedy) => { throw new RangeError(`${name} must ${rule}, got ${got}: ${remedy}`); };

const quoted = (text) => `“${text.length > 40 ? `${text.slice(0, 37)}…` : text}”`;

/** The arrays of a file, by its content rather than its name. */
export async function read(name, buffer) {
  if (buffer.byteLength > MOST)
    refuse(name, "be at most 64 MB", `${Math.ceil(buffer.byteLength / 2 ** 20)} MB`, "draw some 1000 of its samples at random");
  const bytes = new Uint8Array(buffer);
  const zipped = bytes[0] === 0x50 && bytes[1] === 0x4b;
  const arrays = zipped ? await fromArchive(name, buffer) : fromText(name, bytes);
  if (!arrays.length) refuse(name, "hold arrays with a value or a row for each sample", "none", "save x, z_t and y_g");
  return arrays;
}

// ---- CSV ----

/** Lines of cells; quotes may enclose separators, line breaks and, doubled, quotes. */
function cells(text, separator) {
  const lines = [[]];
  const cell = new RegExp(`(?:"((?:[^"]|"")*)"|([^${separator}\\r\\n]*))(${separator}|\\r\\n|\\n|\\r|$)`, "y");
  for (let match; cell.lastIndex < text.length && (match = cell.exec(text));) {
    lines.at(-1).push(match[1] === undefined ? match[2].trim() : match[1].replaceAll('""', '"'));
    if (match[3] !== separator) lines.push([]);
  }
  return { lines: lines.filter((line) => line.some(Boolean)), end: cell.lastIndex };
}

const isNumber = (text) => text !== "" && Number.isFinite(Number(text));

function fromText(name, bytes) {
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    refuse(name, "be CSV in UTF-8, or NPZ", "other bytes", "save it anew in one of these");
  }
  if (text.includes("\0")) refuse(name, "be CSV in UTF-8, or NPZ", "other bytes", "save it anew in one of these");
  const first = text.split(/[\r\n]/, 1)[0];
  const separator = [",", ";", "\t"].reduce((best, one) => (first.split(one).length > first.split(best).length ? one : best));
  const { lines: [names = [], ...lines] } = cells(text, separator);
  if (names.length < 2 || !lines.length)
    refuse(name, "hold a line with names, and one for each sample", `${lines.length + (names.length > 0)} lines of `
      + `${names.length} values`, "separate values by commas");
  if (names.every(isNumber))
    refuse("the first line", "name the columns", quoted(names.join(separator)), "put one above, as x1,x2,z_t,y_g");
  const double = names.find((one, i) => names.indexOf(one) !== i);
  if (double !== undefined) refuse("names of columns", "differ", `${quoted(double)} twice`, "give one of them another name");
  const odd = lines.findIndex((line) => line.length !== names.length);
  if (odd >= 0)
    refuse(`sample ${odd + 1}`, `have ${names.length} values, one for each name`, lines[odd].length, "fill in or remove its line");
  const columns = names.map((column, k) => ({ name: column, values: lines.map((line) => line[k]) }));
  // A nameless first column numbers the rows, as pandas writes it.
  return grouped(columns[0].name === "" ? columns.slice(1) : columns).map(({ name: one, columns: several }) => {
    const width = several.length;
    const flat = lines.flatMap((_, i) => several.map(({ values }) => values[i]));
    const numeric = flat.every((value) => value === "" || !Number.isNaN(Number(value)) || /^[+-]?(nan|inf(inity)?)$/i.test(value));
    return { name: one, width, column: true, text: !numeric, values: numeric ? Float64Array.from(flat, (v) => (v === "" ? NaN : Number(v))) : flat };
  });
}

/** Neighbouring columns whose names differ in a number at the end that counts up are one array. */
function grouped(columns) {
  const groups = [];
  for (const column of columns) {
    const [, stem, digits] = column.name.match(/^(.*?)(\d*)$/);
    const last = groups.at(-1);
    const number = digits === "" ? NaN : Number(digits);
    if (last && stem === last.stem && number === last.number + 1) Object.assign(last, { number }).columns.push(column);
    else groups.push({ stem, number, columns: [column] });
  }
  return groups.map(({ columns: some }) => ({
    columns: some, name: some.length > 1 ? `${some[0].name} … ${some.at(-1).name}` : some[0].name,
  }));
}

// ---- NPZ ----

const inflated = (bytes) =>
  new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"))).arrayBuffer();

/** Files in a ZIP archive, by its directory, which stands at the end. */
async function fromArchive(name, buffer) {
  const view = new DataView(buffer);
  const broken = (what) => refuse(name, "be a whole NPZ archive", what, "save it anew with numpy.savez");
  let end = buffer.byteLength - 22;
  while (end >= 0 && view.getUint32(end, true) !== 0x06054b50) end--;
  if (end < 0) broken("one without its end");
  const arrays = [];
  try {
    let at = view.getUint32(end + 16, true);
    for (let i = view.getUint16(end + 10, true); i > 0; i--) {
      const [method, packed, size] = [view.getUint16(at + 10, true), ...[20, 24].map((k) => view.getUint32(at + k, true))];
      const [named, extra, comment] = [28, 30, 32].map((k) => view.getUint16(at + k, true));
      const file = new TextDecoder().decode(new Uint8Array(buffer, at + 46, named));
      const from = view.getUint32(at + 42, true);
      const start = from + 30 + view.getUint16(from + 26, true) + view.getUint16(from + 28, true);
      at += 46 + named + extra + comment;
      if (!file.endsWith(".npy"))
        refuse(name, "hold NumPy’s arrays alone", quoted(file), "save it as CSV, or with numpy.savez");
      if (size > MOST) refuse(file, "be at most 64 MB", `${Math.ceil(size / 2 ** 20)} MB`, "draw some 1000 samples at random");
      const bytes = new Uint8Array(buffer, start, packed);
      if (method !== 0 && method !== 8) broken(`compression ${method}`);
      arrays.push(fromNumpy(file.slice(0, -4), method ? await inflated(bytes) : bytes.slice().buffer));
    }
  } catch (error) {
    if (error.message.includes(" must ")) throw error;
    broken("a damaged one");
  }
  return arrays.filter(Boolean);
}

const half = (bits) => {
  const [sign, power, rest] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  if (power === 31) return rest ? NaN : sign * Infinity;
  return sign * (power ? 2 ** (power - 15) * (1 + rest / 1024) : (2 ** -14 * rest) / 1024);
};
const NUMBERS = {
  f8: "getFloat64", f4: "getFloat32", i1: "getInt8", i2: "getInt16", i4: "getInt32", i8: "getBigInt64", b1: "getUint8",
  u1: "getUint8", u2: "getUint16", u4: "getUint32", u8: "getBigUint64",
};

/** One array; nothing for a single number. Rows of more dimensions become flat. */
function fromNumpy(name, buffer) {
  const view = new DataView(buffer);
  const long = view.getUint8(6) > 1;
  const start = long ? 12 : 10;
  const length = long ? view.getUint32(8, true) : view.getUint16(8, true);
  const header = new TextDecoder().decode(new Uint8Array(buffer, start, length));
  const [, order, kind] = header.match(/'descr': '([<>|=])(\w+)'/) ?? [];
  const size = Number(kind?.slice(1)) * (kind?.[0] === "U" ? 4 : 1);
  const text = kind?.[0] === "U" || kind?.[0] === "S";
  if (!text && kind !== "f2" && !NUMBERS[kind])
    refuse(`array ${quoted(name)}`, "hold numbers or text", `type ${header.match(/'descr': ('[^']*'|\[.*?\])/)?.[1] ?? "unknown"}`,
      "save it anew, as .astype(float) for example");
  const shape = header.match(/'shape': \(([^)]*)\)/)[1].split(",").map((part) => part.trim()).filter(Boolean).map(Number);
  if (!shape.length) return undefined;
  const width = shape.slice(1).reduce((product, v) => product * v, 1);
  const little = order !== ">";
  const from = start + length;
  const one = (i) => {
    const at = from + i * size;
    if (kind === "f2") return half(view.getUint16(at, little));
    if (!text) return Number(view[NUMBERS[kind]](at, little));
    const points = Array.from({ length: kind[0] === "U" ? size / 4 : size }, (_, k) =>
      (kind[0] === "U" ? view.getUint32(at + 4 * k, little) : view.getUint8(at + k)));
    return String.fromCodePoint(...points.filter(Boolean));
  };
  const columnwise = header.includes("'fortran_order': True");
  const place = (i) => (columnwise ? Math.floor(i / width) + shape[0] * (i % width) : i);
  const values = Array.from({ length: shape[0] * width }, (_, i) => one(place(i)));
  return { name, width, text, values: text ? values : Float64Array.from(values) };
}

// ---- what an array stands for ----

const [FEWEST, LARGEST, CLASSES] = [8, 2000, 100]; // samples, and the most classes

const NAMES = {
  features: /^(x|features?|inputs?|embeddings?|images?|pixels?)([ _.\d]|$)/i,
  teacher: /^(z|logits?|teacher|scores?|p|prob\w*)([ _.\d]|$)/i,
  label: /^(y|labels?|targets?|class|given)([ _.\d]|$)/i,
  held_out: /^(held_?out|is_test|test)$/i,
};

const rowsOf = ({ values, width }) => (width ? values.length / width : 0);
const everyRow = ({ values, width }, holds) => {
  for (let i = 0; i < values.length; i += width) if (!holds(values.slice(i, i + width))) return false;
  return true;
};

/** What a teacher's values seem to be. */
export const seem = ({ values, width }) =>
  (values.every((p) => p >= 0 && p <= 1)
    && everyRow({ values, width }, (row) => width === 1 || Math.abs(row.reduce((total, p) => total + p) - 1) < 0.01)
    ? "probabilities" : "logits");

/** A guess which array is what, by names and then by values; features may be all the rest, "". */
export function guessed(arrays) {
  const taken = new Set();
  const take = (test) => {
    const found = arrays.find((array) => !taken.has(array) && test(array));
    taken.add(found);
    return found?.name;
  };
  const classes = ({ width, text, values }) => width === 1 && (text || values.every(Number.isInteger));
  const held_out = take(({ name, text }) => !text && NAMES.held_out.test(name)) ?? "";
  const label = take((array) => NAMES.label.test(array.name) && classes(array))
    ?? take((array) => classes(array) && new Set(array.values).size <= CLASSES);
  const teacher = take(({ name, text }) => !text && NAMES.teacher.test(name));
  const features = take(({ name, text, column }) => !text && !column && NAMES.features.test(name));
  const rest = take(({ text }) => !text); // of arrays without such names
  return { features: features ?? "", teacher: teacher ?? rest ?? arrays[0].name, label: label ?? arrays[0].name, held_out };
}

/** Samples by what their arrays stand for; `gives` says what the teacher's values are. */
export function samples(arrays, { features, teacher, label, held_out, gives }) {
  const [z_t, y_g, apart] = [teacher, label, held_out].map((name) => arrays.find((array) => array.name === name));
  const used = [z_t, y_g, apart];
  const n = rowsOf(y_g);
  const x = features ? arrays.filter(({ name }) => name === features)
    : arrays.filter((array) => !used.includes(array) && !array.text && rowsOf(array) === n);
  if (!x.length) refuse("features", "be numbers, apart from teacher and labels", "none", "choose them, or add columns to the file");
  if (z_t === y_g || x.some((array) => used.includes(array)) || (apart && [z_t, y_g].includes(apart)))
    refuse("features, teacher and labels", "be different arrays", quoted((x.find((array) => used.includes(array)) ?? y_g).name)
      + " twice", "choose another one");
  for (const array of [...x, z_t, ...(apart ? [apart] : [])]) {
    if (rowsOf(array) !== n)
      refuse(quoted(array.name), `have a row for each of the ${n} labels`, rowsOf(array), "choose arrays of the same samples");
    if (array.text)
      refuse(quoted(array.name), "hold numbers", quoted(array.values.find((v) => !isNumber(v))), "choose another one, or encode it");
    const bad = array.values.findIndex((v) => !Number.isFinite(v));
    if (bad >= 0)
      refuse(quoted(array.name), "be finite", `${array.values[bad]} in sample ${Math.floor(bad / array.width) + 1}`,
        "remove or repair such samples first");
  }
  if (n < FEWEST || n > LARGEST)
    refuse("a file", `hold ${FEWEST} to ${LARGEST} samples`, n, "draw some at random; in Python, kdlib.advise takes more");
  const K = Math.max(z_t.width, 2);
  if (K > CLASSES) refuse("a teacher", `know ${CLASSES} classes at most`, K, "in Python, kdlib.advise takes more");
  const { y, names } = classesOf(y_g, K);
  const z = Array.from({ length: n }, (_, i) =>
    logits(Array.from(z_t.values.subarray(i * z_t.width, (i + 1) * z_t.width)), gives, i + 1));
  const d = x.reduce((total, { width }) => total + width, 0);
  const some = (chosen) => {
    const inputs = chosen.flatMap((i) => x.flatMap(({ values, width }) => Array.from(values.subarray(i * width, (i + 1) * width))));
    return { x: Float64Array.from(inputs), z: chosen.map((i) => z[i]), y: chosen.map((i) => y[i]) };
  };
  const all = [...y.keys()];
  if (!apart) return { ...some(all), d, K, names, held_out: null };
  const odd = apart.values.find((v) => v !== 0 && v !== 1);
  if (odd !== undefined) refuse("what is held out", "be marked by 1, the rest by 0", odd, "choose another column, or none");
  const kept = all.filter((i) => apart.values[i]);
  if (kept.length < 2) refuse("what is held out", "be two samples or more", kept.length, "mark others, or none");
  return { ...some(all.filter((i) => !apart.values[i])), d, K, names, held_out: some(kept) };
}

function classesOf({ values, width, text, name }, K) {
  if (width !== 1) refuse("labels", "be one for each sample", `${width} columns in ${quoted(name)}`, "choose another array");
  if (text) {
    const names = [...new Set(values)].sort();
    if (names.length !== K)
      refuse("labels in words", `be ${K}, as many as the teacher knows`, `${names.length} (${names.slice(0, 4).join(", ")}, …)`,
        `number them from 0 to ${K - 1}, in the order of the teacher’s columns`);
    return { y: values.map((one) => names.indexOf(one)), names };
  }
  const wrong = values.find((v) => !(v >= 0 && v < K && Number.isInteger(v)));
  if (wrong !== undefined)
    refuse("labels", K === 2 ? "be 0 or 1" : `be classes from 0 to ${K - 1}`, wrong, K === 2 ? "encode the two classes as 0 and 1"
      : "number the classes from 0, in the order of the logits; subtract 1 from labels that begin with 1");
  return { y: Array.from(values), names: null };
}

function logits(row, gives, sample) {
  if (gives === "logits") {
    const large = row.find((v) => Math.abs(v) > 1e8);
    if (large !== undefined)
      refuse("logits", "lie between -1e8 and 1e8", large, "leave masked classes out, they get no share of any probability");
    return row;
  }
  const outside = row.find((p) => !(p > 0 && p <= 1 && (row.length > 1 || p < 1)));
  if (outside !== undefined)
    refuse("probabilities", `lie above 0${row.length > 1 ? "" : " and below 1"}`, `${outside} in sample ${sample}`,
      "say that they are logits, or keep them off the ends, by 1e-6 for example");
  const total = row.reduce((all, p) => all + p);
  if (row.length > 1 && Math.abs(total - 1) > 0.01)
    refuse("probabilities of a sample", "add up to 1", `${Number(total.toPrecision(4))} in sample ${sample}`,
      "say that they are logits, or choose the columns of all classes");
  return row.length > 1 ? row.map(Math.log) : [Math.log(row[0] / (1 - row[0]))];
}
