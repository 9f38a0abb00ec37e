// Eq. 3 of K classes, solved in the browser.

import { sigma, softplus } from "./distillation.js";

const logAddExp = (a, b) => Math.max(a, b) + Math.log1p(Math.exp(-Math.abs(a - b)));

export const centred = (z) => {
  const mean = z.reduce((sum, v) => sum + v, 0) / z.length;
  return z.map((v) => v - mean);
};

/** Softmax of z/T, where an infinite logit has all the probability. */
export function softmax(z, T = 1) {
  const top = Math.max(...z);
  const weights = z.map((v) => (v === top ? 1 : Math.exp((v - top) / T)));
  const total = weights.reduce((sum, v) => sum + v, 0);
  return weights.map((v) => v / total);
}

/**
 * The pairwise rule, as in kdlib.beats: the label beats class j where the lead q_j - q_y is below kappa. Two equal
 * logits at kappa = 0 are level.
 */
export function pairwise(zt, y, rho, T) {
  const q = softmax(zt, T);
  const kappa = (T * (1 - rho)) / rho;
  const leads = zt.map((z, j) => (z > zt[y] ? -q[j] * Math.expm1((zt[y] - z) / T) : q[y] * Math.expm1((z - zt[y]) / T)));
  const beaten = zt.map((z, j) => j === y || (z > zt[y] ? leads[j] < kappa : kappa > 0 || z < zt[y]));
  return { q, kappa, leads, beaten };
}

/** Centred logits that minimise the loss of K classes; equations and method are those of kdlib.classes._excess. */
export function classEffectiveLogit(zt, y, rho, T) {
  if (!(rho >= 0 && rho <= 1 && T >= 1e-3 && T <= 1e6 && zt.length >= 2 && zt.every(Number.isFinite) && y in zt))
    throw new RangeError(`need finite z_t, y_g one of their classes, 0 <= rho <= 1, T from 1e-3 to 1e6; got ${[zt, y, rho, T]}`);
  if (rho === 1) return centred(zt);
  if (rho === 0) return zt.map((_, k) => (k === y ? Infinity : -Infinity));

  // Row 0 is the label's; the others follow, measured from the largest of them.
  const K = zt.length;
  const order = [y, ...zt.keys()].filter((k, i) => i === 0 || k !== y);
  const top = Math.max(...order.slice(1).map((k) => zt[k]));
  const z = order.map((k) => zt[k] - top);
  const weight = z.map((v, i) => (i ? Math.exp(v / T) : 0)); // q_k = weight e^-A
  const sum = (values) => values.reduce((total, v) => total + v, 0);
  const logKappa = Math.log(T) + Math.log1p(-rho) - Math.log(rho);
  const A = logAddExp(z[0] / T, Math.log(sum(weight)));
  const logQ = z[0] / T - A;
  const tilt = z.map((v, i) => (i ? (1 - 1 / T) * v : (T - 1) * logAddExp(v / T, logKappa + A)));

  const oneEnd = logKappa + (1 - T) * A;
  const width = (T - 1) * Math.log(K);
  const room = 0.01 + 0.15 * Math.abs(width); // that Newton's steps may need around the ends
  let low = oneEnd + Math.min(width, 0) - room;
  let high = oneEnd + Math.max(width, 0) + room;
  // Where hard labels do little, b = log kappa + A - log sum_k e^z_t,k.
  let b = logKappa + A - logAddExp(z[0], Math.log(sum(z.map((v, i) => (i ? Math.exp(v) : 0)))));
  b = Math.min(Math.max(b, low), high);

  // w, kept on the root's side of what the asymptotes, w and T w, say about it.
  const side = (w, target) => (T > 1 ? Math.min(w, target, target / T) : Math.max(w, target, target / T));
  const w = tilt.map((v) => side(T > 1 ? Infinity : -Infinity, v + b));
  const step = new Float64Array(K);
  const slope = new Float64Array(K);
  const sigmas = new Float64Array(K);
  for (let steps = 0; steps < 200; steps++) {
    // The unknown's equation at the rows' next values, and its derivative as they follow b; to first order in the steps.
    let [total, bySteps, byB, off] = [0, 0, 0, 0];
    for (let i = 0; i < K; i++) {
      sigmas[i] = sigma(w[i]);
      slope[i] = 1 + (T - 1) * sigmas[i];
      step[i] = (tilt[i] + b - w[i] - (T - 1) * softplus(w[i])) / slope[i];
      off = Math.max(off, Math.abs(step[i]));
      const term = weight[i] * sigmas[i];
      const bent = term * (1 - sigmas[i]);
      total += term;
      bySteps += bent * step[i];
      byB += bent / slope[i];
    }
    total = Math.max(total, 1e-300);
    const logOthers = Math.log(total) - A;
    const logLabel = logQ + w[0] - softplus(w[0]);
    const share = sigma(logLabel - logOthers);
    const byLabel = share * (1 - sigmas[0]) + sigmas[0];
    const E = logAddExp(logOthers, logLabel) - logKappa + softplus(w[0])
      + ((1 - share) * bySteps) / total + byLabel * step[0];
    const slopeE = ((1 - share) * byB) / total + byLabel / slope[0];

    // b waits until its rows are near; the sign of E is known where E is larger than its error.
    let move = 0;
    if (off < 0.5) {
      if (Math.abs(E) > off ** 2) {
        if (E < 0) low = b;
        else high = b;
      }
      move = -E / slopeE;
      // A step through nearly the whole bracket may be one of a cycle, from end to end.
      const inside = low <= b + move && b + move <= high && Math.abs(move) <= 0.9 * (high - low);
      if (!inside && !(Math.abs(move) < 3e-8)) move = (low + high) / 2 - b;
      b += move;
    }
    for (let i = 0; i < K; i++) w[i] = side(w[i] + step[i] + move / slope[i], tilt[i] + b);
    // Newton's error is squared at each step: after such a one it is 1e-15.
    if (Math.max(off, Math.abs(move)) <= 3e-8) break;
  }
  let total = 0;
  for (let i = 1; i < K; i++) total += weight[i] * sigma(w[i]);
  const excess = w.map((v, i) => (i ? -softplus(v) : logAddExp(0, Math.log(total) - A - logQ)));
  const found = Array.from({ length: K });
  order.forEach((k, i) => { found[k] = zt[k] + T * excess[i]; });
  return centred(found);
}
