"""One experiment at many settings: in this process, or on a cluster.

An experiment of the book is a function of a random key and a setting, and its figures are what it returns
for many of both. The calls know nothing of each other, so they may run anywhere and in any order.
"""

from collections.abc import Callable, Iterable
from contextlib import contextmanager
from functools import partial
from typing import Any

from tqdm import tqdm

from kdlib._checks import shown


def sweep(
    task: Callable,
    settings: Iterable[tuple],
    *,
    client: Any = None,
    keep: Callable | None = None,
    progress: bool | None = None,
    description: str | None = None,
) -> list:
    """What the task returns for each of the settings, in their order.

    Args:
        task: a function of the entries of a setting; a JAX key among them makes it a random one.
        settings: tuples of arguments.
        client: a ``distributed.Client``, or the address of a scheduler; its workers then call the task. They need
            kdlib and what the task imports; what a task from a notebook refers to there goes along. By
            default the task is called here, for one setting after the other.
        keep: ``keep(i, result)`` is called with the place of a setting and its result, as soon as the result is there;
            what it has written is not lost when a later setting fails, or on an interrupt.
        progress: whether to show a bar; by default in a terminal, after two seconds.
        description: what stands before the bar.

    Returns:
        The same list as a loop; bit-for-bit equal on identical machines. Rounding depends on the number of threads, so
        the workers' linear algebra is given as many as yours, and keeps them: set ``OMP_NUM_THREADS=1`` for your own
        process if they have one core each.

    Raises:
        ValueError: a setting that is not a tuple, or an address without a scheduler.
        ModuleNotFoundError: a client, but Dask is not installed.
        Exception: the task's own, with a note that names the setting. Settings not yet begun are given up; those that
            workers have begun go on.

    >>> sweep(pow, [(2, 3), (3, 2)])
    [8, 9]
    """
    settings = list(settings)
    for setting in settings:
        if not isinstance(setting, tuple):
            raise ValueError(f"settings must be tuples of the task's arguments, got {shown(setting)}: "
                             "write (key, rho), or (key,) if there is one")
    results = [None] * len(settings)
    hidden = None if progress is None else not progress
    with (
        _outcomes(partial(_call, task), settings, client) as outcomes,
        tqdm(desc=description, total=len(settings), unit="setting", disable=hidden, delay=2, leave=False) as bar,
    ):
        for i, result in outcomes:
            try:
                results[i] = result()
            except Exception as error:
                error.add_note(f"This was setting {i} of a sweep, counted from 0: {settings[i]}")
                raise
            if keep is not None:
                keep(i, results[i])
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
        try:
            from distributed import as_completed
            from threadpoolctl import threadpool_info
        except ModuleNotFoundError as missing:
            raise _not_installed(missing) from None

        if not hasattr(client, "map"):
            raise ValueError(f"client must be a distributed.Client or the address of a scheduler, got {shown(client)}: "
                             "write 'tcp://127.0.0.1:8786', for example")
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
        raise _not_installed(missing) from None
    try:
        return Client(address, timeout=5, set_as_default=False)  # one that fails leaves Dask's settings alone
    except (OSError, ValueError) as error:
        raise ValueError(f"client must be the address of a running scheduler, got {shown(address)} ({error}): "
                         "start one by `dask scheduler`, which prints its address, and workers by "
                         "`dask worker ADDRESS`") from error


def _with_threads(threads, call, setting):
    """The number stays when the call ends: it is the whole worker's, which may be in other calls at the same time."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(threads, "blas")
    with threadpool_limits(user_api="blas"):
        pass  # changes nothing, but without it no other thread of the worker could set a number again
    return call(setting)


def _call(task, setting):
    return task(*setting)


def _not_installed(missing):
    return ModuleNotFoundError(f"a client needs the packages of the extra 'cluster', but there is no module "
                               f"{missing.name}: pip install '.[cluster]' in a copy of the repository")
