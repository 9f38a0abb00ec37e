// What explorers of the task's students share; its data come from kdlib/explorers/_task.py.

import { among, stops } from "./page.js";

export const whole = (largest) => (v) => Number.isInteger(v) && v >= 1 && v <= largest;

/** The sizes of samples, as many as a draw has. */
export const sizesOf = ({ samples: [x] }) => x.map((_, i) => i + 1);

// Every size where it matters, then steps of about a tenth.
export const stopsOf = (task) => sizesOf(task).filter((n) =>
  n <= 20 || (n <= 40 && n % 2 === 0) || (n <= 100 && n % 5 === 0) || n % 10 === 0);

export const sampleSize = (task) => (
  { name: "n", label: "<i>n</i> samples", valid: whole(task.samples[0].length), ...stops(stopsOf(task)) });

export const stopping = ({ epochs }) => ({ name: "epoch", label: "teacher’s epochs", ...among(epochs) });

/** The rows' combinations with coefficients a. */
export const combine = (rows, a) => rows.map((row) => row.reduce((sum, value, j) => sum + value * a[j], 0));
