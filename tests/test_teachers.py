"""Teachers: the flow against plain descent and other solvers, exact small cases, and kernels that are none."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tolerances
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.special import expit

from kdlib import fully_connected, teachers
from kdlib._flow import chebyshev_flow, chebyshev_step
from kdlib._gram import semidefinite
from kdlib.tasks import labels, random_mixture, sample_inputs
from kdlib.teachers import train_kernel_teacher, train_network_teacher
from kdlib.training import full_batch, train

KEY = jax.random.key(0)
X = np.asarray(sample_inputs(KEY, 6, 2))
Y_G = np.array([0, 1, 1, 1, 0, 1])
network = fully_connected(2, width=32)


def task(n, d):
    """Inputs, labels of a mixture with a wavy boundary, and other inputs."""
    of_inputs, of_truth, of_others = jax.random.split(jax.random.key(n + d), 3)
    truth = random_mixture(of_truth, 6, d, widths=(0.3, 0.8))
    x = np.asarray(sample_inputs(of_inputs, n, d))
    return x, np.asarray(labels(truth(x))), np.asarray(sample_inputs(of_others, 200, d))


def descend(gram, y_g, rate, epochs):
    """Coefficients by plain descent, the definition."""
    a, kept = np.zeros(len(gram)), []
    for epoch in range(1, max(epochs) + 1):
        a = a - rate / len(gram) * (expit(gram @ a) - y_g)
        if epoch in epochs:
            kept.append(a)
    return np.array(kept)


def default_rate(gram):
    return 4 * len(gram) / np.linalg.eigvalsh(gram)[-1]


def laplace(a, b):
    return np.exp(-np.linalg.norm(np.asarray(a)[:, None] - np.asarray(b), axis=-1))


def losses(z, y_g):
    return np.mean(np.logaddexp(0, z) - y_g * np.asarray(z), axis=1)


# --- Kernel teachers ------------------------------------------------------------------------------


@pytest.mark.parametrize("n, d", [(150, 1), (150, 2), (150, 5), (40, 20)])
def test_logits_are_those_of_plain_descent(n, d):
    x, y_g, x_test = task(n, d)
    epochs, gram = [16, 64, 65, 100, 128, 512, 4096], network.ntk(x)
    teacher = train_kernel_teacher(x, y_g, network.ntk, epochs=epochs)
    expected = descend(gram, y_g, default_rate(gram), epochs)
    for kernel in (gram, network.ntk(x_test, x)):
        difference = np.abs((teacher.coefficients - expected) @ kernel.T).max(axis=1)
        assert (difference[:2] < tolerances.DESCENT).all()  # the same steps
        assert (difference[2:] < tolerances.TEACHER).all()
    assert np.abs(teacher.logits(x_test) - teacher.coefficients @ network.ntk(x, x_test)).max() < tolerances.DESCENT


@pytest.mark.parametrize("share", [1e-3, 0.1, 0.5, 1.0])
def test_any_rate_up_to_twice_the_default_is_descent(share):
    """Towards twice the default descent swings about the flow while it is young; by epoch 64 that has died away."""
    x, y_g, _ = task(60, 2)
    gram = network.ntk(x)
    rate = 2 * share * default_rate(gram)
    teacher = train_kernel_teacher(x, y_g, network.ntk, epochs=[64, 256, 1024], learning_rate=rate)
    difference = np.abs((teacher.coefficients - descend(gram, y_g, rate, [64, 256, 1024])) @ gram).max(axis=1)
    assert difference[0] < tolerances.DESCENT
    assert (difference < tolerances.TEACHER * max(1, 2 * share)).all()


def test_the_flow_needs_an_eighth_of_the_products_of_descent(monkeypatch):
    calls, product = [], teachers.dsymv
    monkeypatch.setattr(teachers, "dsymv", lambda *of: calls.append(1) or product(*of))
    x, y_g, _ = task(150, 2)
    train_kernel_teacher(x, y_g, network.ntk, epochs=[2**k for k in range(4, 15)])
    assert len(calls) < 2**14 / 8


def test_epochs_between_change_nothing_beyond_the_tolerance():
    x, y_g, x_test = task(100, 2)
    alone = train_kernel_teacher(x, y_g, network.ntk, epochs=[2000]).logits(x_test)[0]
    among = train_kernel_teacher(x, y_g, network.ntk, epochs=[1, 70, *range(500, 2001, 100)]).logits(x_test)[-1]
    assert np.abs(alone - among).max() < tolerances.TEACHER


def test_the_flow_is_that_of_another_solver():
    x, y_g, _ = task(60, 2)
    gram, epochs = network.ntk(x), [64, 256, 1024]
    teacher = train_kernel_teacher(x, y_g, network.ntk, epochs=epochs)
    pull = lambda _, a: default_rate(gram) / len(x) * (y_g - expit(gram @ a))
    peer = solve_ivp(pull, (64, 1024), teacher.coefficients[0], "Radau", epochs, rtol=1e-8, atol=1e-10).y.T
    assert np.abs((teacher.coefficients - peer) @ gram).max() < tolerances.TEACHER


@given(st.integers(2, 30), st.integers(1, 5), st.floats(0.01, 1), st.integers(0, 9))
def test_the_loss_falls_at_every_epoch(n, d, share, seed):
    draw = np.random.default_rng(seed)
    x, y_g = draw.standard_normal((n, d)), draw.integers(0, 2, n)
    epochs = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]
    rate = share * default_rate(laplace(x, x))
    teacher = train_kernel_teacher(x, y_g, laplace, epochs=epochs, learning_rate=rate)
    loss = losses(teacher.coefficients @ laplace(x, x), y_g)
    assert loss[0] < np.log(2) and (np.diff(loss) < 0).all()


def test_norms_are_those_of_the_coefficients():
    x, y_g, _ = task(50, 2)
    teacher = train_kernel_teacher(x, y_g, network.ntk, epochs=[1, 300])
    exact = np.sqrt(np.einsum("ei,ij,ej->e", teacher.coefficients, network.ntk(x), teacher.coefficients))
    assert np.allclose(teacher.weight_norms, exact, rtol=tolerances.ROUNDING)


def test_one_sample_and_two_opposite_ones():
    x = np.array([[0.7]])
    (z,) = train_kernel_teacher(x, [1], network.ntk, epochs=[1]).logits(x)
    assert np.allclose(z, 2.0)  # the default rate is 4 / Theta, and the first slope -1/2
    linear = lambda a, b: a @ b.T  # singular; its one mode is orthogonal to a constant
    teacher = train_kernel_teacher([[-1.0], [1.0]], [0, 1], linear, epochs=[1, 100])
    assert np.allclose(teacher.logits([[-1.0], [1.0]])[0], [-2.0, 2.0])
    assert np.allclose(teacher.logits([[3.0]]), -np.asarray(teacher.logits([[-3.0]])))


def test_twice_the_same_sample_is_one_of_twice_the_weight():
    x = np.array([[0.3], [0.3], [-1.0]])
    logits = np.asarray(train_kernel_teacher(x, [1, 1, 0], network.ntk, epochs=[200]).logits(x))[0]
    assert logits[0] == logits[1] > 0 > logits[2]


def test_single_precision_kernels_do():
    x, y_g, x_test = task(50, 2)
    def rounded(a, b):
        """Its two triangles differ in the last bit."""
        low = laplace(a, b).astype("f4")
        return np.where(np.less.outer(a[:, 0], b[:, 0]), np.nextafter(low, np.float32(2)), low)

    gram = rounded(x, x)
    assert gram.dtype == "f4" and not np.array_equal(gram, gram.T)
    logits = [train_kernel_teacher(x, y_g, kernel, epochs=[50, 500]).logits(x_test) for kernel in (laplace, rounded)]
    assert np.allclose(*logits, rtol=0, atol=tolerances.TEACHER)
    kept = semidefinite(gram)
    assert kept.dtype == float and np.array_equal(kept, kept.T)


def test_a_wide_network_and_the_kernel_make_the_same_teacher():
    """Of a linearised network with its own kernel, to rounding: both descend in one space."""
    wide = fully_connected(1, width=64)
    params = wide.init(KEY, 2)
    y = labels(X[:, 0])
    linear = wide.linearize(params)
    without_start = lambda w, x: linear(w, x) - wide.apply(params, x)
    done = train(without_start, params, full_batch(X, jnp.zeros(6), y), rho=0.0, T=1.0, steps=[10, 40], key=KEY,
                 optimizer=optax.sgd(0.5), record=lambda w: without_start(w, X))
    kernel = lambda a, b: wide.empirical_ntk(params, jnp.asarray(a), jnp.asarray(b))
    teacher = train_kernel_teacher(X, y, kernel, epochs=[10, 40], learning_rate=0.5)
    assert np.allclose(teacher.logits(X), done.records, rtol=1e-9, atol=1e-9)


def test_kernel_teachers_answer_under_jit():
    """Online batches are labelled by a teacher inside a traced step."""
    x = np.asarray(sample_inputs(KEY, 10, 2))
    teacher = train_kernel_teacher(x, labels(x[:, 0]), network.ntk, epochs=[5])
    assert np.allclose(jax.jit(teacher.logits)(X), teacher.logits(X), rtol=1e-12)


distance = lambda a, b: np.abs(a - b.T)


@pytest.mark.parametrize("kernel, message", [
    (lambda a, b: 1 - distance(a, b), r"be positive semidefinite, got an eigenvalue of -1\.\d+: .* use another$"),
    (lambda a, b: -distance(a, b), "be positive on the diagonal, got -?0 at sample 0: use a positive definite"),
    (lambda a, b: np.zeros((len(a), len(b))), "be positive on the diagonal, got 0 at sample 0: use a positive def"),
    (lambda a, b: np.diag(a[:, 0] - 1.5), r"be positive on the diagonal, got -1\.5 at sample 0"),
    (lambda a, b: distance(a, b)[:, :1], r"must have shape \(3, 3\), got \(3, 1\): one row and one column"),
    (lambda a, b: np.full((3, 3), np.nan), r"be finite, got nan \(and 8 more\)"),
    (lambda a, b: np.eye(3) + np.eye(3, k=1) / 10, r"be symmetric, got 0\.1: .* average it with its transpose"),
    (network, "kernel must be a function k.x1, x2., got a Network: pass its method ntk"),
    ("rbf", "kernel must be a function k.x1, x2., got a str: pass one, such as network.ntk"),
])
def test_kernels_that_are_none_are_refused(kernel, message):
    with pytest.raises(ValueError, match=message) as caught:
        train_kernel_teacher([[0.0], [1.0], [3.0]], [0, 1, 1], kernel, epochs=[1])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("changes, message", [
    ({"y_g": [2] * 6}, "y_g must be 0 or 1, got 2"),
    ({"y_g": Y_G[:5]}, "got x 6, y_g 5"),
    ({"y_g": Y_G[:, None]}, r"y_g must have shape \(n,\), got \(6, 1\)"),
    ({"epochs": [4, 2]}, r"epochs must increase, got \[4, 2\]"),
    ({"learning_rate": 0.0}, "learning_rate must be positive and at most .*, got 0: leave it out"),
    ({"learning_rate": 1e3}, "positive and at most .*, which descent can bear, got 1000: leave it out for the def"),
])
def test_bad_settings_of_a_kernel_teacher_are_refused(changes, message):
    settings = dict(x=X, y_g=Y_G, kernel=network.ntk, epochs=[1]) | changes
    with pytest.raises(ValueError, match=message):
        train_kernel_teacher(settings.pop("x"), settings.pop("y_g"), settings.pop("kernel"), **settings)


# --- The flow's solver ----------------------------------------------------------------------------


@pytest.mark.parametrize("stages", [2, 3, 5, 12])
def test_a_step_is_of_second_order(stages):
    """The logistic equation, whose solution is known: halving the step divides the error by 4."""
    velocity, exact = lambda y: -y * (1 - y), expit(-1.0)
    lengths, errors = 1 / np.array([32, 64, 128]), []
    for h in lengths:
        y = np.array([0.5])
        for _ in range(round(1 / h)):
            y = chebyshev_step(velocity, y, velocity(y), h, stages)
        errors.append(abs(y[0] - exact))
    order = np.polyfit(np.log(lengths), np.log(errors), 1)[0]
    assert abs(order - 2) < 0.1


@pytest.mark.parametrize("stages", [2, 3, 5, 12, 50])
def test_a_step_damps_every_mode_that_it_is_sized_for(stages):
    rates = np.linspace(0, 1, 2001) * 0.65 * (stages**2 - 1)
    after = chebyshev_step(lambda y: -rates * y, np.ones(2001), -rates, 1.0, stages)
    assert np.abs(after).max() <= 1 and np.abs(after[rates > 1.5]).max() < 0.99
    assert abs(after[1] - np.exp(-rates[1])) < rates[1] ** 3


def test_a_stiff_flow_is_as_exact_as_asked():
    """Modes that decay at rates from 1e-3 to 1, looked at from the first to the last."""
    rates = np.logspace(-3, 0, 50)
    times = [0, *np.geomspace(1, 4096, 13)]
    found = chebyshev_flow(lambda y: rates * (1 - y), np.zeros(50), times, radius=lambda y: 1.0, step=1.0,
                           error=lambda local: np.abs(local).max() / 1e-4)
    exact = [1 - np.exp(-rates * time) for time in times[1:]]
    assert np.abs(np.array(found) - exact).max() < 3e-3


def test_the_error_falls_as_the_tolerance():
    """The logistic equation from 1 to nearly 0: with steps of second order, error per step is length cubed."""
    tolerance, errors = np.array([1e-3, 1e-5, 1e-7]), []
    for allowed in tolerance:
        (end,) = chebyshev_flow(lambda y: -y * (1 - y), np.array([0.9]), [0, 4], radius=lambda y: 1.0, step=0.1,
                                error=lambda local, allowed=allowed: np.abs(local).max() / allowed)
        errors.append(abs(end[0] - expit(np.log(9) - 4)))
    assert all(late < early / 5 for early, late in pairwise(errors))


def test_steps_that_fail_are_tried_again():
    """A first step a million times too long, with a bound that knows nothing of the rate."""
    (end,) = chebyshev_flow(lambda y: -y, np.ones(1), [0, 1e6], radius=lambda y: 1.0, step=1e6,
                            error=lambda local: np.abs(local).max() / 1e-6)
    assert abs(end[0]) < 1e-3


# --- Network teachers -----------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [None, 2])
def test_network_teacher_learns_and_keeps_its_epochs(batch_size):
    y = labels(X[:, 0])
    teacher = train_network_teacher(KEY, X, y, network, epochs=[1, 300], optimizer=optax.adam(0.02),
                                    batch_size=batch_size)
    early, late = teacher.logits(X)
    assert ((late > 0) == (y == 1)).all()
    assert jnp.abs(late).mean() > 2 * jnp.abs(early).mean()
