"""One experiment at many settings: in this process, or on a cluster; and resumable.

An experiment of the book is a function of a random key and a setting, and its figures are what it returns
for many of both. The calls know nothing of each other, so they may run anywhere and in any order.
"""

import pickletools
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from inspect import unwrap
from io import BytesIO
from pathlib import Path
from types import CodeType
from typing import Any

from tqdm import tqdm


def sweep(
    task: Callable,
    settings: Iterable[tuple],
    *,
    client: Any = None,
    cache: str | Path | None = None,
    progress: bool | None = None,
) -> list:
    """What the task returns for each of the settings, in their order.

    Args:
        task: a function of the entries of a setting; a JAX key among them makes it a random one.
        settings: tuples of arguments.
        client: a ``distributed.Client``, or the address of a scheduler; its workers then call the task. They need
            kdlib and what the task imports; what a task from a notebook refers to there goes along. By
            default the task is called here, for one setting after the other.
        cache: a folder in which each result is kept as soon as it is there. A later sweep of the same task takes from
            it the settings that are done: after an interrupt (Ctrl-C, a lost connection, a setting that failed), or
            with more settings. A cluster's workers must see the folder under the same path.
        progress: whether to show a bar; by default in a terminal, after two seconds.

    Returns:
        What a loop would have, on machines of one kind bit for bit. Rounding depends on the number of threads, so the
        workers' linear algebra is given as many as yours: set ``OMP_NUM_THREADS=1`` for your own process if
        they have one core each.

    Limits:
        The cache knows a task from a notebook or a script by its code and all that it refers to there,
        functions and values alike; one from an installed module only by its own code. When something else has
        changed, such as the version of kdlib, take another folder. A task that refers to a class of the notebook
        itself, or holds a set of strings, is a new one in each session.

    Raises:
        ValueError: a setting that is not a tuple, or an address without a scheduler.
        ModuleNotFoundError: a client or a cache, but Dask or joblib is not installed.
        Exception: the task's own, with a note that names the setting. Settings not yet begun are given up.

    >>> sweep(pow, [(2, 3), (3, 2)])
    [8, 9]
    """
    settings = list(settings)
    for setting in settings:
        if not isinstance(setting, tuple):
            raise ValueError(f"settings must be tuples of the task's arguments, got {setting!r}: write (key, rho), "
                             "or (key,) if there is one")
    call = partial(_call, "", task) if cache is None else _remembered(task, cache)
    results = [None] * len(settings)
    hidden = None if progress is None else not progress
    with (
        _outcomes(call, settings, client) as outcomes,
        tqdm(total=len(settings), unit="setting", disable=hidden, delay=2, leave=False) as bar,
    ):
        for i, result in outcomes:
            try:
                results[i] = result()
            except Exception as error:
                error.add_note(f"This was setting {i} of a sweep, counted from 0: {settings[i]}")
                raise
            bar.update()
    return results


@contextmanager
def _outcomes(call, settings, client):
    """Pairs of a setting's place and a function that returns, or raises, what the task did there."""
    if client is None:
        yield ((i, partial(call, setting)) for i, setting in enumerate(settings))
    elif isinstance(client, str):
        with _connected(client) as connected, _outcomes(call, settings, connected) as outcomes:
            yield outcomes
    else:
        from distributed import as_completed
        from threadpoolctl import threadpool_info

        threads = max((pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"), default=1)
        futures = client.map(partial(_with_threads, threads, call), settings, pure=False)
        place = {future.key: i for i, future in enumerate(futures)}
        try:
            yield ((place[future.key], future.result) for future in as_completed(futures))
        finally:
            client.cancel(futures)


def _connected(address):
    try:
        from distributed import Client
    except ModuleNotFoundError as missing:
        raise _not_installed("a client", missing) from None
    try:
        return Client(address, timeout=5)
    except (OSError, ValueError) as error:
        raise ValueError(f"client must be the address of a running scheduler, got {address!r} ({error}): start one by "
                         "`dask scheduler`, which prints its address, and workers by `dask worker ADDRESS`") from error


def _with_threads(threads, call, setting):
    from threadpoolctl import threadpool_limits

    with threadpool_limits(threads, "blas"):
        return call(setting)


def _call(identity, task, setting):
    return task(*setting)


def _remembered(task, cache):
    """The call, with results kept by joblib, which knows them by identity and setting."""
    try:
        from joblib import Memory
    except ModuleNotFoundError as missing:
        raise _not_installed("a cache", missing) from None
    return partial(Memory(cache, verbose=0).cache(_call, ignore=["task"]), _identity(task), task)


def _identity(task):
    """A digest of the task's code and of all that a worker would be sent of it: for a module's, that is only its name.

    Files' names are left out, since that of a notebook's cell is another in each session, and so is the layout of
    the message.
    """
    import cloudpickle

    class Nameless(cloudpickle.Pickler):
        dispatch_table = cloudpickle.Pickler.dispatch_table.new_child()

    reduce_code = Nameless.dispatch_table[CodeType]
    Nameless.dispatch_table[CodeType] = lambda code: reduce_code(code.replace(co_filename=""))
    task = unwrap(task)
    message = BytesIO()
    Nameless(message).dump((task, getattr(task, "__code__", None)))
    file = getattr(task, "__globals__", {}).get("__file__")
    parts = ((operation.name, part) for operation, part, _ in pickletools.genops(message.getvalue()))
    return sha256(repr([part for part in parts if part[0] != "FRAME" and part[1] != file]).encode()).hexdigest()


def _not_installed(what, missing):
    return ModuleNotFoundError(f"{what} needs the packages of the extra 'cluster', but there is no module "
                               f"{missing.name}: pip install 'kdlib[cluster]'")
