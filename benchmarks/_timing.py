"""How every benchmark times a call."""

import time
from statistics import median


def seconds(run, repeats=7):
    """Median of several runs, after one that is not counted: it compiles."""
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return median(times)
