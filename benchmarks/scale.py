"""`NestedStudents` in blocks on two worker processes, against memory and against SciPy, in one run.

    python benchmarks/scale.py            # N up to 4000: a minute or two
    python benchmarks/scale.py --store    # up to 16,000, then killed workers: kdlib/stored/scale.json; some 15 min

Norms of all N prefixes, from the inputs: by SciPy's parts (the kernel, LAPACK's Cholesky, one triangular solve, with
two threads), by the engine in memory, and by Dask on two processes of one thread, which together may be
allowed less memory than the largest Gram matrix takes. Each is measured in a process of its own. The promises: norms
within 1e-12 of those in memory, relative to the largest; at most twice SciPy's time at the largest N; the same results
when a worker is killed within a Cholesky or a sweep, at a point fixed beforehand. The second is not met where blocks
have to go to disk.
"""

import argparse
import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import jax
import numpy as np
from distributed import Client, LocalCluster, SchedulerPlugin
from scipy.linalg import cholesky, solve_triangular

from kdlib import NestedStudents, fully_connected
from kdlib.sweeps import sweep

network = fully_connected(3)
SIZES = (2000, 4000, 8000, 16_000)
CHUNKS = 1000
LIMIT = 950_000_000  # bytes for each of two workers: together less than a Gram matrix of 16,000
KILLED_AT = 4000  # samples of the factorisation in which a worker is killed, in blocks of 500
SEEDS = 12


def data(N):
    x = np.asarray(jax.random.normal(jax.random.key(0), (N, 2)))
    return x, np.sin(3 * x[:, 0]) * x[:, 1]


def peak():
    """Bytes that this process had in memory at most (on Linux)."""
    return 1024 * int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text("utf-8"))[1])


def spilled(dask_worker):
    """Bytes that a worker has written to disk."""
    metrics = getattr(dask_worker.data, "cumulative_metrics", {})
    return metrics.get(("disk-write", "bytes"), 0)


def workers(limit=0):
    return LocalCluster(n_workers=2, threads_per_worker=1, memory_limit=limit, dashboard_address=":0")


def by_scipy(N):
    x, z = data(N)
    network.ntk(x[:CHUNKS])  # compiles
    start = time.perf_counter()
    gram = network.ntk(x)
    kernel = time.perf_counter() - start
    factor = cholesky(gram, lower=True, overwrite_a=True, check_finite=False)
    factorised = time.perf_counter() - start - kernel
    c = solve_triangular(factor, z, lower=True, check_finite=False)
    norms = np.sqrt(np.cumsum(c**2))
    return norms, {"seconds": time.perf_counter() - start, "kernel": kernel, "cholesky": factorised, "peak": peak()}


def in_memory(N):
    x, z = data(N)
    network.ntk(x[:CHUNKS])
    start = time.perf_counter()
    norms = NestedStudents(x, network.ntk).weight_norms(z)
    return norms, {"seconds": time.perf_counter() - start, "peak": peak()}


def in_blocks(N, limit=0):
    x, z = data(N)
    with workers(limit) as cluster, Client(cluster) as client:
        NestedStudents(x[:CHUNKS], network.ntk, engine="dask", chunks=CHUNKS // 2)  # imports and compiles
        start = time.perf_counter()
        students = NestedStudents(x, network.ntk, engine="dask", chunks=CHUNKS)
        factorised = time.perf_counter() - start
        norms = students.weight_norms(z)
        seconds = time.perf_counter() - start
        used, written = client.run(peak), client.run(spilled)
    return norms, {"seconds": seconds, "factorised": factorised, "peak": max(used.values()),
                   "spilled": sum(written.values())}  # fmt: skip


def in_little_memory(N):
    return in_blocks(N, LIMIT)


class Killer(SchedulerPlugin):
    """Kills the worker that has just finished the middle diagonal block of a factor, once."""

    def __init__(self, pids, middle):
        self.pids, self.middle, self.killed = pids, middle, []

    def transition(self, key, start, finish, *args, worker=None, **kwargs):
        if finish == "memory" and not self.killed and key[0].startswith("cholesky-") and key[1:] == self.middle:
            os.kill(self.pids[worker], signal.SIGKILL)
            self.killed.append(worker)


def killed_in_a_cholesky(N):
    """Seconds without and with a death, and the largest difference of the norms, relative to the largest norm."""
    x, z = data(N)
    chunks = 500
    middle = (N // chunks // 2,) * 2
    with workers() as cluster, Client(cluster) as client:
        times, norms = [], []
        for jitter in (2e-9, 0, 1e-9):  # the first compiles; no two have the same graph, which Dask would compute once
            killer = Killer(client.run(os.getpid), middle if len(times) == 2 else ())
            cluster.scheduler.add_plugin(killer, name="killer")
            start = time.perf_counter()
            norms.append(NestedStudents(x, network.ntk, engine="dask", chunks=chunks, jitter=jitter).weight_norms(z))
            times.append(time.perf_counter() - start)
            cluster.scheduler.remove_plugin("killer")
        assert len(killer.killed) == 1
    memory = NestedStudents(x, network.ntk, jitter=1e-9).weight_norms(z)
    return {"N": N, "seconds": times[1], "seconds killed": times[2], "difference": difference(norms[2], memory)}


def killed_in_a_sweep(count):
    """Seconds without and with a death, and whether all results are bit for bit those of a loop."""
    with TemporaryDirectory() as folder:
        marker = Path(folder) / "killed"

        def task(key, dying):
            x = np.asarray(jax.random.normal(key, (1000, 2)))
            if dying and not marker.exists():
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return NestedStudents(x, network.ntk).weight_norms(np.sin(3 * x[:, 0]) * x[:, 1])

        keys = jax.random.split(jax.random.key(1), count)
        times = []
        with workers() as cluster, Client(cluster) as client:
            sweep(task, [(key, False) for key in keys[:4]], client=client)  # imports and compiles
            for dying in (None, count // 2):
                start = time.perf_counter()
                found = sweep(task, [(key, i == dying) for i, key in enumerate(keys)], client=client)
                times.append(time.perf_counter() - start)
        assert marker.exists()
        loop = sweep(task, [(key, False) for key in keys])
    same = all(np.array_equal(one, other) for one, other in zip(found, loop, strict=True))
    return {"settings": count, "seconds": times[0], "seconds killed": times[1], "bitwise": same}


def difference(norms, others):
    return float(np.abs(norms - others).max() / others.max())


def measured(name, N, folder):
    """What the function of this name finds, in a process of its own; its norms are kept in the folder."""
    script = f"""
import json
import numpy as np
import scale
if __name__ == "__main__":
    norms, found = scale.{name}({N})
    np.save({str(Path(folder) / f"{name}{N}.npy")!r}, norms)
    print(json.dumps(found))
"""
    command = [sys.executable, "-W", "ignore", "-c", script]
    run = subprocess.run(command, cwd=Path(__file__).parent, stdout=subprocess.PIPE, encoding="utf-8", check=True)
    return json.loads(run.stdout.splitlines()[-1]) | {"load": os.getloadavg()[0]}


def machine():
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    packages = {name: version(name) for name in ("dask", "distributed", "jax", "numpy", "scipy")}
    return {"cores": os.cpu_count(), "memory": memory, "python": platform.python_version(), **packages}


def main(store):
    found = {
        "command": "python benchmarks/scale.py --store", "date": datetime.now(UTC).date().isoformat(),
        "settings": {"sizes": SIZES, "chunks": CHUNKS, "limit": LIMIT, "killed at": KILLED_AT, "seeds": SEEDS},
        "machine": machine(), "runs": {}, "difference": {},
    }  # fmt: skip
    ways = ["by_scipy", "in_memory", "in_blocks"] + ["in_little_memory"] * store
    print("Norms of all N prefixes: seconds (memory at the peak; in blocks, of the larger worker)")
    with TemporaryDirectory() as folder:
        for N in SIZES if store else SIZES[:2]:
            runs = {way: measured(way, N, folder) for way in ways}
            norms = {way: np.load(Path(folder) / f"{way}{N}.npy") for way in ways}
            apart = max(difference(norms[way], norms["in_memory"]) for way in ways[2:])
            found["runs"][str(N)], found["difference"][str(N)] = runs, apart
            row = "  ".join(f"{way} {run['seconds']:.1f} ({run['peak'] / 1e9:.2f} GB)" for way, run in runs.items())
            ratio = runs["in_blocks"]["seconds"] / runs["by_scipy"]["seconds"]
            print(f"  N = {N:6,}: {row}; {ratio:.2f}x SciPy, norms within {apart:.0e}", flush=True)
    if store:
        found["killed in a Cholesky"] = killed_in_a_cholesky(KILLED_AT)
        found["killed in a sweep"] = killed_in_a_sweep(SEEDS)
        print(found["killed in a Cholesky"], found["killed in a sweep"])
        target = Path(__file__).parents[1] / "kdlib/stored/scale.json"
        target.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="NestedStudents in blocks")
    parser.add_argument("--store", action="store_true", help="also larger N, less memory and killed workers; keeps it")
    main(parser.parse_args().store)
