# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks.loading BUNDLE …``: how long loading one holds up a control loop.

A thread that wants its turn every 0.2 ms, as the control loop of ``policy_node`` might, notes the
longest time it did not get it; first while nothing is loaded.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pwm_core.tables import print_table
from pwm_export.bundle import Bundle

TURN_SECONDS = 0.0002
SWITCH_SECONDS = 0.0005
"""As ``policy_node`` has it."""


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loading", description=__doc__)
    parser.add_argument("bundles", nargs="+", type=Path, metavar="BUNDLE")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    return parser.parse_args(argv)


def longest_wait(work: Callable[[], Any]) -> tuple[float, float]:
    """Return how long another thread waited for its turn while ``work`` ran, and ``work`` took."""
    waits: list[float] = []
    ready, done = threading.Event(), threading.Event()

    def take_turns() -> None:
        before = time.perf_counter()
        ready.set()
        while not done.is_set():
            time.sleep(TURN_SECONDS)
            now = time.perf_counter()
            waits.append(now - before)
            before = now

    loop = threading.Thread(target=take_turns)
    loop.start()
    ready.wait()
    started = time.perf_counter()
    try:
        kept = work()  # freed outside of the clock
        took = time.perf_counter() - started
    finally:
        done.set()
        loop.join()
    del kept
    return max(waits), took


def row(case: str, megabytes: float, work: Callable[[], Any], rounds: int) -> dict[str, Any]:
    """Return one row of the table."""
    waits, took = np.array([longest_wait(work) for _ in range(rounds)]).T * 1e3
    return {
        "bundle": case,
        "MB": megabytes,
        "longest wait p50 ms": float(np.median(waits)),
        "longest wait max ms": float(waits.max()),
        "loading p50 ms": float(np.median(took)),
    }


def main(argv: Sequence[str]) -> int:
    """Measure every bundle and print a table."""
    given = arguments(argv)
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    rows = [row("none", 0.0, lambda: time.sleep(0.02), given.rounds)]
    for path in given.bundles:
        work = partial(Bundle.load, path)
        rows.append(row(path.stem, path.stat().st_size / 1e6, work, given.rounds))
    sys.setswitchinterval(before)
    print_table(f"Loading, {given.rounds} rounds", rows, given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
