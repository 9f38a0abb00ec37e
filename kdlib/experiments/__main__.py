"""Compute the stored results that are out of date: ``python -m kdlib.experiments``, in the repository ``make results``.

Each repetition is kept as soon as it is there, under ``_build/results`` of the folder where one stands: a run that was
interrupted goes on where it was.
"""

import argparse
import json
import platform
import shutil
import time
from dataclasses import fields
from datetime import date
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import jax
import numpy as np
import scipy

from kdlib import experiments
from kdlib.experiments._store import FOLDER, Experiment, Stored, as_json, save

PARTS = Path("_build/results")


def all_experiments():
    """Every experiment of the package, by name."""
    modules = (import_module(f"kdlib.experiments.{found.name}") for found in iter_modules(experiments.__path__)
               if not found.name.startswith("_"))
    found = [value for module in modules for value in vars(module).values() if isinstance(value, Experiment)]
    return {experiment.name: experiment for experiment in sorted(found, key=lambda each: each.name)}


def out_of_date(experiment, folder=FOLDER):
    """The cases without results of today's source, setting and number of repetitions."""
    def missing(case, setting):
        stored = experiment.stored(setting, folder)
        return stored is None or not stored.fresh or not stored.holds(setting, 0, experiment.count(case))

    return [case for case, setting in experiment.cases.items() if missing(case, setting)]


def compute(experiment, case, folder, client=None):
    """Compute a case, from the repetitions that are stored or that an earlier run has left, and store it."""
    setting = experiment.cases[case]
    repetitions = experiment.count(case)
    parts = PARTS / f"{experiment.name}.{case}.{experiment.digest}"
    parts.mkdir(parents=True, exist_ok=True)
    path = lambda i: parts / f"{i}.npz"
    extends = _give_stored(experiment, setting, folder, path)
    missing = [i for i in range(repetitions) if not path(i).exists()]
    clock = time.monotonic()

    def keep(place, run):
        nonlocal clock
        now = time.monotonic()
        save(path(missing[place]), run, {"seconds": now - clock})
        clock = now

    if missing:
        experiment.compute(setting, missing, client=client, keep=keep)
    runs, seconds = zip(*(_part(experiment, path(i)) for i in range(repetitions)), strict=True)
    save(experiment.path(case, folder), experiment.stack(runs), {
        "command": f"python -m kdlib.experiments {experiment.name}", "setting": as_json(setting), "seed": 0,
        "repetitions": repetitions, "date": date.today().isoformat(), "seconds": round(sum(seconds), 1),
        "digest": experiment.digest, "versions": _versions(),
    } | extends)
    shutil.rmtree(parts)


def confirm(experiment, case, folder, places, client=None):
    """Whether today's source makes some repetitions again as they are stored; if so, that is noted beside them."""
    path = experiment.path(case, folder)
    stored = Stored(experiment, path)
    different = experiment.differences(stored, places, client=client)
    if not different:
        runs = experiment.run(**stored.arrays)
        confirmed = {"digest": experiment.digest, "date": date.today().isoformat(), "repetitions": list(places)}
        save(path, runs, stored.provenance | {"confirmed": confirmed})
    return different


def _give_stored(experiment, setting, folder, path):
    """Write the stored repetitions, if today's source makes the same, as parts; returns what is to be said of them."""
    stored = experiment.stored(setting, folder)
    if stored is None or not stored.fresh or not stored.holds(setting, 0, 1):
        return {}
    known = {name: value for name, value in stored.provenance.items() if name not in ("setting", "seed")}
    for i in range(known["repetitions"]):
        save(path(i), experiment.run(**{name: values[i] for name, values in stored.arrays.items()}),
             {"seconds": known["seconds"] / known["repetitions"]})
    return {"extends": known}


def _part(experiment, path):
    with np.load(path) as file:
        run = experiment.run(**{each.name: file[each.name] for each in fields(experiment.run)})
        return run, json.loads(str(file["provenance"]))["seconds"]


def _versions():
    return {"python": platform.python_version()} | {each.__name__: each.__version__ for each in (jax, np, scipy)}


def main(arguments=None):
    parser = argparse.ArgumentParser("python -m kdlib.experiments", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="experiments; by default all that are out of date, but for "
                        "the cases that take hours or a download")
    parser.add_argument("--into", default="results", type=Path, help="folder for the results (default: ./results)")
    parser.add_argument("--scheduler", help="address of a Dask scheduler, tcp://..., whose workers then compute")
    parser.add_argument("--list", action="store_true", help="only say what is out of date")
    parser.add_argument("--confirm", type=int, default=0, metavar="K", help="compute K repetitions of what is out of "
                        "date; where they are as stored, note that, and compute the rest only where they are not")
    chosen = parser.parse_args(arguments)
    known = all_experiments()
    for name in chosen.names:
        if name not in known:
            parser.error(f"an experiment must be one of {', '.join(known)}, got {name!r}")
    for experiment in (known[name] for name in chosen.names or known):
        for case in out_of_date(experiment, chosen.into):
            if case in experiment.apart and not chosen.names:
                continue
            label = f"{experiment.name} {case}".strip()
            print(label, end=" ", flush=True)
            if chosen.list:
                print("is out of date")
                continue
            usable = chosen.confirm and experiment.stored(experiment.cases[case], chosen.into)
            if usable and usable.holds(experiment.cases[case], 0, experiment.count(case)):
                different = confirm(experiment, case, chosen.into, range(chosen.confirm), chosen.scheduler)
                print("is confirmed" if not different else f"has changed: {different}", flush=True)
                if not different:
                    continue
            compute(experiment, case, chosen.into, chosen.scheduler)
            print("is computed", flush=True)


if __name__ == "__main__":
    main()
