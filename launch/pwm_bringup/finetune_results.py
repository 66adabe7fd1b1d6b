# SPDX-License-Identifier: Apache-2.0
"""Trials of online fine-tuning as a table, and each as a curve of its returns.

    python -m pwm_bringup.finetune_results runs/online/*/trial.json

Reads what ``pwm_bringup.finetune_trial`` has written; the curve goes beside it as ``trial.png``.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Record = Mapping[str, Any]
STAGES = ("nominal", "shifted", "adapted")
MARKS = {"stays": ("C2", "-"), "rolled back": ("C3", "--"), "refused": ("C1", ":")}
"""Colour and line of each verdict that ends a round."""


def row(record: Record) -> dict[str, str]:
    """Return a trial as a row of the table; returns are means and their number of episodes."""
    means = {stage: float(np.mean(record[stage])) for stage in STAGES}
    ends = Counter(v["verdict"] for v in record["verdicts"] if v["verdict"] in MARKS)
    recovered = record["recovered"]
    ticks = record["ticks"]["learning"]
    return {
        "task": record["task"],
        "shift": record["shift"],
        "seed": str(record["seed"]),
        "as trained": f"{means['nominal']:.1f} ({len(record['nominal'])})",
        "after the shift": f"{means['shifted']:.1f} ({len(record['shifted'])})",
        "after adaptation": f"{means['adapted']:.1f} ({len(record['adapted'])})",
        "of the loss": "no loss" if recovered is None else f"{100 * recovered:.0f} %",
        "stayed / taken back / refused": " / ".join(str(ends[mark]) for mark in MARKS),
        "episodes": str(record["episodes"]),
        "minutes, learner's": f"{record['minutes']:.1f}, {record['learner_minutes']:.1f}",
        "missed ticks": f"{ticks['missed']} of {ticks['ticks']}" if ticks["ticks"] else "–",
    }


def markdown(records: Sequence[Record]) -> str:
    """Return the table of several trials."""
    rows = [row(record) for record in records]
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(r.values()) for r in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def curve(record: Record) -> Figure:
    """Draw the return of every episode, with the shift and what became of each candidate."""
    figure = Figure(figsize=(9.0, 4.0), layout="constrained")
    axes = figure.subplots()
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    drawn = _episodes(axes, record["events"])
    _marks(axes, record["events"])
    seed = record["seed"]
    axes.set_title(f"{record['task']}, {record['shift']}, seed {seed}", loc="left", fontsize=10)
    axes.set_xlabel("episode")
    axes.set_ylabel("return")
    axes.set_xlim(0, drawn + 1)
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return figure


def _episodes(axes: Axes, events: Sequence[Record]) -> int:
    """Draw a point per episode; return how many there are."""
    episodes = [event for event in events if event["what"] == "episode"]
    points = [(n, e["return"], e["noise"] > 0, e["stage"]) for n, e in enumerate(episodes, start=1)]
    kinds = {
        "compared, same starts": ("o", "C0", [p for p in points if p[3] in STAGES]),
        "robot's own, without noise": (
            "s",
            "black",
            [p for p in points if p[3] not in STAGES and not p[2]],
        ),
        "exploring": (".", "grey", [p for p in points if p[3] not in STAGES and p[2]]),
    }
    for label, (marker, colour, chosen) in kinds.items():
        places = [p[0] for p in chosen]
        axes.plot(places, [p[1] for p in chosen], marker, color=colour, markersize=4, label=label)
    return len(episodes)


def _marks(axes: Axes, events: Sequence[Record]) -> None:
    """Draw a line where the robot shifted, where a candidate took over and where a round ended."""
    episode, named = 0, set()
    for event in events:
        if event["what"] == "episode":
            episode += 1
            continue
        what = "shift" if event["what"] == "shift" else event["verdict"]
        if what == "passed the gate":
            what = "candidate acts"
        colour, line = {"shift": ("black", "-"), "candidate acts": ("C0", ":"), **MARKS}.get(
            what, ("C5", ":")
        )
        label = None if what in named else what
        named.add(what)
        axes.axvline(episode + 0.5, color=colour, linestyle=line, linewidth=1.2, label=label)


def main() -> int:
    """Print the table of the trials that are named, and draw each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("trials", type=Path, nargs="+", help="trial.json of each")
    files = parser.parse_args().trials
    records = [json.loads(file.read_text()) for file in files]
    for file, record in zip(files, records, strict=True):
        curve(record).savefig(file.with_suffix(".png"), dpi=120)
    print(markdown(records))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
