# SPDX-License-Identifier: Apache-2.0
"""The run directory of a training stage: configuration, metrics, provenance, checkpoints."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Collection, Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.tensorboard.writer import SummaryWriter

import pwm_core
from pwm_core.errors import PwmError
from pwm_core.files import write_atomically


class RunDirectoryError(PwmError):
    """The directory belongs to a run with another configuration or other inputs."""


def start_over(out: Path, marks: Collection[str]) -> None:
    """Delete what an earlier run left in ``out``, which one of ``marks``, names in it, shows.

    ``RunDirectoryError`` where it holds something and none of them: it may be anybody's.
    """
    if not out.is_dir() or not (found := {path.name for path in out.iterdir()}):
        return
    if not found & set(marks):
        raise RunDirectoryError(
            f"{out} holds {', '.join(sorted(found)[:3])} and nothing of an earlier run "
            f"({' or '.join(marks)}): it was not deleted. Choose another directory"
        )
    shutil.rmtree(out)


def plain(value: Any) -> Any:
    """Return ``value`` as JSON has it: dataclasses as dictionaries, tuples as lists."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    return json.loads(json.dumps(value, default=str))


def with_defaults(stored: Mapping[str, Any], config: Any) -> dict[str, Any]:
    """Return the ``stored`` configuration with the fields it lacks at ``config``'s defaults.

    A field that came with a later version had its default when the run began.
    """
    filled = dict(stored)
    for field in fields(config):
        if field.name not in stored and field.default is not MISSING:
            filled[field.name] = plain(field.default)
        elif is_dataclass(nested := getattr(config, field.name)) and field.name in stored:
            filled[field.name] = with_defaults(stored[field.name], nested)
    return filled


def git_revision() -> str:
    """Return the source's commit, ``+changes`` when the tree differs; ``unknown`` without git."""
    source = Path(pwm_core.__file__).parent
    try:
        run = ["git", "-C", str(source), "describe", "--always", "--abbrev=40", "--dirty=+changes"]
        return subprocess.run(run, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def machine() -> dict[str, Any]:
    """Return what a reader needs to place a figure: processor count, platform, versions."""
    return {
        "cpus": os.cpu_count(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


class RunDirectory:
    """Open a run: the same configuration resumes, another one is refused by name."""

    def __init__(self, path: Path, stage: str, config: Any, inputs: Mapping[str, str]) -> None:
        """``inputs`` are names and hashes of what the run reads."""
        self.path = path
        identity = {"stage": stage, "config": plain(config), "inputs": dict(inputs)}
        file = path / "config.json"
        if file.is_file():
            stored = json.loads(file.read_text())
            if stored["stage"] == stage and is_dataclass(config):
                stored["config"] = with_defaults(stored["config"], config)
            _require_same(file, stored, identity)
        else:
            provenance = {"git": git_revision(), "machine": machine()}
            write_atomically(file, json.dumps(identity | provenance, indent=1))

    def open_metrics(self, resume_at: int | None) -> None:
        """Make ready to :meth:`log`.

        ``resume_at`` is the step of the checkpoint found, or ``None`` for a run from the start;
        metrics written after that step by an interrupted run are dropped.
        """
        self._trim_metrics(resume_at)
        self._metrics = open(self.path / "metrics.jsonl", "a", buffering=1)  # noqa: SIM115
        self._board = SummaryWriter(str(self.path), purge_step=resume_at)

    def _trim_metrics(self, resume_at: int | None) -> None:
        file = self.path / "metrics.jsonl"
        lines = file.read_text().splitlines() if file.is_file() else []
        last = -1 if resume_at is None else resume_at
        steps = [_step(line) for line in lines]
        kept = [
            line
            for line, step in zip(lines, steps, strict=True)
            if step is not None and step <= last
        ]
        write_atomically(file, "".join(line + "\n" for line in kept))

    def log(self, step: int, figures: Mapping[str, Any]) -> None:
        """Write one line of metrics; scalars also go to TensorBoard."""
        self._metrics.write(json.dumps({"step": step, **figures}) + "\n")
        for name, value in figures.items():
            if isinstance(value, (int, float)):
                self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and close the metrics."""
        self._metrics.close()
        self._board.close()


def _step(line: str) -> int | None:
    try:
        return json.loads(line)["step"]
    except json.JSONDecodeError:
        return None  # the line a crash cut short


def _require_same(file: Path, stored: dict[str, Any], identity: dict[str, Any]) -> None:
    for key in ("stage", "config", "inputs"):
        if stored.get(key) != identity[key]:
            old, new = stored.get(key), identity[key]
            if isinstance(old, dict) and isinstance(new, dict):
                names = sorted(k for k in old.keys() | new.keys() if old.get(k) != new.get(k))
                detail = "; ".join(f"{k} was {old.get(k)!r}, now {new.get(k)!r}" for k in names)
            else:
                detail = f"was {old!r}, now {new!r}"
            raise RunDirectoryError(
                f"{file.parent} holds a run with another {key}: {detail}. "
                "Choose another directory, or delete this one to start over"
            )


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the metrics of a run directory, in order."""
    lines = (path / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines if _step(line) is not None]
