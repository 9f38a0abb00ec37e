"""Public functions with values of many types and shapes: a right value, or an error of ours that names the argument.

A few of all combinations are tried here; `python tests/test_fuzz.py` tries every one, prints what it finds, and counts
(`python tests/test_fuzz.py torch risk` those of some cases and variants). Where pandas or torch are installed, their
arrays are tried too.
"""

import collections
import fractions
import re
import string
import sys
import traceback
import warnings
from decimal import Decimal
from importlib import import_module
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdlib
from kdlib import NestedStudents, advise, fully_connected
from kdlib.classes import beats, class_correction_logit, class_distillation_loss, class_effective_logit, class_targets
from kdlib.classifiers import MLP, ResNet
from kdlib.distillation import (
    correction_logit,
    distillation_loss,
    effective_logit,
    label_smoothing_logit,
    split_threshold,
    targets,
)
from kdlib.hard_labels import (
    correction_floor,
    ground_truth_cosine,
    hard_label_derivative,
    hard_label_projection,
    largest_soft_ratio,
)
from kdlib.inefficiency import class_weight_norms, data_inefficiency, expected_norms, window_ends
from kdlib.recipes import mixture, recipe
from kdlib.risk import (
    angle_distribution,
    class_power_function_bound,
    class_transfer_risk,
    class_weight_gaps,
    feature_cosines,
    fit_power_law,
    phuong_lampert_bound,
    power_function_bound,
    risk_bound,
    spectral_bound,
    transfer_risk,
    weight_angles,
    weight_gaps,
)
from kdlib.statistics import Estimate, held_out, jackknife, mean_error
from kdlib.tasks import GaussianMixture, flip_signs, labels, random_mixture, sample_inputs
from kdlib.teachers import train_kernel_teacher
from kdlib.training import batches_by_seed, full_batch, mini_batches, train

try:
    import pandas
except ModuleNotFoundError:
    pandas = None
try:
    import torch
except ModuleNotFoundError:
    torch = None

KEY = jax.random.key(0)

# --- Cases: a function and clean arguments, which half precision holds exactly -------------------------------------

Z, T3, Y = np.array([1.5, -2.0, 0.5]), np.array([-1.0, 2.5, 3.0]), np.array([1.0, 0.0, 1.0])
X, X_TEST = np.array([[0.0, 1.0], [1.0, -0.5], [3.0, 2.0]]), np.array([[0.5, 0.5], [2.0, -1.0]])
X_8 = np.column_stack([np.arange(8.0), np.arange(8.0) ** 2 % 7])
Z_8, Y_8 = np.arange(8.0) - 3.5, np.arange(8.0) % 2
NETWORK = fully_connected(1, width=4)
PARAMS = NETWORK.init(KEY, 2)
kernel = lambda a, b: np.exp(-np.abs(a[:, None] - b).sum(axis=2))
STUDENTS = NestedStudents(X, kernel)
COSINES, NORMS = np.array([0.5, -0.25, 0.75]), np.outer([2.0, 3.0, 4.0], np.arange(1.0, 21))
ONE_BATCH = full_batch(X, T3, Y)


of_mixture = lambda found: (found.rho, found.T, found.kappa, found.lam, found.scale)


def descended(**settings):
    import optax

    return train(lambda w, x: x @ w, jnp.zeros(2), ONE_BATCH, optimizer=optax.sgd(0.5), key=KEY, **settings).records


CASES = {
    "distillation_loss": (distillation_loss, dict(z_s=Z, z_t=T3, y_g=Y, rho=0.5, T=2.0)),
    "distillation_loss, each": (
        lambda **a: distillation_loss(mean=False, **a), dict(z_s=Z, z_t=T3, y_g=Y, rho=0.5, T=2.0)),
    "effective_logit": (effective_logit, dict(z_t=Z, y_g=Y, rho=0.5, T=2.0)),
    "targets": (targets, dict(z_t=Z, y_g=Y, rho=0.5, T=2.0, z_0=T3)),
    "split_threshold": (split_threshold, dict(rho=COSINES**2, T=2.0)),
    "correction_logit": (correction_logit, dict(z_t=Z, y_g=Y, T=2.0)),
    "label_smoothing_logit": (label_smoothing_logit, dict(y_g=Y, epsilon=0.5)),
    "class_distillation_loss": (
        class_distillation_loss, dict(z_s=np.outer(Z, T3), z_t=np.outer(T3, Y), y_g=Y, rho=0.5, T=2.0)),
    "class_effective_logit": (class_effective_logit, dict(z_t=np.outer(Z, T3), y_g=Y, rho=0.5, T=2.0)),
    "class_targets": (class_targets, dict(z_t=np.outer(Z, T3), y_g=Y, rho=0.5, T=2.0, z_0=np.outer(T3, Y))),
    "class_correction_logit": (class_correction_logit, dict(z_t=np.outer(Z, T3), y_g=Y, T=2.0)),
    "beats": (beats, dict(z_t=np.outer(Z, T3), y_g=Y, rho=0.5, T=2.0)),
    "correction_floor": (correction_floor, dict(rho=COSINES**2, T=2.0, classes=3.0)),
    "largest_soft_ratio": (largest_soft_ratio, dict(p=COSINES**2, T=0.5, classes=3.0)),
    "mixture": (lambda **a: of_mixture(mixture(t_squared=True, **a)), dict(soft=0.5, hard=0.25, T=2.0)),
    "mixture, mean": (
        lambda **a: of_mixture(mixture(soft=0.5, hard=0.5, T=2.0, t_squared=True, reduction="mean", **a)),
        dict(classes=3.0)),
    "recipe": (lambda **a: of_mixture(recipe("RepDistiller", **a).mixture()), dict(soft=0.5, hard=0.25, T=2.0)),
    "ground_truth_cosine": (
        lambda **a: ground_truth_cosine(STUDENTS, **a), dict(z_t=Z, y_g=Y, z_g=T3, rho=0.5, T=2.0, z_0=Y, norm=8.0)),
    "hard_label_projection": (
        lambda **a: hard_label_projection(STUDENTS, **a), dict(z_t=Z, y_g=Y, z_g=T3, T=2.0, z_0=Y)),
    "hard_label_derivative": (
        lambda **a: hard_label_derivative(STUDENTS, **a), dict(z_t=Z, y_g=Y, z_g=T3, T=2.0, z_0=Y, norm=8.0)),
    "advise": (
        lambda **a: [cell["estimate"] for cell in advise(
            **a, cells=[(1, 1), (0.5, 1)], default=(0.5, 1), kernel=kernel).cells], dict(x=X_8, z_t=Z_8, y_g=Y_8)),
    "NestedStudents": (
        lambda **a: NestedStudents(kernel=kernel, **a).factor, dict(x=X, jitter=0.5)),
    "coordinates": (STUDENTS.coordinates, dict(delta_z=Z)),
    "weight_norms": (STUDENTS.weight_norms, dict(delta_z=np.outer(Z, Z))),
    "inner": (STUDENTS.inner, dict(a=Z, b=T3)),
    "predict": (STUDENTS.predict, dict(x_test=X_TEST, delta_z=Z, sizes=np.array([1.0, 3.0]))),
    "distance": (STUDENTS.distance, dict(x_test=X_TEST, sizes=np.array([1.0, 3.0]))),
    "feature_lengths": (STUDENTS.feature_lengths, dict(x_test=X_TEST)),
    "leave_one_out": (STUDENTS.leave_one_out, dict(delta_z=Z)),
    "data_inefficiency": (data_inefficiency, dict(norms=NORMS, sizes=np.array([4.0, 8.0]), window=1.5)),
    "window_ends": (window_ends, dict(sizes=np.array([4.0, 8.0]), window=1.5)),
    "expected_norms": (
        lambda **a: expected_norms(STUDENTS, **a), dict(mean=Z, covariance=np.diag([1.0, 2.0, 3.0]) + 0.5)),
    "expected_norms, variances": (
        lambda **a: expected_norms(STUDENTS, **a), dict(covariance=np.array([1.0, 2.0, 3.0]))),
    "class_weight_norms": (lambda **a: class_weight_norms(STUDENTS, **a), dict(delta_z=np.outer(Z, T3))),
    "class_transfer_risk": (class_transfer_risk, dict(z_t=np.outer(Z, T3), z_s=np.outer(T3, Y))),
    "class_weight_gaps": (
        lambda **a: class_weight_gaps(STUDENTS, **a),
        dict(delta_z=np.outer(Z, Y), norm=8 * (1 - np.eye(3)) + np.eye(3))),
    "class_power_function_bound": (
        class_power_function_bound,
        dict(z=np.outer(Z, T3), distances=np.array([[1.0, 1.0, 0.5], [0.5, 0.5, 0.25]]),
             gaps=np.stack([2.0 * (1 - np.eye(3)), 1 - np.eye(3)]))),
    "transfer_risk": (transfer_risk, dict(z_t=Z, z_s=T3)),
    "weight_gaps": (lambda **a: weight_gaps(STUDENTS, **a), dict(delta_z=Z, norm=8.0)),
    "weight_angles": (lambda **a: weight_angles(STUDENTS, **a), dict(delta_z=Z, delta_zero=T3)),
    "feature_cosines": (feature_cosines, dict(z=Z, norm=8.0, lengths=np.array([1.0, 2.0, 0.5]))),
    "angle_distribution": (angle_distribution, dict(beta=np.array([0.0, 0.5, 1.5]), cosines=COSINES)),
    "risk_bound": (risk_bound, dict(angles=np.array([0.0, 0.5, 3.0]), cosines=COSINES)),
    "phuong_lampert_bound": (phuong_lampert_bound, dict(n=np.array([1.0, 4.0]), cosines=COSINES)),
    "power_function_bound": (
        power_function_bound,
        dict(z=Z, distances=np.array([[1.0, 1.0, 0.5], [0.5, 0.5, 0.25]]), gaps=np.array([2.0, 1.0]))),
    "spectral_bound": (
        lambda **a: spectral_bound(STUDENTS, **a),
        dict(x_test=X_TEST, z=np.array([0.5, -0.25]), gaps=np.array([2.0, 1.0]), sizes=np.array([1.0, 2.0]))),
    "fit_power_law": (
        fit_power_law, dict(n=np.array([8.0, 16.0, 32.0]), values=np.array([[4.0, 2.0, 1.0], [3.0, 2.5, 1.5]]))),
    "mean_error": (mean_error, dict(values=Z)),
    "jackknife": (lambda runs: jackknife(lambda mean: mean**2, runs), dict(runs=Z)),
    "held_out": (held_out, dict(errors=np.outer(T3, Z), choose_by=np.outer(Z, Z))),
    "Estimate": (lambda runs: tuple(Estimate.mean(runs)), dict(runs=Z)),
    "sample_inputs": (lambda **a: sample_inputs(KEY, **a), dict(n=4.0, d=2.0)),
    "GaussianMixture": (
        lambda x, **a: GaussianMixture(**a)(x),
        dict(amplitudes=Z, centers=X, widths=np.array([0.5, 1.0, 2.0]), x=X_TEST)),
    "random_mixture": (
        lambda **a: random_mixture(KEY, **a).widths, dict(q=3.0, d=2.0, widths=np.array([0.5, 2.0]))),
    "labels": (labels, dict(z=Z)),
    "flip_signs": (lambda **a: flip_signs(KEY, **a), dict(z=Z, p_flip=0.5)),
    "fully_connected": (
        lambda **a: fully_connected(**a).ntk(X), dict(depth=1.0, width=4.0, sigma_w=1.0, sigma_b=0.5)),
    "ntk": (NETWORK.ntk, dict(x1=X, x2=X_TEST)),
    "initial_logits": (lambda **a: NETWORK.initial_logits(KEY, **a), dict(x=X, count=2.0)),
    "init": (lambda **a: NETWORK.init(KEY, **a), dict(dimension=2.0)),
    "apply": (lambda **a: NETWORK.apply(PARAMS, **a), dict(x=X)),
    "empirical_ntk": (lambda **a: NETWORK.empirical_ntk(PARAMS, **a), dict(x1=X, x2=X_TEST)),
    "full_batch": (lambda **a: full_batch(**a)(KEY, 0), dict(x=X, z_t=Z, y_g=Y)),
    "mini_batches": (lambda **a: mini_batches(**a)(KEY, 0), dict(x=X, z_t=Z, y_g=Y, size=2.0)),
    "batches_by_seed": (
        lambda **a: batches_by_seed(**a).args, dict(x=X[None], z_t=Z[None], y_g=Y[None], size=2.0)),
    "train": (descended, dict(rho=0.5, T=2.0, steps=np.array([1.0, 3.0]))),
    "train_kernel_teacher": (
        lambda **a: train_kernel_teacher(kernel=kernel, **a).coefficients,
        dict(x=X, y_g=Y, epochs=np.array([1.0, 4.0]), learning_rate=0.5)),
    "MLP": (lambda **a: MLP(**a).init(KEY, (2, 2, 1)), dict(width=4.0, depth=2.0, classes=3.0)),
    "ResNet": (
        lambda **a: ResNet(**a).init(KEY, (2, 2, 1)), dict(channels=np.array([2.0, 4.0]), blocks=1.0, classes=3.0)),
}

# --- Variants of an argument --------------------------------------------------------------------------------------

SAME = {  # the same numbers in another dress
    "list": lambda v: v.tolist(),
    "tuple": lambda v: tuple(v.tolist()) if v.ndim else v.item(),
    "JAX": jnp.asarray,
    "single precision": np.float32,
    "single precision of JAX": lambda v: jnp.asarray(v, jnp.float32),
    "half precision": np.float16,
    "bfloat16": lambda v: jnp.asarray(v, jnp.bfloat16),
    "long double": np.longdouble,
    "big-endian": lambda v: v.astype(">f8"),
    "objects": lambda v: v.astype(object),
    "integers": lambda v: v.astype(int) if (v == np.floor(v)).all() else None,
    "short integers": lambda v: v.astype(np.int8) if (v == np.floor(v)).all() else None,
    "unsigned": lambda v: v.astype(np.uint8) if (v == np.floor(v)).all() and (v >= 0).all() else None,
    "booleans": lambda v: v.astype(bool) if v.ndim and np.isin(v, [0, 1]).all() else None,
    "fractions": lambda v: np.vectorize(fractions.Fraction, otypes=[object])(v).tolist(),
    "decimals": lambda v: np.vectorize(Decimal, otypes=[object])(v).tolist(),
    "backwards": lambda v: v[::-1].copy()[::-1] if v.ndim else None,
    "column order": lambda v: np.asfortranarray(v) if v.ndim else None,
    "masked, nothing hidden": lambda v: np.ma.masked_array(v) if v.ndim else None,
    "pandas": lambda v: _pandas(v),
    "pandas, nullable": lambda v: _pandas(v, "Float64"),
    "torch": lambda v: torch and torch.tensor(v),
    "torch, single precision": lambda v: torch and torch.tensor(v, dtype=torch.float32),
    "torch, bfloat16": lambda v: torch and torch.tensor(v, dtype=torch.bfloat16),
    "torch, with gradient": lambda v: torch and torch.tensor(v, requires_grad=True),
}


def _pandas(v, kind=float):
    return None if pandas is None or v.ndim not in (1, 2) else (pandas.Series if v.ndim == 1 else pandas.DataFrame)(
        v, dtype=kind)


def first(bad):
    """The argument with a bad first entry."""
    def changed(v):
        v = v.astype(object if not isinstance(bad, float) else float)
        v.flat[0] = bad
        return v if v.dtype == float else v.tolist()

    return changed


OTHER = {
    "NaN": first(np.nan), "infinite": first(np.inf), "below": first(-np.inf), "huge": first(1e308),
    "tiny": first(1e-310),
    "denormal": first(5e-324), "small": lambda v: 1e-300 * v, "far": lambda v: 1e300 * v,
    "negative": lambda v: -v, "fraction": lambda v: v + 0.25, "large": lambda v: 1e30 * v, "zero": lambda v: 0 * v,
    "None within": first(None), "text within": first("1"), "complex within": first(1j),
    "integer beyond": first(10**400),
    "text": lambda v: v.astype(str).tolist(), "array of text": lambda v: v.astype(str), "word": lambda v: "word",
    "None": lambda v: None, "dictionary": lambda v: {"a": v}, "set": lambda v: {1.0, 2.0}, "function": lambda v: len,
    "complex": lambda v: v + 1j, "dates": lambda v: np.array(["2020-01-01", "2021-01-01"], "M8[D]"),
    "key": lambda v: KEY,
    "ragged": lambda v: [[1.0, 2.0], [1.0]], "long and ragged": lambda v: [[1.0]] * 3000 + [[1.0, 2.0]],
    "records": lambda v: np.array([(1.0, 2)], [("a", float), ("b", int)]), "true": lambda v: True,
    "hidden": lambda v: np.ma.masked_array(v, mask=np.ones_like(v)) if v.ndim else None,
    "NaT": lambda v: np.array(["NaT"], "m8[s]"),
}

SHAPES = {
    "empty": lambda v: v[:0] if v.ndim else np.empty(0), "one row": lambda v: v[:1] if v.ndim else None,
    "column": lambda v: v[..., None], "row": lambda v: v[None], "number": lambda v: v.flat[0],
    "one more": lambda v: np.concatenate([v, v[:1]]) if v.ndim else np.array([v, v]),
    "no features": lambda v: v[..., :0] if v.ndim > 1 else None, "deep": lambda v: v[None, None, None],
}

VARIANTS = SAME | OTHER | SHAPES


PASSED_ON = {"mean_error", "jackknife", "Estimate", "held_out"}  # statistics of NaN and of what overflows are NaN


def trials():
    """Each case's arguments, one and all at once, in each variant."""
    for case, (_, clean) in CASES.items():
        for variant in VARIANTS:
            if case in PASSED_ON and variant in ("NaN", "infinite", "below", "huge", "far"):
                continue
            for names in [[name] for name in clean] + [list(clean)] * (len(clean) > 1):
                yield case, variant, names


# --- What is accepted ---------------------------------------------------------------------------------------------


def numbers(result):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(
        (result.values, result.errors) if hasattr(result, "replicates") and hasattr(result, "errors") else result)]


_EXPECTED = {}


def expected(case):
    if case not in _EXPECTED:
        function, clean = CASES[case]
        _EXPECTED[case] = numbers(function(**clean))
    return _EXPECTED[case]


def fault(case, variant, names):
    """What is wrong with the outcome of a trial, or None; "-" if there is no such variant."""
    function, clean = CASES[case]
    given = {name: VARIANTS[variant](np.asarray(clean[name])) for name in names}
    if any(value is None for value in given.values()) and variant != "None":
        return "-"
    right = expected(case)
    try:
        with warnings.catch_warnings(action="error"):
            result = numbers(function(**clean | given))
    except (ValueError, TypeError) as error:
        return unclear(error, names)
    except Exception as error:
        return f"raises {type(error).__name__}: {str(error)[:150]}"
    return wrong(result, right, variant)


def unclear(error, names):
    message, place = str(error), traceback.extract_tb(error.__traceback__)[-1].filename
    if Path(kdlib.__file__).parent not in Path(place).parents:
        return f"raises another's {type(error).__name__}: {message[:150]}"
    if "\n" in message or len(message) > 400:
        return f"says too much: {message[:150]}"
    if not any(re.search(rf"\b{name}\b", message) for name in names):
        return f"does not name {names}: {message[:150]}"


def wrong(result, right, variant):
    if any(np.isnan(part.astype(float)).any() for part in result if part.dtype.kind in "fiubV"):
        return f"returns NaN: {str(result)[:150]}"
    if variant in SAME:
        if [part.shape for part in result] != [part.shape for part in right]:
            return f"returns other shapes: {[part.shape for part in result]}"
        for part, exact in zip(result, right, strict=True):
            digits = {"float32": 1e-5, "float16": 1e-2, "bfloat16": 5e-2}.get(part.dtype.name, 1e-12)
            if not np.allclose(part.astype(float), exact.astype(float), rtol=digits, atol=digits):
                return f"returns {str(part)[:80]}, not {str(exact)[:80]}"
    if variant in ("column", "row", "deep") and len(result) == len(right):
        for part, exact in zip(result, right, strict=True):
            if part.size > exact.size > 1:
                return f"pairs all with all: {part.shape}, not {exact.shape}"


# --- A few of all, and all ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_a_value_is_right_or_refused_by_name(case):
    every = [trial[1:] for trial in trials() if trial[0] == case]
    chosen = np.random.default_rng(list(case.encode())).choice(len(every), 8, replace=False)
    found = {str(every[i]): problem for i in chosen if (problem := fault(case, *every[i])) not in (None, "-")}
    assert not found


# Functions of functions alone, one whose arguments are those of `full_batch` and `train`, and helpers of statistics.
NOT_TRIED = {"online_batches", "train_network_teacher", "as_far_as", "with_replicates", "standard_error"}


def test_every_public_function_is_tried():
    names = set(kdlib.__all__)
    for module in ("classes", "distillation", "hard_labels", "inefficiency", "recipes", "risk", "statistics", "tasks",
                   "teachers", "training"):
        found = vars(import_module(f"kdlib.{module}"))
        names |= {name for name, value in found.items() if callable(value) and name[0] in string.ascii_lowercase
                  and getattr(value, "__module__", None) == f"kdlib.{module}"}
    assert names - {case.split(",")[0] for case in CASES} == NOT_TRIED


@pytest.mark.parametrize("problem, call", [
    ("raises another's TypeError", lambda z: len(3)),
    ("returns NaN", lambda z: np.asarray(z) * np.nan),
    ("returns ", lambda z: np.asarray(z) if isinstance(z, np.ndarray) else np.zeros(3)),
])
def test_the_fuzzer_sees_faults(monkeypatch, problem, call):
    monkeypatch.setitem(CASES, "faulty", (call, dict(z=Z)))
    monkeypatch.setitem(_EXPECTED, "faulty", [Z])
    assert fault("faulty", "list", ["z"]).startswith(problem)


def main(*words):
    """Every trial whose case or variant begins with one of the words, or all."""
    counts, seen = collections.Counter(), set()
    for case, variant, names in trials():
        if words and not case.startswith(words) and not variant.startswith(words):
            continue
        problem = fault(case, variant, names)
        if problem == "-":
            continue
        counts["tried"] += 1
        if problem:
            counts["faults"] += 1
            kind = case, tuple(names), problem[:60]
            if kind not in seen:
                print(f"{case}, {', '.join(names)}, {variant}: {problem}", flush=True)
            seen.add(kind)
    print(dict(counts), "kinds:", len(seen), "pandas:", pandas is not None, "torch:", torch is not None)


if __name__ == "__main__":
    main(*sys.argv[1:])
