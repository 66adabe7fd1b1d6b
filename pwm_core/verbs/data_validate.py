# SPDX-License-Identifier: Apache-2.0
"""``pwm data validate``: read all of a dataset and name what is damaged."""

from __future__ import annotations

import itertools
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from pwm_core.data.dataset import Dataset
from pwm_core.data.validation import problems
from pwm_core.progress import ProgressDisplay


@dataclass(frozen=True)
class DataValidate:
    """Check checksums, rows, numbers and returns of every episode. Exit status 3: damaged."""

    path: Annotated[Path, tyro.conf.Positional]
    """Dataset directory."""
    most: int = 20
    """Stop after this many problems."""

    def run(self) -> int:
        """Print one line per problem."""
        dataset = Dataset(self.path)
        with ProgressDisplay("validate", len(dataset.episodes), "episodes") as progress:
            found = list(itertools.islice(problems(dataset, progress.update), self.most))
        for problem in found:
            print(problem, file=sys.stderr)
        if not found:
            print(f"{self.path}: {len(dataset.episodes)} episodes, checksums match, nothing wrong")
        return 3 if found else 0
