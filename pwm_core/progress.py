# SPDX-License-Identifier: Apache-2.0
"""One progress display for every long step: rate, time left, and the figures worth watching."""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

SECONDS_BETWEEN_LINES = 10.0


def clock(seconds: float) -> str:
    """Format a duration as ``1:05`` or ``2:03:10``."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def clock_unit(seconds: float) -> str:
    """Return what the figures of :func:`clock` are, to stand beside them."""
    return "h:min:s" if round(seconds) >= 3600 else "min:s"


class ProgressDisplay:
    """A bar on a terminal; a line now and then in a log.

    Worker processes share a terminal, and write lines too.
    ``start`` is the count already done by an earlier run; it does not enter the rate.
    """

    def __init__(self, label: str, total: int, unit: str, start: int = 0) -> None:
        self._label, self._total, self._unit, self._start = label, total, unit, start
        self._done = start
        self._begin = time.monotonic()
        self._last_line = self._begin
        self._bar: Progress | None = None
        if sys.stderr.isatty() and multiprocessing.parent_process() is None:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[text]}"),
            )
            self._bar = Progress(*columns, console=Console(stderr=True))
            self._row = self._bar.add_task(label, total=total, completed=start, text="")

    def __enter__(self) -> ProgressDisplay:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()

    def update(self, done: int, figures: Mapping[str, str] | None = None) -> None:
        """Show that ``done`` of the total are done, and ``figures`` like ``{"loss": "0.12"}``."""
        self._done = done
        text = self._text(figures or {})
        if self._bar:
            self._bar.update(self._row, completed=done, text=text)
        elif done >= self._total or time.monotonic() - self._last_line > SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            print(f"{self._label}: {text}", file=sys.stderr, flush=True)

    def _text(self, figures: Mapping[str, str]) -> str:
        elapsed = time.monotonic() - self._begin
        rate = (self._done - self._start) / elapsed if elapsed > 0 else 0.0
        parts = [f"{self._done}/{self._total} {self._unit}", f"{rate:.3g}/s"]
        if self._done >= self._total:
            parts.append(f"took {clock(elapsed)}")
        elif rate > 0:
            parts.append(f"{clock((self._total - self._done) / rate)} left")
        return " · ".join(parts + [f"{name} {value}" for name, value in figures.items()])
