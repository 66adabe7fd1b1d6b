# SPDX-License-Identifier: Apache-2.0
"""Times to reaction of docs/reliability.md: the fault tests, several times over.

    python -m benchmarks.reliability --runs 5

A test that fails is not a figure: the command then fails too.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests" / "integration"


def times(runs: int, only: str) -> Iterable[dict]:
    """Run the fault tests ``runs`` times, one after the other; return what they noted.

    ``only`` is pytest's ``-k``; empty: all.
    """
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "reactions.jsonl"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", only]
        tests = sorted(map(str, TESTS.glob("test_fault_*.py")))
        for _ in range(runs):
            environment = os.environ | {"PWM_RELIABILITY_OUT": str(out)}
            subprocess.run([*command, *tests], env=environment, check=True, stdout=sys.stderr)
        return [json.loads(line) for line in out.read_text().splitlines()]


def table(records: Iterable[dict]) -> list[str]:
    """Return Markdown rows, in the order in which the faults were noted first."""
    by_fault: dict[tuple[str, str], list[dict]] = defaultdict(list)
    for record in records:
        by_fault[record["fault"], record["reaction"]].append(record)
    head = ["| fault | reaction | median | slowest |", "| --- | --- | --- | --- |"]
    return head + [_row(fault, answer, noted) for (fault, answer), noted in by_fault.items()]


def _row(fault: str, answer: str, noted: Sequence[dict]) -> str:
    seconds = [record["seconds"] for record in noted]
    figures = {
        name: statistics.median(record["figures"][name] for record in noted)
        for name in noted[0]["figures"]
    }
    said = "; ".join([answer, *(f"{name}: {value:.0f}" for name, value in figures.items())])
    return f"| {fault} | {said} | {statistics.median(seconds):.2f} s | {max(seconds):.2f} s |"


def main(argv: Sequence[str]) -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="runs of all fault tests (default 5)")
    parser.add_argument("--only", default="", help="tests to run, as pytest's -k (default all)")
    arguments = parser.parse_args(argv)
    runs = arguments.runs
    before = os.getloadavg()
    print("\n".join(table(times(runs, arguments.only))))
    print(f"\n{runs} run(s); load average before {before[0]:.1f}, after {os.getloadavg()[0]:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
