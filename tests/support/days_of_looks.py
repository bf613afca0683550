"""Looks at a run as the monitor does, for days: python -m tests.support.days_of_looks RUN prints bytes held after each.

The run's state changes from look to look.
"""

import gc
import json
import sys
import tracemalloc

from ckptkit.ops import monitor
from tests.support.runs import restep

NOW = 1_800_000_000.0
LOOKS = (60, 144, 144)  # so that the window is full, and rolls, before the days begin; then a look every 10 minutes


def main(run: str) -> None:
    now, sizes = NOW, []
    monitor.WINDOW = 48
    watch = monitor.Watch(run, 600.0)
    tracemalloc.start()
    for looks in LOOKS:
        for look in range(looks):
            now += 600
            restep(f"{run}/checkpoint-100", 100 + look % 2)
            watch.tick(now)
        gc.collect()
        sizes.append(tracemalloc.get_traced_memory()[0])
    print(json.dumps(sizes))


if __name__ == "__main__":
    main(sys.argv[1])
