# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks.precision``: what smaller weights cost policies in actions and returns.

Each policy is exported in every precision and evaluated as a robot would run it, one observation at
a time, in the episodes of ``pwm eval``. Its own spread over these episodes says what a difference
in return means.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from benchmarks.inference import latencies
from pwm_core.data.dataset import Dataset
from pwm_core.evaluation.episodes import run_episodes
from pwm_core.extraction.store import TrainedPolicy
from pwm_core.tables import print_table
from pwm_core.tasks import get_task
from pwm_export import stored_policy
from pwm_export.bundle import Bundle
from pwm_export.precision import Precision
from pwm_export.verb import PARITY_OBSERVATIONS, sample_observations
from pwm_export.writer import ExportError, export_policy


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precision", description=__doc__)
    parser.add_argument("policies", nargs="+", type=Path, metavar="POLICY", help=".safetensors")
    parser.add_argument("--data", type=Path, default=Path("runs/data"), help="its dataset")
    parser.add_argument("--episodes", type=int, default=10, help="per policy and precision")
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    return parser.parse_args(argv)


def row(bundle: Bundle, episodes: int, observations: np.ndarray) -> dict[str, Any]:
    """Return one row of the table."""
    parity = bundle.metadata["parity"]
    policy = stored_policy.load(bundle.path)
    returns = run_episodes(get_task(bundle.task), policy.act, range(episodes)).returns
    seconds = latencies(bundle.act, observations)
    return {
        "task": bundle.task,
        "precision": parity["precision"],
        "KiB": bundle.path.stat().st_size / 1024,
        "largest error, % of range": 100 * parity["max_share_of_range"],
        "mean error, % of range": 100 * parity["mean_share_of_range"],
        "p50 wall µs": 1e6 * float(np.median(seconds)),
        "return": float(returns.mean()),
        "deviation": float(returns.std(ddof=1)),
    }


def rows(path: Path, data: Dataset, episodes: int, directory: Path) -> list[dict[str, Any]]:
    """Return a row per precision of the policy in ``path``; what is refused is said so."""
    trained, found = TrainedPolicy.load(path), []
    observations = sample_observations(data, trained.task.name, PARITY_OBSERVATIONS)
    for precision in get_args(Precision):
        out = directory / f"{precision}.onnx"
        try:
            bundle = export_policy(
                trained, trained.task.name, out, observations, {}, precision=precision
            )
        except ExportError as error:
            print(f"refused: {error}", file=sys.stderr)
        else:
            found.append(row(bundle, episodes, observations))
    return found


def main(argv: Sequence[str]) -> int:
    """Measure and print."""
    asked = arguments(argv)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # torch's exporter warns of its own internals
    data, table = Dataset(asked.data), []
    with tempfile.TemporaryDirectory() as directory:
        for path in asked.policies:
            table += rows(path, data, asked.episodes, Path(directory))
    if asked.json:
        print(json.dumps(table, indent=1))
    else:
        print_table("Precisions of bundles", table, as_json=False)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
