# SPDX-License-Identifier: Apache-2.0
"""A study that counts how often its cells run, and fails where it is told to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from pwm_core.studies.study import Column, Figures, Inputs, Result, Setting, Topic


@dataclass(frozen=True)
class Counting:
    """``double`` is twice the size plus the seed; a file named ``fail`` in the data folder fails
    the cells of size 2."""

    sizes: tuple[int, ...] = (1, 2)
    seeds: tuple[int, ...] = (0, 1)

    def settings(self) -> Sequence[Setting]:
        return [{"size": size} for size in self.sizes]

    def measure(self, setting: Setting, seed: int, inputs: Inputs, folder: Path) -> Figures:
        with open(folder / "runs", "a") as runs:
            runs.write("x")
        if setting["size"] == 2 and (inputs.data / "fail").exists():
            raise ValueError("told to fail")
        double = 2.0 * int(setting["size"]) + seed
        return {"double": double, "returns": [double, double + 1], "curve": {"x": [0, 1]}}

    def draw(self, results: Sequence[Result]) -> Mapping[str, Figure]:
        figure = Figure()
        figure.subplots().plot([result.figures["double"] for result in results])
        return {"doubles": figure}


COLUMNS = (Column("double", "double"), Column("returns", "return"), Column("nowhere", "nowhere"))
TOPIC = Topic("counting", "How much is twice as much?", COLUMNS, {"quick": Counting()})
