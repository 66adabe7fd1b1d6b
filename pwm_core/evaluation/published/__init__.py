# SPDX-License-Identifier: Apache-2.0
"""What PWM's authors published per task, and the scale on which tasks can be averaged."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources

from pwm_core.errors import PwmError

SUITES = ("mt30", "mt80")


class UnknownPublicationError(PwmError, ValueError):
    """No scores of that name were published."""


@dataclass(frozen=True)
class Published:
    """The authors' score on one task: one training run, mean of ten episodes, 48M world model."""

    task: str
    episode_return: float
    success: float
    """Share of episodes solved at their end; 0 for DM Control, which reports no success."""

    @property
    def by_success(self) -> bool:
        """Whether the task is judged by success rather than by return."""
        return _by_success(self.task)

    @property
    def score(self) -> float:
        """Return the score on the scale of :func:`normalised`."""
        return self.success if self.by_success else self.episode_return / 1000


@cache
def published(suite: str) -> dict[str, Published]:
    """Return the authors' scores of ``mt30`` or ``mt80`` by task."""
    if suite not in SUITES:
        raise UnknownPublicationError(
            f"no scores of {suite!r} were published: {' or '.join(SUITES)}"
        )
    text = resources.files(__name__).joinpath(f"{suite}.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    found = [
        Published(row["task"], float(row["episode_reward"]), float(row["episode_success"]))
        for row in rows
    ]
    return {score.task: score for score in found}


def suite_of(tasks: Iterable[str]) -> str | None:
    """Return the smallest published suite with all of ``tasks`` that were published at all.

    ``None`` where none of them was.
    """
    known = [task for task in tasks if task in published("mt80")]
    if not known:
        return None
    return next(suite for suite in SUITES if set(known) <= published(suite).keys())


def normalised(task: str, episode_return: float, success: float | None) -> float | None:
    """Return a score in about [0, 1]: return / 1000 for DM Control, success for Meta-World.

    ``None`` for a task that is not among the published eighty.
    """
    if task not in published("mt80"):
        return None
    return success if _by_success(task) else episode_return / 1000


def _by_success(task: str) -> bool:
    return task.startswith("mw-")
