"""The same calls on a cluster: equal to those in memory, whatever happens to a worker or to the run."""

import json
import os
import re
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import dask
import dask.array as da
import jax
import numpy as np
import pytest
from distributed import Client, LocalCluster, SchedulerPlugin
from threadpoolctl import threadpool_info, threadpool_limits
from tolerances import ENGINES
from tqdm import tqdm

from kdlib import NestedStudents, fully_connected
from kdlib.inefficiency import expected_norms
from kdlib.sweeps import _with_threads, sweep

pytestmark = pytest.mark.xdist_group("cluster")  # one cluster for all of them

network = fully_connected(3)
N, CHUNKS = 203, 64  # three blocks and a part of a fourth


def laplace(a, b):
    """Well-conditioned, and quicker than a network's, which is compiled for each shape of a block."""
    return np.exp(-np.linalg.norm(a[:, None] - b, axis=-1))


@pytest.fixture(scope="module")
def cluster():
    """Two processes that a nanny starts again when they die."""
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", memory_limit=0) as started,
        Client(started) as client,
    ):
        yield client


@pytest.fixture
def both_alive(cluster):
    """For a test that kills a worker: the next finds two again."""
    yield cluster
    cluster.wait_for_workers(2, timeout=60)


def data(n=N, d=2):
    random = np.random.default_rng(n)
    return random.normal(size=(n, d)), random.normal(size=(70, d)), random.normal(size=(n, 3))


def blocks(x, kernel=laplace, **options):
    return NestedStudents(x, kernel, engine="dask", chunks=CHUNKS, **options)


def agree(ours, memory):
    assert type(ours) is np.ndarray and ours.shape == memory.shape
    assert np.abs(ours - memory).max(initial=0) <= ENGINES * np.abs(memory).max(initial=0)


def all_results(students, x_test, z):
    vector, sizes = z[:, 0], [len(z), 1, 7, 7]
    yield from (students.coordinates(z), students.weight_norms(vector), students.inner(vector, z))
    yield from (students.predict(x_test, z), students.predict(x_test, vector, sizes), students.predict(x_test, z, []))
    yield from (students.distance(x_test, sizes), students.distance(x_test[:0]), students.feature_lengths(x_test))
    yield from (students.leave_one_out(z), np.tril(np.asarray(students.factor)), np.asarray(students.inverse_factor()))
    yield from (expected_norms(students, vector), expected_norms(students, covariance=laplace(students.x, students.x)))


# --- Students in blocks -------------------------------------------------------------------------


def test_a_cluster_returns_what_memory_does(cluster):
    x, x_test, z = data()
    ours, memory = (all_results(students, x_test, z) for students in (blocks(x), NestedStudents(x, laplace)))
    for one, other in zip(ours, memory, strict=True):
        agree(one, other)


def test_a_networks_kernel_goes_to_the_workers(cluster):
    x, _, z = data(2 * CHUNKS, d=5)  # in five dimensions it costs few digits
    ours, memory = blocks(x, network.ntk), NestedStudents(x, network.ntk)
    assert isinstance(ours.factor, da.Array) and ours.factor.shape == memory.factor.shape
    agree(ours.weight_norms(z), memory.weight_norms(z))
    agree(ours.predict(x[:CHUNKS] / 2, z, [100]), memory.predict(x[:CHUNKS] / 2, z, [100]))


@pytest.mark.parametrize("n", [1, 40, 64, 128, 129])
def test_any_number_of_samples_fits_into_blocks(n):
    """In threads of this process, without a cluster."""
    x, x_test, z = data(n)
    with dask.config.set(scheduler="threads"):
        ours, memory = blocks(x, jitter=0.1), NestedStudents(x, laplace, jitter=0.1)
        agree(ours.weight_norms(z), memory.weight_norms(z))
        agree(ours.predict(x_test, z, [n, 1]), memory.predict(x_test, z, [n, 1]))
        agree(ours.leave_one_out(z), memory.leave_one_out(z))


def test_the_book_says_how_to_connect(cluster):
    """The page's own code, with this cluster's address."""
    page = json.loads((Path(__file__).parents[1] / "book/running_at_scale.ipynb").read_text("utf-8"))
    text = "".join("".join(cell["source"]) for cell in page["cells"])
    [code] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    x, _, z = data()
    names = dict(NestedStudents=NestedStudents, network=SimpleNamespace(ntk=laplace), x=x, z=z, chunks=CHUNKS)
    exec(code.replace("tcp://scheduler:8786", cluster.scheduler.address), names)
    names["client"].close()
    agree(names["norms"], NestedStudents(x, laplace).weight_norms(z))


def test_inputs_may_be_images(cluster):
    x, _, z = data(d=12)
    images = x.reshape(-1, 3, 4)
    flat = lambda a, b: laplace(a.reshape(len(a), -1), b.reshape(len(b), -1))
    agree(blocks(images, flat).weight_norms(z), NestedStudents(x, laplace).weight_norms(z))


def test_the_kernel_is_evaluated_on_one_side_of_the_diagonal_and_once():
    evaluated = []

    def kernel(a, b):
        evaluated.append(len(a) * len(b))
        return laplace(a, b)

    x = np.sort(data(8 * CHUNKS, 1)[0], axis=0)
    with dask.config.set(scheduler="synchronous"):
        students = blocks(x, kernel)
        students.weight_norms(x[:, 0]), students.weight_norms(x)
    # 36 of 64 blocks, two strips of 8 rows for the symmetry, small blocks for the diagonal
    assert sum(evaluated) == len(x) ** 2 * 36 / 64 + 2 * 8 * len(x) + 64 * len(x)


def test_each_call_is_one_computation():
    x, x_test, z = data()
    with dask.config.set(scheduler="synchronous"):
        students = blocks(x)
        runs = []
        compute = dask.local.get_sync
        with dask.config.set(scheduler=lambda *args, **kwargs: runs.append(1) or compute(*args, **kwargs)):
            for call in (
                lambda: students.weight_norms(z), lambda: students.inner(z, z), lambda: students.leave_one_out(z),
                lambda: students.predict(x_test, z, [5, N]), lambda: students.distance(x_test, [5, N]),
            ):
                runs.clear()
                call()
                assert len(runs) == 1


# --- What is refused, in the same words -----------------------------------------------------------


def twin(first, second):
    x = data()[0]
    x[second] = x[first] + 1e-15
    return x


@pytest.mark.parametrize("x, kernel, message", [
    (twin(3, 41), laplace, "sample 41 .* nearest is sample 3"),
    (twin(13, 141), laplace, "sample 141 .* nearest is sample 13"),
    (twin(130, 202), laplace, "sample 202 .* nearest is sample 130"),
    (data()[0], lambda a, b: a @ b.T, "sample 2 "),
    (data()[0], lambda a, b: -(a @ b.T), "must be positive on the diagonal, got .* at sample 0"),
    (data()[0], lambda a, b: laplace(a, b) + a[:, :1], "be symmetric, got"),
    (data()[0], lambda a, b: np.where(a[:, :1] < -2, np.nan, laplace(a, b)), "be finite, got nan"),
    (data()[0][:0], laplace, "at least one sample"),
    (data()[0], network, "must be a function"),
])  # fmt: skip
def test_errors_are_those_of_memory(cluster, x, kernel, message):
    with pytest.raises(ValueError, match=message) as ours:
        blocks(x, kernel)
    with pytest.raises(ValueError, match=message) as memory:
        NestedStudents(x, kernel)
    counted = r" \(and \d+ more\)"
    assert re.sub(counted, "", str(ours.value)) == re.sub(counted, "", str(memory.value))


def test_arguments_of_methods_are_checked(cluster):
    x, x_test, z = data()
    students = blocks(x, lambda a, b: np.where(b[:, 0] > 100, np.nan, laplace(a, b)))
    with pytest.raises(ValueError, match=r"delta_z must have shape \(203,\)"):
        students.weight_norms(z[:-1])
    with pytest.raises(ValueError, match="sizes must be whole numbers from 1 to 203, got 204"):
        students.predict(x_test, z, [204])
    with pytest.raises(ValueError, match=r"kernel\(x, x_test\) must be finite, got nan"):  # raised by a worker
        students.predict(x_test + 200, z, [1])
    with pytest.raises(ValueError, match="x_test must be finite, got nan"):
        students.predict(x_test * np.nan, z, [1])


def test_bad_engines_are_refused():
    x = data()[0]
    with pytest.raises(ValueError, match="engine must be one of memory, dask, got 'spark': leave it out"):
        NestedStudents(x, laplace, engine="spark")
    with pytest.raises(ValueError, match="chunks must go with engine='dask', got 64"):
        NestedStudents(x, laplace, chunks=64)
    with pytest.raises(ValueError, match="chunks must be a whole number from 1 up, got 0"):
        NestedStudents(x, laplace, engine="dask", chunks=0)


def test_missing_packages_are_named(monkeypatch):
    for name in ("dask", "distributed"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "kdlib._dask", raising=False)
    remedy = r"pip install '\.\[cluster\]' in a copy of the repository"
    with pytest.raises(ModuleNotFoundError, match=f"engine='dask' needs Dask, but .* dask: {remedy}"):
        blocks(data()[0])
    with pytest.raises(ModuleNotFoundError, match=f"a client needs .*distributed: {remedy}"):
        sweep(pow, [(2, 3)], client="tcp://127.0.0.1:1")
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    with pytest.raises(ModuleNotFoundError, match=f"a client needs .*threadpoolctl: {remedy}"):
        sweep(pow, [(2, 3)], client=SimpleNamespace())


# --- A worker dies --------------------------------------------------------------------------------


class KillTheHolder(SchedulerPlugin):
    """Kills the worker that has just finished the second diagonal block of a factor, once."""

    name = "kill-the-holder"

    def __init__(self, pids):
        self.pids, self.killed = pids, []

    def transition(self, key, start, finish, *args, worker=None, **kwargs):
        if finish == "memory" and not self.killed and "cholesky" in str(key) and str(key).endswith("1, 1)"):
            os.kill(self.pids[worker], signal.SIGKILL)
            self.killed.append(worker)


def test_a_worker_killed_within_a_cholesky_costs_time_only(both_alive):
    plugin = KillTheHolder(both_alive.run(os.getpid))
    both_alive.cluster.scheduler.add_plugin(plugin)
    x, x_test, z = data(N - 1)  # not what an earlier test may have left in the workers' memory
    ours, memory = blocks(x), NestedStudents(x, laplace)
    both_alive.cluster.scheduler.remove_plugin(plugin.name)
    assert len(plugin.killed) == 1
    agree(ours.weight_norms(z), memory.weight_norms(z))
    agree(ours.predict(x_test, z, [9, 150]), memory.predict(x_test, z, [9, 150]))


def test_a_worker_killed_within_a_sweep_costs_time_only(both_alive, tmp_path):
    def task(i):
        if i == 3 and not (tmp_path / "killed").exists():
            (tmp_path / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return i**2

    assert sweep(task, [(i,) for i in range(6)], client=both_alive) == [0, 1, 4, 9, 16, 25]
    assert (tmp_path / "killed").exists()


# --- Sweeps -----------------------------------------------------------------------------------------


def experiment(points=500):  # enough for linear algebra in threads
    """A task as from a notebook: not to be imported, and with something it refers to."""
    def repetition(key, d):
        x = np.random.default_rng(jax.random.key_data(key).tolist()).normal(size=(points, d))
        return {"norms": NestedStudents(x, laplace).weight_norms(np.sin(3 * x[:, 0])), "first": x[0, 0]}

    return repetition


def test_a_cluster_sweeps_as_a_loop_does_bit_for_bit_and_in_order(cluster):
    settings = [(key, d) for key in jax.random.split(jax.random.key(0), 2) for d in (2, 5)]
    with threadpool_limits(2, "blas"):  # Dask's workers begin with one
        serial = [experiment()(*setting) for setting in settings]
        for client in (None, cluster, cluster.scheduler.address):
            for ours, one in zip(sweep(experiment(), settings, client=client), serial, strict=True):
                assert all(np.array_equal(ours[name], one[name]) for name in one)
    assert sweep(experiment(), [], client=cluster) == sweep(experiment(), []) == []


@pytest.mark.parametrize("where", ["here", "on a cluster"])
def test_a_failed_setting_is_named_and_the_others_are_kept(where, cluster):
    kept = {}

    def task(i, unit):
        if i == 2:
            raise ValueError("no such logit")
        return 10 * i

    def keep(i, result):
        kept[i] = result

    settings, options = [(i, "x") for i in range(3)], {"client": None if where == "here" else cluster}
    with pytest.raises(ValueError, match="no such logit") as failure:
        sweep(task, settings, keep=keep, **options)
    assert failure.value.__notes__ == ["This was setting 2 of a sweep, counted from 0: (2, 'x')"]
    assert all(result == 10 * i for i, result in kept.items())
    if where == "here":
        assert kept == {0: 0, 1: 10}
    assert sweep(task, settings[:2], keep=keep, **options) == [kept[0], kept[1]] == [0, 10]


def blas_threads():
    return max(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")


def test_a_setting_that_ends_leaves_their_threads_to_others_in_the_worker():
    begun, over = Event(), Event()

    def shorter(setting):
        return begun.wait(60)

    def longer(setting):
        begun.set()
        assert over.wait(60)
        return blas_threads()

    def unlimited(setting):
        return blas_threads()

    before = blas_threads()
    _with_threads(2, unlimited, ())
    with ThreadPoolExecutor() as pool:
        first, later = (pool.submit(_with_threads, 1, call, ()) for call in (shorter, longer))
        assert first.result()
        over.set()
        assert later.result() == 1
        assert _with_threads(2, unlimited, ()) == 2
        assert pool.submit(_with_threads, before, unlimited, ()).result() == before


def test_a_bar_shows_how_far_it_is(cluster, monkeypatch):
    bars = []
    monkeypatch.setattr("kdlib.sweeps.tqdm", lambda **options: bars.append(tqdm(**options)) or bars[-1])
    for client in (None, cluster):
        sweep(pow, [(2, 3), (3, 2)], client=client, progress=True)
        assert bars[-1].n == bars[-1].total == 2


def test_what_is_no_sweep_is_refused(monkeypatch):
    monkeypatch.setattr("distributed.Client", lambda address, timeout, **options: Client(
        address, timeout=timeout / 10, **options))
    with pytest.raises(ValueError, match=r"settings must be tuples of the task's arguments, got 2: write \(key, rho\)"):
        sweep(pow, [2, 3])
    with pytest.raises(ValueError, match=r"client must be a distributed.Client or the address .*, got 8786: write"):
        sweep(pow, [(2, 3)], client=8786)
    for address in ("tcp://127.0.0.1:1", "nowhere"):
        with pytest.raises(ValueError, match=f"client must be the address of a running scheduler, got '{address}'"):
            sweep(pow, [(2, 3)], client=address)
