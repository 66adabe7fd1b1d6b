# SPDX-License-Identifier: Apache-2.0
"""``pwm data import``: read TD-MPC2, Minari and ROS 2 data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from pwm_core.data.dataset import Dataset
from pwm_core.data.formats import load_format
from pwm_core.data.formats.source import Source, import_sources
from pwm_core.data.summary import behaviour_rows
from pwm_core.errors import PwmError
from pwm_core.tables import print_table


@dataclass(frozen=True)
class DataImport:
    """Import files of another format. Interrupted imports go on where they stopped."""

    files: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Files: TD-MPC2's .pt, Minari directories or ids, .mcap bags."""
    format: Literal["tdmpc2", "minari", "mcap"]
    """What the files are."""
    out: Path
    """Dataset directory to create or complete."""
    task: str | None = None
    """Task of a file that does not name one."""
    control_step: float | None = None
    """Seconds per decision of an environment that is none of our tasks (Minari)."""
    json: bool = False
    """Print the table as JSON."""

    def run(self) -> int:
        """Import, then print what the dataset holds."""
        import_sources([self._open(file) for file in self.files], self.out)
        print_table(f"Data in {self.out}", behaviour_rows(Dataset(self.out)), self.json)
        return 0

    def _open(self, file: Path) -> Source:
        if self.control_step is not None and self.format != "minari":
            raise PwmError(f"--control-step describes Minari environments, not {self.format} files")
        if self.task is not None and self.format == "mcap":
            raise PwmError("mcap bags name the task in their messages: leave --task out")
        module = load_format(self.format)
        if self.format == "tdmpc2":
            return module.TdMpc2File(file, self.task)
        if self.format == "minari":
            return module.MinariDataset(file, self.task, self.control_step)
        bag = module.McapBag(file)
        for cut in bag.unclosed:
            print(f"{cut} was not closed: read to its end, `mcap recover` restores its index")
        return bag
