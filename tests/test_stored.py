"""What is stored is up to date with its source, and one repetition of every experiment comes out again."""

import os
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import jax
import pytest

from kdlib import datasets
from kdlib.experiments.__main__ import all_experiments, out_of_date

EXPERIMENTS = all_experiments()
# Cases that take hours or a download, and have not been computed yet.
OWED = {name: [case for case in experiment.apart if experiment.stored(experiment.cases[case]) is None]
        for name, experiment in EXPERIMENTS.items()}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_stored_results_are_up_to_date(name):
    assert out_of_date(EXPERIMENTS[name]) == OWED[name], "the source has changed since: run make results"


class Download(Exception):
    """A case that a machine without a network, and without what was downloaded before, cannot replay."""


def no_download(*what):
    raise Download(what)


def strict():
    """The settings of every test, but for the compilation, which is that of a reader's process; and no downloads."""
    datasets._download = no_download
    jax.config.update("jax_numpy_rank_promotion", "raise")
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")


@pytest.fixture(scope="module")
def process():
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=strict) as process:
        yield process


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_stored_repetition_comes_out_again(name, process):
    assert not process.submit(differences, name).result()


def differences(name):
    experiment = EXPERIMENTS[name]
    cases = [experiment.stored(setting) for case, setting in experiment.cases.items() if case not in OWED[name]]
    for stored in sorted(cases, key=lambda stored: stored.provenance["seconds"] / stored.provenance["repetitions"]):
        try:
            return experiment.differences(stored, [stored.provenance["repetitions"] - 1])
        except Download:
            continue
    return "no case can do without a download"


def test_stored_files_are_those_of_the_experiments_and_small():
    paths = {experiment.path(case) for name, experiment in EXPERIMENTS.items() for case in experiment.cases
             if case not in OWED[name]}
    folder = next(iter(paths)).parent
    assert {path for path in folder.iterdir() if path.suffix == ".npz"} == paths
    assert sum(map(os.path.getsize, paths)) < 4_000_000  # which every clone carries
