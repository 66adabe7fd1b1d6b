# SPDX-License-Identifier: Apache-2.0
"""Stages of a long command: done ones are skipped, interrupted ones go on, times are kept."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pwm_core.errors import PwmError
from pwm_core.files import write_atomically
from pwm_core.progress import clock


@dataclass(frozen=True)
class Stage:
    """One step of the chain."""

    name: str
    purpose: str
    """What it does, for people."""
    outputs: tuple[Path, ...]
    """Files that are there when it is done."""
    run: Callable[[], int]
    """Do it; return an exit status."""


class StageRecord:
    """``stages.json``: what is done, how long it took over all attempts, under which settings."""

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        """Open or begin the record; ``PwmError`` when it was made under other ``settings``."""
        self.path = path
        plain = json.loads(json.dumps(settings, default=str))
        self._content: dict[str, Any] = {"settings": plain, "stages": []}
        if path.is_file():
            self._content = json.loads(path.read_text())
            if self._content["settings"] != plain:
                raise PwmError(
                    f"{path.parent} was made with {self._content['settings']}, now it is {plain}: "
                    "start over with --fresh, or choose another --out"
                )

    def _entry(self, name: str) -> dict[str, Any]:
        for entry in self._content["stages"]:
            if entry["name"] == name:
                return entry
        self._content["stages"].append({"name": name, "seconds": 0.0, "finished": False})
        return self._content["stages"][-1]

    def seconds(self, name: str) -> float:
        """Return the time spent on a stage, all attempts together."""
        return self._entry(name)["seconds"]

    def total(self) -> float:
        """Return the time spent on all stages."""
        return sum(entry["seconds"] for entry in self._content["stages"])

    def finished(self, stage: Stage) -> bool:
        """Return whether ``stage`` ended well and all its outputs are still there."""
        return self._entry(stage.name)["finished"] and all(p.exists() for p in stage.outputs)

    def run(self, stage: Stage) -> int:
        """Run ``stage`` and record its time, also when it fails or is interrupted."""
        entry = self._entry(stage.name)
        entry["finished"] = False
        begin = time.monotonic()
        try:
            status = stage.run()
            entry["finished"] = status == 0
        finally:
            entry["seconds"] += time.monotonic() - begin
            write_atomically(self.path, json.dumps(self._content, indent=1))
        return status


def run_stages(stages: Sequence[Stage], record: StageRecord) -> int:
    """Run what is not done yet, in order; after a stage that ran, all later ones run too."""
    again = False
    for number, stage in enumerate(stages, start=1):
        heading = f"[{number}/{len(stages)}] {stage.name}"
        if not again and record.finished(stage):
            print(f"{heading}: done before ({clock(record.seconds(stage.name))})", flush=True)
            continue
        again = True
        print(f"\n{heading}: {stage.purpose}", flush=True)
        status = record.run(stage)
        if status:
            print(f"{heading}: failed with status {status}", flush=True)
            return status
        print(f"{heading}: took {clock(record.seconds(stage.name))}", flush=True)
    return 0
