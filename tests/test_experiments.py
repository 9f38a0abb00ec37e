"""The store of long experiments: what is stored, replayed, resumed, and known to be out of date."""

from dataclasses import dataclass

import jax
import numpy as np
import pytest

from kdlib._checks import require
from kdlib.experiments import Experiment, Setting, parameter, quantity
from kdlib.experiments import __main__ as command
from kdlib.experiments._store import ReplayDiffers


def at_least_one(name, value):
    require(name, value, "be at least 1", lambda v: v >= 1, "take more")
    return int(value)


@dataclass(frozen=True)
class Small(Setting):
    n: int = parameter(3, at_least_one)


@dataclass(frozen=True)
class Numbers:
    mean: float = quantity("mean of the numbers")
    values: np.ndarray = quantity("the numbers", "n")


shift = {"by": 0.0}
made = []


def repetition(key, setting):
    made.append(1)
    values = jax.random.normal(key, (setting.n,)) + shift["by"]
    return Numbers(mean=values.mean(), values=values)


EXPERIMENT = Experiment("numbers", repetition, Numbers, {"few": Small(3), "many": Small(50)}, 4)


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """A folder with the results of both cases, where one stands."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(shift, "by", 0.0)
    monkeypatch.setattr(command, "all_experiments", lambda: {"numbers": EXPERIMENT})
    monkeypatch.setitem(EXPERIMENT.__dict__, "digest", "as it was")
    command.main(["--into", "kept"])
    made.clear()
    return tmp_path / "kept"


def test_what_is_stored_is_loaded_and_one_repetition_is_computed_again(stored):
    found = EXPERIMENT.results(Small(50), folder=stored)
    assert len(made) == 1 and found.runs.values.shape == (4, 50) and found.runs.values.dtype == float
    assert str(found).endswith("the first computed again: the same")
    live = EXPERIMENT.compute(Small(50), range(4))
    assert np.allclose(found.runs.values, live.values, atol=1e-6)
    assert np.array_equal(EXPERIMENT.results(Small(50.0), repetitions=2, folder=stored).runs.mean, found.runs.mean[:2])


@pytest.mark.parametrize("different", [dict(setting=Small(4)), dict(repetitions=5), dict(seed=1)])
def test_anything_else_is_computed(stored, different):
    asked = dict(setting=Small(3), folder=stored) | different
    found = EXPERIMENT.results(asked.pop("setting"), **asked)
    assert str(found).endswith("computed now") and len(made) == len(found.runs.mean)


def test_a_replay_that_differs_is_an_error_unless_the_source_has_changed(stored, monkeypatch):
    monkeypatch.setitem(shift, "by", 0.1)
    with pytest.raises(ReplayDiffers, match=r"numbers: mean differs by up to 0.1, values .*make results"):
        EXPERIMENT.results(Small(3), folder=stored)
    monkeypatch.setitem(EXPERIMENT.__dict__, "digest", "new")
    origin = str(EXPERIMENT.results(Small(3), folder=stored))
    assert "values differs by up to 0.1. The source has changed since" in origin


def test_a_change_of_the_source_is_confirmed_where_the_numbers_stay_and_computed_where_not(stored, monkeypatch, capsys):
    assert not command.out_of_date(EXPERIMENT, stored)
    monkeypatch.setitem(EXPERIMENT.__dict__, "digest", "new")
    assert command.out_of_date(EXPERIMENT, stored) == ["few", "many"]
    capsys.readouterr()
    command.main(["--into", "kept", "--confirm", "2"])
    assert capsys.readouterr().out == "numbers few is confirmed\nnumbers many is confirmed\n"
    assert len(made) == 4 and not command.out_of_date(EXPERIMENT, stored)
    monkeypatch.setitem(EXPERIMENT.__dict__, "digest", "newer")
    monkeypatch.setitem(shift, "by", 1.0)
    command.main(["--into", "kept", "--confirm", "1"])
    assert capsys.readouterr().out.count("is computed") == 2 and not command.out_of_date(EXPERIMENT, stored)
    assert EXPERIMENT.stored(Small(3), stored).provenance["digest"] == "newer"


def test_an_interrupted_run_goes_on_where_it_was(stored, monkeypatch):
    monkeypatch.setitem(EXPERIMENT.__dict__, "digest", "new")

    def interrupted(key, setting):
        if len(made) == 3:
            raise KeyboardInterrupt
        return repetition(key, setting)

    monkeypatch.setitem(EXPERIMENT.__dict__, "repetition", interrupted)
    with pytest.raises(KeyboardInterrupt):
        command.main(["--into", "kept"])
    monkeypatch.setitem(EXPERIMENT.__dict__, "repetition", repetition)
    command.main(["--into", "kept"])
    assert len(made) == 8 and not list(stored.parent.glob("_build/results/*"))
    assert str(EXPERIMENT.results(Small(3), folder=stored)).endswith("the same")


def test_cases_may_have_different_numbers_of_repetitions(stored, monkeypatch):
    monkeypatch.setitem(EXPERIMENT.__dict__, "repetitions", {"few": 4, "many": 2})
    assert not command.out_of_date(EXPERIMENT, stored)
    assert len(EXPERIMENT.results(Small(50), folder=stored).runs.mean) == 2
    assert len(EXPERIMENT.results(Small(4), folder=stored).runs.mean) == 4
    monkeypatch.setitem(EXPERIMENT.__dict__, "repetitions", {"few": 5, "many": 4})
    assert command.out_of_date(EXPERIMENT, stored) == ["few"]


def test_more_repetitions_extend_what_is_stored(stored, monkeypatch):
    before = EXPERIMENT.stored(Small(3), stored)
    monkeypatch.setitem(EXPERIMENT.__dict__, "repetitions", {"few": 6, "many": 4})
    command.main(["--into", "kept"])
    after = EXPERIMENT.stored(Small(3), stored)
    assert len(made) == 2 and np.array_equal(after.arrays["values"][:4], before.arrays["values"])
    assert np.allclose(after.arrays["values"], EXPERIMENT.compute(Small(3), range(6)).values, atol=1e-6)
    assert after.provenance["repetitions"] == 6 and after.provenance["extends"]["repetitions"] == 4
    assert after.provenance["seconds"] >= before.provenance["seconds"]
    assert {"date", "versions", "digest"} < set(after.provenance["extends"])


def test_repetitions_of_another_source_or_setting_are_not_extended(stored, monkeypatch):
    few = dict(EXPERIMENT.cases, few=Small(4))
    monkeypatch.setitem(EXPERIMENT.__dict__, "repetitions", {"few": 5, "many": 4})
    monkeypatch.setitem(EXPERIMENT.__dict__, "cases", few)
    command.main(["--into", "kept"])
    assert len(made) == 5
    monkeypatch.setitem(EXPERIMENT.__dict__, "repetitions", {"few": 6, "many": 4})
    monkeypatch.setitem(EXPERIMENT.__dict__, "digest", "new")
    command.main(["--into", "kept"])
    assert len(made) == 5 + 6 + 4
    assert "extends" not in EXPERIMENT.stored(Small(4), stored).provenance


def test_an_unknown_experiment_is_refused(stored, capsys):
    with pytest.raises(SystemExit):
        command.main(["letters"])
    assert "an experiment must be one of numbers, got 'letters'" in capsys.readouterr().err


def test_a_setting_checks_and_converts(stored):
    assert Small(4.0) == Small(4) and isinstance(Small(4.0).n, int)
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        Small(0)
