# SPDX-License-Identifier: Apache-2.0
"""A study's page: what was found is written by hand, tables and plots by the command.

The command replaces only what lies between its two marks, one pair for each preset.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from pwm_core.errors import PwmError
from pwm_core.files import write_atomically
from pwm_core.progress import clock, clock_unit
from pwm_core.studies.study import Inputs, Preset, Result, Topic
from pwm_core.studies.table import markdown, table_rows

DOTS_PER_INCH = 80
COLOURS = 128
"""Colours of a plot's palette: files a third as long, to be kept in the repository."""


def begin_mark(preset: Preset) -> str:
    """Return the line before what the command writes."""
    return f"<!-- begin {preset}: written by pwm study, edits are lost -->"


def end_mark(preset: Preset) -> str:
    """Return the line after what the command writes."""
    return f"<!-- end {preset} -->"


def write_page(
    topic: Topic,
    preset: Preset,
    inputs: Inputs,
    results: Sequence[Result],
    plots: Mapping[str, Figure],
    folder: Path,
) -> Path:
    """Write table and plots into the study's page in ``folder``, begun where there is none."""
    names = [f"{topic.name}-{preset}-{plot}.png" for plot in plots]
    save_plots(dict(zip(names, plots.values(), strict=True)), folder)
    page = folder / f"{topic.name}.md"
    text = page.read_text() if page.is_file() else new_page(topic)
    block = generated(topic, preset, inputs, results, names)
    write_atomically(page, with_block(text, preset, block, page))
    return page


def save_plots(plots: Mapping[str, Figure], folder: Path) -> None:
    """Write ``plots`` by the names of their files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in plots.items():
        drawn = io.BytesIO()
        figure.savefig(drawn, dpi=DOTS_PER_INCH, bbox_inches="tight")
        image = Image.open(drawn).convert("RGB").quantize(COLOURS)
        image.save(folder / name, optimize=True)


def new_page(topic: Topic) -> str:
    """Return a page on which nothing was found yet."""
    title = topic.name.replace("-", " ").capitalize()
    return f"# {title}\n\n{topic.question}\n\n## What was found\n\nNothing was written yet.\n"


def generated(
    topic: Topic,
    preset: Preset,
    inputs: Inputs,
    results: Sequence[Result],
    plots: Sequence[str],
) -> str:
    """Return command, provenance, table and plots."""
    cells = len(topic.presets[preset].settings()) * len(topic.presets[preset].seeds)
    missing = "" if len(results) == cells else f" **{cells - len(results)} cells are missing.**"
    parts = [
        f"## Preset `{preset}`",
        f"    {command(topic, preset, inputs)}",
        f"Measured on {_each([r.date for r in results])} on {_each([r.machine for r in results])}, "
        f"revision {_each([_short(r.revision) for r in results])}: {len(results)} cells, "
        f"{_cost(results)}.{missing}",
        "Mean over seeds [95 % bootstrap interval over seeds and their episodes].",
        markdown(table_rows(results, topic.columns)),
        *(f"![{name.removesuffix('.png')}]({name})" for name in plots),
    ]
    return "\n\n".join(parts)


def command(topic: Topic, preset: Preset, inputs: Inputs) -> str:
    """Return the command that repeats the study, with inputs that are not read by default."""
    words, usual = [f"pwm study {topic.name} --preset {preset}"], Inputs()
    if topic.reads_data and inputs.data != usual.data:
        words.append(f"--data {inputs.data}")
    if topic.reads_world_model and inputs.world_model != usual.world_model:
        words.append(f"--world-model {inputs.world_model}")
    return " ".join(words)


def _cost(results: Sequence[Result]) -> str:
    """Return what the cells took, in minutes, and how busy the machine was."""
    took = clock(sum(result.seconds for result in results))
    by_clock = f"{took} by the clock, cells that ran side by side added up"
    busy = [result.cpu_seconds for result in results if result.cpu_seconds is not None]
    loads = [result.load for result in results if result.load is not None]
    if len(busy) < len(results) or not loads:
        return by_clock
    used = f"{clock(sum(busy))} ({clock_unit(sum(busy))}) of processor time"
    resumed = sum(result.resumed for result in results)
    rest = f"; {resumed} of them found work of an earlier run, whose time is not in this"
    load = f"at a load average of {min(loads):.1f} to {max(loads):.1f}"
    return f"{used}, {by_clock}, {load}{rest if resumed else ''}"


def _short(revision: str) -> str:
    """Return the first digits of a commit, and whether the source differed from it."""
    commit, _, changes = revision.partition("+")
    return commit[:10] + (" with changes" if changes else "")


def _each(values: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(values))


def with_block(text: str, preset: Preset, block: str, page: Path) -> str:
    """Return ``text`` with ``block`` between the preset's marks, at its end if they are missing."""
    begin, end = begin_mark(preset), end_mark(preset)
    marked = f"{begin}\n\n{block}\n\n{end}"
    if begin not in text and end not in text:
        return f"{text.rstrip()}\n\n{marked}\n"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise PwmError(f"{page} has only one of the lines {begin!r} and {end!r}: restore the other")
    return f"{before}{marked}{after}"
