# SPDX-License-Identifier: Apache-2.0
"""The data, the time each stage took, and hashes of everything."""

from __future__ import annotations

from collections.abc import Iterator

from pwm_core.files import sha256
from pwm_core.progress import clock, clock_unit
from pwm_core.report import commands
from pwm_core.report.charts import Bar, bar_chart
from pwm_core.report.markup import figure, note, table
from pwm_core.report.run_files import RunFiles


def data(run: RunFiles) -> str:
    """Return the table of behaviours."""
    if not run.behaviours:
        return note("There is no readable data.", commands.collect(run.path))
    columns = list(run.behaviours[0])
    rows = [
        [f"{value:.1f}" if isinstance(value, float) else f"{value}" for value in row.values()]
        for row in run.behaviours
    ]
    caption = (
        "Episodes and transitions (decisions) per behaviour that chose the actions; mean and best "
        "return per episode, no unit. mpc-X: sampling MPC on the true dynamics with noise X on the "
        "executed action."
    )
    return table(columns, rows, caption)


def stage_times(run: RunFiles) -> str:
    """Return how long each stage took."""
    if not run.stage_seconds:
        return note("Stage times were not recorded.", commands.demo())
    bars = [Bar(name, seconds) for name, seconds in run.stage_seconds]
    total = sum(seconds for _, seconds in run.stage_seconds)
    chart = bar_chart(bars, "wall time (s)", lambda value: f"{value:.1f} s")
    caption = f"Wall time per stage in seconds; all together {clock(total)} ({clock_unit(total)})."
    return f'<div class="half">{figure(chart, caption)}</div>'


def provenance(run: RunFiles) -> str:
    """Return hashes of data, weights and bundles, and what each was made from."""
    rows = list(_rows(run))
    parts = []
    if rows:
        caption = (
            "First 16 digits of the SHA-256 of each file (for the dataset of header and episode "
            "table, which holds all checksums), its size, the source revision that made it, and "
            "whether the inputs it names are the files that lie here now."
        )
        columns = ("file", "size", "SHA-256", "revision", "inputs")
        parts.append(table(columns, rows, caption))
    if not run.bundles:
        parts.append(note("No ONNX bundle was exported.", commands.export(run.path)))
    return "".join(parts)


def _rows(run: RunFiles) -> Iterator[list[str]]:
    present = {}
    if run.dataset:
        present["dataset"] = run.dataset.fingerprint()
        size = sum(file.stat().st_size for file in run.data_path.iterdir())
        yield ["data", _size(size), present["dataset"][:16], "–", "–"]
    for stage in run.stages:
        name = "world_model" if stage is run.world_model else "policy"
        file = stage.path / f"{name}.safetensors"
        if stage.result:
            digest = sha256(file)
            present.setdefault(name, digest)
            yield [
                str(file.relative_to(run.path)),
                _size(file.stat().st_size),
                digest[:16],
                short_revision(stage.config.get("git", "–")),
                _inputs(stage.config.get("inputs", {}), present),
            ]
    for file in run.bundles:
        yield [
            str(file.relative_to(run.path)),
            _size(file.stat().st_size),
            sha256(file)[:16],
            "in the bundle",
            "in the bundle",
        ]


def _inputs(recorded: dict[str, str], present: dict[str, str]) -> str:
    states = [
        f"{name} {'matches' if present.get(name) == digest else 'differs'}"
        for name, digest in recorded.items()
    ]
    return ", ".join(states) or "–"


def short_revision(revision: str) -> str:
    """Return a git revision with ten digits, ``+changes`` kept."""
    commit, plus, changes = revision.partition("+")
    return commit[:10] + plus + changes


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"
