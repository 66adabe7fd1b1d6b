# SPDX-License-Identifier: Apache-2.0
"""The curves of ``benchmarks.scaling``, as one figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("svg")

from matplotlib import pyplot
from matplotlib.axes import Axes

from benchmarks.measure import Row


def draw(tables: Mapping[str, Sequence[Row]], file: Path) -> None:
    """Write the figure of the tables that :func:`benchmarks.scaling.measure` returns."""
    pyplot.rcParams["svg.hashsalt"] = "scaling"  # the same figures give the same file
    figure, axes = pyplot.subplots(2, 3, figsize=(11, 6), layout="constrained")
    updates, iterations = tables["Pre-training"], tables["Extraction"]
    _collection(axes[0, 0], tables["Collection"])
    smallest = [row for row in updates if row["transitions"] == updates[0]["transitions"]]
    title = "update by model size"
    _line(axes[0, 1], title, smallest, "parameters", "ms", "parameters", log=True)
    batches = [row for row in updates if row["size"] == updates[0]["size"]]
    title = f"update of {updates[0]['size']} by batch"
    _line(axes[0, 2], title, batches, "transitions", "transitions/s", "transitions per update")
    _ranks(axes[1, 0], tables["Ranks"])
    first = iterations[0]
    side_by_side = [row for row in iterations if row["curve"] == "tasks"]
    title = f"extraction of {first['size']} by tasks side by side"
    _line(axes[1, 1], title, side_by_side, "tasks", "tasks' iterations/s", "tasks")
    alone = [row for row in iterations if row["curve"] == "batch"]
    title = f"extraction of {first['size']} by batch"
    _line(axes[1, 2], title, alone, "batch", "ms", "start states per iteration")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, format="svg", metadata={"Date": None})
    pyplot.close(figure)


def _line(
    axes: Axes, title: str, rows: Sequence[Row], x: str, y: str, label: str, log: bool = False
) -> None:
    axes.plot([row[x] for row in rows], [row[y] for row in rows], "o-")
    axes.set(title=title, xlabel=label, ylabel=y)
    if log:
        axes.set(xscale="log", yscale="log")
    else:
        axes.set_ylim(bottom=0)


def _collection(axes: Axes, rows: Sequence[Row]) -> None:
    names = [f"{row['pool']}, {row['workers']}" for row in rows]
    axes.bar(names, [row["transitions/s"] for row in rows])
    axes.set(title="collection by sampling MPC", ylabel="transitions/s")


def _ranks(axes: Axes, rows: Sequence[Row]) -> None:
    for size in dict.fromkeys(row["size"] for row in rows):
        own = [row for row in rows if row["size"] == size]
        rates = [row["updates/s"] / own[0]["updates/s"] for row in own]
        axes.plot([row["processes"] for row in own], rates, "o-", label=size)
    axes.set(title="pre-training by processes", xlabel="processes (torchrun)", ylabel="× one")
    axes.set_xticks([row["processes"] for row in rows])
    axes.set_ylim(bottom=0)
    axes.legend()
