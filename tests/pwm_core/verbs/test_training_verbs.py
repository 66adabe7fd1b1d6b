# SPDX-License-Identifier: Apache-2.0
"""``pretrain`` and ``extract`` as a user starts them, in small."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from pwm_core.cli import main
from pwm_core.extraction.runner import Extraction
from pwm_core.extraction.store import TrainedPolicy
from pwm_core.files import sha256
from pwm_core.model.store import TrainedWorldModel
from pwm_core.verbs.extract import FAILED, REFUSED, dealt

TASK = "cartpole-swingup"
SMALL = [
    *("--iterations", "2", "--batch", "8", "--horizon", "3", "--workers", "1", "--device", "cpu"),
    *("--actor-hidden", "8", "--critic-hidden", "8", "--critics", "1"),
    *("--critic-passes", "1", "--critic-batches", "1"),
]


@pytest.fixture
def good_model(tiny_world_model: Path, tmp_path: Path) -> Path:
    """The tiny model, said to be good."""
    trained = TrainedWorldModel.load(tiny_world_model, torch.device("cpu"))
    out = tmp_path / "good.safetensors"
    dataclasses.replace(trained, quality={"reward_error": 0.01, "latent_error": [0.1]}).save(out)
    return out


def extract(model: Path, data: Path, out: Path, *options: str) -> int:
    where = ["--world-model", str(model), "--data", str(data), "--out", str(out)]
    return main(["extract", *where, "--tasks", TASK, *SMALL, *options])


def judged(monkeypatch: pytest.MonkeyPatch, imagined: float, real: float) -> None:
    figures = {"imagined_return": imagined, "real_return": real}
    monkeypatch.setattr(Extraction, "_evaluate", lambda *_: figures)


def test_pretrain(tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["pretrain", "--data", str(tiny_data), "--out", str(tmp_path), "--device", "cpu"]
    small = ["--updates", "2", "--transitions", "32", "--threads", "1", "--no-compile", "--json"]
    assert main([*arguments, *small]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert Path(row["world model"]).is_file()
    assert row["parameters"] > 100_000
    assert row["reward error"].endswith("%")
    assert main([*arguments, *small, "--seed", "1"]) == 2
    assert "another config: seed was 0, now 1" in capsys.readouterr().err


def test_strict_refuses_a_poor_model(
    tiny_world_model: Path, tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert extract(tiny_world_model, tiny_data, tmp_path / "p", "--strict") == REFUSED == 3
    assert "refused: world model: held-out relative reward error" in capsys.readouterr().err
    assert not (tmp_path / "p").exists()


def test_poor_model_is_warned_of(
    tiny_world_model: Path,
    tiny_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    judged(monkeypatch, 100.0, 100.0)
    assert extract(tiny_world_model, tiny_data, tmp_path / "p") == 0
    assert "WARNING: world model: held-out relative reward error" in capsys.readouterr().err
    assert (tmp_path / "p" / TASK / "policy.safetensors").is_file()


@pytest.mark.parametrize(("options", "status"), [(["--strict"], REFUSED), ([], 0)])
def test_exploiting_policy(
    good_model: Path,
    tiny_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    status: int,
) -> None:
    judged(monkeypatch, 900.0, 100.0)
    assert extract(good_model, tiny_data, tmp_path / "p", *options) == status
    assert f"{TASK}: the policy exploits the world model" in capsys.readouterr().err


def test_extract_really_evaluates_and_passes_strict(
    good_model: Path,
    tiny_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Both returns are those of whole episodes, and are the figures of the table."""
    monkeypatch.setattr(Extraction, "imagined_return", lambda *_: -1.0)
    assert extract(good_model, tiny_data, tmp_path / "p", "--strict", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["task"] == TASK
    assert row["imagined"] == -1.0
    assert 0 < row["real"] < 1000


def test_a_failed_task_does_not_lose_the_others(
    good_model: Path,
    tiny_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A suite stands for its tasks; the one that fails is named and the status says so."""
    judged(monkeypatch, 100.0, 100.0)
    out = tmp_path / "p"
    (out / "cartpole-balance").mkdir(parents=True)
    (out / "cartpole-balance" / "config.json").write_text('{"stage": "collect", "config": {}}')
    where = ["--world-model", str(good_model), "--data", str(tiny_data), "--out", str(out)]
    status = main(["extract", *where, "--tasks", "mt30", *SMALL, "--json"])
    printed = capsys.readouterr()
    rows = {row["task"]: row for row in json.loads(printed.out)}
    assert status == FAILED == 1
    assert set(rows) == {"cartpole-swingup", "cartpole-balance"}
    assert Path(rows[TASK]["policy"]).is_file()
    assert rows["cartpole-balance"]["policy"].startswith("failed: ")
    assert "FAILED: cartpole-balance: " in printed.err
    assert "another stage: was 'collect'" in printed.err
    assert "mt30: the world model does not know" in printed.err


def test_tasks_in_worker_processes(
    good_model: Path, tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All tasks that the model knows; rows come in its order."""
    out = tmp_path / "p"
    where = ["--world-model", str(good_model), "--data", str(tiny_data), "--out", str(out)]
    quick = [*SMALL, "--evaluate", "model", "--json"]
    assert main(["extract", *where, *quick, "--workers", "2"]) == 0
    printed = capsys.readouterr()
    assert "extract: 2 tasks, 1 side by side in each of 2 process(es); about" in printed.err
    rows = json.loads(printed.out)
    assert [row["task"] for row in rows] == ["cartpole-swingup", "cartpole-balance"]
    assert all(row["real"] is None for row in rows)
    assert all(Path(row["policy"]).is_file() for row in rows)


@pytest.mark.parametrize(
    ("workers", "at_once", "sizes"), [(1, 99, [10]), (2, 99, [5, 5]), (2, 3, [3, 3, 2, 2])]
)
def test_tasks_are_dealt_out_evenly(workers: int, at_once: int, sizes: list[int]) -> None:
    groups = dealt(list(range(10)), workers, at_once)  # type: ignore[arg-type]
    assert [len(group) for group in groups] == sizes
    assert sorted(job for group in groups for job in group) == list(range(10))  # type: ignore[misc]


def test_unknown_task_is_refused_before_anything_runs(
    good_model: Path, tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--world-model", str(good_model), "--data", str(tiny_data), "--out", str(tmp_path)]
    assert main(["extract", *where, "--tasks", TASK, "walker-wlak", *SMALL]) == 2
    assert "not 'walker-wlak'" in capsys.readouterr().err
    assert not (tmp_path / TASK).exists()


def test_preset_and_overrides_are_on_record(
    good_model: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged(monkeypatch, 100.0, 100.0)
    out = tmp_path / "p"
    assert extract(good_model, tiny_data, out, "--preset", "released", "--bootstrap", "H") == 0
    config = json.loads((out / TASK / "config.json").read_text())["config"]
    assert config["preset"] == "released"
    assert {"bootstrap", "iterations", "batch"} <= set(config["overrides"])
    assert (config["bootstrap"], config["shuffle"], config["batch"]) == ("H", False, 8)
    assert "shuffle" not in config["overrides"]


def test_beginning_from_an_earlier_run(
    good_model: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged(monkeypatch, 100.0, 100.0)
    assert extract(good_model, tiny_data, tmp_path / "p") == 0
    assert extract(good_model, tiny_data, tmp_path / "q", "--from", str(tmp_path / "p")) == 0
    record = TrainedPolicy.load(tmp_path / "q" / TASK / "policy.safetensors").record
    assert record["provenance"]["from"] == sha256(tmp_path / "p" / TASK / "policy.safetensors")
