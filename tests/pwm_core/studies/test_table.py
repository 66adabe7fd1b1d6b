# SPDX-License-Identifier: Apache-2.0
"""Means over seeds, their intervals, and the table they stand in."""

from __future__ import annotations

from pwm_core.evaluation.bootstrap import bootstrap_interval
from pwm_core.studies.study import Column, Result
from pwm_core.studies.table import Estimate, estimate, markdown, table_rows


def result(size: int, seed: int, **figures: object) -> Result:
    return Result({"size": size}, seed, figures, 1.0, "2026-11-21", "abc", "machine")


def test_a_single_figure_of_each_seed() -> None:
    found = estimate([result(1, seed, loss=float(seed)) for seed in range(3)], "loss")
    assert found == Estimate(1.0, bootstrap_interval([[0.0], [1.0], [2.0]]))
    assert found.interval == (0.0, 2.0)
    assert str(found) == "1 [0, 2]"


def test_seeds_with_more_episodes_do_not_weigh_more() -> None:
    found = estimate([result(1, 0, r=[1.0]), result(1, 1, r=[3.0, 3.0, 3.0])], "r")
    assert found is not None
    assert found.mean == 2.0


def test_what_was_not_measured_is_a_dash_and_a_seed_that_lacks_it_is_left_out() -> None:
    results = [result(1, 0, a=1.0, b=None), result(1, 1, a=2.0, b=5.0), result(2, 0, a=3.0)]
    rows = table_rows(results, [Column("a", "A"), Column("b", "B")])
    assert rows == [
        {"size": "1", "A": "1.5 [1, 2]", "B": "5", "seeds": "2"},
        {"size": "2", "A": "3", "B": "–", "seeds": "1"},
    ]
    assert markdown(rows).splitlines()[0] == "| size | A | B | seeds |"
