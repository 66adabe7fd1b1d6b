# SPDX-License-Identifier: Apache-2.0
"""Two real processes under torchrun, which speak gloo, against one."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import distributed

from pwm_core.checkpoint import load_checkpoint
from pwm_core.data.dataset import Dataset
from pwm_core.pretraining.runner import Pretraining, PretrainingConfig, PretrainingOptions
from pwm_core.progress import ProgressDisplay
from pwm_core.ranks import Ranks, RanksError
from pwm_core.run_directory import read_metrics

PROGRAM = Path(__file__).with_name("ranks_program.py")


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("ranks_program", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "ranks_program", module)
    spec.loader.exec_module(module)
    return module


def torchrun(tmp_path: Path, data: Path, *jobs: object) -> subprocess.CompletedProcess[str]:
    """Run ``jobs``, one after the other, in two processes."""
    file = tmp_path / "jobs.pickle"
    file.write_bytes(pickle.dumps(jobs))
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(PROGRAM)]
    return subprocess.run(
        [sys.executable, *command, str(file), str(data)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def halt(
    monkeypatch: pytest.MonkeyPatch,
    data: Dataset,
    out: Path,
    config: PretrainingConfig,
    options: PretrainingOptions,
) -> None:
    """Train in one process until the checkpoint of update 10 is written."""

    def interrupt(self: ProgressDisplay, done: int, figures=None) -> None:
        if done == 10:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ProgressDisplay, "update", interrupt)
        with pytest.raises(KeyboardInterrupt):
            Pretraining(data, out, config, options).run()


def curve(out: Path) -> list[dict[str, object]]:
    """Return the lines of metrics without times and errors that one window can turn over."""
    return [
        {name: line[name] for name in line if name.startswith(("loss", "validation", "gradient"))}
        | {"step": line["step"]}
        for line in read_metrics(out)
    ]


def assert_close(
    one: dict[str, torch.Tensor], two: dict[str, torch.Tensor], rtol: float = 1e-4
) -> None:
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=rtol, atol=1e-5, msg=name)


def test_two_ranks_train_as_one_process_does(
    dataset: Dataset,
    tmp_path: Path,
    pretraining_config: PretrainingConfig,
    pretraining_options: PretrainingOptions,
    program: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same windows per update give the same curve and weights, resumed or not.

    With all heads and in three parts per update, of whose 21 windows one rank has 10.
    """
    heads = dataclasses.replace(pretraining_config.model, termination=True, dynamics_heads=3)
    config = dataclasses.replace(pretraining_config, model=heads, transitions=87)
    options = dataclasses.replace(pretraining_options, accumulate=3)
    one = Pretraining(dataset, tmp_path / "one", config, options).run().model.state_dict()
    halt(monkeypatch, dataset, tmp_path / "resumed", config, options)
    jobs = [
        program.Job(tmp_path / "two", config, options),
        program.Job(tmp_path / "resumed", config, options),
        program.Job(tmp_path / "seeds", config, options, own_seeds=True),
        program.Job(tmp_path / "diverged", config, options, diverges_at=12),
    ]
    done = torchrun(tmp_path, dataset.path, *jobs)
    assert done.returncode == 0, done.stderr
    for name in ("two", "resumed"):
        ranks = [torch.load(tmp_path / name / f"rank{number}.pt") for number in (0, 1)]
        assert_close(one, ranks[0])
        for key, tensor in ranks[0].items():
            assert torch.equal(tensor, ranks[1][key]), key
        for mine, theirs in zip(curve(tmp_path / "one"), curve(tmp_path / name), strict=True):
            assert mine == pytest.approx(theirs, rel=1e-3)
        saved = load_checkpoint(tmp_path / name / "world_model.safetensors")[0]
        assert all(torch.equal(saved[key], ranks[0][key]) for key in saved)
    assert "pretrain: 20/20 updates" in done.stderr
    assert len(list((tmp_path / "two").glob("events*"))) == 1, "the first rank alone writes"
    for number in (0, 1):
        message = (tmp_path / "seeds" / f"rank{number}.txt").read_text()
        assert message.startswith("rank 1 has config {")
        assert "'seed': 1" in message
        message = (tmp_path / "diverged" / f"rank{number}.txt").read_text()
        assert "diverged: at update 15 of 20 gradient_norm is nan" in message
    assert load_checkpoint(tmp_path / "diverged" / "checkpoint.safetensors")[1]["step"] == 10


def test_a_killed_rank_ends_the_run_and_leaves_a_whole_checkpoint(
    dataset: Dataset,
    tmp_path: Path,
    pretraining_config: PretrainingConfig,
    pretraining_options: PretrainingOptions,
    program: ModuleType,
) -> None:
    """From which one process goes on to the numbers of an undisturbed run."""
    out = tmp_path / "killed"
    job = program.Job(out, pretraining_config, pretraining_options, dies_at=13)
    done = torchrun(tmp_path, dataset.path, job)
    assert done.returncode != 0
    assert "exitcode  : -9" in done.stderr, "torchrun says which"
    assert load_checkpoint(out / "checkpoint.safetensors")[1]["step"] == 10
    assert not (out / "world_model.safetensors").exists()
    arguments = pretraining_config, pretraining_options
    resumed = Pretraining(dataset, out, *arguments).run().model.state_dict()
    straight = Pretraining(dataset, tmp_path / "straight", *arguments).run().model.state_dict()
    assert_close(straight, resumed)


@pytest.mark.parametrize("total", [3, 7, 64])
def test_shares_are_a_partition(total: int) -> None:
    shares = [range(total)[Ranks(number, 3).share(total)] for number in range(3)]
    assert [window for share in shares for window in share] == list(range(total))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize(
    ("first", "other", "message"),
    [
        ({"data": "a"}, {"data": "b"}, "rank 1 has data 'b', rank 0 has 'a'"),
        ({"data": "a", "from": "c"}, {"data": "a"}, "rank 1 has from None, rank 0 has 'c'"),
        ({"data": "a"}, {"data": "a", "from": "c"}, "rank 1 has from 'c', rank 0 has None"),
    ],
)
def test_what_ranks_found_otherwise_is_named(
    monkeypatch: pytest.MonkeyPatch, first: dict[str, str], other: dict[str, str], message: str
) -> None:
    def gather(into: list[dict[str, str]], own: dict[str, str]) -> None:
        into[:] = [own, other]

    monkeypatch.setattr(distributed, "all_gather_object", gather)
    with pytest.raises(RanksError, match=message):
        Ranks(0, 2).require_same(first)


def test_fewer_windows_than_ranks_are_refused() -> None:
    with pytest.raises(RanksError, match="2 windows per update cannot be shared by 3 ranks"):
        Ranks(0, 3).share(2)


def test_a_rank_has_its_own_gpu() -> None:
    """Unless the user has said which."""
    gpu = torch.device("cuda")
    assert Ranks(5, 8, on_machine=1).device(gpu) == torch.device("cuda:1")
    assert Ranks(5, 8, on_machine=1).device(torch.device("cuda:3")) == torch.device("cuda:3")
    assert Ranks(5, 8, on_machine=1).device(torch.device("cpu")) == torch.device("cpu")
    assert Ranks().device(gpu) == gpu
