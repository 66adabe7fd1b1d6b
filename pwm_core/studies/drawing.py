# SPDX-License-Identifier: Apache-2.0
"""Plots of studies: curves over what was varied, with the interval over seeds as a band."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pwm_core.studies.study import Result
from pwm_core.studies.table import Estimate, by_setting, estimate

WIDTH, HEIGHT = 4.6, 3.4
"""Inches of a panel."""


def panels(count: int, columns: int = 3) -> tuple[Figure, list[Axes]]:
    """Return a figure with ``count`` panels in rows of ``columns``."""
    wide = min(count, columns)
    high = -(-count // wide)
    figure = Figure(figsize=(WIDTH * wide, HEIGHT * high), layout="constrained")
    axes = figure.subplots(high, wide, squeeze=False).flatten()
    for spare in axes[count:]:
        spare.axis("off")
    for each in axes[:count]:
        each.grid(alpha=0.3)
        each.spines[["top", "right"]].set_visible(False)
    return figure, list(axes[:count])


def selected(results: Sequence[Result], **setting: object) -> list[Result]:
    """Return those of ``results`` whose setting has these values."""
    wanted = setting.items()
    return [r for r in results if all(r.setting.get(name) == value for name, value in wanted)]


def values(results: Sequence[Result], name: str) -> list:
    """Return what the setting ``name`` is varied over, in order."""
    return list(dict.fromkeys(r.setting[name] for r in results if name in r.setting))


def measured_places(axes: Axes, places: Sequence[float]) -> None:
    """Make the horizontal axis logarithmic, with marks at the ``places`` that were measured."""
    axes.set_xscale("log")
    axes.set_xticks(places, [f"{place:g}" for place in places])
    axes.set_xticks([], minor=True)


def curve(
    axes: Axes,
    results: Sequence[Result],
    over: str,
    figure: str,
    label: str | None = None,
    change: Callable[[float], float] = float,
    **style: Any,
) -> None:
    """Draw the mean of ``figure`` over the setting ``over``, its interval as a band.

    Where there is one value of ``over`` only, the interval is a bar. ``change`` is applied to mean
    and interval, e.g. to keep a logarithmic axis above zero; ``style`` is the line's.
    """
    found = [(s[over], estimate(group, figure)) for s, group in by_setting(results)]
    known = [(x, e) for x, e in found if e is not None]
    if known:
        places = [float(x) for x, _ in known]
        band(axes, places, [e for _, e in known], label, change, **style)


def band(
    axes: Axes,
    x: Sequence[float],
    found: Sequence[Estimate],
    label: str | None = None,
    change: Callable[[float], float] = float,
    **style: Any,
) -> None:
    """Draw the means of ``found`` over ``x``, their intervals as a band; as a bar for one alone."""
    (line,) = axes.plot(x, [change(e.mean) for e in found], marker="o", ms=4, label=label, **style)
    bands = [e.interval or (e.mean, e.mean) for e in found]
    low, high = ([change(each[side]) for each in bands] for side in (0, 1))
    if len(x) == 1:
        axes.vlines(x, low, high, color=line.get_color(), lw=1)
    else:
        axes.fill_between(x, low, high, alpha=0.2, color=line.get_color())


def reach(found: Estimate) -> list[list[float]]:
    """Return how far the interval reaches below and above the mean, as error bars are given."""
    low, high = found.interval or (found.mean, found.mean)
    return [[max(found.mean - low, 0)], [max(high - found.mean, 0)]]


def point(axes: Axes, x: Estimate, y: Estimate, color: str, label: str) -> None:
    """Draw the means of two figures as a point, with both intervals."""
    above, aside = reach(y), reach(x)
    axes.errorbar(x.mean, y.mean, above, aside, "o", color=color, capsize=2, label=label)


def bars(axes: Axes, results: Sequence[Result], over: str, figure: str) -> None:
    """Draw the mean of ``figure`` for every value of the setting ``over``, with its interval."""
    for place, (_, group) in enumerate(by_setting(results)):
        found = estimate(group, figure)
        if found is None:
            continue
        axes.bar(place, found.mean, yerr=reach(found), capsize=3, color=f"C{place}", alpha=0.8)
    names = [str(setting[over]) for setting, _ in by_setting(results)]
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
