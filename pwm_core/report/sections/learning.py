# SPDX-License-Identifier: Apache-2.0
"""Learning curves of the world model and of the policies."""

from __future__ import annotations

from typing import Any

from pwm_core.pretraining.quality import REWARD_ERROR_LIMIT
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
    latent = quality["latent_error"]
    config = stage.config.get("config", {})
    rows = [
        ["reward error", percent(quality["reward_error"])],
        ["latent error, 1 step", percent(latent[0])],
        [f"latent error, {len(latent)} steps", percent(latent[-1])],
        ["updates", str(config.get("updates", "–"))],
        ["transitions per update", str(config.get("transitions", "–"))],
    ]
    caption = f"The world model as saved. Errors: {RELATIVE}."
    return table(("figure", "value"), rows, caption)


def policies(run: RunFiles) -> str:
    """Return imagined and real return over iterations, per task."""
    command = commands.extract(run.path)
    if not run.policies:
        return note("No policy has been extracted.", command)
    parts = [
        note(f"Extraction of {task} has not ended.", command)
        for task, stage in run.policies.items()
        if not stage.result
    ]
    parts.append(grid([_returns(run, task) for task, s in run.policies.items() if s.metrics]))
    rows = [
        [task, f"{done['imagined_return']:.1f}", _real(done), _gap(done)]
        for task, stage in run.policies.items()
        if stage.result
        for done in [stage.result["record"]["training"]]
    ]
    if rows:
        caption = (
            "Mean return of whole episodes, no unit, at the end of extraction, from the same start "
            "states in the world model and in the real simulator. Gap: imagined above real, share "
            "of the imagined; a policy that exploits its model shows a large one."
        )
        parts.append(table(("task", "imagined", "real", "gap"), rows, caption))
    return "".join(parts)


def _real(done: dict[str, float | None]) -> str:
    real = done["real_return"]
    return "unknown" if real is None else f"{real:.1f}"


def _gap(done: dict[str, float | None]) -> str:
    imagined, real = done["imagined_return"], done["real_return"]
    return percent((imagined - real) / abs(imagined)) if imagined and real is not None else "–"


def _returns(run: RunFiles, task: str) -> str:
    stage, colour = run.policies[task], run.colour(task)
    lines = [
        Line("real", stage.curve("real_return"), colour),
        Line("imagined (dashed)", stage.curve("imagined_return"), colour, dashed=True),
    ]
    chart = line_chart(lines, "iterations", "return per episode")
    caption = f"{task}: solid is the real simulator, dashed what the world model imagines."
    return figure(chart, caption, [(task, colour)])
