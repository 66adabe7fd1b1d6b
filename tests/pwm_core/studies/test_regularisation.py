# SPDX-License-Identifier: Apache-2.0
"""Cells that were measured before a figure was added keep their place in table and plots."""

from __future__ import annotations

from pwm_core.studies.regularisation import AGAINST, TOPIC
from pwm_core.studies.study import Result
from pwm_core.studies.table import table_rows


def cell(layer: str, *figures: str) -> Result:
    """Made-up figures."""
    known = dict.fromkeys(("return", "reward_error", *figures), 1.0)
    return Result({"latent layer": layer}, 0, known, 1.0, "2026-11-21", "f" * 40, "a machine")


def test_figures_that_only_some_cells_have_are_shown_for_those() -> None:
    old, new = cell("relu", "one_step"), cell("mish", "one_step", "bend")
    first, second = table_rows([old, new], TOPIC.columns)
    assert (first[AGAINST["bend"]], second[AGAINST["bend"]]) == ("–", "1")
    (figure,) = TOPIC.presets["full"].draw([old, new]).values()
    drawn = [axis for axis in figure.axes if axis.get_xlabel()]
    shown = [AGAINST[name] for name in ("reward_error", "one_step", "bend")]
    assert [axis.get_xlabel() for axis in drawn] == shown
    assert [len(axis.containers) for axis in drawn] == [2, 2, 1]
