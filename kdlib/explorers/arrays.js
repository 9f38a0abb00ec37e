// Arrays from a file: columns of a CSV, or what NumPy's savez wrote, compressed or not. An array has a name, a width
// (numbers for each sample) and values, a sample after the other: numbers, or text. Columns whose names begin alike are
// one array, too. What values mean is decided as in kdlib.own_data.

const MOST = 64 * 2 ** 20; // bytes

/** What a reader of files and numbers refuses: the rule, the value and the remedy in one line. */
export const refuse = (name, rule, got, remedy) => { throw new RangeError(`${name} must ${rule}, got ${got}: ${remedy}`); };

const quoted = (text) => `“${text.length > 40 ? `${text.slice(0, 37)}…` : text}”`;

/** The arrays of a file, by its content rather than its name, with sentences on what was `left` out. */
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
  return lines.filter((line) => line.some(Boolean));
}

const isNumber = (text) => text !== "" && Number.isFinite(Number(text));
const MISSING = /^([+-]?(nan|inf(inity)?)|n\/?a|<na>|null|none)?$/i;
const UNNAMED = /^(Unnamed: \d+)?$/; // the second is what pandas calls the first

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
  const [names = [], ...lines] = cells(text, separator);
  if (names.length < 2 || !lines.length)
    refuse(name, "hold a line with names, and one for each sample", `${lines.length + (names.length > 0)} lines of `
      + `${names.length} values`, "separate values by commas");
  if (names.every(isNumber))
    refuse("the first line", "name the columns", quoted(names.join(separator)), "put one above, as x1,x2,z_t,y_g");
  const double = names.find((one, i) => names.indexOf(one) !== i);
  if (double !== undefined) refuse("names of columns", "differ", `${quoted(double)} twice`, "give one of them another name");
  const odd = lines.findIndex((line) => line.length !== names.length);
  if (odd >= 0)
    refuse(`sample ${odd + 1}`, `have ${names.length} values, one for each name`, lines[odd].length, "complete or remove its line");
  const columns = names.map((column, k) => ({ name: column, values: lines.map((line) => line[k]) }));
  const left = columns.flatMap(({ name: one }, k) => (UNNAMED.test(one) ? [`Column ${k + 1} has no name, and was left out.`] : []));
  const arrays = grouped(columns.filter(({ name: one }) => !UNNAMED.test(one))).map(({ name: one, columns: several, endings }) => {
    const flat = lines.flatMap((_, i) => several.map(({ values }) => values[i]));
    const text = flat.some((value) => !isNumber(value) && !MISSING.test(value));
    return { name: one, width: several.length, columns: several.map((column) => column.name), endings, text,
      values: text ? flat : Float64Array.from(flat, (v) => (isNumber(v) ? Number(v) : NaN)) };
  });
  return Object.assign(arrays, { left });
}

/** Each column, and before the first of them, neighbours whose names are alike but for a number or a word at the end. */
function grouped(columns) {
  const found = [];
  let last;
  for (const column of columns) {
    const [, stem, ending] = column.name.match(/^(.*[_.\- ])([^_.\- ]+)$/) ?? column.name.match(/^(.*?)(\d+)$/) ?? [];
    if (stem && last?.stem === stem) {
      if (last.columns.length === 1) found.splice(found.length - 1, 0, last);
      last.columns.push(column);
      last.endings.push(ending);
      last.name = `${last.columns[0].name} … ${column.name}`;
    } else last = { stem, columns: [column], endings: [ending] };
    found.push({ name: column.name, columns: [column] });
  }
  return found;
}

// ---- NPZ ----

const inflated = (bytes) =>
  new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"))).arrayBuffer();

const CRC = Array.from({ length: 256 }, (_, i) => {
  let c = i;
  for (let bit = 0; bit < 8; bit++) c = c & 1 ? (c >>> 1) ^ 0xedb88320 : c >>> 1;
  return c;
});

/** The sum by which an archive knows a file. */
const checksum = (bytes) => ~bytes.reduce((sum, byte) => (sum >>> 8) ^ CRC[(sum ^ byte) & 255], -1) >>> 0;

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
      const [expected, packed, size] = [16, 20, 24].map((k) => view.getUint32(at + k, true));
      const method = view.getUint16(at + 10, true);
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
      const content = method ? await inflated(bytes) : bytes.slice().buffer;
      if (checksum(new Uint8Array(content)) !== expected) broken("a damaged one");
      arrays.push(fromNumpy(file.slice(0, -4), content));
    }
  } catch (error) {
    if (error.message.includes(" must ")) throw error;
    broken("a damaged one");
  }
  return Object.assign(arrays.filter(Boolean), { left: [] });
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
    refuse(`array ${quoted(name)}`, "hold numbers or text", `type ${header.match(/'descr': ('[^']*')/)?.[1] ?? "of records"}`,
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
  return { name, width, columns: [name], whole: true, text, values: text ? values : Float64Array.from(values) };
}

// ---- what an array stands for ----

const [FEWEST, LARGEST, CLASSES] = [8, 2000, 100]; // samples, and the most classes
const LEAST = 1e-6; // what a probability of 0 is taken for

const NAMES = {
  features: /^(x|features?|inputs?|embeddings?|images?|pixels?)([_ .\-\d]|$)/i,
  teacher: /^(z|logits?|teacher|scores?|p|prob\w*)([_ .\-\d]|$)/i,
  label: /^(y|labels?|targets?|class|given)([_ .\-\d]|$)/i,
  held_out: /^(held_?out|is_test|test)$/i,
};

const rowsOf = ({ values, width }) => (width ? values.length / width : 0);
const rowOf = ({ values, width }, i) => Array.from(values.slice(i * width, (i + 1) * width));
const total = (row) => row.reduce((all, v) => all + v, 0);

/** What a teacher's values seem to be; where they do not add up to 1, kdlib.own_data asks. */
export const seem = ({ text, values }) => (!text && values.every((p) => p >= 0 && p <= 1) ? "probabilities" : "logits");

/** A guess which array is what, by names and then by values; features may be all the rest, "". */
export function guessed(arrays) {
  const taken = new Set();
  const free = ({ columns }) => !columns.some((column) => taken.has(column));
  const take = (test) => {
    const found = arrays.find((array) => free(array) && test(array));
    for (const column of found?.columns ?? []) taken.add(column);
    return found?.name;
  };
  const classes = ({ width, text, values }) => width === 1 && (text || values.every((v) => Number.isInteger(v) || Number.isNaN(v)));
  const held_out = take(({ name, text, width }) => width === 1 && !text && NAMES.held_out.test(name)) ?? "";
  const label = take((array) => NAMES.label.test(array.name) && classes(array))
    ?? take((array) => classes(array) && new Set(array.values).size <= CLASSES);
  const teacher = take(({ name, text }) => !text && NAMES.teacher.test(name));
  const features = take(({ name, text, whole }) => !text && whole && NAMES.features.test(name));
  const rest = take(({ text }) => !text); // of arrays without such names
  return { features: features ?? "", teacher: teacher ?? rest ?? arrays[0].name, label: label ?? arrays[0].name, held_out };
}

/** Samples by what their arrays stand for; `gives` says what the teacher's values are. */
export function samples(arrays, { features, teacher, label, held_out, gives, scaled }) {
  const [z_t, y_g, apart] = [teacher, label, held_out].map((name) => arrays.find((array) => array.name === name));
  const n = rowsOf(y_g);
  const used = new Map();
  for (const [part, array] of [["the labels", y_g], ["the teacher", z_t], ["what is held out", apart]])
    for (const column of array?.columns ?? []) {
      if (used.has(column)) refuse(part, "have columns of its own", `${quoted(column)}, as ${used.get(column)}`, "choose another");
      used.set(column, part);
    }
  const rest = arrays.filter((array) => array.columns[0] === array.name && !used.has(array.name) && rowsOf(array) === n);
  const inWords = rest.filter(({ text, values }) => text && !values.some(isNumber));
  const x = features ? arrays.filter(({ name }) => name === features) : rest.filter((array) => !inWords.includes(array));
  if (!x.length) refuse("features", "be apart from teacher and labels", "no column that is left", "choose others");
  const twice = x.flatMap(({ columns }) => columns).find((column) => used.has(column));
  if (twice !== undefined)
    refuse("features", "have columns of their own", `${quoted(twice)}, as ${used.get(twice)}`, "choose others");
  for (const array of [...x, z_t, ...(apart ? [apart] : [])]) {
    if (rowsOf(array) !== n)
      refuse(quoted(array.name), `have a row for each of the ${n} labels`, rowsOf(array), "choose arrays of the same samples");
    const bad = array.values.findIndex((v) => !(array.text ? isNumber(v) : Number.isFinite(v)));
    if (bad >= 0)
      refuse(quoted(array.name), "hold finite numbers", `${array.text ? quoted(array.values[bad]) : array.values[bad]} in sample `
        + `${Math.floor(bad / array.width) + 1}`, "repair or remove it, or choose other columns");
  }
  if (n < FEWEST || n > LARGEST)
    refuse("a file", `hold ${FEWEST} to ${LARGEST} samples`, n, n < FEWEST ? "add some" : "draw some at random; in Python, "
      + "kdlib.advise takes more");
  const K = Math.max(z_t.width, 2);
  if (K > CLASSES) refuse("a teacher", `know ${CLASSES} classes at most`, K, "in Python, kdlib.advise takes more");

  const notes = features ? [] : [...arrays.left,
    ...inWords.map(({ name }) => `${quoted(name)} holds no numbers, and was left out.`)];
  const z = logits(z_t, gives, notes);
  const { y, names } = classesOf(y_g, K, z_t.endings, notes);
  const d = total(x.map(({ width }) => width));
  const inputs = y.map((_, i) => x.flatMap((array) => rowOf(array, i)));
  const odd = apart?.values.find((v) => v !== 0 && v !== 1);
  if (odd !== undefined) refuse("what is held out", "be marked by 1, and the rest by 0", odd, "choose another column, or none");
  const [given, others] = [0, 1].map((mark) => [...y.keys()].filter((i) => (apart ? apart.values[i] : 0) === mark));
  if (apart && others.length < 2) refuse("what is held out", "be two samples or more", others.length, "mark others, or none");
  const scale = scaled ? standardised(given.map((i) => inputs[i]), d) : (row) => row;
  const some = (chosen) => ({
    x: Float64Array.from(chosen.flatMap((i) => scale(inputs[i]))), z: chosen.map((i) => z[i]), y: chosen.map((i) => y[i]),
  });
  return { ...some(given), places: given, d: scale(inputs[0]).length, K, names, notes, held_out: apart ? some(others) : null };
}

/** Rows brought to mean 0 and standard deviation 1, constant columns left out, as those of the given rows. */
function standardised(rows, d) {
  const means = Array.from({ length: d }, (_, k) => total(rows.map((row) => row[k])) / rows.length);
  const deviations = means.map((mean, k) => Math.sqrt(total(rows.map((row) => (row[k] - mean) ** 2)) / rows.length));
  const varies = [...means.keys()].filter((k) => deviations[k] > 0);
  if (!varies.length) refuse("x", "have a column that varies", "only constant ones", "check which were selected");
  return (row) => varies.map((k) => (row[k] - means[k]) / deviations[k]);
}

function logits(array, gives, notes) {
  const rows = Array.from({ length: rowsOf(array) }, (_, i) => rowOf(array, i));
  if (gives === "logits") {
    const large = array.values.find((v) => Math.abs(v) > 1e8);
    if (large !== undefined)
      refuse("logits", "lie between -1e8 and 1e8", large, "leave masked classes out, they get no share of any probability");
    return rows;
  }
  const bad = rows.findIndex((row) => row.some((p) => !(p >= 0 && p <= 1)) || (row.length > 1 && !(total(row) > 0)));
  if (bad >= 0)
    refuse("probabilities", "lie in [0, 1], with one above 0 for each sample", `${rows[bad].join(", ")} in sample ${bad + 1}`,
      "say that they are logits");
  const both = rows.map((row) => (row.length > 1 ? row : [1 - row[0], row[0]]));
  const lost = both.filter((row) => row.some((p) => p < LEAST)).length;
  if (lost) notes.push(`Probabilities below 1e-06, in ${lost} samples, were taken for that.`);
  notes.push("The teacher's answers were taken for probabilities; their logarithms are the logits.");
  return both.map((row) => row.map((p) => Math.log(Math.max(p, LEAST))));
}

const listed = (names) => (names.length > 10 ? [...names.slice(0, 5), "...", ...names.slice(-4)] : names).join(", ");

/** Labels from 0, and what they stand for: the endings of the teacher's columns, numbers from 0, or all in order. */
function classesOf({ values, width, text, name }, K, endings, notes) {
  if (width !== 1) refuse("labels", "be one for each sample", `${width} columns in ${quoted(name)}`, "choose another array");
  const said = Array.from(values, (value) => (text && !isNumber(value) ? value : String(Number(value))));
  const gap = said.findIndex((one) => MISSING.test(one.trim()));
  if (gap >= 0)
    refuse("labels", "be there for each sample", `${quoted(said[gap])} in sample ${gap + 1}`,
      "remove or repair such samples first, or give such a class another name");
  const within = (names) => said.every((one) => names.includes(one));
  const numbered = Array.from({ length: K }, (_, k) => String(k));
  const key = (one) => (isNumber(one) ? Number(one) : Infinity);
  const found = [...new Set(said)].sort((a, b) => (key(a) === key(b) ? (a < b ? -1 : 1) : key(a) - key(b)));
  let names = found;
  if (endings?.length === K && within(endings)) names = endings;
  else if (within(numbered)) {
    if (!said.includes("0"))
      refuse("labels", "count from 0", `${listed(found)} of ${K} classes`, "subtract 1 if they count from 1; else name the "
        + `teacher's columns z_t_0 to z_t_${K - 1} in a table`);
    names = numbered;
  } else if (endings?.length === K && !endings.some((one) => /\d$/.test(one)))
    refuse("labels", `be among ${listed(endings)}, as the teacher's columns are named`, listed(found), "use the same names in both");
  else if (found.length !== K)
    refuse("labels", `be of ${K} classes, as many as the teacher answers for`, `${found.length}, ${quoted(found.join(", "))}`,
      "number them from 0 in the order of the answers");
  else
    notes.push(`Labels were sorted, and the teacher's answers taken in that order: ${names.slice(0, 10).join(", ")}`
      + `${K > 10 ? ", ..." : ""}.`);
  return { y: said.map((one) => names.indexOf(one)), names };
}
