# SPDX-License-Identifier: Apache-2.0
"""``pwm data export``: write Minari datasets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from pwm_core.data.dataset import Dataset
from pwm_core.data.formats import load_format


@dataclass(frozen=True)
class DataExport:
    """Write a Minari dataset for each task."""

    path: Annotated[Path, tyro.conf.Positional]
    """Dataset directory."""
    out: Path
    """Folder for the Minari datasets, as MINARI_DATASETS_PATH names it."""
    format: Literal["minari"] = "minari"
    """What to write."""
    tasks: tuple[str, ...] = ()
    """Tasks to export; all of them when none is given."""

    def run(self) -> int:
        """Export, then say how to load the datasets."""
        dataset, names = Dataset(self.path), self.tasks
        minari = load_format(self.format)
        identities = minari.export_minari(dataset, list(names or dataset.tasks), self.out)
        print(f"MINARI_DATASETS_PATH={self.out.resolve()} finds {', '.join(identities)}")
        return 0
