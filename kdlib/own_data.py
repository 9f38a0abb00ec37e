"""A person's own files: inputs, a teacher's answers and labels, from a table or from arrays.

What cannot be meant is refused, in one line that says what to do; what was decided for the reader is among the notes.
"""

import csv
import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from kdlib._checks import shown, whole
from kdlib.datasets import load

LEAST_PROBABILITY = 1e-6  #: what a probability of 0 is taken for


@dataclass(frozen=True)
class OwnData:
    """Inputs, teacher's logits and labels; what :func:`read` returns."""

    x: Float[np.ndarray, "n d"]  #: inputs, one row for each sample
    z_t: Float[np.ndarray, " n *K"]  #: the teacher's logits, ``(n,)`` for two classes, else ``(n, K)``
    y_g: Int[np.ndarray, " n"]  #: labels from 0 up
    classes: tuple[str, ...]  #: what label 0, 1, ... stands for
    notes: tuple[str, ...] = ()  #: what was done to the file's content, in sentences
    columns: tuple[str, ...] = ()  #: names of the inputs' columns, if they have some
    answers: tuple[str, ...] = ()  #: names of the columns of the teacher's answers, if they have some

    def standardised(self, like: "OwnData | None" = None) -> "OwnData":
        """Inputs with mean 0 and standard deviation 1 in every column, constant ones left out.

        Args:
            like: the data whose means and deviations to use; its own by default.
        """
        x = (like or self).x
        if self.x.shape[1] != x.shape[1]:
            raise ValueError(f"x must have the {x.shape[1]} columns of the first data, got {self.x.shape[1]}: select "
                             "the same ones")
        varies = x.std(0) > 0
        if not varies.any():
            raise ValueError("x must have a column that varies, got only constant ones: check which were selected")
        columns = tuple(name for name, kept in zip(self.columns, varies, strict=False) if kept)
        return replace(self, x=(self.x - x.mean(0))[:, varies] / x.std(0)[varies], columns=columns)

    def some(self, n: int) -> "OwnData":
        """The samples in a random order of fixed seed, at most n of them, with a note if that leaves some out."""
        n = whole("most", n, 8)
        if len(self.x) <= n:
            return self
        rows = np.sort(np.random.default_rng(0).permutation(len(self.x))[:n])
        note = f"{n} of the {len(self.x)} samples were taken, at random."
        return replace(self, x=self.x[rows], z_t=self.z_t[rows], y_g=self.y_g[rows], notes=(*self.notes, note))


def read(
    data: str | Path,
    *,
    inputs: str | Sequence[str] = "",
    teacher: str | Sequence[str] = "z_t",
    labels: str = "y_g",
    probabilities: bool | None = None,
    like: OwnData | None = None,
) -> OwnData:
    """Inputs, teacher's answers and labels of a file.

    Args:
        data: an ``.npz`` file of arrays, a ``.csv`` file with names in its first row, separated by commas, semicolons
            or tabs, or a ``.parquet`` file, for which pyarrow is needed: ``pip install 'kdlib[parquet]'``.
        inputs: the key of the inputs, "x" by default, whose further axes are made one; or columns: the names, or what
            they begin with. By default all columns that are neither of the teacher nor the labels, but for those of
            words alone, and those without a name, such as the index of a pandas table.
        teacher: the key or the columns of the teacher's answers: one logit for two classes, or one for each class. If
            columns end in the labels' own names, as ``z_t_cat``, these say which belongs to which.
        labels: the key or the column of the labels: numbers from 0, or any others, or text, sorted.
        probabilities: whether the answers are probabilities; by default they are if there is one for each class and
            they add up to 1.
        like: data that were read before, whose classes these have, and whose columns, in any order.

    Raises:
        ValueError: a file, a column or a value that cannot be used.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "mine.csv"
    ...     _ = file.write_text("age,height,z_t_cat,z_t_dog,y_g" + 2 * "\\n3,0.4,0.8,0.2,dog" + "\\n1,0.3,0.9,0.1,cat")
    ...     mine = read(file)
    >>> mine.x.shape, mine.z_t.round(2).tolist(), mine.y_g.tolist(), mine.classes
    ((3, 2), [-1.39, -1.39, -2.2], [1, 1, 0], ('cat', 'dog'))
    """
    path = Path(str(data)).expanduser()
    kinds = {".npz": _arrays, ".csv": _columns, ".parquet": _columns}
    if path.suffix.lower() not in kinds:
        raise ValueError(f"data must be an .npz, .csv or .parquet file, got {shown(str(data))}: save it as one of "
                         "these, as by numpy.savez(file, x=x, z_t=z_t, y_g=y_g) or a table's to_csv(file, index=False)")
    if not path.is_file():
        raise ValueError(f"data must be a file that is there, got {shown(str(data))}: check its name and folder")
    notes = []
    x, z, y, columns, answers = kinds[path.suffix.lower()](path, inputs, teacher, labels, like, notes)
    y = y[:, 0] if y.shape[1:] == (1,) else y
    if y.ndim != 1 or not len(x) == len(z) == len(y) or not x.size or not z.size or z.ndim > 2:
        raise ValueError(f"{path.name} must have one row of inputs, teacher's answers and labels for each sample, got "
                         f"shapes {x.shape}, {z.shape} and {y.shape}: check which were selected")
    z = z[:, 0] if z.shape[1:] == (1,) else z
    z = _logits(path, z, probabilities, notes)
    K = z.shape[1] if z.ndim > 1 else 2
    endings = [name.removeprefix(teacher).lstrip("_") for name in answers] if isinstance(teacher, str) else []
    y, classes = _labels(path, y, K, endings, like, notes)
    z = z[:, 1] - z[:, 0] if z.ndim > 1 and K == 2 else z
    return OwnData(x, z, y, classes, tuple(notes), columns, answers)


def digits(n: int = 500) -> OwnData:
    """Handwritten digits, with a teacher that was trained on others: what the advisor's notebook shows by default.

    The teacher is scikit-learn's logistic regression on the 500 test images of :func:`~kdlib.datasets.load`.

    >>> digits(100).z_t.shape
    (100, 10)
    """
    from sklearn.linear_model import LogisticRegression

    images, n = load("digits"), whole("n", n, 8, 1297)
    flat = lambda x: x.reshape(len(x), -1)
    teacher = LogisticRegression(C=0.01, max_iter=1000).fit(flat(images.x_test), images.y_test)
    x = flat(images.x_train)[:n]
    return OwnData(x, teacher.decision_function(x), images.y_train[:n], images.classes)


# --- Files ----------------------------------------------------------------------------------------------------------


def _arrays(path, inputs, teacher, labels, like, notes):
    names = dict(inputs=inputs or "x", teacher=teacher, labels=labels)
    try:
        with np.load(path, allow_pickle=False) as file:
            there = file.files
            arrays = [np.asarray(file[name]) for name in names.values() if isinstance(name, str) and name in there]
    except (OSError, ValueError, TypeError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error):
        raise ValueError(f"{path.name} must be a sound .npz file without pickled objects: save plain arrays of numbers "
                         "or text by numpy.savez") from None
    for what, name in names.items():
        if not isinstance(name, str) or name not in there:
            raise ValueError(f"{what} must name an array of {path.name}, got {shown(name)}: it has {_listed(there)}, "
                             f"pass {what}=... (--{what})")
    x, z, y = arrays
    for what, values in (("inputs", x), ("teacher", z)):
        if values.dtype.kind not in "biuf" or not values.ndim or not np.isfinite(values).all():
            raise ValueError(f"{what} must be finite numbers, got {shown(values)}: remove or repair what is not")
    return x.reshape(len(x), np.prod(x.shape[1:], dtype=int)).astype(float), z.astype(float), y, (), ()


def _text(path):
    """The names and the rows of a table of text."""
    try:
        text = path.read_text("utf-8-sig")
        separator = max(",;\t", key=text.split("\n", 1)[0].count)
        head, *rows = (row for row in csv.reader(StringIO(text), delimiter=separator) if any(row))
    except (UnicodeDecodeError, csv.Error, ValueError):
        raise ValueError(f"{path.name} must be a table of text in UTF-8, with names in its first row: "
                         "save it again as CSV") from None
    return head, rows


def _parquet(path):
    """The names and the rows of a Parquet file, as text, in which floating-point numbers keep all digits."""
    try:
        from pyarrow import ArrowException, parquet
    except ModuleNotFoundError:
        raise ValueError(f"{path.name} must be read by pyarrow, which is not installed: pip install pyarrow, or save "
                         "it as CSV, as by a table's to_csv(file, index=False)") from None
    try:
        columns = parquet.read_table(path).to_pydict()
    except (ArrowException, OSError):
        raise ValueError(f"{path.name} must be a sound Parquet file: write it again, or save it as CSV") from None
    plain = lambda value: "" if value is None else str(int(value) if isinstance(value, bool) else value)
    return list(columns), [list(map(plain, row)) for row in zip(*columns.values(), strict=True)]


def _columns(path, inputs, teacher, labels, like, notes):
    head, rows = (_parquet if path.suffix.lower() == ".parquet" else _text)(path)
    head = [name.strip() for name in head]
    if len(head) < 2:
        raise ValueError(f"{path.name} must have several columns, got one, {shown(head[0])}: separate by commas")
    uneven = [i for i, row in enumerate(rows, 2) if len(row) != len(head)]
    if uneven or len(set(head)) < len(head):
        raise ValueError(f"{path.name} must have as many entries in each row as different names in the first, got "
                         f"{f'another number in row {uneven[0]}' if uneven else 'a name twice'}: check its separators")
    table = {name: [row[i].strip() for row in rows] for i, name in enumerate(head)}

    def chosen(what, which, among):
        if isinstance(which, str):
            found = [which] if which in among else [name for name in among if which and name.startswith(which)]
        else:
            found = [name for name in which if name in among] if set(which) <= set(among) else []
        if not found:
            raise ValueError(f"{what} must name columns of {path.name}, got {shown(which)}: it has {_listed(head)}, "
                             f"pass {what}=... (--{what})")
        return found

    def as_before(what, names, before):
        if not before:
            return names
        if differs := sorted(set(names) ^ set(before)):
            raise ValueError(f"{what} of {path.name} must be the columns of the first file, got {shown(differs[0])} in "
                             "one of them alone: name the same ones")
        return list(before)

    def numbers(names):
        for name in names:
            bad = next((i for i, value in enumerate(table[name]) if not _is_number(value)), None)
            if bad is not None:
                raise ValueError(f"column {name} of {path.name} must hold finite numbers, got "
                                 f"{shown(table[name][bad])} in {_place(path, bad)}: repair it, or name the inputs "
                                 "that you mean")
        return np.array([table[name] for name in names], float).T.reshape(len(rows), len(names))

    [label, *more] = chosen("labels", labels, head)
    if more:
        raise ValueError(f"labels must name one column of {path.name}, got {shown([label, *more])}: name it in full")
    answers = chosen("teacher", teacher, [name for name in head if name != label])
    others = [name for name in head if name not in (label, *answers)]
    if not inputs:
        unnamed, words = ([name for name in others if is_so(name)]
                          for is_so in (_UNNAMED.fullmatch, lambda name: _in_words(table[name])))
        notes += [f"Column {head.index(name) + 1} has no name, and was left out." for name in unnamed]
        notes += [f"“{name}” holds no numbers, and was left out." for name in words if name not in unnamed]
        others = [name for name in others if name not in (*unnamed, *words)]
    features = as_before("inputs", chosen("inputs", inputs or others, others), like and like.columns)
    answers = as_before("the teacher's answers", answers, like and like.answers)
    return numbers(features), numbers(answers), np.array(table[label]), tuple(features), tuple(answers)


_UNNAMED = re.compile(r"(Unnamed: \d+)?")  # the second is what pandas calls the first
_MISSING = re.compile(r"([+-]?(nan|inf(inity)?)|n/?a|<na>|null|none)?", re.IGNORECASE)


def _in_words(values):
    return not any(map(_is_number, values)) and not all(map(_MISSING.fullmatch, values))


def _is_number(text):
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def _place(path, i):
    """Where sample i stands: CSV files are looked at in editors, which count lines."""
    return f"row {i + 2}" if path.suffix.lower() == ".csv" else f"sample {i} (counted from 0)"


def _listed(names):
    """Names in one line, of many the first and the last."""
    short = [" ".join(name.split())[:40] for name in names]
    return ", ".join(short if len(short) <= 10 else [*short[:5], "...", *short[-4:]])


# --- What the values mean -------------------------------------------------------------------------------------------


def _logits(path, z, probabilities, notes):
    """The teacher's answers as logits."""
    inside = ((z >= 0) & (z <= 1)).all()
    if probabilities is None:
        adds_up = z.ndim > 1 and np.allclose(z.sum(1), 1, atol=1e-3)
        if inside and not adds_up:
            what = "there is one for each sample" if z.ndim == 1 else "not all rows add up to 1"
            raise ValueError(f"probabilities must be said where all answers in {path.name} lie in [0, 1] and {what}: "
                             "say whether they are, by probabilities=True (--probabilities), or False (--logits)")
        probabilities = bool(inside)
    if not probabilities:
        return z
    if not inside or (z.ndim > 1 and not (z.sum(1) > 0).all()):
        raise ValueError(f"probabilities in {path.name} must lie in [0, 1], with one above 0 for each sample, got "
                         f"{z.min():g} to {z.max():g}: for logits leave probabilities out")
    both = np.stack([1 - z, z], 1) if z.ndim == 1 else z
    lost = int((both < LEAST_PROBABILITY).any(1).sum())
    if lost:
        notes.append(f"Probabilities below {LEAST_PROBABILITY:g}, in {lost} samples, were taken for that.")
    notes.append("The teacher's answers were taken for probabilities; their logarithms are the logits.")
    logs = np.log(np.maximum(both, LEAST_PROBABILITY))
    return logs[:, 1] - logs[:, 0] if z.ndim == 1 else logs


def _labels(path, y, K, endings, like, notes):
    """Labels from 0 to K - 1, and what they stand for."""
    if y.dtype.kind not in "biufUS":
        raise ValueError(f"labels in {path.name} must be numbers or text, got {shown(y)}: save them as one of these")
    try:
        names = np.char.decode(y, "utf-8") if y.dtype.kind == "S" else y.astype(int if y.dtype.kind == "b" else str)
    except UnicodeDecodeError:
        raise ValueError(f"labels in {path.name} must be text in UTF-8, got other bytes: save them as text, as by "
                         "numpy.char.decode(y_g, 'latin-1')") from None
    for i, name in enumerate(map(str, names)):
        if _MISSING.fullmatch(name.strip()):
            raise ValueError(f"labels in {path.name} must be there for each sample, got {name!r} in {_place(path, i)}: "
                             "remove or repair such samples first, or give such a class another name")
    if all(map(_is_number, names)):
        numbers = names.astype(float)
        names = numbers.astype(int) if (numbers == np.rint(numbers)).all() else numbers
    names = list(map(str, names.tolist()))
    numbered = tuple(map(str, range(K)))
    found = sorted(set(names), key=lambda name: (float(name), "") if _is_number(name) else (np.inf, name))
    if like is not None:
        classes = like.classes
    elif len(endings) == K and set(names) <= set(endings):
        classes = tuple(endings)
    elif set(names) <= set(numbered):
        if "0" not in names:
            raise ValueError(f"labels in {path.name} must count from 0, got {_listed(found)} of {K} classes: subtract "
                             f"1 if they count from 1; else name the teacher's columns z_t_0 to z_t_{K - 1} in a table")
        classes = numbered
    elif len(endings) == K and not any(name == "" or name[-1].isdigit() for name in endings):
        raise ValueError(f"labels in {path.name} must be among {_listed(endings)}, as the teacher's columns are named, "
                         f"got {_listed(found)}: use the same names in both")
    elif len(found) != K:
        raise ValueError(f"labels in {path.name} must be of {K} classes, as many as the teacher answers for, got "
                         f"{len(found)}, {shown(', '.join(found))}: number them from 0 in the order of the answers")
    else:
        classes = tuple(found)
        order = ", ".join(classes[:10]) + (", ..." if K > 10 else "")
        notes.append(f"Labels were sorted, and the teacher's answers taken in that order: {order}.")
    if unknown := [name for name in found if name not in classes]:
        raise ValueError(f"labels in {path.name} must be among {shown(', '.join(classes))}, got {shown(unknown[0])}: "
                         "they must be those of the first file")
    place = {name: k for k, name in enumerate(classes)}
    return np.array([place[name] for name in names]), classes
