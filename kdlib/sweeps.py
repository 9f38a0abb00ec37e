"""One experiment at many settings: in this process, or on a cluster; and resumable.

An experiment of the book is a function of a random key and a setting, and its figures are what it returns
for many of both. The calls know nothing of each other, so they may run anywhere and in any order.
"""

from collections.abc import Callable, Iterable
from contextlib import contextmanager
from functools import partial
from pathlib import Path
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
        workers' linear algebra is given as many as yours, and keeps them: set ``OMP_NUM_THREADS=1`` for your own
        process if they have one core each.

    Limits:
        The cache knows the values in a task and a setting, and a function from a notebook or a script by its code and
        all that it refers to there; one from an installed module only by its name and its own code, which for an object
        is that of ``__call__``. When something else has changed, such as the version of kdlib, take another
        folder. What refers to a class of the notebook itself is new in each session.

    Raises:
        ValueError: a setting that is not a tuple, or an address without a scheduler.
        ModuleNotFoundError: a client or a cache, but Dask or joblib is not installed.
        Exception: the task's own, with a note that names the setting. Settings not yet begun are given up; those that
            workers have begun go on, and the cache keeps their results.

    >>> sweep(pow, [(2, 3), (3, 2)])
    [8, 9]
    """
    settings = list(settings)
    for setting in settings:
        if not isinstance(setting, tuple):
            raise ValueError(f"settings must be tuples of the task's arguments, got {setting!r}: write (key, rho), "
                             "or (key,) if there is one")
    call, *arguments = (_call, settings) if cache is None else _remembered(cache, task, settings)
    results = [None] * len(settings)
    hidden = None if progress is None else not progress
    with (
        _outcomes(partial(call, task), arguments, client) as outcomes,
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
def _outcomes(call, arguments, client):
    """Pairs of a setting's place and a function that returns, or raises, what the task did there."""
    if client is None:
        yield ((i, partial(call, *each)) for i, each in enumerate(zip(*arguments, strict=True)))
    elif isinstance(client, str):
        with _connected(client) as connected, _outcomes(call, arguments, connected) as outcomes:
            yield outcomes
    else:
        try:
            from distributed import as_completed
            from threadpoolctl import threadpool_info
        except ModuleNotFoundError as missing:
            raise _not_installed("a client", missing) from None

        threads = max((pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"), default=1)
        futures = client.map(partial(_with_threads, threads, call), *arguments, pure=False)
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


def _with_threads(threads, call, *arguments):
    """The number stays when the call ends: it is the whole worker's, which may be in other calls at the same time."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(threads, "blas")
    with threadpool_limits(user_api="blas"):
        pass  # changes nothing, but without it no other thread of the worker could set a number again
    return call(*arguments)


def _call(task, setting, identity=None):
    return task(*setting)


def _remembered(cache, task, settings):
    """The call with results kept by joblib, and its arguments after the task: settings and their identities."""
    try:
        from joblib import Memory

        from kdlib._identity import identity
    except ModuleNotFoundError as missing:
        raise _not_installed("a cache", missing) from None
    of_task = identity(task)
    identities = [identity(of_task, setting) for setting in settings]
    return Memory(cache, verbose=0).cache(_call, ignore=["task", "setting"]), settings, identities


def _not_installed(what, missing):
    return ModuleNotFoundError(f"{what} needs the packages of the extra 'cluster', but there is no module "
                               f"{missing.name}: pip install '.[cluster]' in a copy of the repository")
