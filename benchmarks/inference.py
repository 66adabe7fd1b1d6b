# SPDX-License-Identifier: Apache-2.0
"""One decision on the robot: ``Bundle.act`` against raw ONNX Runtime and eager PyTorch."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.extraction import extraction
from benchmarks.measure import (
    Row,
    counted_work,
    gemm,
    gemm_rate,
    interleave,
    profile_rows,
)
from benchmarks.settings import Settings
from benchmarks.synthetic import synthetic_dataset
from pwm_core.extraction.store import TrainedPolicy, architecture
from pwm_export.bundle import INPUT, OUTPUT, Bundle
from pwm_export.writer import CommandedPolicy, export_policy

Decide = Callable[[np.ndarray], np.ndarray]
REFERENCE, RAW, BUNDLE = "torch eager", "session.run", "Bundle.act"


def exported_bundle(directory: Path, settings: Settings) -> Bundle:
    """Return a bundle of an untrained policy of the demo's size."""
    return _export(directory, settings)[0]


def deciders(directory: Path, settings: Settings) -> tuple[dict[str, Decide], np.ndarray]:
    """Return the three ways to decide with one policy, and observations ``[N, O]`` to feed."""
    bundle, trained, observations = _export(directory, settings)
    network = CommandedPolicy(trained.policy, trained.task.action).eval()
    return _deciders(bundle, network), observations


def _export(directory: Path, settings: Settings) -> tuple[Bundle, TrainedPolicy, np.ndarray]:
    dataset = synthetic_dataset(directory / "data", settings.episodes)
    runner = extraction(dataset, directory)
    config, task = runner.config, runner.info
    described = architecture(runner.model.config, config.actor_hidden, config.sigma_floor)
    record: dict[str, Any] = {"training": {}, "world_model": {}, "provenance": {}}
    trained = TrainedPolicy(runner.policy(), task, described, record)
    observations = np.array(dataset.observation[: settings.decisions])
    path = directory / "benchmark.onnx"
    bundle = export_policy(trained, "benchmark", path, observations[:16], {})
    return bundle, trained, observations


def _deciders(bundle: Bundle, network: torch.nn.Module) -> dict[str, Decide]:
    def torch_eager(observation: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return network(torch.from_numpy(observation)[None])[0].numpy()

    def raw(observation: np.ndarray) -> np.ndarray:
        return bundle.session.run([OUTPUT], {INPUT: observation[None]})[0][0]

    return {REFERENCE: torch_eager, RAW: raw, BUNDLE: bundle.act}


def latencies(decide: Decide, observations: np.ndarray) -> np.ndarray:
    """Return wall seconds ``[N]`` of each decision."""
    seconds = np.empty(len(observations))
    for number, observation in enumerate(observations):
        begin = time.perf_counter()
        decide(observation)
        seconds[number] = time.perf_counter() - begin
    return seconds


def measure(directory: Path, settings: Settings) -> list[Row]:
    """Return a row per way to decide; blocks alternate, latencies are wall time."""
    ways, observations = deciders(directory, settings)
    needed = counted_work(lambda: ways[REFERENCE](observations[0]))
    for decide in ways.values():
        latencies(decide, observations)
    found: dict[str, list[np.ndarray]] = {name: [] for name in ways}
    rates = []
    for _ in range(settings.rounds):
        for name, decide in ways.items():
            found[name].append(latencies(decide, observations))
        rates.append(gemm_rate(interleave({"GEMM": gemm()}, 1)["GEMM"])[0])
    medians = {name: np.median(blocks, axis=1) for name, blocks in found.items()}
    return [
        {
            "case": "batch 1",
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
    """Return the costliest operators of an eager decision."""
    ways, observations = deciders(directory, settings)
    return profile_rows(lambda: ways[REFERENCE](observations[0]), settings.decisions)
