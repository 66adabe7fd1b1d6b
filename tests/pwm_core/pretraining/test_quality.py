# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from pwm_core.pretraining.quality import REWARD_ERROR_LIMIT, quality_row, quality_rows, too_poor


@pytest.mark.parametrize("error", [0.0, 0.018, REWARD_ERROR_LIMIT])
def test_good_models(error: float) -> None:
    assert too_poor({"reward_error": error}) is None


@pytest.mark.parametrize("error", [REWARD_ERROR_LIMIT + 1e-6, 0.5, float("inf"), float("nan")])
def test_poor_models(error: float) -> None:
    assert "held-out relative reward error is" in (too_poor({"reward_error": error}) or "")


def test_a_task_is_judged_by_its_own_error() -> None:
    quality = {
        "reward_error": 0.2,
        "tasks": {"easy": {"reward_error": 0.01}, "hard": {"reward_error": 0.3}},
    }
    assert too_poor(quality, "easy") is None
    assert "is 30.0%" in (too_poor(quality, "hard") or "")
    assert "is 20.0%" in (too_poor(quality) or "")


def test_a_task_that_was_not_judged_is_unknown() -> None:
    """The errors of other tasks say nothing of it, however small they are."""
    new = {"reward_error": 0.01, "tasks": {"new": {"reward_error": 0.01}}}
    assert too_poor(new, "new") is None
    assert "nothing is known of its reward error" in (too_poor(new, "old") or "")


def test_records_without_tasks_judge_each_by_the_whole_model() -> None:
    assert too_poor({"reward_error": 0.01}, "any") is None
    assert "is 20.0%" in (too_poor({"reward_error": 0.2}, "any") or "")


@pytest.mark.parametrize("quality", [{}, {"reward_error": None}, {"tasks": {}}])
def test_nothing_known_is_said(quality) -> None:
    assert "nothing is known of its reward error" in (too_poor(quality) or "")
    assert "nothing is known" in (too_poor({"tasks": {"a": quality}}, "a") or "")


def test_row_of_a_table() -> None:
    row = quality_row({"reward_error": 0.0123, "latent_error": [0.1, 0.2, 0.3]})
    assert list(row) == ["reward error", "latent error, 1 step", "latent error, 3 steps"]
    assert list(row.values()) == ["1.23%", "10.00%", "30.00%"]
    assert quality_row({"reward_error": None, "latent_error": [0.1]})["reward error"] == "unknown"


def test_rows_of_several_tasks_have_the_same_columns() -> None:
    """One ends after a step and foresees no end, the other never ends; an older file knows none."""
    falls = {"reward_error": 0.5, "latent_error": [0.1], "termination_error": 1.02}
    never = {"reward_error": 0.5, "latent_error": [0.1, 0.2], "termination_error": None}
    older = {"reward_error": 0.5, "latent_error": [0.1, 0.2]}
    rows = quality_rows([falls, never, older])
    assert len({tuple(row) for row in rows}) == 1
    assert [row["termination error"] for row in rows] == ["102.00%", "–", "–"]
    assert rows[0]["latent error, 2 steps"] == "10.00% (after 1)"
    assert "termination error" not in quality_rows([never, older])[0]
