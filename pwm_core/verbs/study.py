# SPDX-License-Identifier: Apache-2.0
"""``pwm study``: PWM's claims and open questions as experiments with tables and plots."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from pwm_core.errors import PwmError
from pwm_core.files import write_atomically
from pwm_core.studies.page import generated, save_plots, write_page
from pwm_core.studies.runner import Outcome, run_study
from pwm_core.studies.study import Inputs, Preset, Topic
from pwm_core.studies.table import table_rows
from pwm_core.studies.topics import TOPICS, topic
from pwm_core.tables import print_table

FAILED = 1


@dataclass(frozen=True)
class StudyVerb:
    """Run a study, or go on with it; without a name, list what there is."""

    name: Annotated[str, tyro.conf.Positional] = ""
    """Which study."""
    preset: Preset = "quick"
    """Scale: quick (minutes on two cores), full (an hour or two) or gpu."""
    out: Path | None = None
    """Run directory; by default ``runs/studies/NAME/PRESET``."""
    inputs: Annotated[Inputs, tyro.conf.OmitArgPrefixes] = field(default_factory=Inputs)
    workers: int = os.cpu_count() or 1
    """Processes that cells are dealt out to."""
    page: Path | None = None
    """Folder of pages to renew as well: ``docs/studies``."""
    missing: bool = True
    """Run missing cells; ``--no-missing`` only renews table and plots of those there are."""
    only: str = ""
    """Run only cells whose names contain this: ``task=cheetah-run,seed=0``."""
    json: bool = False
    """Print the table as JSON."""

    def run(self) -> int:
        """Measure what is missing, write table and plots; 1 when a cell failed."""
        if not self.name:
            print_table("Studies", [_listed(topic(name)) for name in TOPICS], self.json)
            return 0
        chosen = topic(self.name)
        if self.preset not in chosen.presets:
            known = ", ".join(chosen.presets)
            raise PwmError(f"study {self.name} has no preset {self.preset!r}, only {known}")
        out = self.out or Path("runs/studies") / self.name / self.preset
        outcome = run_study(
            chosen,
            self.preset,
            self.inputs,
            out,
            self.workers,
            missing=self.missing,
            only=self.only,
        )
        if outcome.results:
            self._write(chosen, outcome, out)
        for cell, error in outcome.failures.items():
            print(f"FAILED: {cell}: {error}", file=sys.stderr)
        if outcome.failures:
            print(f"tracebacks are in {out / 'failed'}; the same command tries again")
        return FAILED if outcome.failures else 0

    def _write(self, chosen: Topic, outcome: Outcome, out: Path) -> None:
        """Print the table; write table, figures and plots into ``out`` and, if wished, the page."""
        results = outcome.results
        rows = table_rows(results, chosen.columns)
        plots = chosen.presets[self.preset].draw(results)
        files = {f"{name}.png": plot for name, plot in plots.items()}
        save_plots(files, out)
        text = generated(chosen, self.preset, self.inputs, results, list(files))
        write_atomically(out / "table.md", text + "\n")
        content = json.dumps([result.to_json() for result in results], indent=1)
        write_atomically(out / "results.json", content)
        print_table(f"Study {chosen.name}, {self.preset}", rows, self.json)
        if self.page:
            page = write_page(chosen, self.preset, self.inputs, results, plots, self.page)
            print(page, file=sys.stderr)


def _listed(chosen: Topic) -> dict[str, str]:
    presets = ", ".join(chosen.presets)
    return {"study": chosen.name, "presets": presets, "question": chosen.question}
