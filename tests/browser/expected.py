"""What an explorer should show, by the library."""

import numpy as np

from kdlib.distillation import targets
from kdlib.networks import fully_connected
from kdlib.students import NestedStudents

NETWORK = fully_connected(3)


def in_python(task, sizes, *, rho, T, epoch, draw):
    """Norms of all students and some of their curves, by the library."""
    grid = np.linspace(-3, 3, 193)[:, None]
    x, x_t = np.array(task["samples"][draw - 1])[:, None], np.array(task["x_t"])[:, None]
    coefficients = task["coefficients"][task["epochs"].index(epoch)]
    y_g = np.searchsorted(task["boundaries"], x[:, 0]) % 2
    z = targets(NETWORK.ntk(x, x_t) @ coefficients, y_g, rho=rho, T=T)
    students = NestedStudents(x, NETWORK.ntk)
    return {"teacher": NETWORK.ntk(grid, x_t) @ coefficients, "norms": students.weight_norms(z),
            "curves": students.predict(grid, z, sizes)}


def risk_in_python(task, sizes, x_test, *, rho, T, n=None, epoch):
    """Angles and gaps of all students; of some, the curves, and the probabilities by counting test points."""
    stop = task["epochs"].index(epoch)
    teacher = lambda x: NETWORK.ntk(x, np.array(task["x_t"])[:, None]) @ task["coefficients"][stop]
    x, grid = np.array(task["samples"][0])[:, None], np.asarray(x_test)[:, None]
    students = NestedStudents(x, NETWORK.ntk)
    z = targets(teacher(x), teacher(x) > 0, rho=rho, T=T)
    norms, (*curves, oracle) = students.weight_norms(z), students.predict(grid, z, [*sizes, len(x)])
    norm = norms[-1]
    if rho == 1:
        oracle, norm = teacher(grid), task["weight_norms"][stop]
    gaps = np.sqrt(np.maximum(norm**2 - norms**2, 0))
    gap, curves, distances = gaps[np.array(sizes) - 1][:, None], np.array(curves), students.distance(grid, sizes)
    q = kernel = 1 + grid[:, 0] ** 2  # Theta(x, x) of a network whose weights and biases have a variance of 1
    for _ in range(NETWORK.depth):
        q = 1 + q / 2
        kernel = kernel / 2 + q
    share = lambda event: np.average(event, axis=-1, weights=np.exp(-(grid[:, 0] ** 2) / 2))
    return {"oracle": oracle, "gaps": gaps, "angles": np.arccos(np.minimum(norms / norm, 1)), "curves": curves,
            "distances": distances, "risk": share(curves * oracle < 0), "power": share(abs(oracle) < gap * distances),
            "theorem": share(abs(oracle) <= gap * np.sqrt(kernel))}


def error_rate(task, z):
    """Probability of the wrong class under x ~ N(0, 1) in [-3, 3], on a grid fine enough not to matter."""
    x = np.linspace(-3, 3, 60_001)
    wrong = (np.interp(x, np.linspace(-3, 3, 193), z) > 0) != np.searchsorted(task["boundaries"], x) % 2
    return np.average(wrong, weights=np.exp(-(x**2) / 2))
