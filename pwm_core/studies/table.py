# SPDX-License-Identifier: Apache-2.0
"""Results put together: for every setting the mean over seeds and its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pwm_core.evaluation.bootstrap import Interval, bootstrap_interval
from pwm_core.studies.study import Column, Result, Setting


@dataclass(frozen=True)
class Estimate:
    """A figure over seeds."""

    mean: float
    """Mean of the seeds' means."""
    interval: Interval | None
    """95 % bootstrap interval, as in ``pwm eval``: over seeds, then over episodes within them."""

    def __str__(self) -> str:
        if self.interval is None:
            return f"{self.mean:.3g}"
        low, high = self.interval
        return f"{self.mean:.3g} [{low:.3g}, {high:.3g}]"


def estimate(results: Sequence[Result], figure: str) -> Estimate | None:
    """Return ``figure`` over ``results``, the seeds of one setting; ``None`` without any."""
    found = [result.figures.get(figure) for result in results]
    groups = [np.atleast_1d(value).tolist() for value in found if value is not None]
    if not groups:
        return None
    return Estimate(
        float(np.mean([np.mean(group) for group in groups])), bootstrap_interval(groups)
    )


def by_setting(results: Sequence[Result]) -> list[tuple[Setting, list[Result]]]:
    """Return each setting with the results of its seeds, in the order of the results."""
    groups: dict[tuple, list[Result]] = {}
    for result in results:
        groups.setdefault(tuple(result.setting.items()), []).append(result)
    return [(dict(setting), group) for setting, group in groups.items()]


def table_rows(results: Sequence[Result], columns: Sequence[Column]) -> list[dict[str, str]]:
    """Return a row per setting: what was varied, the figures, and from how many seeds."""
    rows = []
    for setting, group in by_setting(results):
        row = {name: str(value) for name, value in setting.items()}
        for column in columns:
            found = estimate(group, column.figure)
            row[column.title] = "–" if found is None else str(found)
        rows.append(row | {"seeds": str(len(group))})
    return rows


def markdown(rows: Sequence[Mapping[str, str]]) -> str:
    """Return ``rows`` as a table of Markdown."""
    titles = list(rows[0])
    lines = [titles, ["---"] * len(titles), *([row[title] for title in titles] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
