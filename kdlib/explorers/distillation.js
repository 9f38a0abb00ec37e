// Eq. 3, solved in the browser; and what a student has to learn.

export const softplus = (v) => Math.max(v, 0) + Math.log1p(Math.exp(-Math.abs(v)));
export const sigma = (v) => (v > 0 ? 1 / (1 + Math.exp(-v)) : Math.exp(v) / (1 + Math.exp(v)));

/** Root z of (rho/T) [sigma(z/T) - sigma(zt/T)] + (1-rho) [sigma(z) - y] = 0; see kdlib.effective_logit. */
export function effectiveLogit(zt, y, rho, T) {
  if (!(rho >= 0 && rho <= 1 && T > 0 && T < Infinity && Number.isFinite(zt) && (y === 0 || y === 1)))
    throw new RangeError(`need finite z_t, y_g 0 or 1, 0 <= rho <= 1, T > 0; got ${[zt, y, rho, T]}`);
  if (rho === 1) return zt;
  if (rho === 0) return y ? Infinity : -Infinity;
  if (y === 0) return -effectiveLogit(-zt, 1, rho, T);
  // x = (z - start)/T is the root of the increasing function
  // F(x) = log(1 - e^-x) + softplus(z) - softplus(-z/T) - c, found by Halley's method inside a bracket.
  const start = Math.max(zt, -750 * T);
  const log_T = Math.log(T);
  const c = log_T - Math.log(rho / (1 - rho)) + softplus(start / T);
  let low = 0;
  let high = Math.LN2 + Math.max(c + 2 * Math.LN2 + Math.max(-start / T, 0) - start, 0) / T;
  // Where to begin: the smaller of the two approximations that kdlib begins with.
  const logQ = c - Math.max(start, 0);
  const q = Math.exp(Math.min(logQ, 0));
  const near = logQ < 0 ? Math.log1p((q * (1 + Math.exp(-start / T))) / (1 - q)) : Infinity;
  const v = Math.min(softplus(log_T + c - start), 1e300);
  const crossed = Math.max(v * (1 - Math.log1p(v) / (2 + v)), c - start) / T;
  let x = Math.max(Math.min(near, crossed, high), 1e-300);
  for (let count = 0; count < 200; count++) {
    const z = start + T * x;
    const [rise, e_z, e_zT] = [-Math.expm1(-x), Math.exp(-Math.abs(z)), Math.exp(-Math.abs(z) / T)];
    const s_z = (z > 0 ? 1 : e_z) / (1 + e_z); // sigma(z)
    const s_zT = (z > 0 ? e_zT : 1) / (1 + e_zT); // sigma(-z/T)
    const F = Math.log((rise * (1 + e_z)) / (1 + e_zT)) + Math.max(z, 0) + Math.min(z, 0) / T - c;
    if (F < 0) low = x;
    else high = x;
    const slope = (1 - rise) / rise + T * s_z + s_zT;
    const bend = (rise - 1) / rise ** 2 + T * T * s_z * (1 - s_z) - s_zT * (1 - s_zT);
    let next = x - (2 * F * slope) / (2 * slope * slope - F * bend);
    // A step through nearly all of the bracket may belong to a cycle from end to end: then halve the bracket, unless it
    // is down to rounding, where only its ends are minded.
    const step = Math.abs(next - x);
    const small = 1e-5 * Math.min(x, 1, 1 / T);
    if (!(next >= low && next <= high && step <= 0.9 * (high - low)))
      next = step <= small ? Math.min(Math.max(next, low), high) : (low + high) / 2;
    const change = Math.abs(next - x);
    x = next;
    // Halley's error is cubed at each step: after this one it is below the last bit.
    if (change <= small || T * change <= 1e-17 * (1 + Math.abs(zt))) break;
  }
  return start + T * x;
}

/** What a student has to learn; at rho = 0, where that is infinite, its direction. See kdlib.distillation.targets. */
export const target = (zt, y, rho, T) => (rho ? effectiveLogit(zt, y, rho, T) : 2 * y - 1);

export const HARD_LABELS_ALONE = "ρ = 0: hard labels alone. Their targets lie at ±∞; drawn is the limit, the student of the "
  + "labels’ signs, in units of the threshold t.";
