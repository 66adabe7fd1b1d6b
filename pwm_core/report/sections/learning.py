# SPDX-License-Identifier: Apache-2.0
"""Learning curves of the world model and of the policies."""

from __future__ import annotations

from typing import Any

from pwm_core.pretraining.quality import REWARD_ERROR_LIMIT, quality_row, quality_rows, too_poor
from pwm_core.report import commands
from pwm_core.report.charts import Line, line_chart, percent
from pwm_core.report.markup import figure, grid, note, table
from pwm_core.report.run_files import RunFiles, Stage

RELATIVE = "squared error / variance of what is predicted, on held-out episodes"


def world_model(run: RunFiles) -> str:
    """Return the world model's errors over updates and over the horizon."""
    stage, command = run.world_model, commands.pretrain(run.path)
    if not stage:
        return note("No world model has been trained.", command)
    parts = []
    if not stage.result:
        parts.append(note("World-model training has not ended.", command))
    latent = stage.curve("latent_error")
    if latent:
        parts.append(grid([_errors(stage, latent), _horizon(latent)]))
    elif stage.result:
        parts.append(note("The learning curve (metrics.jsonl) is missing.", command))
    if stage.result:
        parts.append(_quality(stage, stage.result["quality"]))
    return "".join(parts)


def _errors(stage: Stage, latent: list[tuple[float, list[float]]]) -> str:
    steps = len(latent[-1][1])
    lines = [
        Line("reward error", stage.curve("reward_error"), 0),
        Line(f"latent error after {steps} steps", [(s, e[-1]) for s, e in latent], 1),
        Line("latent error after 1 step", [(s, e[0]) for s, e in latent], 2),
    ]
    limit = REWARD_ERROR_LIMIT, f"trusted reward error: {percent(REWARD_ERROR_LIMIT)}"
    chart = line_chart(lines, "updates", "relative error", log=True, limit=limit, number=percent)
    caption = f"Open-loop errors while training: {RELATIVE}; logarithmic."
    return figure(chart, caption, [(line.label, line.colour) for line in lines])


def _horizon(latent: list[tuple[float, list[float]]]) -> str:
    chosen = dict([latent[0], latent[len(latent) // 2], latent[-1]])
    lines = [
        Line(f"after {step:.0f} updates", list(enumerate(errors, start=1)), colour)
        for colour, (step, errors) in zip((5, 4, 0), chosen.items(), strict=False)
    ]
    chart = line_chart(lines, "steps predicted ahead", "latent error", log=True, number=percent)
    caption = f"Open-loop latent error over the horizon: {RELATIVE}; logarithmic."
    return figure(chart, caption, [(line.label, line.colour) for line in lines])


def _quality(stage: Stage, quality: dict[str, Any]) -> str:
    config = stage.config.get("config", {})
    rows = [
        *([name, value] for name, value in quality_row(quality).items()),
        ["updates", str(config.get("updates", "–"))],
        ["transitions per update", str(config.get("transitions", "–"))],
    ]
    caption = f"The world model as saved. Errors: {RELATIVE}."
    return table(("figure", "value"), rows, caption) + _task_errors(quality.get("tasks", {}))


def _task_errors(tasks: dict[str, dict[str, Any]]) -> str:
    """Return a table of the errors of each task, the worst first."""
    if len(tasks) < 2:
        return ""
    ranked = sorted(tasks.items(), key=lambda item: -(item[1]["reward_error"] or 0.0))
    rows = quality_rows([quality for _, quality in ranked])
    cells = [
        [task, *row.values(), "no" if too_poor(quality) else "yes"]
        for (task, quality), row in zip(ranked, rows, strict=True)
    ]
    caption = (
        f"Errors of the world model on each task: {RELATIVE}. Trusted: reward error known and up "
        f"to {percent(REWARD_ERROR_LIMIT)}."
    )
    return table(("task", *rows[0], "trusted"), cells, caption)


def policies(run: RunFiles) -> str:
    """Return imagined and real return over iterations, per task, and what the runs show."""
    command = commands.extract(run.path)
    if not run.policies:
        return note("No policy has been extracted.", command)
    parts = [
        note(f"Extraction of {task} has not ended.", command)
        for task, stages in run.trainings.items()
        if not all(stage.result for stage in stages)
    ]
    parts.append(grid([_returns(run, task) for task, s in run.policies.items() if s.metrics]))
    return "".join([*parts, _gaps(run), _diagnosis(run)])


def _gaps(run: RunFiles) -> str:
    rows = [
        [task, seed_of(stage), f"{done['imagined_return']:.1f}", _real(done), _gap(done)]
        for task, stages in run.trainings.items()
        for stage in stages
        if stage.result
        for done in [stage.result["record"]["training"]]
    ]
    if not rows:
        return ""
    caption = (
        "Mean return of whole episodes, no unit, at the end of extraction, from the same start "
        "states in the world model and in the real simulator. Gap: imagined above real, share "
        "of the imagined; a policy that exploits its model shows a large one."
    )
    return table(("task", "seed", "imagined", "real", "gap"), rows, caption)


def _diagnosis(run: RunFiles) -> str:
    """Return what is wrong with the extractions, with the advice that goes with it."""
    found: dict[tuple[str, str], list[tuple[str, dict[str, str]]]] = {}
    for task, stages in run.trainings.items():
        for stage in stages:
            for finding in stage.result["record"].get("diagnosis", []) if stage.result else []:
                entry = seed_of(stage), finding
                found.setdefault((task, finding["signature"]), []).append(entry)
    if not found:
        return ""
    rows = [
        [
            task,
            signature,
            ", ".join(seed for seed, _ in entries),
            first["evidence"],
            first["advice"],
        ]
        for (task, signature), entries in found.items()
        for first in [entries[0][1]]
    ]
    caption = "Failure signatures found in the extractions; the evidence is the first seed's."
    columns = ("task", "signature", "seeds", "evidence", "advice")
    return "<h3>Diagnosis</h3>" + table(columns, rows, caption)


def seed_of(stage: Stage) -> str:
    """Return the training seed of a run as text."""
    return str(stage.config.get("config", {}).get("seed", "–"))


def _real(done: dict[str, float | None]) -> str:
    real = done["real_return"]
    return "unknown" if real is None else f"{real:.1f}"


def _gap(done: dict[str, float | None]) -> str:
    imagined, real = done["imagined_return"], done["real_return"]
    return percent((imagined - real) / abs(imagined)) if imagined and real is not None else "–"


def _returns(run: RunFiles, task: str) -> str:
    stages = run.trainings[task]
    colours = [run.colour(task)] if len(stages) == 1 else list(range(len(stages)))
    lines = [
        Line(name, stage.curve(key), colour, dashed=dashed)
        for stage, colour in zip(stages, colours, strict=True)
        for name, key, dashed in (
            ("real", "real_return", False),
            ("imagined (dashed)", "imagined_return", True),
        )
    ]
    chart = line_chart(lines, "iterations", "return per episode")
    caption = f"{task}: solid is the real simulator, dashed what the world model imagines."
    names = [task] if len(stages) == 1 else [f"seed {seed_of(stage)}" for stage in stages]
    return figure(chart, caption, list(zip(names, colours, strict=True)))
