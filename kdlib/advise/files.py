"""Advice on a person's own files: what the command and the notebook call."""

from collections.abc import Sequence
from pathlib import Path

from kdlib.advise import Advice, advise
from kdlib.own_data import digits, read


def advise_on(
    data: str | Path = "",
    held_out: str | Path = "",
    *,
    most: int = 5000,
    standardise: bool = True,
    inputs: str | Sequence[str] = "",
    teacher: str | Sequence[str] = "z_t",
    labels: str = "y_g",
    probabilities: bool | None = None,
    **settings,
) -> tuple[Advice, tuple[str, ...]]:
    """Advice on a file, and notes on what was done to its content.

    Args:
        data: a file for :func:`~kdlib.own_data.read`; :func:`~kdlib.own_data.digits` if empty.
        held_out: another one, of samples that the teacher has not seen, to judge the students on.
        most: samples of the first file to take at most, at random.
        standardise: whether every column of inputs is brought to mean 0 and standard deviation 1.
        inputs, teacher, labels, probabilities: as in :func:`~kdlib.own_data.read`, for both files.
        settings: further arguments of :func:`~kdlib.advise.advise`.

    Raises:
        ValueError: as :func:`~kdlib.own_data.read` and :func:`~kdlib.advise.advise` do.

    >>> advice, notes = advise_on(most=60, depth=1)
    >>> advice.judged, notes
    (60, ('60 of the 500 samples were taken, at random.',))
    """
    names = dict(inputs=inputs, teacher=teacher, labels=labels, probabilities=probabilities)
    own = (read(data, **names) if data else digits()).some(most)
    others = read(held_out, **names, like=own) if held_out else None
    notes = *own.notes, *(f"Held out: {note}" for note in (others.notes if others else ()))
    if standardise:
        own, others = own.standardised(), others and others.standardised(like=own)
    return advise(own.x, own.z_t, own.y_g, held_out=others and (others.x, others.z_t, others.y_g), **settings), notes
