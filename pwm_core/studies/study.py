# SPDX-License-Identifier: Apache-2.0
"""What a study is: settings that are measured under several seeds, a table and plots of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from matplotlib.figure import Figure

Preset = Literal["quick", "full", "gpu"]
"""``quick``: minutes on two cores; ``full``: an hour or two on them; ``gpu``: for one GPU."""
Setting = Mapping[str, str | int | float]
"""What is varied, by name, e.g. ``{"actions": 8, "method": "first-order"}``."""
Figures = Mapping[str, Any]
"""What was measured, by name and JSON-ready: a number, or the returns of episodes; ``None`` where
it does not apply. Curves for plots may be of any form."""


@dataclass(frozen=True)
class Inputs:
    """What a study may read that an earlier stage made."""

    data: Path = Path("runs/data")
    """Dataset; by default where ``pwm collect`` writes by default."""
    world_model: Path = Path("runs/world_model/world_model.safetensors")
    """World model; by default where ``pwm pretrain`` writes by default."""


@dataclass(frozen=True)
class Cell:
    """A setting under one seed: what runs, fails and is repeated as a whole."""

    setting: Setting
    seed: int

    @property
    def name(self) -> str:
        """Return the cell's name, fit for a file: ``actions=8,method=first-order,seed=0``."""
        parts = [f"{name}={value}" for name, value in self.setting.items()]
        return ",".join([*parts, f"seed={self.seed}"]).replace("/", "_").replace(" ", "_")


@dataclass(frozen=True)
class Result:
    """What came of a cell, and where."""

    setting: Setting
    seed: int
    figures: Figures
    seconds: float
    """Wall clock; other cells ran beside it where there were several workers."""
    date: str
    """Day it was measured, ``2026-11-21``."""
    revision: str
    """Commit of the source."""
    machine: str
    """Processor and number of cores."""
    cpu_seconds: float | None = None
    """Processor time of the cell, that of programs it started included."""
    load: float | None = None
    """The machine's load average over the cell's last minute. Cells measured before these two were
    kept have neither."""
    resumed: bool = False
    """Whether models, policies or data of an earlier run of the cell were there and may have been
    used again: times are then of the rest only."""

    @property
    def cell(self) -> Cell:
        return Cell(self.setting, self.seed)

    def to_json(self) -> dict[str, Any]:
        """Return everything."""
        return asdict(self)


class Study(Protocol):
    """A study under one preset: a frozen dataclass, whose fields are all that decides the result.

    It must survive pickling: cells run in worker processes.
    """

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of every setting."""
        ...

    def settings(self) -> Sequence[Setting]:
        """Return what is measured, in the order of the table."""
        ...

    def measure(self, setting: Setting, seed: int, inputs: Inputs, folder: Path) -> Figures:
        """Measure one cell. ``folder`` is the cell's own, and is kept: stages that resume may."""
        ...

    def draw(self, results: Sequence[Result]) -> Mapping[str, Figure]:
        """Return plots of the cells measured so far, by the names of their files."""
        ...


@dataclass(frozen=True)
class Column:
    """A figure in the table."""

    figure: str
    """Its name among the figures."""
    title: str
    """Head of the column, with the unit."""


@dataclass(frozen=True)
class Topic:
    """A question, and the studies that answer it at several scales."""

    name: str
    """As ``pwm study`` takes it."""
    question: str
    """What is asked, in a sentence or two."""
    columns: tuple[Column, ...]
    presets: Mapping[Preset, Study]
    tasks_read: Callable[[Any], Iterable[str]] | None = None
    """The tasks whose episodes a preset's cells read from the dataset of an earlier stage; ``None``
    where cells read no such dataset."""
    reads_world_model: bool = False
    """Whether cells read the world model of an earlier stage."""

    @property
    def reads_data(self) -> bool:
        """Whether cells read the dataset of an earlier stage."""
        return self.tasks_read is not None
