# SPDX-License-Identifier: Apache-2.0
"""``pwm report``: one self-contained page about a run, with videos."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from pwm_core.errors import PwmError
from pwm_core.files import write_atomically
from pwm_core.report.build import build_page
from pwm_core.report.run_files import RunFiles
from pwm_core.report.studio import Films, make_films


class ReportError(PwmError):
    """There is nothing to report on."""


@dataclass(frozen=True)
class Report:
    """Write one HTML page about what a run's directory holds; parts that are missing are named."""

    directory: Annotated[Path, tyro.conf.arg(name="run")] = Path("runs/demo")
    """Directory with data, world_model, policies, evaluation.json, bundles, ros, stages.json."""
    out: Path | None = None
    """File to write; report.html in the run's directory by default."""
    videos: int = 12
    """Most policies to film, from the best to the worst; 0 leaves out all videos."""
    gif: Path | None = None
    """Also write a GIF of the live session, small enough for a README."""
    json: bool = False
    """Print what was written as JSON."""

    def run(self) -> int:
        """Read, draw, write; 1 when a GIF was asked for and could not be made."""
        if not self.directory.is_dir():
            raise ReportError(f"{self.directory} is not a directory: make demo writes runs/demo")
        files = RunFiles(self.directory)
        if self.gif and not files.live:
            raise ReportError(f"no GIF without a live session: {files.live_path} is missing")
        films = make_films(files, self.videos, self.gif is not None)
        out = self.out or self.directory / "report.html"
        write_atomically(out, build_page(files, films))
        if self.gif and films.gif:
            write_atomically(self.gif, films.gif.data)
        self._tell(out, films)
        return 1 if self.gif and not films.gif else 0

    def _tell(self, out: Path, films: Films) -> None:
        made: dict[str, Any] = {
            "report": str(out),
            "bytes": out.stat().st_size,
            "videos": len(films.episodes) + (films.session is not None),
            "gif": str(self.gif) if self.gif and films.gif else None,
            "problems": list(films.problems),
        }
        if self.json:
            print(json.dumps(made, indent=1))
        else:
            print(f"{out}: {made['bytes'] / 1e6:.1f} MB, {made['videos']} videos")
