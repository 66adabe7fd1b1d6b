# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pytest

from pwm_core.evaluation.score import Score
from pwm_core.evaluation.summary import authors, score_matrix, summarise


def score(task: str, seed: int | None, *returns: float, **rest: object) -> Score:
    return Score(task, "c", returns, tuple(range(len(returns))), training_seed=seed, **rest)


def test_training_seeds_of_a_task_become_one_row() -> None:
    rows = summarise(
        [
            score("cartpole-swingup", 0, 400.0, 500.0, decision_ms=(1.0, 2.0)),
            score("cartpole-balance", 0, 900.0),
            score("cartpole-swingup", 1, 700.0, 800.0, decision_ms=(1.5, 1.9)),
        ]
    )
    assert [row.task for row in rows] == ["cartpole-swingup", "cartpole-balance"]
    swingup = rows[0]
    assert (swingup.training_seeds, swingup.episodes, swingup.mean) == (2, 4, 600.0)
    assert swingup.interval[0] < 600 < swingup.interval[1]
    assert swingup.normalised == pytest.approx((0.45, 0.75))
    assert swingup.score == pytest.approx(0.6)
    assert swingup.decision_ms == (1.5, 1.9)
    assert swingup.success is None


def test_success_is_the_score_of_meta_world() -> None:
    (row,) = summarise([score("mw-hammer", 0, 900.0, 20.0, success=(True, False))])
    assert row.success == 0.5
    assert row.normalised == (0.5,)


def test_tasks_that_were_not_published_have_no_score() -> None:
    (row,) = summarise([score("Ant-v5", 0, 900.0, 20.0)])
    assert row.normalised == ()
    assert row.score is None
    assert score_matrix([row], "c") is None


def test_matrix_has_the_training_seeds_all_tasks_have() -> None:
    rows = summarise(
        [
            *(score("cartpole-swingup", seed, 100.0 * seed) for seed in range(3)),
            *(score("cartpole-balance", seed, 1000.0) for seed in range(2)),
        ]
    )
    assert score_matrix(rows, "c").tolist() == [[0.0, 1.0], [0.1, 1.0]]
    assert score_matrix(rows, "another") is None


def test_authors() -> None:
    swingup, hammer = authors(["cartpole-swingup", "Ant-v5", "mw-hammer"], "mt80")
    assert (swingup.mean, swingup.success, swingup.score) == (894.1, None, 0.8941)
    assert (hammer.mean, hammer.success, hammer.score) == (434.9, 0.9, 0.9)


def test_a_score_survives_json() -> None:
    original = score("mw-hammer", 3, 1.0, 2.0, success=(True, False), decision_ms=(0.1, 0.2))
    stored = json.loads(json.dumps(original.to_json()))
    assert Score.from_json(stored) == original
    assert stored["mean"] == 1.5
    assert stored["success_rate"] == 0.5
    earlier = {"task": "t", "controller": "c", "returns": [1.0], "seeds": [0], "mean": 1.0}
    assert Score.from_json(earlier) == Score("t", "c", (1.0,), (0,))
