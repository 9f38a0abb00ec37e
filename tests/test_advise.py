"""The advisor, against refits without each sample, and on data whose answer is known."""

import re
from inspect import signature

import mpmath
import numpy as np
import pytest
from samples import task
from scipy.special import softmax
from tolerances import ENGINES, HEAD, NESTED

from kdlib import advise, fully_connected
from kdlib._source import uses
from kdlib.advise import Advice, _head, _noise
from kdlib.advise.choice import cell_targets, choose
from kdlib.classes import class_targets
from kdlib.distillation import targets

CELLS = [(1, 1), (0.9, 4), (0.5, 1), (0, 1)]


def wide(x, x2=None):
    return fully_connected(2).ntk(x, x2)


def refitted(x, z_t, y, cell, m, order):
    """Margins at all samples, each of a student trained on those of the first m of the order that are not it."""
    rho, T = cell
    z = np.asarray((targets if z_t.ndim == 1 else class_targets)(z_t, y, rho=rho, T=T))
    gram = wide(x)
    margins = np.empty(len(x))
    for i in range(len(x)):
        seen = [j for j in order[:m] if j != i]
        f = gram[[i]][:, seen] @ np.linalg.solve(gram[np.ix_(seen, seen)], z[seen])
        others = np.delete(f[0], y[i]) if z_t.ndim > 1 else None
        margins[i] = (2 * y[i] - 1) * f[0] if z_t.ndim == 1 else f[0, y[i]] - others.max()
    return margins


def said(advice):
    return " ".join(advice.warnings)


def golden_order(n):
    return sorted(range(n), key=lambda i: i * ((5**0.5 - 1) / 2) % 1)


@pytest.mark.parametrize("K", [2, 3])
def test_every_cell_is_judged_as_by_refitting_without_each_sample(K):
    x, z_t, y = task(60, K)
    advice = advise(x, z_t, y, cells=CELLS, kernel=wide)
    margins = np.stack([refitted(x, z_t, y, cell, 60, range(60)) for cell in CELLS], 1)
    loss = 1 / (1 + np.exp(8 * margins / np.median(np.abs(margins), axis=0)))
    assert advice.cells["estimate"] == pytest.approx(loss.mean(0), rel=NESTED)
    assert advice.cells["mistakes"].tolist() == (margins <= 0).mean(0).tolist()
    chosen = [tuple(cell) for cell in CELLS].index((advice.rho, advice.T))
    errors = (loss - loss[:, [chosen]]).std(0, ddof=1) / 60**0.5
    assert advice.cells["error"] == pytest.approx(errors, rel=1e-7, abs=1e-12)


@pytest.mark.parametrize("K", [2, 3])
def test_a_learning_curve_counts_the_mistakes_of_students_of_the_first_samples(K):
    x, z_t, y = task(60, K)
    advice = advise(x, z_t, y, cells=CELLS, kernel=wide)
    for size, share in zip(advice.sizes[::4], advice.curves["soft"][::4], strict=True):
        mistakes = (refitted(x, z_t, y, (1, 1), size, golden_order(60)) <= 0).sum()
        assert share == pytest.approx((mistakes + 0.5) / 61)
    assert advice.sizes[-1] == 60 and advice.sizes[-5] == 30 and advice.sizes[0] >= 8


def test_a_held_out_part_judges_by_predictions_there():
    (x, z_t, y), others = task(80), task(70, seed=1)
    advice = advise(x, z_t, y, cells=CELLS, kernel=wide, held_out=others)
    z = np.stack([targets(z_t, y, rho=rho, T=T) for rho, T in CELLS], 1)
    margins = (2 * others[2] - 1)[:, None] * (wide(others[0], x) @ np.linalg.solve(wide(x), z))
    assert advice.cells["mistakes"].tolist() == (margins <= 0).mean(0).tolist() and advice.judged == 70


def test_two_columns_of_logits_are_their_difference():
    x, z_t, y = task(120)
    one, two = advise(x, z_t, y), advise(x, np.stack([-z_t / 2, z_t / 2], 1), y)
    assert str(one) == str(two) and (one.cells == two.cells).all()


def test_the_same_arrays_give_the_same_advice_and_keep_their_values():
    x, z_t, y = task(120, K=3)
    before = [values.copy() for values in (x, z_t, y)]
    assert str(advise(x, z_t, y)) == str(advise(x.tolist(), z_t, y))
    assert all((a == b).all() for a, b in zip(before, (x, z_t, y), strict=True))


def test_what_it_says_does_not_depend_on_a_file_sorted_by_class():
    x, z_t, y = task(400)
    by_class = np.argsort(y, kind="stable")
    mixed, sorted_ = advise(x, z_t, y), advise(x[by_class], z_t[by_class], y[by_class])
    assert mixed.cells["estimate"] == pytest.approx(sorted_.cells["estimate"], rel=NESTED)
    low, high = np.array([[*mixed.forecast(n)[1:]] for n in sorted_.sizes[-8:]]).T
    assert ((low <= sorted_.curves["chosen"][-8:]) & (sorted_.curves["chosen"][-8:] <= high)).all()


def test_a_teacher_that_is_mostly_wrong_is_left_for_the_labels():
    x, z_t, y = task(300)
    advice = advise(x, -3 * z_t, y)
    assert advice.verdict == "move" and advice.rho < 0.5 and (1.0, 1.0) in advice.avoid
    assert advice.more != "queries"


def test_a_teacher_that_knows_better_than_noisy_labels_is_followed():
    x, z_t, y = task(400, noise=0.0)
    flipped = np.random.default_rng(1).random(400) < 0.3
    advice = advise(x, z_t, np.where(flipped, 1 - y, y), default=(0.1, 1.0))
    assert advice.verdict == "move" and advice.rho > 0.5 and (0.0, 1.0) in advice.avoid


def test_a_reluctant_advisor_keeps_the_default():
    x, z_t, y = task(300)
    assert advise(x, -3 * z_t, y, reluctance=1000).verdict == "keep"
    assert advise(x, -3 * z_t, y, reluctance=1000).rho == 0.9


def test_a_useless_teacher_leaves_the_labels_and_a_perfect_one_agrees_with_them():
    x, z_t, y = task(200, K=3)
    advice = advise(x, np.zeros_like(z_t), y, default=(0.5, 1))
    mixtures = advice.cells[advice.cells["rho"] < 1]
    assert set(mixtures["mistakes"]) == {advice.useless}
    right = advise(x, 2 * np.eye(3)[y], y)
    best = right.cells[right.cells["estimate"].argmin()]
    assert right.perfect == best["mistakes"]
    assert advise(x, z_t, y).perfect <= advice.useless


def test_too_few_labels_are_no_ground_for_a_verdict():
    x, z_t, y = task(40)
    advice = advise(x, -3 * z_t, y)
    assert advice.verdict == "undecided" and (advice.rho, advice.T) == (0.9, 4) and not advice.avoid
    assert "Only 40 labels" in advice.warnings[0] and "Undecided" in str(advice)
    assert "Only 200 labels" in advise(*task(200)).warnings[0]
    assert not any("labels judge" in warning for warning in advise(*task(300)).warnings)


def test_a_single_class_is_no_ground_for_a_verdict():
    x, z_t, y = task(100)
    assert advise(x, z_t, np.ones_like(y)).verdict == "undecided"


def test_a_teacher_that_has_seen_the_labels_is_noticed():
    (x, z_t, y), others = task(300), task(300, seed=1)
    leaky = x, 4 * (2 * y - 1) + 0.1 * z_t, y
    assert "seems to have seen them" in said(advise(*leaky))
    assert "seems to have seen the given ones" in said(advise(*leaky, held_out=others))
    assert advise(x, 4 * (2 * y - 1.0), y).verdict == "undecided"
    assert not any("seen" in warning for warning in advise(x, z_t, y, held_out=others).warnings)


def test_samples_held_out_twice_are_noticed():
    x, z_t, y = task(100)
    advice = advise(x, z_t, y, held_out=(x[:60], z_t[:60], y[:60]))
    assert any("60 of the samples held out are among the given ones" in warning for warning in advice.warnings)


def test_copies_of_samples_are_left_out():
    x, z_t, y = task(100)
    twice = [np.concatenate([values, values[:30]]) for values in (x, z_t, y)]
    advice = advise(*twice)
    assert "30 samples have the inputs of earlier ones" in said(advice)
    assert (advice.cells == advise(x, z_t, y).cells).all()


def test_features_of_unlike_scale_are_noticed():
    x, z_t, y = task(100)
    assert "divide each by its standard deviation" in said(advise(x * [1, 1, 1e4], z_t, y))
    assert "bring them to about 1" in said(advise(x * 1e4, z_t, y))
    assert len(advise(x, z_t, y).warnings) == 1


def test_labels_that_come_out_best_by_leave_one_out_are_doubted():
    x, z_t, y = task(300)
    assert "leave-one-out is too kind" in said(advise(x, -3 * z_t, y, cells=[(0, 1)]))
    assert "too kind" not in said(advise(x, -3 * z_t, y, cells=[(0, 1)], held_out=task(300, seed=1)))


def test_a_forecast_widens_with_the_distance_and_lies_in_its_band():
    advice = advise(*task(400))
    bands = [advice.forecast(n) for n in (100, 400, 500, 800, 1200, 1600)]
    assert all(0 < band.low < band.error < band.high <= 1 for band in bands)
    widths = [np.log(band.error / band.low) for band in bands]
    assert widths[0] == widths[1] and np.all(np.diff(widths[1:]) > 0)
    assert bands[1].error == pytest.approx(advice.curves["chosen"][-1])
    assert all(0 <= inside <= tried for inside, tried in advice.coverage.values()) and advice.coverage[2][1] > 5


def test_a_forecast_without_a_test_admits_everything():
    forecast = advise(*task(20)).forecast(80)
    assert (forecast.low, forecast.high) == (0, 1)


def test_a_curve_that_is_a_power_law_is_continued():
    sizes = np.array([25, 30, 35, 42, 50, 59, 71, 84, 100, 119, 141, 168, 200])
    shares = 2 * sizes**-0.5
    made = Advice(0.9, 4, "keep", (0.9, 4), None, (), 0, 0, {}, sizes, dict(chosen=shares, soft=shares), (), 10**9, ())
    assert made.forecast(800).error == pytest.approx(2 * 800**-0.5) and made.forecast(800).low == pytest.approx(
        made.forecast(800).error, rel=1e-3)
    assert made.more == "queries"
    rising = Advice(0.9, 4, "keep", (0.9, 4), None, (), 0, 0, {}, sizes, dict(chosen=1 - shares), (), 100, ())
    assert rising.forecast(800).error <= 1 and rising.more == "neither"


@pytest.mark.parametrize("K", [2, 3])
def test_a_linear_head_without_a_sample_is_nearly_a_refit(K):
    x, z_t, y = task(120, K, d=6)
    made = _head.predictions(x, z_t, y, CELLS, [120], 1e-3)[0]
    for i in range(0, 120, 10):
        kept = np.arange(120) != i
        refit = _head.predictions(x[kept], z_t[kept], y[kept], CELLS, [119], 1e-3, x[[i]])[0, 0]
        assert np.abs(made[i] - refit).max() <= HEAD * made.std()


def test_a_linear_head_is_at_the_minimum_of_its_loss():
    x, z_t, y = task(80, 3, d=5)
    loss = _head._Loss(x, softmax(z_t / 4, axis=1), np.eye(3)[y], 0.7, 4.0, 1e-3)
    weights, _ = loss.minimise(np.zeros((2, 5)))
    rng = np.random.default_rng(0)
    near = [loss.value(weights + 1e-3 * rng.normal(size=weights.shape)) for _ in range(20)]
    assert min(near) > loss.value(weights)


def test_more_samples_than_features_train_a_linear_head_and_fewer_reach_their_targets():
    x, z_t, y = task(300, d=5)
    advice = advise(x, z_t, y, features=True)
    slopes = np.linalg.lstsq(x, z_t, rcond=None)[0]
    linear = ((2 * y - 1) * (x @ slopes) <= 0).mean()
    assert advice.cells[0]["mistakes"] == pytest.approx(linear, abs=0.05)
    x, z_t, y = task(60, d=100)
    of_features, of_kernel = advise(x, z_t, y, features=True), advise(x, z_t, y, kernel=lambda a, b: a @ b.T)
    assert (of_features.cells == of_kernel.cells).all()


@pytest.mark.parametrize("K", [2, 3, 10])
@pytest.mark.parametrize("scale", [1, 30])
def test_where_labels_may_be_wrong_targets_minimise_the_loss_of_their_posterior(K, scale):
    _, z_t, y = task(50, K)
    z_t = scale * _noise.of_classes(z_t)
    rho, T = (each.ravel() for each in np.meshgrid([0.0, 1e-9, 0.3, 0.9, 1.0], [0.5, 1.0, 4.0, 100.0]))
    p = 0.2
    likelihood = np.where(np.arange(K) == y[:, None], 1 - p, p / (K - 1))
    posterior = softmax(z_t + np.log(likelihood), axis=1)
    for c, z in enumerate(np.moveaxis(_noise.targets(z_t, y, rho, T, p), 1, 0)):
        slope = rho[c] / T[c] * (softmax(z / T[c], axis=1) - softmax(z_t / T[c], axis=1))
        slope += (1 - rho[c]) * (softmax(z, axis=1) - posterior)
        assert np.abs(slope).max() < 1e-14 * (1 + T[c]) and np.abs(z.sum(1)).max() < 1e-10


@pytest.mark.parametrize("rho, T", [(0.1, 4), (0.9, 10), (0.5, 0.5), (1e-6, 2)])
@pytest.mark.parametrize("z_t", [-3.0, 0.5, 2.0])
def test_targets_of_a_posterior_are_exact(z_t, rho, T):
    """With 40 digits, of two classes: the root lies between the teacher's logit and the posterior's."""
    found = _noise.targets(np.array([[-z_t / 2, z_t / 2]]), np.array([1]), np.array([rho]), np.array([T]), 0.3)
    with mpmath.workdps(40):
        s = lambda v: 1 / (1 + mpmath.exp(-v))
        lifted = z_t + mpmath.log((1 - mpmath.mpf(0.3)) / mpmath.mpf(0.3))
        slope = lambda z: mpmath.mpf(rho) / T * (s(z / T) - s(mpmath.mpf(z_t) / T)) + (1 - mpmath.mpf(rho)) * (
            s(z) - s(lifted))
        root = mpmath.findroot(slope, (z_t, lifted), solver="anderson")
    assert found[0, 0, 1] - found[0, 0, 0] == pytest.approx(float(root), rel=1e-13, abs=1e-13)


def test_hardly_any_noise_leaves_labels_what_they_are():
    x, z_t, y = task(60, 3)
    certain, nearly = (advise(x, z_t, y, kernel=wide, noise=noise) for noise in (0, 1e-9))
    finite = certain.cells["rho"] > 0
    assert nearly.cells["estimate"][finite] == pytest.approx(certain.cells["estimate"][finite], abs=1e-6)
    assert nearly.useless == certain.useless


@pytest.mark.parametrize("features", [False, True])
def test_posteriors_of_noisy_labels_teach_more_than_the_labels(features):
    x, z_t, y = task(400, noise=1.0)
    flipped = np.random.default_rng(1).random(400) < 0.3
    given = np.where(flipped, 1 - y, y)
    plain, by_posterior = (advise(x, z_t, given, noise=noise, features=features, cells=[(0, 1)]) for noise in (0, 0.3))
    assert by_posterior.cells["mistakes"][0] < plain.cells["mistakes"][0]


def test_every_cell_counts_noisy_labels_alike():
    x, z_t, y = task(60)
    z = cell_targets(z_t, y, [(0.0, 1.0), (1e-12, 1.0), (1e-12, 10.0)], noise=0.2)
    assert np.abs(z - z[:, :1]).max() < 1e-6  # where hardly anything is soft, the posterior is all at any temperature
    advice = advise(x, z_t, y, kernel=wide, noise=0.2)
    posterior = z_t + (2 * y - 1) * np.log(0.8 / 0.2)
    hard = advise(x, posterior, y, kernel=wide, cells=[(1, 1)])
    assert advice.cells["estimate"][advice.cells["rho"] == 0] == pytest.approx(hard.cells["estimate"][:1], rel=NESTED)


def test_an_advice_is_the_choice_with_words_and_their_arguments_are_the_same():
    x, z_t, y = task(60)
    advice, choice = advise(x, z_t, y, depth=1), choose(x, z_t, y, depth=1)
    assert vars(advice).keys() == vars(choice).keys() and str(advice) != str(choice)
    assert all(np.array_equal(advice.curves[name], choice.curves[name]) for name in choice.curves)
    ours, theirs = ([(each.name, each.kind, each.default) for each in signature(function).parameters.values()]
                    for function in (advise, choose))
    assert ours == theirs


def test_a_picture_is_no_source_of_a_choice():
    used = {module for module, _ in uses("from kdlib.advise.choice import choose")}
    assert not used & {"kdlib.plots", "kdlib._still", "kdlib.advise._report", "kdlib.advise"}
    assert "kdlib.plots" in {module for module, _ in uses("from kdlib.advise import advise")}


def test_predictions_that_are_all_zero_are_ties():
    x, z_t, y = task(60)
    advice = advise(x, z_t, y, kernel=lambda a, b: (a[:, None] == b).all(-1).astype(float))
    assert (advice.cells["estimate"] == 0.5).all() and (advice.cells["mistakes"] == 1).all()
    assert advice.verdict == "keep"


def test_dask_gives_the_same_advice():
    x, z_t, y = task(90, K=3)
    here, there = advise(x, z_t, y, kernel=wide), advise(x, z_t, y, kernel=wide, engine="dask")
    assert there.cells["estimate"] == pytest.approx(here.cells["estimate"], rel=100 * ENGINES)
    assert all((there.curves[name] == here.curves[name]).all() for name in here.curves)


def test_the_report_stands_in_words_and_the_figure_below():
    advice = advise(*task(100, K=3))
    page = advice._repr_html_()
    assert page.index("Keep rho" if advice.verdict == "keep" else "Move from") < page.index("kd-figure")
    assert page.count("<p>") == len(str(advice).split("\n\n")) and "Mistakes" in repr(advice.figure())


def refuses(message, *arguments, **options):
    with pytest.raises(ValueError, match=re.escape(message)):
        advise(*arguments, **options)


@pytest.mark.parametrize("copies", [0, 7])
def test_a_sample_that_is_nearly_another_is_named_by_its_place_in_the_data(copies):
    arrays = [np.concatenate([values[:1].repeat(copies, 0), values]) for values in task(60)]
    arrays[0] = arrays[0].copy()
    i, j = 20 + copies, 41 + copies
    arrays[0][j] = arrays[0][i] + 1e-14
    with pytest.raises(ValueError) as refused:
        advise(*arrays)
    named = re.findall(r"sample (\d+)", str(refused.value))
    assert sorted(map(int, named)) == [i, j] and "(counted from 0) is a combination" in str(refused.value)
    kept = np.arange(len(arrays[0])) != int(named[0])
    assert advise(*(values[kept] for values in arrays)).verdict


def test_bad_input_is_refused_by_name():
    x, z_t, y = task(60)
    refuses("x must be finite, got nan", np.where(x > 2, np.nan, x), z_t, y)
    refuses("z_t must be finite, got inf", x, np.where(z_t > 2, np.inf, z_t), y)
    refuses("y_g must be 0 or 1, got 2", x, z_t, y + 1)
    refuses("y_g must be classes from 0 to 2, got 3", x, np.zeros((60, 3)), y + 2)
    refuses("x, z_t, y_g must have shapes (n, d), (n,) or (n, K), and (n,)", x, z_t[:-1], y)
    refuses("z_t must be below 1e+140 in size, got 1e+150", x, np.where(np.arange(60) == 7, 1e150, z_t), y)
    refuses("z_t must be below 1e+140 in size, got -1e+150", x, np.full((60, 3), -1e150), y)
    refuses("x must have shape (n, d) with features=True, got (60, 3, 1): write x.reshape(len(x), -1)",
            x[..., None], z_t, y, features=True)
    refuses("x, z_t, y_g must have shapes", x[:, 0], z_t, y)
    refuses("x, z_t, y_g must have shapes", x, z_t[:, None], y)
    refuses("y_g must be numeric", x, z_t, y.astype(str))
    refuses("x must hold at least 8 different samples, got 1", np.zeros_like(x), z_t, y)
    refuses("rho must lie in [0, 1], got 1.5", x, z_t, y, default=(1.5, 4))
    refuses("T must be positive and finite, got 0", x, z_t, y, cells=[(0.5, 0)])
    refuses("default must hold pairs (rho, T), got 0.9", x, z_t, y, default=0.9)
    refuses("reluctance must lie in [0, inf), got -1", x, z_t, y, reluctance=-1)
    refuses("x must be below 1e+140 in size, got", x * 1e200, z_t, y)
    refuses("x must have features that tell a head's weights apart", x * 1e30, z_t, y, features=True)
    wide_x = np.random.default_rng(0).normal(size=(600, 501))
    refuses("x must have at most 500 features, got 501 of 600 samples: a linear head for 3 classes takes too long",
            wide_x, np.zeros((600, 3)), np.arange(600) % 3, features=True)
    refuses("held_out must be (x, z_t, y_g) of other samples", x, z_t, y, held_out=(x, z_t))
    refuses("held_out must have the columns of x and z_t", x, z_t, y, held_out=(x[:, :2], z_t, y))
    refuses("noise must lie in [0, 0.5), got 0.5", x, z_t, y, noise=0.5)
    refuses("noise must lie in [0, 0.667), got 0.7", x, np.zeros((60, 3)), y, noise=0.7)
    refuses("kernel must be left out with features=True", x, z_t, y, features=True, kernel=wide)
    refuses("jitter must lie in [0, inf), got -1", x, z_t, y, features=True, jitter=-1)
    refuses("depth must be a whole number from 1 up, got 0", x, z_t, y, depth=0)
    refuses("engine must be one of memory, dask", x, z_t, y, engine="gpu")
    with pytest.raises(ValueError, match=re.escape("n must lie in [8, 240], got 1000")):
        advise(x, z_t, y).forecast(1000)
