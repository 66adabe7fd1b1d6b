# SPDX-License-Identifier: Apache-2.0
"""``pwm import-checkpoint`` as a user starts it, and what can be done with its result."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from pwm_core.cli import main
from pwm_core.data.dataset import Dataset, DatasetWriter, TaskInfo
from pwm_core.errors import PwmError
from pwm_core.extraction.runner import Extraction
from pwm_core.model.published import published_shapes, published_sizes
from pwm_core.model.store import TrainedWorldModel
from pwm_core.model.world_model import WorldModelConfig
from pwm_core.pretraining.judgement import judge, validation_windows
from pwm_core.tasks import get_task
from pwm_core.verbs.import_checkpoint import ImportCheckpoint
from pwm_core.verbs.pretrain import Pretrain

TASKS = ("cartpole-swingup", "cartpole-balance")
SMALL = WorldModelConfig(16, 1, 24, 20, 4)


def published_file(
    path: Path, config: WorldModelConfig, tasks: int, observation: int, action: int
) -> Path:
    """Write random weights as TD-MPC2 does."""
    torch.manual_seed(0)
    shapes = published_shapes(config, tasks, observation, action)
    state = OrderedDict((name, 0.05 * torch.randn(shape)) for name, shape in shapes.items())
    renamed = {name.replace("_encoder.", "_encoder.state."): t for name, t in state.items()}
    torch.save({"model": renamed}, path)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return published_file(tmp_path / "small.pt", SMALL, 2, 5, 1)


def test_a_published_size_with_its_suite(tmp_path: Path, capsys) -> None:
    config = WorldModelConfig(**published_sizes("1M", "mt80"))
    file = published_file(tmp_path / "mt80.pt", config, 80, 39, 6)
    out = tmp_path / "world_model.safetensors"
    assert ImportCheckpoint(file, size="1M", suite="mt80", out=out, json=True).run() == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row == {
        "world model": str(out),
        "parameters": 640741,
        "tasks": 80,
        "reward error": "unknown",
    }
    trained = TrainedWorldModel.load(out, torch.device("cpu"))
    assert trained.task_index("walker-stand") == 0
    assert trained.task_index("mw-hand-insert") == 79
    assert trained.provenance["imported"]["file"] == "mt80.pt"


@pytest.mark.parametrize(
    ("size", "suite", "message"),
    [
        ("5M", "mt80", r"_encoder\.1\.weight is \(128, 256\), expected \(512, 2"),
        ("48M", "mt80", r"_encoder\.0\.weight is \(256, 135\), expected \(1792, 135\) for 80 t"),
        ("1M", "mt30", r"_task_emb\.weight is \(80, 96\), expected \(30, 96\) for 30 tasks, 24 ob"),
    ],
)
def test_a_file_of_another_size_is_refused(
    tmp_path: Path, size: str, suite: str, message: str
) -> None:
    config = WorldModelConfig(**published_sizes("1M", "mt80"))
    file = published_file(tmp_path / "mt80.pt", config, 80, 39, 6)
    out = tmp_path / "world_model.safetensors"
    with pytest.raises(Exception, match=message) as caught:
        ImportCheckpoint(file, size=size, suite=suite, out=out).run()
    assert "; it fits --size 1M --suite mt80" in str(caught.value)
    assert not out.exists()


def test_data_judges_the_file(file: Path, tmp_path: Path, tiny_data: Path, capsys) -> None:
    out = tmp_path / "world_model.safetensors"
    ImportCheckpoint(file, tasks=TASKS, out=out, data=tiny_data, horizon=8).run()
    assert "%" in capsys.readouterr().out
    trained = TrainedWorldModel.load(out, torch.device("cpu"))
    dataset = Dataset(tiny_data)
    windows = validation_windows(dataset, dataset.episodes, TASKS, 8, 0)
    assert trained.quality["reward_error"] == judge(trained.model, windows).reward_error
    assert set(trained.quality["tasks"]) == set(TASKS)


def test_episodes_that_ended_early_are_judged_by(file: Path, tmp_path: Path) -> None:
    """Of one task every episode is shorter than the horizon."""
    writer = DatasetWriter(tmp_path / "data", [TaskInfo.of(get_task(name)) for name in TASKS])
    rng = np.random.default_rng(0)
    for name, steps in ((TASKS[0], 20), (TASKS[0], 3), (TASKS[1], 3)):
        observation, action = rng.normal(size=(steps + 1, 5)), rng.uniform(-1, 1, (steps, 1))
        reward = rng.uniform(size=steps)
        writer.append(name, "x", 0, observation, action, reward, terminated=steps == 3)
    out = tmp_path / "world_model.safetensors"
    ImportCheckpoint(file, tasks=TASKS, out=out, data=tmp_path / "data", horizon=8).run()
    trained = TrainedWorldModel.load(out, torch.device("cpu"))
    steps = {name: len(q["latent_error"]) for name, q in trained.quality["tasks"].items()}
    assert steps == {TASKS[0]: 8, TASKS[1]: 3}


def test_a_file_that_is_there_is_not_replaced(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "world_model.safetensors"
    out.write_bytes(b"trained for days")
    with pytest.raises(PwmError, match=f"{out} exists, .* Give another --out, or delete it"):
        ImportCheckpoint(file, tasks=TASKS, out=out).run()
    assert out.read_bytes() == b"trained for days"
    assert ImportCheckpoint.out != Pretrain.out / out.name


def test_policies_are_extracted_from_it(
    file: Path, tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    model = tmp_path / "world_model.safetensors"
    ImportCheckpoint(file, tasks=TASKS, out=model).run()
    where = ["--world-model", str(model), "--data", str(tiny_data), "--out", str(tmp_path / "p")]
    small = ["--iterations", "2", "--batch", "8", "--horizon", "3", "--workers", "1"]
    monkeypatch.setattr(Extraction, "imagined_return", lambda *_: 1.0)
    assert main(["extract", *where, *small, "--tasks", TASKS[0], "--device", "cpu"]) == 0
    assert "nothing is known of its reward error" in capsys.readouterr().err
    assert (tmp_path / "p" / TASKS[0] / "policy.safetensors").is_file()


def test_training_goes_on_from_it(file: Path, tmp_path: Path, tiny_data: Path) -> None:
    model = tmp_path / "world_model.safetensors"
    ImportCheckpoint(file, tasks=TASKS, out=model).run()
    pretrain = Pretrain(
        data=tiny_data,
        out=tmp_path / "run",
        initial=model,
        updates=2,
        transitions=32,
        compile=False,
        device="cpu",
        threads=1,
    )
    assert pretrain.run() == 0
    again = TrainedWorldModel.load(tmp_path / "run" / model.name, torch.device("cpu"))
    before = TrainedWorldModel.load(model, torch.device("cpu"))
    assert again.tasks == before.tasks
    moved = (again.model.task_embedding - before.model.task_embedding).abs().max().item()
    assert 0 < moved < 0.01
    assert again.quality["reward_error"] > 0


def test_the_tasks_must_be_said(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "world_model.safetensors"
    for arguments in ({}, {"suite": "mt30", "tasks": TASKS}):
        with pytest.raises(Exception, match="say which tasks the file knows: --suite mt80, or"):
            ImportCheckpoint(file, out=out, **arguments).run()
