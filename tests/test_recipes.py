"""Recipes against their own libraries, where these are installed, and against the two forms' algebra.

The gradients of other libraries' losses are compared where `torch`, `keras` and the like can be imported; they are no
requirements of ours. To run them all: a new environment with what ours has, and torch, keras, torchdistill, textbrewer
and nvidia-modelopt.
"""

import os
import re
from dataclasses import replace

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdlib.classes import beats, class_distillation_loss
from kdlib.explorers import RecipeExplorer
from kdlib.recipes import Mixture, mixture, recipe, recipes

os.environ.setdefault("KERAS_BACKEND", "torch")
pytestmark = pytest.mark.filterwarnings("ignore:reduction. 'mean' divides:UserWarning")  # torch, of what it will change
DOUBLE, SINGLE = 1e-12, 1e-5  # gradients in double and in single precision, relative to the largest

weights = st.floats(1e-3, 1e3)
conventions = st.fixed_dictionaries({
    "t_squared": st.booleans(), "reduction": st.sampled_from(["batchmean", "mean", 0.01, 64.0]),
    "classes": st.integers(2, 50_000),
})


# --- The algebra ------------------------------------------------------------------------------------


@given(weights, weights, st.floats(0.1, 100), conventions)
def test_a_mixture_is_its_pulls_ratio(soft, hard, T, convention):
    found = mixture(soft=soft, hard=hard, T=T, **convention)
    r = {"batchmean": 1, "mean": convention["classes"]}.get(convention["reduction"], convention["reduction"])
    pull = soft * (T**2 if convention["t_squared"] else 1) / r
    assert found.rho == pytest.approx(pull / (pull + hard))
    assert found.kappa == pytest.approx(T * (1 - found.rho) / found.rho, rel=1e-6)
    assert found.lam == pytest.approx(T * found.kappa) and found.scale == pytest.approx(pull + hard)
    assert found.corrects_all == (found.kappa >= 1)


@given(weights, weights, st.floats(0.1, 100), conventions, conventions)
def test_there_and_back(soft, hard, T, here, there):
    found = mixture(soft=soft, hard=hard, T=T, **here)
    back = found.in_recipe(**there)
    assert sum(back) == pytest.approx(1)
    again = mixture(soft=back.soft, hard=back.hard, T=T, **there)
    assert (again.kappa, again.T) == pytest.approx((found.kappa, found.T), rel=1e-9)
    same = found.in_recipe(**here)
    assert same.soft / same.hard == pytest.approx(soft / hard, rel=1e-9)


def test_the_ends_are_one_part_alone():
    soft = mixture(soft=2.0, hard=0.0, T=3.0, t_squared=True)
    assert (soft.rho, soft.kappa, soft.scale) == (1, 0, 18)
    assert soft.in_recipe(t_squared=False) == (1, 0)
    hard = mixture(soft=0, hard=1, T=3, t_squared=True)
    assert (hard.rho, hard.kappa, hard.lam) == (0, np.inf, np.inf) and hard.corrects_all
    assert hard.in_recipe(t_squared=True, reduction="mean", classes=10) == (0, 1)


@given(st.sampled_from(sorted(recipes)), weights, weights, st.floats(0.1, 100), conventions)
def test_a_recipe_matched_to_another_has_its_student(name, soft, hard, T, convention):
    other = mixture(soft=soft, hard=hard, T=T, **convention)
    if name in ("ModelOpt", "torchtune"):  # the one has no weights to set, the other no temperature
        with pytest.raises(ValueError, match="must have weights to set" if name == "ModelOpt" else "T must be 1, got"):
            recipes[name].matched_to(replace(other, T=T + 1))
        return
    found = recipes[name].matched_to(other, convention["classes"])
    assert found.soft + found.hard == pytest.approx(1)
    assert (found.mixture().kappa, found.T) == pytest.approx((other.kappa, T), rel=1e-9)


@pytest.mark.parametrize("name", recipes)
def test_what_is_spelled_keeps_four_digits_of_both_weights(name):
    """Also of the smaller one where it is what the larger lacks to one."""
    pattern = recipes[name].arguments
    for hard in (0.1, 0.0123456, 1.23456e-7):
        found = replace(recipes[name], soft=1 - hard, hard=hard).spelled()
        for place, value in (("{soft}", 1 - hard), ("{hard}", hard)):
            if place in pattern:
                before = re.escape(pattern[: pattern.index(place)]).replace(r"\{", "{").replace(r"\}", "}")
                shown = re.match(re.sub(r"{\w+}", r"[\\d.]+", before) + r"([\d.]+)", found)[1]
                assert float(shown) == pytest.approx(value, abs=1e-4 * hard)


def test_equivalents_are_spelled_once_for_each_way_of_writing_or_say_what_hinders():
    same = recipe("PyTorch tutorial").equivalents()
    assert same["keras.io example, first"] == "distiller.compile(alpha=0.42857, temperature=2)"
    assert same["torchtune"] == "has no temperature: only T = 1"
    assert "mdistiller" in same and not {"mdistiller, ImageNet", "ModelOpt"} & same.keys()
    same = recipe("torchtune").equivalents()
    assert same["torchtune"] == "kd_ratio: 0.5"
    assert same["ModelOpt, balanced"] == "divides by the number of classes: give K"
    same = recipe("torchtune", classes=10).equivalents()
    assert same["ModelOpt, balanced"].startswith("StaticLossBalancer(kd_loss_weight=0.909091)")


def test_kappa_is_where_a_wrong_teacher_begins_to_win():
    found = recipe("PyTorch tutorial", hard=0.1).mixture()
    assert not found.corrects_all
    sure = lambda lead: found.T * np.log([(1 + lead) / 2, (1 - lead) / 2])  # of class 0 by this much, at T
    for lead, wins in ((found.kappa * 1.001, True), (found.kappa * 0.999, False)):
        assert bool(beats(sure(lead), 1, rho=found.rho, T=found.T)[0]) != wins


def test_published_defaults_span_orders_of_magnitude():
    lam = {name: recipe(name, classes=it.classes or 1000).mixture().lam for name, it in recipes.items()}
    assert lam == pytest.approx({
        "torchdistill": 9, "torchdistill, ImageNet": 1, "RepDistiller": 1 / 9, "mdistiller": 1 / 9,
        "mdistiller, ImageNet": 1, "TextBrewer": 0, "ModelOpt": 0, "ModelOpt, balanced": 1000, "keras.distillation": 1,
        "keras.io example": 1 / 9, "keras.io example, first": 100 / 9, "DeiT, soft": 1000, "torchtune": 1,
        "distil-whisper": 0.8, "PyTorch tutorial": 3, "haitongli, ResNet-18": 10 / 19, "haitongli, CNN": 10 / 9,
    })


@pytest.mark.parametrize("call, message", [
    (lambda: mixture(soft=-1, hard=1, T=1, t_squared=True), "soft must be finite and at least 0, got -1: give the fac"),
    (lambda: mixture(soft=1, hard=np.nan, T=1, t_squared=True), "hard must be finite and at least 0, got nan"),
    (lambda: mixture(soft=0, hard=0, T=1, t_squared=True), "soft and hard must not both be 0"),
    (lambda: mixture(soft=1, hard=1, T=0, t_squared=True), "T must be positive and finite, got 0"),
    (lambda: mixture(soft=1, hard=1, T=1, t_squared=2), "t_squared must be True or False, got 2: look for"),
    (lambda: mixture(soft=1, hard=1, T=1, t_squared=True, reduction="sum"),
     "reduction must be one of batchmean, mean, got 'sum': or give the number"),
    (lambda: mixture(soft=1, hard=1, T=1, t_squared=True, reduction=0), "a positive number, got 0"),
    (lambda: mixture(soft=1, hard=1, T=1, t_squared=True, reduction="mean"), "classes must be given beside reduction="),
    (lambda: mixture(soft=1, hard=1, T=1, t_squared=True, classes=1), "classes must be a whole number from 2 up, got"),
    (lambda: recipe("fitnets"), "name must be one of torchdistill, .*, got 'fitnets'"),
    (lambda: recipe("torchtune", alpha=0.3), "a change must be one of soft, hard, .*, got 'alpha'"),
    (lambda: recipe("ModelOpt").mixture(), "classes must be given"),
    (lambda: RecipeExplorer(recipe="fitnets"), "recipe must be one of torchdistill, .*, got 'fitnets'"),
    (lambda: RecipeExplorer(soft=-1), "soft must be finite and at least 0, got -1"),
    (lambda: RecipeExplorer(T="4"), "T must be a number, got '4': write it without quotes"),
    (lambda: RecipeExplorer(t_squared=1), "t_squared must be True or False, got 1"),
    (lambda: RecipeExplorer(reduction=2.0), "reduction must be one of batchmean, mean, got 2: the form has these"),
    (lambda: RecipeExplorer(classes=1), "classes must be a whole number from 2 up, got 1"),
    (lambda: RecipeExplorer(soft=0, hard=0).answer(), "soft and hard must not both be 0"),
])
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- Gradients of other libraries' own code ---------------------------------------------------------

RNG = np.random.default_rng(0)
Z_S, Z_T, Y = 2 * RNG.standard_normal((6, 5)), 3 * RNG.standard_normal((6, 5)), RNG.integers(0, 5, 6)


def our_gradient(found: Mixture):
    loss = lambda z_s: class_distillation_loss(z_s, Z_T, Y, rho=found.rho, T=found.T)
    return found.scale * np.asarray(jax.grad(loss)(Z_S))


def gradient(loss):
    """Of a function of the student's logits, by torch."""
    torch = pytest.importorskip("torch")
    z_s = torch.tensor(Z_S, requires_grad=True)
    loss(z_s, torch.tensor(Z_T), torch.tensor(Y)).backward()
    return z_s.grad.numpy()


def assert_same(ours, theirs, within=DOUBLE):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=within * np.abs(theirs).max())


@pytest.mark.parametrize("reduction", ["batchmean", "mean", "sum"])
@pytest.mark.parametrize("t_squared", [True, False])
def test_gradients_of_torch(reduction, t_squared):
    torch = pytest.importorskip("torch")

    def loss(z_s, z_t, y):
        divergence = torch.nn.KLDivLoss(reduction=reduction)((z_s / 4).log_softmax(1), (z_t / 4).softmax(1))
        return 0.7 * divergence * (16 if t_squared else 1) + 0.2 * torch.nn.CrossEntropyLoss()(z_s, y)

    found = mixture(soft=0.7, hard=0.2, T=4.0, t_squared=t_squared, classes=5,
                    reduction=1 / len(Y) if reduction == "sum" else reduction)
    assert_same(our_gradient(found), gradient(loss))


@pytest.mark.parametrize("name", ["torchdistill", "torchdistill, ImageNet"])
def test_gradients_of_torchdistill(name):
    mid_level = pytest.importorskip("torchdistill.losses.mid_level")
    published = recipes[name]
    module = mid_level.KDLoss("logits", "output", "logits", "output", temperature=published.T, alpha=published.hard,
                              reduction=published.reduction)
    outputs = lambda z: {"logits": {"output": z}}
    theirs = gradient(lambda z_s, z_t, y: module(outputs(z_s), outputs(z_t), targets=y))
    assert_same(our_gradient(published.mixture()), theirs)


def test_gradients_of_textbrewer():
    torch, losses = pytest.importorskip("torch"), pytest.importorskip("textbrewer.losses")
    T = recipes["TextBrewer"].T
    for hard in (recipes["TextBrewer"].hard, 1.0):
        theirs = gradient(lambda z_s, z_t, y, hard=hard: losses.kd_ce_loss(z_s, z_t, temperature=T)
                          + hard * torch.nn.functional.cross_entropy(z_s, y))
        assert_same(our_gradient(recipe("TextBrewer", hard=hard).mixture()), theirs)


def test_gradients_of_modelopt():
    torch, distill = pytest.importorskip("torch"), pytest.importorskip("modelopt.torch.distill")
    balancers = pytest.importorskip("modelopt.torch.distill.loss_balancers")
    criterion = distill.LogitsDistillationLoss()
    theirs = gradient(lambda z_s, z_t, y: criterion(z_s, z_t))
    assert_same(our_gradient(recipe("ModelOpt", classes=5).mixture()), theirs)
    with pytest.warns(UserWarning, match="do not sum to 1"):
        balancer = balancers.StaticLossBalancer()
    parts = lambda z_s, z_t, y: {"distillation": criterion(z_s, z_t),
                                 balancers.STUDENT_LOSS_KEY: torch.nn.functional.cross_entropy(z_s, y)}
    theirs = gradient(lambda *batch: balancer(parts(*batch)))
    assert_same(our_gradient(recipe("ModelOpt, balanced", classes=5).mixture()), theirs)


def test_gradients_of_torchtune():
    losses = pytest.importorskip("torchtune.modules.loss.kd_losses", exc_type=ImportError)
    torch, kd_loss = pytest.importorskip("torch"), losses.ForwardKLLoss()
    ratio = recipes["torchtune"].soft
    theirs = gradient(lambda z_s, z_t, y: (1 - ratio) * torch.nn.functional.cross_entropy(z_s, y)
                      + ratio * kd_loss(z_s, z_t, y))
    assert_same(our_gradient(recipes["torchtune"].mixture()), theirs, SINGLE)


def keras_gradient(**options):
    """Of keras's Distiller with its default weights; its models hand through the logits that they are given."""
    keras = pytest.importorskip("keras")
    if keras.backend.backend() != "torch":
        pytest.skip("keras computes with something else than torch")
    model = lambda: keras.Sequential([keras.Input((5,), dtype="float64"), keras.layers.Identity(dtype="float64")])
    distiller = keras.distillation.Distiller(
        teacher=model(), student=model(), distillation_losses=keras.distillation.LogitsDistillation(**options))
    distiller.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True, dtype="float64"))
    return gradient(lambda z_s, z_t, y: distiller.compute_loss(x=z_t, y=y, y_pred=z_s))


def test_gradients_of_keras():
    keras = pytest.importorskip("keras")
    theirs = keras_gradient(loss=keras.losses.KLDivergence(dtype="float64"))
    assert_same(our_gradient(recipes["keras.distillation"].mixture()), theirs, SINGLE)


def test_the_default_loss_of_keras_is_another_one():
    """Should this fail, then keras has mended its default: the note in `recipes` goes."""
    pytest.importorskip("keras")
    ours = our_gradient(recipes["keras.distillation"].mixture())
    theirs = keras_gradient()
    assert np.abs(ours - theirs).max() > 0.1 * np.abs(ours).max()


@pytest.mark.parametrize("name", recipes)
def test_gradients_of_every_recipe_as_torch_would_compute_it(name):
    torch = pytest.importorskip("torch")
    published = replace(recipes[name], classes=5)

    def loss(z_s, z_t, y):
        divergence = torch.nn.functional.kl_div((z_s / published.T).log_softmax(1), (z_t / published.T).softmax(1),
                                                reduction=published.reduction)
        factor = published.T**2 if published.t_squared else 1
        return published.soft * factor * divergence + published.hard * torch.nn.functional.cross_entropy(z_s, y)

    assert_same(our_gradient(published.mixture()), gradient(loss))
