// Converged students of an infinitely wide ReLU network on one-dimensional inputs, computed in the browser.

/**
 * Neural tangent kernel of the inputs a (rows) and b (columns); see kdlib.networks for the recursion.
 * With `upper`, zeros stand below the diagonal: half of a Gram matrix is enough.
 */
export function ntk(a, b, { depth, sigma_w, sigma_b }, upper = false) {
  const [scale, bias] = [sigma_w ** 2, sigma_b ** 2];
  const kernel = (x1, x2) => {
    let q1 = scale * x1 * x1 + bias;
    let q2 = scale * x2 * x2 + bias;
    let D = scale * (x1 - x2) * (x1 - x2);
    let difference = scale * (x1 - x2) * (x1 + x2); // q1 - q2, which would cancel
    let theta = (q1 + q2 - D) / 2;
    for (let layer = 0; layer < depth; layer++) {
      const [root1, root2] = [Math.sqrt(q1), Math.sqrt(q2)];
      const size = root1 * root2;
      const radial = difference ? (difference / (root1 + root2)) ** 2 : 0;
      const half = Math.sqrt(Math.min(Math.max((D - radial) / (4 * size || 1), 0), 1)); // sine of half the angle
      const angle = 2 * Math.asin(half);
      const bend = 2 * half * Math.sqrt(1 - half * half) - angle * (1 - 2 * half * half);
      D = scale * (radial / 2 + size * (2 * half * half - bend / Math.PI));
      q1 = (scale * q1) / 2 + bias;
      q2 = (scale * q2) / 2 + bias;
      difference *= scale / 2;
      theta = (theta * scale * (Math.PI - angle)) / (2 * Math.PI) + (q1 + q2 - D) / 2;
    }
    return theta;
  };
  return Array.from(a, (x1, i) => {
    const row = new Float64Array(b.length); // filled by a plain loop: three times faster than from a callback
    for (let j = upper ? i : 0; j < row.length; j++) row[j] = kernel(x1, b[j]);
    return row;
  });
}

/** The students of the first 1, 2, ... of the inputs x, and what they say on a grid; see kdlib.students. */
export function nestedStudents(x, grid, network) {
  // With Theta = L L^T, one elimination turns the rows [Theta | Theta(x, grid)] into [L^T | L^-1 Theta(x, grid)].
  const N = x.length;
  const columns = Float64Array.from([...x, ...grid]);
  const rows = ntk(x, columns, network, true);
  rows.forEach((row, i) => {
    // Two rows at a time, as the time goes into reading and writing; of an odd number, none beside the last.
    for (let j = 0; j < i; j += 2) {
      const [first, second] = [rows[j], rows[j + 1]];
      const [f, g] = [first[i], j + 1 < i ? second[i] : 0];
      for (let k = i; k < row.length; k++) row[k] -= f * first[k] + g * second[k];
    }
    const pivot = Math.sqrt(row[i]);
    for (let k = i; k < row.length; k++) row[k] /= pivot;
  });
  return {
    /** Coordinates of the grid's features, one row for each sample. */
    features: rows.map((row) => row.subarray(N)),
    /** c = L^-1 z: the first n are the weight change of the student of n samples. */
    coordinates(z) {
      const c = Float64Array.from(z);
      for (let i = 0; i < N; i++) {
        c[i] /= rows[i][i];
        for (let k = i + 1; k < N; k++) c[k] -= rows[i][k] * c[i];
      }
      return c;
    },
    weightNorms(c) {
      let sum = 0;
      return c.map((v) => Math.sqrt((sum += v * v)));
    },
    predict(c, n) {
      const z = new Float64Array(grid.length);
      for (let i = 0; i < n; i++) for (let k = 0; k < z.length; k++) z[k] += c[i] * rows[i][N + k];
      return z;
    },
  };
}
