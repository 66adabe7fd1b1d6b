# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks.scaling``: how speed follows workers, ranks, batch, tasks and model size.

Curves of this machine, the bytes that data takes, and the plan for the published data
(``benchmarks.published_plan``). All times are wall time, on one thread per process.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.__main__ import circumstances
from benchmarks.extraction import PUBLISHED, extraction, one_iteration
from benchmarks.measure import GEMM_SIZE, Row, counted_work, gemm
from benchmarks.published_plan import data_rows, training_rows
from benchmarks.scaling_plot import draw
from benchmarks.synthetic import TASKS, synthetic_dataset, untrained_world_model
from pwm_core.data.behaviours import SamplingMpc, Uniform
from pwm_core.data.collect import Job, collect, plan
from pwm_core.data.dataset import Dataset
from pwm_core.data.merge import merge
from pwm_core.device import keep_freed_memory
from pwm_core.extraction.config import Overrides
from pwm_core.pretraining.runner import Pretraining, PretrainingOptions
from pwm_core.run_directory import read_metrics
from pwm_core.tables import print_table
from pwm_core.verbs.pretrain import Pretrain
from pwm_core.workers import job_pool

WIDTHS = ("cartpole-swingup", "cheetah-run", "walker-walk", "mw-reach")
"""Tasks of few and of many observations."""
PLANNED = "cheetah-run"
"""Task whose collection by sampling MPC is timed."""


Table = tuple[str, list[Row]]
"""Title and rows."""


@dataclass(frozen=True)
class Sizes:
    """What is measured; a call is timed after one that is not."""

    models: tuple[str, ...] = ("tiny", "1M", "5M", "19M", "48M")
    transitions: tuple[int, ...] = (1024, 4096, 16384)
    """Per update; the last is the published number."""
    batches: tuple[int, ...] = (16, 64, 256, 512)
    """Of extraction."""
    tasks: tuple[int, ...] = (1, 2, 5, 10)
    """Side by side in one process."""
    seconds: float = 2.0
    """At least for the calls of a point."""
    episodes: int = 10
    """Per task, in the data that training reads."""
    planned: int = 8
    """Episodes of sampling MPC."""
    updates: int = 100
    """Of the ranks' runs."""


QUICK = Sizes(("tiny",), (1024,), (16,), (2,), 0.0, 4, 2, 4)
"""Only to see that everything runs: its figures mean nothing."""


def duration(call: Callable[[], object]) -> float:
    """Return the wall time of ``call``."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def seconds_per_call(call: Callable[[], object], sizes: Sizes) -> float:
    """Return the median wall time of a call, over as many as fill the time."""
    call()
    times = [duration(call)]
    while sum(times) < sizes.seconds or (len(times) < 3 and sum(times) < 3 * sizes.seconds):
        times.append(duration(call))
    return float(np.median(times))


def collection(sizes: Sizes) -> list[Row]:
    """Return transitions per second of sampling MPC by processes and by Ray's workers."""
    rows = []
    for name, workers, ray in (("processes", 1, None), ("processes", 2, None), ("Ray", 2, "local")):
        jobs = plan([PLANNED], [(SamplingMpc(0.2), sizes.planned)], seed=0)
        with job_pool(workers, ray) as pool:
            list(pool.map(Job.run, plan([PLANNED], [(Uniform(), 2 * workers)], seed=0)))
            begin = time.perf_counter()
            done = [len(t.reward) for found in pool.map(Job.run, jobs) for t in found]
            took = time.perf_counter() - begin
        rows.append({"pool": name, "workers": workers, "transitions/s": sum(done) / took})
    return rows


def pretraining(dataset: Dataset, directory: Path, size: str, transitions: int) -> Pretraining:
    """Return the runner of ``pwm pretrain`` in its last stage, without files."""
    keep_freed_memory()
    config = Pretrain(size=size, transitions=transitions)._config()  # type: ignore[arg-type]
    runner = Pretraining(dataset, directory, config, PretrainingOptions("cpu", threads=1))
    runner.prepare_networks()
    runner.step = config.updates - 1
    return runner


def updates(dataset: Dataset, directory: Path, sizes: Sizes) -> list[Row]:
    """Return the time of an update by model size, and by batch for the first two sizes."""
    points = [(size, sizes.transitions[0]) for size in sizes.models]
    points += [(size, n) for size in sizes.models[:2] for n in sizes.transitions[1:]]
    rows = []
    for size, transitions in points:
        runner = pretraining(dataset, directory, size, transitions)
        took = seconds_per_call(runner._update, sizes)
        work = counted_work(runner._update)
        rows.append(
            {
                "size": size,
                "parameters": sum(p.numel() for p in runner.model.parameters()),
                "transitions": transitions,
                "ms": 1e3 * took,
                "transitions/s": transitions / took,
                "GFLOP": work / 1e9,
                "GFLOP/s": work / took / 1e9,
            }
        )
    return rows


def iterations(dataset: Dataset, directory: Path, sizes: Sizes) -> list[Row]:
    """Return the time of an iteration of extraction by tasks, by batch and by model size."""
    first, *larger = sizes.models
    points = [("tasks", first, tasks, Overrides()) for tasks in sizes.tasks]
    points += [("batch", first, 1, Overrides(batch=batch)) for batch in sizes.batches]
    points += [("size, published networks", size, 1, PUBLISHED) for size in larger]
    rows = []
    for curve, size, tasks, overrides in points:
        trained = untrained_world_model(dataset, size)
        names = [TASKS[i % len(TASKS)] for i in range(tasks)]
        runners = [
            extraction(dataset, directory, trained=trained, overrides=overrides, task=name)
            for name in names
        ]
        call = partial(one_iteration, runners)
        took = seconds_per_call(call, sizes)
        work = counted_work(call)
        rows.append(
            {
                "curve": curve,
                "size": size,
                "tasks": tasks,
                "batch": runners[0].config.batch,
                "ms": 1e3 * took,
                "tasks' iterations/s": tasks / took,
                "GFLOP": work / 1e9,
                "GFLOP/s": work / took / 1e9,
            }
        )
    return rows


def ranks(dataset: Dataset, directory: Path, sizes: Sizes) -> list[Row]:
    """Return updates per second of one process and of two that torchrun started, a thread each."""
    rows = []
    for size in sizes.models[:3:2]:
        for count in (1, 2):
            out = directory / f"{size}-{count}"
            launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
            verb = ["-m", "pwm_core", "pretrain", "--data", str(dataset.path), "--out", str(out)]
            options = ["--updates", str(sizes.updates), "--threads", "1", "--no-curriculum"]
            subprocess.run(
                [sys.executable, *launch, *verb, *options, "--size", size, "--device", "cpu"],
                check=True,
                capture_output=True,
                env=os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"},
            )
            (last,) = read_metrics(out)
            rows.append(
                {
                    "size": size,
                    "processes": count,
                    "updates/s": sizes.updates / last["seconds"],
                    "loss of the last update": last["loss/total"],
                    "held-out loss": last["validation/total"],
                }
            )
    return rows


def bytes_on_disk(directory: Path) -> list[Row]:
    """Return the bytes of a transition of each task alone, and of the widest two in one dataset."""
    datasets = []
    for task in WIDTHS:
        collect(plan([task], [(Uniform(), 2)], seed=0), directory / task, workers=1)
        datasets.append(Dataset(directory / task))
    merge(datasets[-2:], directory / "joined")
    return [of_dataset(dataset) for dataset in (*datasets, Dataset(directory / "joined"))]


def of_dataset(dataset: Dataset) -> Row:
    """Return a row of what ``dataset`` takes on disk."""
    arrays = sum(file.stat().st_size for file in dataset.path.glob("*.f32"))
    table = (dataset.path / "episodes.jsonl").stat().st_size
    transitions = int(dataset.episodes.length.sum())
    observations, actions = dataset.widths
    return {
        "tasks": " + ".join(dataset.tasks),
        "observations": observations,
        "actions": actions,
        "transitions": transitions,
        "bytes per transition": arrays / transitions,
        "table, bytes per episode": table / len(dataset.episodes),
    }


def gemm_rate(sizes: Sizes) -> float:
    """Return the GFLOP/s of a matrix product on one thread."""
    program = gemm()
    return 2e-9 * GEMM_SIZE**3 / seconds_per_call(program.run, sizes)


def of_data(directory: Path, sizes: Sizes) -> Iterator[Table]:
    """Yield what data takes, small and published."""
    yield "Bytes on disk", bytes_on_disk(directory)
    yield "Published data", data_rows()
    yield "Published training", training_rows()


def of_collection(directory: Path, sizes: Sizes) -> Iterator[Table]:
    """Yield the rates of collection."""
    yield "Collection", collection(sizes)


def of_pretraining(directory: Path, sizes: Sizes) -> Iterator[Table]:
    """Yield the times of updates, by one process and by two."""
    yield "GEMM", [{"GFLOP/s": gemm_rate(sizes)}]
    data = synthetic_dataset(directory / "data", sizes.episodes)
    yield "Pre-training", updates(data, directory, sizes)
    yield "Ranks", ranks(data, directory, sizes)


def of_extraction(directory: Path, sizes: Sizes) -> Iterator[Table]:
    """Yield the times of iterations."""
    data = synthetic_dataset(directory / "data", sizes.episodes)
    yield "Extraction", iterations(data, directory, sizes)


PARTS: dict[str, Callable[[Path, Sizes], Iterator[Table]]] = {
    "data": of_data,
    "pretraining": of_pretraining,
    "collection": of_collection,
    "extraction": of_extraction,
}


def measured(part: str, sizes: Sizes) -> dict[str, Any]:
    """Return the tables of ``part``, which are printed too, and what they were measured under."""
    record: dict[str, Any] = circumstances() | {"clock": "wall", "figures": {}}
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        for title, rows in PARTS[part](Path(directory), sizes):
            record["figures"][title] = rows
            print_table(f"{title}, after {time.monotonic() - begin:.0f} s", rows, as_json=False)
    return record | {"load_after": os.getloadavg()}


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"all of {', '.join(PARTS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the figures, part by part")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw what --json holds, as SVG")
    parser.add_argument("--quick", action="store_true", help="see that it runs; no real figures")
    asked = parser.parse_args(argv)
    if unknown := sorted(set(asked.parts) - set(PARTS)):
        parser.error(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    if asked.plot and not asked.json:
        parser.error("--plot needs --json")
    return asked


def main(argv: Sequence[str]) -> int:
    """Measure, print, and write what is asked for."""
    asked = arguments(argv)
    torch.set_num_threads(1)
    kept = asked.json and asked.json.is_file()
    record: dict[str, Any] = json.loads(asked.json.read_text()) if kept else {}
    for part in asked.parts or PARTS:
        record[part] = measured(part, QUICK if asked.quick else Sizes())
        if asked.json:
            asked.json.write_text(json.dumps(record, indent=1) + "\n")
    if asked.plot:
        draw(
            {title: t for part in record.values() for title, t in part["figures"].items()},
            asked.plot,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
