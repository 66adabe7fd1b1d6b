# SPDX-License-Identifier: Apache-2.0
"""Updates as a GPU runs them: nothing that waits, prefetched windows; the graph where CUDA is."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from pwm_core.data.dataset import Dataset
from pwm_core.pretraining.runner import Pretraining, PretrainingConfig, PretrainingOptions

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.fixture(scope="module")
def no_transfer() -> ModuleType:
    path = Path(__file__).parents[1] / "no_transfer.py"
    spec = importlib.util.spec_from_file_location("pwm_no_transfer", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def config(pretraining_config: PretrainingConfig) -> PretrainingConfig:
    """With all heads there are."""
    model = replace(pretraining_config.model, dynamics_heads=3, termination=True)
    return replace(pretraining_config, model=model)


@pytest.mark.parametrize(
    ("precision", "by_hand"), [("float32", False), ("float32", True), ("bfloat16", False)]
)
def test_an_update_waits_for_nothing(
    dataset: Dataset,
    tmp_path: Path,
    config: PretrainingConfig,
    pretraining_options: PretrainingOptions,
    no_transfer: ModuleType,
    precision: Any,
    by_hand: bool,
) -> None:
    training = Pretraining(
        dataset, tmp_path, replace(config, precision=precision), pretraining_options
    )
    training.model.by_hand = by_hand
    training._update()  # the optimiser makes its state
    training.step = 1
    given = [*vars(training._windows()).values(), *training._shares()]
    with no_transfer.NoTransfer() as mode:
        training._step(*given)
    assert mode.seen > 300


def test_windows_made_ahead_are_the_same(
    dataset: Dataset,
    tmp_path: Path,
    config: PretrainingConfig,
    pretraining_options: PretrainingOptions,
) -> None:
    training = Pretraining(dataset, tmp_path, config, pretraining_options)
    for step in range(10, 14):  # the horizon changes on the way
        training.step = step
        for mine, own in zip(
            vars(training._ahead(step)).values(), vars(training._windows()).values(), strict=True
        ):
            assert torch.equal(mine, own)


@CUDA
@pytest.mark.parametrize("compiled", [False, True])
def test_the_graph_computes_what_single_kernels_do(
    dataset: Dataset, tmp_path: Path, config: PretrainingConfig, compiled: bool
) -> None:
    losses: list[list[float]] = []
    for graph in (True, False):
        options = PretrainingOptions("cuda", compile=compiled, cuda_graph=graph)
        training = Pretraining(dataset, tmp_path / str(graph), config, options)
        training.prepare_networks()
        losses.append([])
        for training.step in range(20):  # two horizons, a recording of each
            losses[-1].append(float(training._update()["loss/total"]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
