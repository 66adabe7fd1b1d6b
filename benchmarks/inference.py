# SPDX-License-Identifier: Apache-2.0
"""One decision on the robot: ``Bundle.act`` against raw ONNX Runtime and eager PyTorch.

Weights are random: a decision takes as long whatever they are. A policy is the encoder of a world
model and an actor; the sizes are the world models'.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnxruntime
import torch

from benchmarks.extraction import DEFAULTS, PUBLISHED
from benchmarks.measure import (
    Row,
    counted_work,
    gemm,
    gemm_rate,
    interleave,
    profile_rows,
)
from benchmarks.settings import Settings
from benchmarks.synthetic import TASKS, synthetic_dataset
from pwm_core.data.dataset import Dataset, TaskInfo
from pwm_core.extraction.config import configure
from pwm_core.extraction.store import TrainedPolicy, architecture, build_policy
from pwm_core.model.config import SIZES
from pwm_export.bundle import INPUT, OUTPUT, Bundle
from pwm_export.precision import Precision
from pwm_export.writer import CommandedPolicy, export_policy

Decide = Callable[[np.ndarray], np.ndarray]
REFERENCE, RAW, BUNDLE = "torch eager", "session.run", "Bundle.act"
DEFAULT_SESSION = "session.run, its default threads"
BLOCK_SECONDS = 0.5
"""Decisions of a large policy are fewer, so that a block of them takes no longer."""
FEWEST = 20
"""Decisions per block."""


def exported_bundle(directory: Path, settings: Settings) -> Bundle:
    """Return a bundle of an untrained policy of the demo's size."""
    dataset = synthetic_dataset(directory / "data", settings.episodes)
    policy = untrained_policy(dataset.tasks[TASKS[0]], "tiny")
    return _exported(policy, directory, "float32", _observations(dataset, settings))


def untrained_policy(task: TaskInfo, size: str) -> TrainedPolicy:
    """Return a policy of random weights, with the published actor above ``tiny``."""
    torch.manual_seed(0)
    config = configure("default", DEFAULTS if size == "tiny" else PUBLISHED, seed=0)
    described = architecture(SIZES[size], config.actor_hidden, config.sigma_floor)
    record: dict[str, Any] = {"training": {}, "world_model": {}, "provenance": {}}
    return TrainedPolicy(build_policy(task, described).eval(), task, described, record)


def _observations(dataset: Dataset, settings: Settings) -> np.ndarray:
    return np.array(dataset.observation[: settings.decisions])


def _exported(
    policy: TrainedPolicy, directory: Path, precision: Precision, observations: np.ndarray
) -> Bundle:
    path = directory / f"{precision}.onnx"
    return export_policy(policy, "benchmark", path, observations[:16], {}, precision=precision)


def deciders(policy: TrainedPolicy, bundles: Mapping[Precision, Bundle]) -> dict[str, Decide]:
    """Return the ways to decide with one policy."""
    network, bundle = CommandedPolicy(policy.policy, policy.task.action).eval(), bundles["float32"]
    default = onnxruntime.InferenceSession(bundle.path, providers=["CPUExecutionProvider"])

    def torch_eager(observation: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return network(torch.from_numpy(observation)[None])[0].numpy()

    def raw(session: onnxruntime.InferenceSession) -> Decide:
        return lambda observation: session.run([OUTPUT], {INPUT: observation[None]})[0][0]

    lighter = {f"{BUNDLE}, {name}": other.act for name, other in bundles.items()}
    del lighter[f"{BUNDLE}, float32"]
    return {
        REFERENCE: torch_eager,
        RAW: raw(bundle.session),
        DEFAULT_SESSION: raw(default),
        BUNDLE: bundle.act,
        **lighter,
    }


def latencies(decide: Decide, observations: np.ndarray) -> np.ndarray:
    """Return wall seconds ``[N]`` of each decision."""
    seconds = np.empty(len(observations))
    for number, observation in enumerate(observations):
        begin = time.perf_counter()
        decide(observation)
        seconds[number] = time.perf_counter() - begin
    return seconds


def measure(directory: Path, settings: Settings) -> list[Row]:
    """Return a row per size and way to decide."""
    dataset = synthetic_dataset(directory / "data", settings.episodes)
    task, observations = dataset.tasks[TASKS[0]], _observations(dataset, settings)
    rows: list[Row] = []
    for size in settings.policies:
        policy = untrained_policy(task, size)
        bundles: dict[Precision, Bundle] = {
            precision: _exported(policy, directory, precision, observations)
            for precision in get_args(Precision)
        }
        ways = deciders(policy, bundles)
        weights = sum(parameter.numel() for parameter in policy.policy.parameters())
        case = f"{size}, {weights / 1e6:.2g}M weights"
        for row in compared(case, ways, observations, settings):
            precision = next((p for p in bundles if row["program"].endswith(p)), "float32")
            rows.append(row | {"file MB": bundles[precision].path.stat().st_size / 1e6})
    return rows


def compared(
    case: str, ways: Mapping[str, Decide], observations: np.ndarray, settings: Settings
) -> list[Row]:
    """Return a row per way to decide; blocks alternate, latencies are wall time."""
    needed = counted_work(lambda: ways[REFERENCE](observations[0]))
    slowest = max(np.median(latencies(decide, observations[:5])) for decide in ways.values())
    observations = observations[: max(FEWEST, int(BLOCK_SECONDS / slowest))]
    found: dict[str, list[np.ndarray]] = {name: [] for name in ways}
    rates = []
    for decide in ways.values():
        latencies(decide, observations)
    for _ in range(settings.rounds):
        for name, decide in ways.items():
            found[name].append(latencies(decide, observations))
        rates.append(gemm_rate(interleave({"GEMM": gemm()}, 1)["GEMM"])[0])
    medians = {name: np.median(blocks, axis=1) for name, blocks in found.items()}
    return [
        {
            "case": case,
            "program": name,
            "p50 wall ms": 1e3 * float(np.percentile(blocks, 50)),
            "p99 wall ms": 1e3 * float(np.percentile(blocks, 99)),
            "times reference": float(np.median(medians[REFERENCE] / medians[name])),
            "time / session.run": float(np.median(medians[name] / medians[RAW])),
            "MFLOP": needed / 1e6,
            "GEMM GFLOP/s": float(np.median(rates)) / 1e9,
            "share of GEMM": float(np.median(needed / medians[name] / np.array(rates))),
        }
        for name, blocks in found.items()
    ]


def profiled(directory: Path, settings: Settings) -> list[Row]:
    """Return the costliest operators of an eager decision of the demo's policy."""
    dataset = synthetic_dataset(directory / "data", settings.episodes)
    policy, observations = untrained_policy(dataset.tasks[TASKS[0]], "tiny"), dataset.observation
    network = CommandedPolicy(policy.policy, policy.task.action).eval()
    seen = torch.from_numpy(np.array(observations[:1]))
    return profile_rows(torch.inference_mode()(lambda: network(seen)), settings.decisions)
