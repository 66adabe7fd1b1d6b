# SPDX-License-Identifier: Apache-2.0
"""``pwm data info``: what is in a dataset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from pwm_core.data.dataset import Dataset
from pwm_core.data.summary import behaviour_rows
from pwm_core.tables import print_table


@dataclass(frozen=True)
class DataInfo:
    """Show what a dataset directory holds, without reading its arrays."""

    path: Annotated[Path, tyro.conf.Positional]
    """Dataset directory."""
    json: bool = False
    """Print the table as JSON."""

    def run(self) -> int:
        """Print the table."""
        dataset = Dataset(self.path)
        size = sum(file.stat().st_size for file in self.path.iterdir()) / 1e6
        title = (
            f"{self.path}: {len(dataset.tasks)} tasks, {len(dataset.episodes)} episodes, "
            f"{int(dataset.episodes.length.sum())} transitions, {size:.4g} MB"
        )
        print_table(title, behaviour_rows(dataset), self.json)
        return 0
