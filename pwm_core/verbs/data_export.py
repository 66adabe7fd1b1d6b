# SPDX-License-Identifier: Apache-2.0
"""``pwm data export``: write Minari datasets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from pwm_core.data.dataset import Dataset


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
        from pwm_core.data.formats.minari import export_minari

        dataset = Dataset(self.path)
        identities = export_minari(dataset, list(self.tasks or dataset.tasks), self.out)
        print(f"MINARI_DATASETS_PATH={self.out.resolve()} finds {', '.join(identities)}")
        return 0
