# SPDX-License-Identifier: Apache-2.0
"""``pwm data merge``: join datasets into a new one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from pwm_core.data.dataset import Dataset
from pwm_core.data.merge import merge
from pwm_core.data.summary import behaviour_rows
from pwm_core.tables import print_table


@dataclass(frozen=True)
class DataMerge:
    """Join datasets: tasks are united, a task that is in several must be described equally."""

    paths: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Dataset directories; a single one is copied."""
    out: Path
    """Dataset directory to create or complete."""
    shortest: int = 1
    """Leave out episodes with fewer decisions."""
    json: bool = False
    """Print the table as JSON."""

    def run(self) -> int:
        """Merge, then print what the result holds."""
        merge([Dataset(path) for path in self.paths], self.out, self.shortest)
        print_table(f"Data in {self.out}", behaviour_rows(Dataset(self.out)), self.json)
        return 0
