# SPDX-License-Identifier: Apache-2.0
"""``eval`` as a user starts it, in small."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pwm_core.cli import main
from pwm_core.data.dataset import TaskInfo
from pwm_core.extraction.store import TrainedPolicy, build_policy
from pwm_core.files import sha256
from pwm_core.model.world_model import SIZES
from pwm_core.tasks import get_task

QUICK = [
    *("--episodes", "2", "--workers", "1", "--cloning.updates", "2", "--cloning.batch", "8"),
    *("--cloning.hidden", "8", "--cloning.multi-task-updates", "2"),
]


@pytest.fixture
def policies(tiny_policy: Path, tmp_path: Path) -> Path:
    """Two training seeds of one task."""
    for seed in (0, 1):
        folder = tmp_path / f"policies/seed{seed}/cartpole-swingup"
        shutil.copytree(tiny_policy.parent, folder)
        trained = TrainedPolicy.load(tiny_policy)
        trained.record["provenance"]["config"]["seed"] = seed
        trained.save(folder / "policy.safetensors")
    return tmp_path / "policies"


def evaluate(policies: Path, *options: str) -> int:
    return main(["eval", "--policies", str(policies), *QUICK, *options])


def scores_of(out: Path, controller: str) -> list[dict[str, Any]]:
    stored = json.loads(out.read_text())["scores"]
    return [score for score in stored if score["controller"] == controller]


def test_policies_of_a_directory_are_training_seeds_of_their_task(
    policies: Path, tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "evaluation.json"
    assert evaluate(policies, "--data", str(tiny_data), "--out", str(out), "--json") == 0
    table = {row["controller"]: row for row in json.loads(capsys.readouterr().out)["tasks"]}
    assert list(table) == [
        "data, mean",
        "data, best episode",
        "random",
        "cloning, all data",
        "cloning, best tenth",
        "extracted policy",
        "cloning, one for all tasks",
        "published",
    ]
    assert (table["extracted policy"]["seeds"], table["extracted policy"]["episodes"]) == (2, 4)
    assert table["published"]["mean return"] == 896.6
    found = scores_of(out, "extracted policy")
    assert [score["training_seed"] for score in found] == [0, 1]
    files = sorted(policies.rglob("policy.safetensors"))
    assert [score["policy"] for score in found] == [sha256(file) for file in files]
    stored = json.loads(out.read_text())
    for score in stored["scores"]:
        assert score["mean"] == pytest.approx(np.mean(score["returns"]))
        assert (score["seeds"] == [0, 1]) != score["controller"].startswith("data")
    (clone,) = scores_of(out, "cloning, best tenth")
    assert clone["settings"]["updates"] == 2
    assert stored["git"]
    assert stored["machine"]["cpus"]


def test_a_shift_changes_the_simulator(policies: Path, tmp_path: Path) -> None:
    means = []
    for shift in ([], ["--shift.actuator-gain", "0.1"]):
        out = tmp_path / f"{len(shift)}.json"
        assert evaluate(policies / "seed0", *shift, "--out", str(out)) == 0
        means.append(scores_of(out, "extracted policy")[0]["mean"])
        assert json.loads(out.read_text())["shift"]["actuator_gain"] == (0.1 if shift else 1.0)
    assert means[0] != pytest.approx(means[1], abs=0.1)


def test_processes_give_the_same_figures(policies: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "1.json", tmp_path / "2.json"
    assert evaluate(policies, "--out", str(one)) == 0
    assert evaluate(policies, "--out", str(two), "--workers", "2") == 0
    for name in ("returns", "lengths", "training_seed", "policy"):
        first, second = (
            [score[name] for score in scores_of(out, "extracted policy")] for out in (one, two)
        )
        assert first == second


SMALL_PLANNERS = [
    *("--planners.mppi.samples", "8", "--planners.mppi.elites", "4"),
    *("--planners.mppi.policy-plans", "2", "--planners.mppi.iterations", "1"),
    *("--planners.mppi.horizon", "2", "--planners.mppi.horizon-without-value", "3"),
]


def test_planners_need_the_world_model_of_the_policy(
    policies: Path, tiny_world_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(policies, "--controller", "mppi") == 2
    assert "give --world-model" in capsys.readouterr().err
    assert evaluate(policies, "--controller", "shooting") == 2
    assert "the controllers are policy, mppi, cem, gradient, policy+mppi" in capsys.readouterr().err
    file = next(policies.rglob("policy.safetensors"))
    stranger = TrainedPolicy.load(file)
    stranger.record["provenance"]["world_model"] = "0" * 64
    stranger.save(file)
    assert evaluate(policies, "--controller", "mppi", "--world-model", str(tiny_world_model)) == 2
    assert "was extracted from the world model" in capsys.readouterr().err


def test_a_planner_is_judged_like_a_policy(
    policies: Path, tiny_world_model: Path, tmp_path: Path
) -> None:
    file = next(policies.rglob("policy.safetensors"))
    out = tmp_path / "evaluation.json"
    options = ["--world-model", str(tiny_world_model), "--out", str(out), *SMALL_PLANNERS]
    assert evaluate(file, "--controller", "policy", "mppi", *options) == 0
    (score,) = scores_of(out, "mppi")
    assert score["policy"] is None, "not the bare policy's return"
    assert score["settings"]["policy"] == sha256(file)
    assert score["settings"]["terminal_value"] is True
    assert len(score["returns"]) == 2
    assert 0 < score["decision_ms"][0] <= score["decision_ms"][1]
    (file.parent / "checkpoint.safetensors").unlink()
    assert evaluate(file, "--controller", "mppi", *options) == 0
    assert scores_of(out, "mppi") == []
    (score,) = scores_of(out, "mppi without a value")
    assert score["settings"]["terminal_value"] is False


def test_nothing_published_is_shown_where_nothing_was(tmp_path: Path) -> None:
    info = TaskInfo.of(get_task("gym-hopper"))
    described = {"model": vars(SIZES["tiny"]), "hidden": [8], "sigma_floor": 0.24}
    file, out = tmp_path / "policy.safetensors", tmp_path / "evaluation.json"
    TrainedPolicy(build_policy(info, described), info, described, {}).save(file)
    assert evaluate(file, "--out", str(out)) == 0
    stored = json.loads(out.read_text())
    assert stored["published"] is None
    assert {row["controller"] for row in stored["summary"]} == {"extracted policy"}


def test_bad_use_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "--policies"]) == 2
    assert "no policy was given" in capsys.readouterr().err
    assert evaluate(tmp_path) == 2
    assert f"{tmp_path} holds no policy.safetensors" in capsys.readouterr().err
    assert evaluate(tmp_path, "--episodes", "0") == 2
    assert "--episodes is 0, expected 1 or more" in capsys.readouterr().err
