// Converged students of an infinitely wide ReLU network, computed in the browser. Inputs of dimension d are a flat
// list, one after the other.

/**
 * Neural tangent kernel of the inputs a (rows) and b (columns); see kdlib.networks for the recursion.
 * With `upper`, zeros stand below the diagonal: half of a Gram matrix is enough.
 */
export function ntk(a, b, { depth, sigma_w, sigma_b, d = 1 }, upper = false) {
  const [scale, bias] = [sigma_w ** 2, sigma_b ** 2];
  /** Of one input, at each layer, the kernel with itself and its root, one after the other: pairs need them again. */
  const alone = (inputs, i) => {
    let q = bias;
    for (let k = 0; k < d; k++) q += (scale / d) * inputs[i * d + k] * inputs[i * d + k];
    return Array.from({ length: depth + 1 }, (_, layer) => {
      if (layer) q = (scale * q) / 2 + bias;
      return [q, Math.sqrt(q)];
    }).flat();
  };
  const own = (inputs) => Float64Array.from(Array.from({ length: inputs.length / d }, (_, i) => alone(inputs, i)).flat());
  const [ownA, ownB, step] = [own(a), own(b), 2 * (depth + 1)];
  const kernel = (i, j) => {
    let D = 0;
    let difference = 0; // of the two inputs' own kernels, which would cancel
    for (let k = 0; k < d; k++) {
      const x1 = a[i * d + k];
      const x2 = b[j * d + k];
      D += (scale / d) * (x1 - x2) * (x1 - x2);
      difference += (scale / d) * (x1 - x2) * (x1 + x2);
    }
    let [at, beside] = [i * step, j * step];
    let theta = (ownA[at] + ownB[beside] - D) / 2;
    for (let layer = 0; layer < depth; layer++) {
      const root1 = ownA[at + 1];
      const root2 = ownB[beside + 1];
      const size = root1 * root2;
      const radial = difference ? (difference / (root1 + root2)) ** 2 : 0;
      const half = Math.sqrt(Math.min(Math.max((D - radial) / (4 * size || 1), 0), 1)); // sine of half the angle
      const angle = 2 * Math.asin(half);
      const bend = 2 * half * Math.sqrt(1 - half * half) - angle * (1 - 2 * half * half);
      D = scale * (radial / 2 + size * (2 * half * half - bend / Math.PI));
      difference *= scale / 2;
      at += 2;
      beside += 2;
      theta = (theta * scale * (Math.PI - angle)) / (2 * Math.PI) + (ownA[at] + ownB[beside] - D) / 2;
    }
    return theta;
  };
  return Array.from({ length: a.length / d }, (_, i) => {
    const row = new Float64Array(b.length / d); // filled by a plain loop: three times faster than from a callback
    for (let j = upper ? i : 0; j < row.length; j++) row[j] = kernel(i, j);
    return row;
  });
}

/** Take multiples of four rows, or fewer, from another one: at once, as the time goes into reading and writing. */
function subtract(row, [first, second = first, third = first, fourth = first], [a, b = 0, c = 0, d = 0], from) {
  for (let k = from; k < row.length; k++) row[k] -= a * first[k] + b * second[k] + (c * third[k] + d * fourth[k]);
}

/**
 * One elimination: with Theta = L L^T, the rows [Theta | B] become [L^T | L^-1 B], in place. What stands below Theta's
 * diagonal is not read. `tell` hears of each row that is done.
 */
export function eliminate(rows, tell = () => {}) {
  rows.forEach((row, i) => {
    for (let j = 0; j < i; j += 4) {
      const four = rows.slice(j, Math.min(j + 4, i));
      subtract(row, four, four.map((above) => above[i]), i);
    }
    const pivot = Math.sqrt(row[i]);
    for (let k = i; k < row.length; k++) row[k] /= pivot;
    tell(i);
  });
  return rows;
}

/** Combinations of the first rows with coefficients c and with d: two at once, and four rows as above. */
function combinations(rows, c, d) {
  const [y, z] = [new Float64Array(rows[0].length), new Float64Array(rows[0].length)];
  for (let i = 0; i < c.length; i += 4) {
    const [first, second = first, third = first, fourth = first] = rows.slice(i, i + 4);
    const [c1, c2 = 0, c3 = 0, c4 = 0] = c.subarray(i, i + 4);
    const [d1, d2 = 0, d3 = 0, d4 = 0] = d.subarray(i, i + 4);
    for (let k = 0; k < y.length; k++) {
      const e = first[k];
      const f = second[k];
      const g = third[k];
      const h = fourth[k];
      y[k] += c1 * e + c2 * f + (c3 * g + c4 * h);
      z[k] += d1 * e + d2 * f + (d3 * g + d4 * h);
    }
  }
  return [y, z];
}

/** The students of the first 1, 2, ... of the inputs x, and what they say on a grid; see kdlib.students. */
export function nestedStudents(x, grid, network) {
  const N = x.length / (network.d ?? 1);
  const rows = eliminate(ntk(x, Float64Array.from([...x, ...grid]), network, true));
  const features = rows.map((row) => row.subarray(N));
  return {
    /** Coordinates of the grid's features, one row for each sample. */
    features,
    /** c = L^-1 z: the first n are the weight change of the student of n samples. Fewer z give fewer c. */
    coordinates(z) {
      const c = Float64Array.from(z);
      for (let i = 0; i < c.length; i += 4) {
        const four = rows.slice(i, i + 4);
        const own = c.subarray(i, i + 4);
        own.forEach((_, j) => {
          for (let k = 0; k < j; k++) own[j] -= four[k][i + j] * own[k];
          own[j] /= four[j][i + j];
        });
        subtract(c, four, own, i + 4);
      }
      return c;
    },
    weightNorms(c) {
      let sum = 0;
      return c.map((v) => Math.sqrt((sum += v * v)));
    },
    /** Logits on the grid of several students of n samples, of whom the coordinates are given. */
    predict(coordinates, n) {
      const c = coordinates.map((all) => all.subarray(0, n));
      const pairs = c.map((one, i) => (i % 2 ? [] : combinations(features, one, c[i + 1] ?? one)));
      return pairs.flat().slice(0, c.length);
    },
  };
}

/** Share of a cell of the grid on which lines from a to b and from c to d have opposite signs. */
export function apart(a, b, c, d) {
  if (a * c > 0 && b * d > 0 && a * b > 0) return 0;
  const between = Math.abs((a * b < 0 ? a / (a - b) : 1) - (c * d < 0 ? c / (c - d) : 1));
  return a * c < 0 ? 1 - between : between;
}
