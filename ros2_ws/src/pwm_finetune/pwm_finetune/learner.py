# SPDX-License-Identifier: Apache-2.0
"""The learner: ``pwm finetune`` and ``pwm export`` as processes of low priority. No ROS."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ENDS_WITH_US = ("setpriv", "--pdeathsig", "TERM")
"""A learner does not outlive its node; it goes on where it stopped when the next one starts."""
PATIENCE = ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0))
"""How a process is asked to end, and how many seconds it gets each time."""
CHECKPOINTS = "run/*/checkpoint.safetensors"
"""What a run goes on from when it was interrupted; most of what it writes."""
METRICS = (
    ("world model", "run/world_model/metrics.jsonl"),
    ("policy", "run/candidate/metrics.jsonl"),
)
"""Stages of `pwm finetune` and what they write, below a round's directory."""


@dataclass(frozen=True)
class LearnerSettings:
    """How the learner's processes are run."""

    command: tuple[str, ...]
    """What `pwm` is called here, or a prefix that runs it elsewhere on the same files."""
    cores: str
    """Processor cores it may use, as `taskset` takes them: ``1`` or ``0-3,6``; empty: all."""
    finetune: tuple[str, ...]
    """Further options of `pwm finetune`."""
    export: tuple[str, ...]
    """Further options of `pwm export`."""
    monitor: bool
    """Whether candidates get a world-model monitor."""
    niceness: int
    """From 0, like any other process, to 19: only when nobody else wants to run."""
    timeout: float
    """Seconds after which a process that has not ended has failed."""


@dataclass(frozen=True)
class Basis:
    """What a round goes on from: the running policy."""

    bundle: str
    """Its name at the policy node."""
    policy: Path
    """``policy.safetensors`` that the bundle was exported from."""
    world_model: Path
    """The world model that the policy was extracted from."""
    origin: Path
    """``policy.safetensors`` that all rounds began with."""


@dataclass(frozen=True)
class Round:
    """The files of a round: ``data`` (a snapshot), ``run``, ``bundle``, ``learner.log``."""

    directory: Path
    basis: Basis
    offline: Path
    task: str
    held_out: float
    """Share of the snapshot's episodes, the last ones, that judge and never train."""

    @property
    def data(self) -> Path:
        return self.directory / "data"

    def tidy(self) -> None:
        """Leave models and verdicts of a round that has ended, not its data and checkpoints."""
        shutil.rmtree(self.data, ignore_errors=True)
        for checkpoint in self.directory.glob(CHECKPOINTS):
            with suppress(OSError):
                checkpoint.unlink()

    @property
    def policy(self) -> Path:
        """The candidate."""
        return self.directory / "run" / "candidate" / "policy.safetensors"

    @property
    def world_model(self) -> Path:
        """The world model that it was extracted from."""
        return self.directory / "run" / "world_model" / "world_model.safetensors"

    @property
    def gate(self) -> Path:
        return self.directory / "run" / "gate.json"

    @property
    def bundle(self) -> Path:
        return self.directory / "bundle" / f"{self.task}.onnx"

    def finetune(self, settings: LearnerSettings) -> list[str]:
        """Return the arguments of `pwm` that make and judge the candidate."""
        return [
            "finetune",
            *("--policy", str(self.basis.policy)),
            *("--world-model", str(self.basis.world_model)),
            *("--origin", str(self.basis.origin)),
            *("--data", str(self.data)),
            *("--held-out", str(self.held_out)),
            *("--offline", str(self.offline)),
            *("--out", str(self.directory / "run")),
            *settings.finetune,
        ]

    def export(self, settings: LearnerSettings) -> list[str]:
        """Return the arguments of `pwm` that export the candidate."""
        monitor = ("--world-model", str(self.world_model)) if settings.monitor else ()
        return [
            "export",
            *("--policies", str(self.policy)),
            *("--data", str(self.offline)),
            *("--out", str(self.bundle.parent)),
            *monitor,
            *settings.export,
        ]


class Learner:
    """One process at a time; its output goes to a log."""

    def __init__(self, settings: LearnerSettings) -> None:
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._begun = 0.0

    @property
    def pid(self) -> int | None:
        """Process identifier while one runs."""
        return self._process.pid if self._process is not None else None

    def start(self, arguments: Sequence[str], log: Path) -> None:
        """Start `pwm` with ``arguments``; ``OSError`` when it cannot be."""
        assert self._process is None
        settings = self._settings
        pinned = ("taskset", "--cpu-list", settings.cores) if settings.cores else ()
        niceness = str(settings.niceness)
        command = ["nice", "-n", niceness, *pinned, *ENDS_WITH_US, *settings.command, *arguments]
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "ab") as output:
            output.write(f"\n$ {' '.join(command)}\n".encode())
            output.flush()
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                start_new_session=True,  # Ctrl-C is for the node to pass on
            )
        _give_way(self._process.pid, niceness)
        self._begun = time.monotonic()

    def poll(self) -> int | None:
        """Return the exit status of the process once it has ended; forgets it then.

        One that takes too long is killed.
        """
        assert self._process is not None
        if time.monotonic() - self._begun > self._settings.timeout:
            self._end((signal.SIGKILL, 5.0))
        status = self._process.poll()
        if status is not None:
            self._process = None
        return status

    def stop(self) -> None:
        """End the process, if one runs."""
        self._end(*PATIENCE)
        self._process = None

    def _end(self, *patience: tuple[signal.Signals, float]) -> None:
        for number, seconds in patience:
            if self._process is None or self._process.poll() is not None:
                return
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)


def _give_way(pid: int, niceness: str) -> None:
    """Let the scheduler's group of a new session give way too: niceness counts within one only."""
    with suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(niceness)


def progress(directory: Path) -> dict[str, Any]:
    """Return what the learner of a round wrote last: stage and figures; empty if nothing yet."""
    for stage, name in reversed(METRICS):
        line = _last_line(directory / name)
        if line:
            with suppress(ValueError):
                return {"stage": stage, **json.loads(line)}
    return {}


def _last_line(file: Path) -> str:
    """Return the last whole line of a file; empty if there is none."""
    try:
        with open(file, "rb") as content:
            content.seek(max(0, file.stat().st_size - 8192))
            lines = content.read().decode(errors="replace").rpartition("\n")[0].splitlines()
    except OSError:
        return ""
    return lines[-1] if lines else ""


def log_tail(file: Path, count: int = 3) -> str:
    """Return the last lines of a log, on one line."""
    try:
        lines = file.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return " / ".join(line.strip() for line in lines[-count:] if line.strip())
