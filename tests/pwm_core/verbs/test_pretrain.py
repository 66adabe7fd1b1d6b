# SPDX-License-Identifier: Apache-2.0
"""What ``pwm pretrain`` makes of its options and of the data."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pwm_core.cli import main
from pwm_core.data.dataset import DatasetWriter, TaskInfo
from pwm_core.model.store import TrainedWorldModel
from pwm_core.tasks import get_task
from pwm_core.verbs.pretrain import Pretrain

SMALL = [
    *("--updates", "2", "--transitions", "32", "--horizon", "4", "--no-curriculum"),
    *("--threads", "1", "--no-compile", "--device", "cpu"),
]


@pytest.fixture
def episodic_data(tmp_path: Path) -> Path:
    """Two tasks, one of which can end early."""
    plain = TaskInfo.of(get_task("cartpole-swingup"))
    episodic = dataclasses.replace(plain, name="falling", episodic=True)
    writer = DatasetWriter(tmp_path / "data", [plain, episodic])
    rng = np.random.default_rng(0)
    for number in range(8):
        name = ("cartpole-swingup", "falling")[number % 2]
        arrays = rng.normal(size=(13, 5)), rng.uniform(-1, 1, (12, 1)), rng.normal(size=12)
        writer.append(name, "x", number, *arrays, terminated=name == "falling")
    return tmp_path / "data"


def pretrain(data: Path, out: Path, *options: str) -> TrainedWorldModel:
    where = ["pretrain", "--data", str(data), "--out", str(out)]
    assert main([*where, *SMALL, *options]) == 0
    return TrainedWorldModel.load(out / "world_model.safetensors", torch.device("cpu"))


@pytest.mark.parametrize(
    ("options", "expected"), [((), True), (("--termination", "off"), False)], ids=str
)
def test_the_end_of_episodes_is_predicted_where_they_can_end(
    episodic_data: Path, tmp_path: Path, options: tuple[str, ...], expected: bool
) -> None:
    trained = pretrain(episodic_data, tmp_path / "run", *options)
    assert trained.model.config.termination == expected


def test_no_end_is_predicted_where_none_can_come(tiny_data: Path, tmp_path: Path) -> None:
    assert not pretrain(tiny_data, tmp_path).model.config.termination
    on = pretrain(tiny_data, tmp_path / "on", "--termination", "on")
    assert on.model.config.termination


def test_choices_reach_the_model(tiny_data: Path, tmp_path: Path) -> None:
    config = pretrain(
        tiny_data,
        tmp_path,
        *("--latent-layer", "relu", "--no-reward-symlog", "--reward-range", "-2", "3"),
        *("--dynamics-heads", "2", "--accumulate", "2", "--balanced"),
    ).model.config
    assert (config.latent_layer, config.reward_symlog, config.dynamics_heads) == ("relu", False, 2)
    assert (config.reward_low, config.reward_high) == (-2, 3)


def test_errors_are_told_task_by_task(
    tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pretrain(tiny_data, tmp_path / "table")
    table = capsys.readouterr().out
    assert "cartpole-swingup" in table
    assert "cartpole-balance" in table
    trained = pretrain(tiny_data, tmp_path / "json", "--json")
    (row,) = json.loads(capsys.readouterr().out)
    assert [task["task"] for task in row["tasks"]] == ["cartpole-swingup", "cartpole-balance"]
    for task in row["tasks"]:
        error = trained.quality["tasks"][task["task"]]["reward_error"]
        assert task["reward error"] == f"{error:.2%}"


@pytest.mark.parametrize(
    ("horizon", "stages"),
    [(16, ((0.5, 4), (0.25, 8))), (8, ((0.5, 4),)), (5, ((0.5, 4),)), (4, ()), (3, ())],
)
def test_no_stage_of_the_curriculum_is_longer_than_what_follows(
    horizon: int, stages: tuple[tuple[float, int], ...]
) -> None:
    assert Pretrain(horizon=horizon)._config().curriculum == stages
    assert Pretrain(horizon=horizon, curriculum=False)._config().curriculum == ()


@pytest.mark.parametrize(
    "option",
    [
        ("--size", "1M"),
        ("--latent-layer", "relu"),
        ("--simnorm-group", "4"),
        ("--simnorm-temperature", "2"),
        ("--reward-head", "mse"),
        ("--no-reward-symlog",),
        ("--reward-range", "-2", "3"),
        ("--dynamics-heads", "2"),
        ("--termination", "on"),
    ],
    ids=lambda option: option[0],
)
def test_a_given_model_has_made_its_choices(
    option: tuple[str, ...],
    tiny_data: Path,
    tiny_world_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    where = ["--from", str(tiny_world_model), "--data", str(tiny_data), "--out", str(tmp_path)]
    assert main(["pretrain", *where, *SMALL, *option]) == 2
    name = option[0].removeprefix("--no-").removeprefix("--").replace("-", "_")
    message = capsys.readouterr().err
    assert f"{name} is " in message
    assert "with --from the choices of the given model stand" in message
    assert not list(tmp_path.iterdir())


def test_options_of_training_go_with_a_given_model(
    tiny_data: Path, tiny_world_model: Path, tmp_path: Path
) -> None:
    given = TrainedWorldModel.load(tiny_world_model, torch.device("cpu")).model.config
    trained = pretrain(tiny_data, tmp_path, "--from", str(tiny_world_model))
    assert trained.model.config == given
