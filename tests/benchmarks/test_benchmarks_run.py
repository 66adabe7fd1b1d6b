# SPDX-License-Identifier: Apache-2.0
"""The benchmarks run, and what they compare computes the same; no time is judged here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.__main__ import BENCHMARKS, ON_DEVICE, main
from benchmarks.collection import ONE_BY_ONE, PLANNER, SIDE_BY_SIDE, evaluations, plannings
from benchmarks.collection import REFERENCE as IN_PYTHON
from benchmarks.extraction import extraction
from benchmarks.measure import GEMM_SIZE, counted_work, gemm
from benchmarks.on_device import REFERENCE
from benchmarks.pretraining import pretraining, stages
from benchmarks.reference import PlainExtraction, PlainPretraining
from benchmarks.sampler import PlainSampler, sampler, sparse_dataset
from benchmarks.synthetic import synthetic_dataset
from pwm_core.data.dataset import Dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return synthetic_dataset(tmp_path_factory.mktemp("data"), episodes=4)


def test_pretraining_and_its_reference_compute_the_same_loss(
    dataset: Dataset, tmp_path: Path
) -> None:
    fast = pretraining(dataset, tmp_path)
    plain = PlainPretraining(fast)
    for step, horizon in stages(fast):
        fast.step = plain.step = step
        for _ in range(2):
            fast_loss = fast._update()["loss/total"]
            fast.step += 1
            torch.testing.assert_close(plain.update(horizon), fast_loss, rtol=1e-4, atol=1e-5)


def test_extraction_and_its_reference_compute_the_same_losses(
    dataset: Dataset, tmp_path: Path
) -> None:
    fast = extraction(dataset, tmp_path)
    plain = PlainExtraction(fast)
    for _ in range(3):
        figures = fast.iterate()
        fast.iteration += 1
        for name, value in plain.iterate().items():
            assert abs(value) > 1e-3, f"{name} is zero: the comparison says nothing"
            torch.testing.assert_close(value, figures[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_prints_and_writes_its_figures(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    threads = torch.get_num_threads()
    file = tmp_path / "figures.json"
    assert main([name, "--quick", "--json", str(file), "--threads", str(threads)]) == 0
    assert name in capsys.readouterr().out
    record = json.loads(file.read_text())
    assert {"machine", "torch", "threads", "git"} <= record.keys()
    for row in record["figures"][name]:
        assert row["times reference"] > 0
        assert row.get("share of GEMM", 1) > 0, "where matrix products are the work"


def test_the_sampler_and_its_reference_draw_the_same_windows(tmp_path: Path) -> None:
    data = sparse_dataset(tmp_path / "data", 400 * 500)
    for name, array in (("observation", data.observation), ("reward", data.reward)):
        rows = np.arange(array.size, dtype="<f4").reshape(array.shape)
        (data.path / f"{name}.f32").write_bytes(rows.tobytes())
    fast, plain = sampler(data), PlainSampler(data, 0)
    for number in range(4):  # batches of 256 windows: the second epoch begins in the second
        mine, theirs = fast.batch(number), plain.batch(number)
        for field, value in vars(mine).items():
            assert torch.equal(value, vars(theirs)[field]), field


def test_planning_and_its_reference_come_to_the_same_plan() -> None:
    ways = plannings("cheetah-run")
    plan = ways[PLANNER]()
    assert plan.std() > 0.1
    np.testing.assert_allclose(plan, ways[IN_PYTHON](), atol=1e-4)


def test_an_unknown_benchmark_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["walking"])
    assert "walking" in capsys.readouterr().err


def test_work_is_counted() -> None:
    assert counted_work(gemm().run) == 2 * GEMM_SIZE**3


def test_episodes_side_by_side_earn_what_they_earn_alone() -> None:
    ways = evaluations("cartpole-swingup", 3)
    returns = ways[SIDE_BY_SIDE]()
    assert np.ptp(returns) > 0
    np.testing.assert_allclose(returns, ways[ONE_BY_ONE](), rtol=1e-4)


@pytest.mark.parametrize("name", ON_DEVICE)
def test_what_a_gpu_is_measured_by_runs_on_a_cpu_too(name: str, tmp_path: Path) -> None:
    """Graphs and streams apart, which are held against single kernels where there is one."""
    file = tmp_path / "figures.json"
    threads = str(torch.get_num_threads())
    asked = [name, "--device", "cpu", "--quick", "--json", str(file), "--threads", threads]
    assert main(asked) == 0
    rows = json.loads(file.read_text())["figures"][name]
    assert rows[0]["program"] == REFERENCE
    assert len({row["program"] for row in rows}) == len(rows) >= 3
    assert all(row["TFLOP/s"] > 0 for row in rows)


def test_only_some_are_for_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["sampler", "--device", "cuda"])
    assert "there are extraction, pretraining" in capsys.readouterr().err
