# SPDX-License-Identifier: Apache-2.0
"""``finetune`` as a user, or the fine-tuning node, starts it, in small."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pwm_core.cli import main
from pwm_core.data.dataset import Dataset
from pwm_core.data.writer import DatasetWriter
from pwm_core.extraction.store import TrainedPolicy

SMALL = [
    *("--updates", "4", "--transitions", "64", "--horizon", "4"),
    *("--iterations", "2", "--critic-iterations", "1"),
]
OPEN = [
    *("--gate.recorded-rewards", "1e6", "--gate.reward-error", "1e6", "--gate.action-change", "2"),
]
"""Bounds that a model as badly trained as the tests' keeps to."""


@pytest.fixture
def finetune(tiny_world_model: Path, tiny_policy: Path, tiny_data: Path, tmp_path: Path):
    """Run the verb; the online data is the offline data unless said otherwise."""

    def run(*options: str, data: Path = tiny_data) -> int:
        return main(
            [
                *("finetune", "--policy", str(tiny_policy), "--data", str(data)),
                *("--world-model", str(tiny_world_model), "--offline", str(tiny_data)),
                *("--out", str(tmp_path / "run"), *SMALL, *options),
            ]
        )

    return run


def gate(folder: Path) -> dict:
    return json.loads((folder / "run" / "gate.json").read_text())


def failed(folder: Path) -> set[str]:
    return {v["check"] for v in gate(folder)["verdicts"] if not v["passed"]}


def test_exit_status_verdicts_and_files_agree(
    finetune, tiny_policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tiny_policy.read_bytes()
    status = finetune("--json", *OPEN)
    printed = json.loads(capsys.readouterr().out)
    found = gate(tmp_path)
    assert printed == found["verdicts"]
    assert status == (0 if found["accepted"] else 3)
    assert {v["check"] for v in printed} == {
        "recorded rewards",
        "latent prediction",
        "reward prediction",
        "known rewards",
        "imagined return",
        "action change",
        "action drift",
    }
    candidate = TrainedPolicy.load(tmp_path / "run" / "candidate" / "policy.safetensors")
    assert candidate.record["gate"]["accepted"] == found["accepted"]
    assert tiny_policy.read_bytes() == before


def test_a_refused_candidate_is_told(
    finetune, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert finetune("--gate.recorded-rewards", "1e-9") == 3
    assert "refused: the running policy stays" in capsys.readouterr().err
    assert "recorded rewards" in failed(tmp_path)
    assert not gate(tmp_path)["accepted"]


def test_poisoned_rewards_are_refused(finetune, tiny_data: Path, tmp_path: Path) -> None:
    """A tenth of the decisions is paid a hundred times what the task pays at most."""
    poisoned = tmp_path / "poisoned"
    data = Dataset(tiny_data)
    writer = DatasetWriter(poisoned, [data.tasks["cartpole-swingup"]])
    for episode in data.of_task("cartpole-swingup"):
        found = data.trajectory(episode)
        found.reward[::10] = 200.0
        writer.extend([found])
    assert finetune(*OPEN, "--gate.recorded-rewards", "1000", data=poisoned) == 3
    assert "recorded rewards" in failed(tmp_path)


@pytest.mark.parametrize("signed", [False, True])
def test_numbers_that_are_not_finite_train_nothing(
    finetune, tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], signed: bool
) -> None:
    """Whether the disk did it or a writer that signed for it."""
    bad = tmp_path / "online"
    shutil.copytree(tiny_data, bad)
    np.memmap(bad / "observation.f32", "<f4", "r+")[7] = np.nan
    if signed:
        data = Dataset(bad)
        lines = [json.loads(line) for line in (bad / "episodes.jsonl").read_text().splitlines()]
        lines[0]["checksum"] = data.checksum(data.episodes[0])
        (bad / "episodes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert finetune(data=bad) == 2
    said = capsys.readouterr().err
    assert "episode 0 (cartpole-swingup, uniform 0)" in said
    assert ("expected a finite number" if signed else "data was changed") in said
    assert not (tmp_path / "run" / "world_model").exists()


def test_what_does_not_belong_together_is_named(
    finetune, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert finetune(data=tmp_path / "nowhere") == 2
    assert "nowhere is no dataset" in capsys.readouterr().err
    assert finetune("--updates", "0") == 2
    assert "updates is 0" in capsys.readouterr().err
    assert finetune("--threads", "0") == 2
    assert "threads is 0, expected 1 or more" in capsys.readouterr().err


def test_training_that_diverges_is_refused_and_leaves_no_candidate(
    finetune, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert finetune("--learning-rate", "1e30") == 3
    assert "refused: the running policy stays; training has diverged" in capsys.readouterr().err
    assert not (tmp_path / "run" / "candidate" / "policy.safetensors").exists()
