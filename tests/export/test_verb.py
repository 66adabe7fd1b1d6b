# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pwm_core.data.dataset import Dataset
from pwm_core.extraction.store import TrainedPolicy
from pwm_core.files import sha256
from pwm_export import verb
from pwm_export.bundle import Bundle
from pwm_export.verb import REFUSED, Export, sample_observations
from pwm_export.writer import ExportError

TASK = "cartpole-swingup"


def score(policy: str | None, mean: float, task: str = TASK) -> dict:
    return {
        "task": task,
        "controller": "extracted policy" if policy else "random",
        "returns": [mean - 1, mean + 1],
        "seeds": [0, 1],
        "policy": policy,
        "mean": mean,
        "interval": [mean - 1, mean + 1],
    }


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """What reaches the writer as evaluation, instead of bundles."""
    evaluations: list[dict] = []

    def export(self: Export, trained, dataset, evaluation, monitoring) -> dict:
        evaluations.append(evaluation)
        return {"bundle": trained.task.name}

    monkeypatch.setattr(Export, "_export", export)
    return evaluations


def with_training(path: Path, out: Path, imagined: float, real: float) -> Path:
    """Copy a policy, with other figures from its training."""
    trained = TrainedPolicy.load(path)
    trained.record["training"] = {"imagined_return": imagined, "real_return": real}
    trained.save(out)
    return out


@pytest.fixture
def honest(tiny_policy: Path, tmp_path: Path) -> Path:
    return with_training(tiny_policy, tmp_path / "honest.safetensors", 100.0, 100.0)


def test_exports_a_bundle_named_after_the_task(
    honest: Path, tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bundles"
    assert Export((honest,), data=tiny_data, out=out, json=True).run() == 0
    assert [path.name for path in out.iterdir()] == [f"{TASK}.onnx"]
    (row,) = json.loads(capsys.readouterr().out)
    assert row["bundle"] == str(out / f"{TASK}.onnx")
    assert row["observations"] == verb.PARITY_OBSERVATIONS
    assert sha256(out / f"{TASK}.onnx").startswith(row["sha256"])
    seen = Bundle.load(out / f"{TASK}.onnx").observation_range
    data = Dataset(tiny_data)
    rows = np.concatenate([data.trajectory(e).observation for e in data.of_task(TASK)])
    assert seen is not None
    np.testing.assert_array_equal([seen.low, seen.high], [rows.min(0), rows.max(0)])


def test_the_table_tells_bundles_by_the_names_of_their_files(
    honest: Path, tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a" / "long" / "way" / "to" / "all" / "the" / "bundles"
    assert Export((honest,), data=tiny_data, out=out).run() == 0
    assert f"│ {TASK}.onnx" in capsys.readouterr().out


def test_evaluation_of_this_policy_is_kept(
    honest: Path, tiny_data: Path, tmp_path: Path, exported: list[dict]
) -> None:
    """Of several policies of one task (training seeds), each gets its own figures."""
    other = with_training(honest, tmp_path / "other.safetensors", 101.0, 100.0)
    evaluation = tmp_path / "evaluation.json"
    scores = [score(None, 5.0), score(sha256(honest), 10.0), score(sha256(other), 20.0)]
    evaluation.write_text(json.dumps({"scores": scores}))
    assert Export((other, honest), data=tiny_data, evaluation=evaluation).run() == 0
    assert exported == [
        {"mean_return": 20.0, "interval": [19.0, 21.0], "episodes": 2},
        {"mean_return": 10.0, "interval": [9.0, 11.0], "episodes": 2},
    ]


def test_evaluation_of_another_policy_is_left_out(
    honest: Path,
    tiny_data: Path,
    tmp_path: Path,
    exported: list[dict],
    capsys: pytest.CaptureFixture[str],
) -> None:
    evaluation = tmp_path / "evaluation.json"
    evaluation.write_text(json.dumps({"scores": [score("0" * 64, 900.0)]}))
    assert Export((honest,), data=tiny_data, evaluation=evaluation).run() == 0
    assert exported == [{}]
    assert f"judged another {TASK} policy; left out" in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, "{", "[]", "{}"])
def test_no_evaluation_in_that_file(
    honest: Path, tiny_data: Path, tmp_path: Path, exported: list[dict], content: str | None
) -> None:
    evaluation = tmp_path / "evaluation.json"
    if content is not None:
        evaluation.write_text(content)
    with pytest.raises(ExportError, match=r"evaluation\.json is no result of pwm eval --out"):
        Export((honest,), data=tiny_data, evaluation=evaluation).run()
    assert exported == []


def test_exploiting_policy_is_refused_unless_forced(
    tiny_policy: Path,
    tiny_data: Path,
    tmp_path: Path,
    exported: list[dict],
    capsys: pytest.CaptureFixture[str],
) -> None:
    greedy = with_training(tiny_policy, tmp_path / "greedy.safetensors", 900.0, 100.0)
    assert Export((greedy,), data=tiny_data).run() == REFUSED
    assert exported == []
    message = capsys.readouterr().err
    assert "imagined return 900, real 100" in message
    assert "--force exports" in message
    assert Export((greedy,), data=tiny_data, force=True).run() == 0
    assert exported == [{}]


def test_no_policy_at_all(tiny_data: Path) -> None:
    with pytest.raises(ExportError, match="no policy was given"):
        Export((), data=tiny_data).run()


def test_sampled_observations_are_the_tasks_own_and_spread(tiny_data: Path) -> None:
    data = Dataset(tiny_data)
    found = sample_observations(data, "cartpole-balance", 40)
    assert found.shape == (40, 5)
    rows = np.concatenate([data.observation[e.rows] for e in data.of_task("cartpole-balance")])
    np.testing.assert_array_equal(found[0], rows[0])
    np.testing.assert_array_equal(found[-1], rows[-1])
    assert all((rows == row).all(1).any() for row in found)
    assert len(sample_observations(data, "cartpole-balance", 10**6)) == len(rows)
