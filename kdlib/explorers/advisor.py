"""The advisor in a page: what to do with a file that is dropped there."""

from functools import cache
from html import escape

import numpy as np
import traitlets

from kdlib._checks import ratio, real, whole
from kdlib.advise import advise
from kdlib.datasets import load
from kdlib.explorers._base import Embedded, module
from kdlib.own_data import OwnData

_CLASSES, _TAUGHT, _GIVEN = (3, 5, 8), 120, 300  # digits; samples of the teacher, and of the example
_WRONG = 0.15  # share of labels drawn anew, as by tired people


@cache
def example():
    """300 digits 3, 5 and 8, and a teacher that saw 120 others: the example.

    15 % of all labels are drawn anew. The teacher is a logistic regression. Features are means over 2 x 2 pixels, from
    0 to 4; they and the logits have one decimal.
    """
    from sklearn.linear_model import LogisticRegression

    digits = load("digits")
    images, labels = np.concatenate([digits.x_train, digits.x_test]), np.concatenate([digits.y_train, digits.y_test])
    some = np.flatnonzero(np.isin(labels, _CLASSES))[: _TAUGHT + _GIVEN]
    x = 4 * images[some].reshape(-1, 4, 2, 4, 2).mean((2, 4)).reshape(-1, 16)
    x, y = x.round(1), np.searchsorted(_CLASSES, labels[some])
    rng = np.random.default_rng(0)
    y = np.where(rng.random(len(y)) < _WRONG, rng.integers(len(_CLASSES), size=len(y)), y)
    teacher = LogisticRegression(max_iter=1000).fit(x[:_TAUGHT], y[:_TAUGHT])
    z_t = teacher.decision_function(x[_TAUGHT:]).round(1)
    return OwnData(x[_TAUGHT:], z_t, y[_TAUGHT:], tuple(map(str, _CLASSES)))


class AdvisorExplorer(Embedded):
    r"""A form that takes a file, and answers as :func:`~kdlib.advise.advise` does.

    The file is a CSV with a line of names, or an NPZ of ``numpy.savez`` or ``numpy.savez_compressed``, with
    features, the teacher's logits or probabilities, and given labels; the form guesses which is which by their names,
    and reads them as :func:`~kdlib.own_data.read` does; only, answers from 0 to 1 that do not add up to 1 it takes for
    probabilities until it is told otherwise. One more column may mark samples as held out. Kernel,
    factorisation, losses, curves and forecasts are computed in the browser, by a worker; nothing leaves the page.
    ``rho`` and ``T`` are the default to beat and ``depth`` the student's hidden layers; the address of a static page
    carries these (``#a.rho=0.5&a.depth=1``).

    Limits:
        8 to 2000 samples, up to 100 classes, and students that are wide ReLU networks: for more samples, other kernels,
        frozen features, noisy labels and other cells there is :func:`~kdlib.advise.advise`.

    Raises:
        ValueError: rho outside [0, 1], T outside [1e-3, 1e6], or depth outside 1..5.

    >>> AdvisorExplorer(depth=1).rho
    0.9
    """

    _kind = "advisor"
    _esm = module("advisor")

    rho = traitlets.Any(0.9).tag(sync=True, page=True)
    T = traitlets.Any(4.0).tag(sync=True, page=True)
    depth = traitlets.Any(3).tag(sync=True, page=True)
    example = traitlets.Dict(read_only=True).tag(sync=True, page=True)
    solver = traitlets.Unicode(module("advice"), read_only=True).tag(sync=True, page=True)

    @traitlets.default("example")
    def _example(self):
        own = example()
        names = [*(f"x{i}" for i in range(own.x.shape[1])), *(f"z_{name}" for name in own.classes), "label"]
        lines = [",".join([*(f"{v:g}" for v in (*features, *logits)), own.classes[y]])
                 for features, logits, y in zip(own.x, own.z_t, own.y_g, strict=True)]
        return {"title": "try 300 digits", "name": "digits.csv", "text": "\n".join([",".join(names), *lines, ""])}

    @traitlets.validate("rho")
    def _ratio(self, proposal):
        return ratio("rho", proposal.value)

    @traitlets.validate("T")
    def _temperature(self, proposal):
        return real("T", proposal.value, "lie between 1e-3 and 1e6", lambda T: 1e-3 <= T <= 1e6,
                    "T = 1 leaves the logits as they are, T > 1 softens them")

    @traitlets.validate("depth")
    def _layers(self, proposal):
        return whole("depth", proposal.value, 1, 5, "it counts hidden layers")

    def picture(self):
        """What it says about the example, as plain text, for pages without scripts."""
        own = example().standardised()
        advice = advise(own.x, own.z_t, own.y_g, default=(self.rho, self.T), depth=self.depth)
        words = "".join(f"<p>{escape(sentence)}</p>" for sentence in str(advice).split("\n\n"))
        return f'<div class="kd-still"><p>Of 300 digits, 3, 5 or 8, and a teacher that saw 120 others:</p>{words}</div>'
