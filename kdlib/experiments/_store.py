"""The one store of long experiments: computed once at full scale, loaded by the chapters, replayed in part.

An experiment is a function ``repetition(key, setting)`` that returns a run: a frozen dataclass whose fields are
numbers or arrays, named by :func:`quantity`. Stored are the runs of many repetitions, one file for each setting, with
the setting, seed, command, date, seconds, versions, and a digest of the source that made them (:mod:`kdlib._source`).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property, partial
from html import escape
from pathlib import Path
from typing import Any

import jax
import numpy as np

from kdlib import _source
from kdlib.sweeps import sweep

FOLDER = Path(__file__).parents[1] / "stored"


def quantity(what, axes="", *, within=0.0):
    """A field of a run: what it is, its axes, and how far a replay may be from what is stored, beyond 0.1 per cent."""
    return field(metadata={"what": what, "axes": axes, "within": within})


def parameter(default, rule):
    """A field of a setting, with a rule ``rule(name, value)`` that checks its value and returns it converted."""
    return field(default=default, metadata={"rule": rule})


@dataclass(frozen=True)
class Setting:
    """What an experiment depends on besides its key: a frozen dataclass of parameters, checked and converted."""

    def __post_init__(self):
        for each in fields(self):
            if rule := each.metadata.get("rule"):
                object.__setattr__(self, each.name, rule(each.name, getattr(self, each.name)))


class ReplayDiffers(ValueError):
    """A repetition was computed again, by the source that made what is stored, and is not the same."""


@dataclass(frozen=True)
class Results:
    """Runs of one setting, and where they come from."""

    runs: Any  #: a run whose fields have a first axis of repetitions
    origin: str  #: one sentence

    def __str__(self):
        return self.origin


@dataclass(frozen=True)
class Experiment:
    """A random experiment, the settings at which the book has it, and how often they are repeated.

    Args:
        name: of its module in ``kdlib.experiments``, with more behind a dot if that holds several experiments.
        repetition: ``repetition(key, setting)``, which returns a run.
        run: the dataclass of runs.
        cases: the settings whose results are stored, by a short name.
        repetitions: how many are stored: of each case, or a number for each of them.
        salt: a whole number made of a setting; settings with different ones draw independently.
        apart: the cases that are computed only where the experiment is named: they take hours, or a download.
    """

    name: str
    repetition: Callable
    run: type
    cases: Mapping[str, Setting]
    repetitions: int | Mapping[str, int]
    salt: Callable = lambda setting: 0
    apart: tuple[str, ...] = ()

    def results(self, setting, *, repetitions=None, seed=0, client=None, replay=1, folder=FOLDER):
        """The runs at a setting: those that are stored, a few of which are computed again, or else new ones.

        Args:
            setting: any setting.
            repetitions: how many; by default as many as are stored.
            seed: where all randomness starts.
            client: a Dask client or the address of a scheduler, whose workers then compute (:mod:`kdlib.sweeps`).
            replay: how many of the stored repetitions are computed again, and compared.
            folder: of the stored results.

        Raises:
            ReplayDiffers: what is computed again is not what is stored, although the source has not changed.
        """
        case = self.case(setting)
        if repetitions is None:
            repetitions = self.count(case)
        stored = self.stored(setting, folder)
        if stored is None or not stored.holds(setting, seed, repetitions):
            return Results(self.compute(setting, range(repetitions), seed=seed, client=client),
                           f"{repetitions} repetitions, computed now")
        origin = f"{repetitions} repetitions, stored on {stored.provenance['date']}"
        if replay:
            different = self.differences(stored, range(replay), client=client)
            if different and stored.fresh:
                raise ReplayDiffers(f"{self.name}: {different}. Compute it anew: make results")
            again = f"the first {replay}" if replay > 1 else "the first"
            origin += f"; {again} computed again: {different or 'the same'}"
        if not stored.fresh:
            origin += ". The source has changed since: `make results` computes them anew"
        return Results(stored.first(repetitions), origin)

    def stored(self, setting, folder=FOLDER):
        """What is stored for a setting, or None."""
        case = self.case(setting)
        if case is None or not (path := self.path(case, folder)).exists():
            return None
        return Stored(self, path)

    def case(self, setting):
        """The name of the case that has this setting, or None."""
        return next((case for case, known in self.cases.items() if known == setting), None)

    def count(self, case):
        """How many repetitions are stored of a case; for None, of the case with the most."""
        if isinstance(self.repetitions, int):
            return self.repetitions
        return self.repetitions.get(case, max(self.repetitions.values()))

    def path(self, case, folder=FOLDER):
        """The file of a case."""
        return Path(folder) / f"{'.'.join(filter(None, (self.name, case)))}.npz"

    def key(self, setting, seed, i):
        """The key of repetition i."""
        return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), self.salt(setting)), i)

    def compute(self, setting, places, *, seed=0, client=None, keep=None):
        """Runs of the repetitions with these numbers, computed now, one behind the other."""
        task = partial(_call, self.repetition)
        settings = [(self.key(setting, seed, i), setting) for i in places]
        seconds = self._seconds(setting)
        guess = f"about {seconds * len(settings):.0f} s" if seconds else None
        return self.stack(sweep(task, settings, client=client, keep=keep, description=guess))

    def differences(self, stored, places, client=None):
        """How repetitions that are computed again differ from the stored ones, in words; nothing if they do not."""
        again = self.compute(stored.setting, places, seed=stored.provenance["seed"], client=client)
        found = []
        for each in fields(self.run):
            before, now = (np.asarray(getattr(runs, each.name), float) for runs in (stored.take(places), again))
            if before.shape != now.shape:
                found.append(f"{each.name} had shape {before.shape[1:]}, now {now.shape[1:]}")
            elif not np.allclose(now, before, rtol=1e-3, atol=each.metadata["within"], equal_nan=True):
                found.append(f"{each.name} differs by up to {np.nanmax(np.abs(now - before)):.2g}")
        return ", ".join(found)

    def stack(self, runs):
        """One run whose fields have a first axis of repetitions."""
        return self.run(**{each.name: np.stack([np.asarray(getattr(run, each.name)) for run in runs])
                           for each in fields(self.run)})

    @cached_property
    def digest(self):
        """Of the source of a repetition."""
        return _source.digest(f"from {self.repetition.__module__} import {self.repetition.__name__}")

    def _seconds(self, setting):
        """Seconds of a repetition, from the stored case that is nearest to a setting; None if there is none."""
        same = lambda known: sum(a == b for a, b in zip(asdict(known).items(), asdict(setting).items(), strict=True))
        paths = (self.path(case) for case in sorted(self.cases, key=lambda case: -same(self.cases[case])))
        path = next((path for path in paths if path.exists()), None)
        if path is None:
            return None
        provenance = Stored(self, path).provenance
        return provenance["seconds"] / provenance["repetitions"]

    def _repr_html_(self):
        rows = "".join(f"<tr><th scope='row'><code>{each.name}</code></th><td>{escape(each.metadata['what'])}</td>"
                       f"<td>{escape(each.metadata['axes']) or 'one number'}</td></tr>" for each in fields(self.run))
        return ("<table class='quantities'><thead><tr><th scope='col'>A run records</th><th scope='col'>what it is</th>"
                f"<th scope='col'>axes</th></tr></thead><tbody>{rows}</tbody></table>")


class Stored:
    """The stored results of one case of an experiment."""

    def __init__(self, experiment, path):
        self.experiment = experiment
        with np.load(path) as file:
            self.provenance = json.loads(str(file["provenance"]))
            self.arrays = {name: file[name] for name in file.files if name != "provenance"}

    @property
    def setting(self):
        return next(known for known in self.experiment.cases.values() if as_json(known) == self.provenance["setting"])

    @property
    def fresh(self):
        """Whether today's source made them, or was seen to make the same."""
        known = {self.provenance["digest"], self.provenance.get("confirmed", {}).get("digest")}
        return self.experiment.digest in known

    def holds(self, setting, seed, repetitions):
        return (self.provenance["setting"] == as_json(setting) and self.provenance["seed"] == seed
                and self.provenance["repetitions"] >= repetitions
                and set(self.arrays) == {each.name for each in fields(self.experiment.run)})

    def take(self, places):
        """The run of some repetitions."""
        wide = lambda values: values.astype(float) if values.dtype.kind == "f" else values
        return self.experiment.run(**{name: wide(values[list(places)]) for name, values in self.arrays.items()})

    def first(self, repetitions):
        return self.take(range(repetitions))


def save(path, runs, provenance):
    """Write runs, floating-point numbers in single precision, and what is known of their making."""
    narrow = lambda values: values.astype(np.float32) if values.dtype.kind == "f" else values
    arrays = {each.name: narrow(np.asarray(getattr(runs, each.name))) for each in fields(runs)}
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished.npz")
    np.savez_compressed(unfinished, provenance=json.dumps(provenance), **arrays)
    unfinished.replace(path)


def as_json(setting):
    """A setting as JSON has it again."""
    return json.loads(json.dumps(asdict(setting)))


def _call(repetition, key, setting):
    return repetition(key, setting)
