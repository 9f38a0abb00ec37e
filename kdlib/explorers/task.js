// What explorers of the task's students share; its data come from kdlib/explorers/_task.py.

import { among, stops } from "./page.js";

export const SIZES = Array.from({ length: 200 }, (_, i) => i + 1);
const EPOCHS = Array.from({ length: 11 }, (_, i) => 2 ** (4 + i));
export const whole = (largest) => (v) => Number.isInteger(v) && v >= 1 && v <= largest;

// Every size where it matters, then steps of about a tenth.
export const STOPS = SIZES.filter((n) =>
  n <= 20 || (n <= 40 && n % 2 === 0) || (n <= 100 && n % 5 === 0) || n % 10 === 0);
export const SAMPLE_SIZE = { name: "n", label: "<i>n</i> samples", valid: whole(200), ...stops(STOPS) };

export const STOPPING = { name: "epoch", label: "teacher’s epochs", ...among(EPOCHS) };

/** The rows' combinations with coefficients a. */
export const combine = (rows, a) => rows.map((row) => row.reduce((sum, value, j) => sum + value * a[j], 0));
