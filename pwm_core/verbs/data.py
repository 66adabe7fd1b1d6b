# SPDX-License-Identifier: Apache-2.0
"""``pwm data info``: what is in a dataset, and whether it is whole."""

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
    """Check every checksum of a dataset directory and show what it holds."""

    path: Annotated[Path, tyro.conf.Positional]
    """Dataset directory."""
    json: bool = False
    """Print the table as JSON."""

    def run(self) -> int:
        """Validate, then print the table."""
        dataset = Dataset(self.path)
        dataset.validate()
        title = f"{self.path}: {len(dataset.episodes)} episodes, checksums match"
        print_table(title, behaviour_rows(dataset), self.json)
        return 0
