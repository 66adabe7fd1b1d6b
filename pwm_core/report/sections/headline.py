# SPDX-License-Identifier: Apache-2.0
"""What was run, when and where, and the figures to see first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from html import escape

import numpy as np

from pwm_core.evaluation.score import EXTRACTED
from pwm_core.evaluation.summary import AUTHORS
from pwm_core.extraction.diagnosis import exploited
from pwm_core.pretraining.quality import REWARD_ERROR_LIMIT, too_poor
from pwm_core.progress import clock, clock_unit
from pwm_core.report.charts import percent
from pwm_core.report.markup import tiles, warning
from pwm_core.report.run_files import RunFiles
from pwm_core.report.sections.data import short_revision
from pwm_core.report.sections.evaluation import FEW, best_clone, rivals
from pwm_core.report.sections.ros import agreement

Tile = tuple[str, str, str]


def headline(run: RunFiles, anchors: list[tuple[str, str]]) -> str:
    """Return title, origin, links to the sections, and tiles."""
    links = "".join(f'<a href="#{escape(a)}">{escape(title)}</a>' for a, title in anchors)
    about = f"One world model, {', '.join(run.tasks)}" if run.tasks else "Nothing recorded yet"
    lines = "".join(f'<p class="sub">{escape(line)}</p>' for line in (about, _origin(run)) if line)
    return (
        f"<h1>PWM Deploy: {escape(run.path.resolve().name)}</h1>{lines}<nav>{links}</nav>"
        + tiles(list(_tiles(run)))
        + "".join(warning(text) for text in [*run.damaged(), *doubts(run)])
    )


def doubts(run: RunFiles) -> list[str]:
    """Return why the model or a policy should not be trusted."""
    found = _doubts_of_the_model(run)
    for task, stages in run.trainings.items():
        done = [stage.result["record"]["training"] for stage in stages if stage.result]
        problems = [problem for problem in map(exploited, done) if problem]
        if problems:
            of = f" ({len(problems)} of {len(done)} training seeds)" if len(done) > 1 else ""
            found.append(f"{task}: {problems[0]}{of}")
    return found


def _doubts_of_the_model(run: RunFiles) -> list[str]:
    """Return each thing that is wrong with the world model, with the run's tasks it is true of."""
    if not (run.world_model and run.world_model.result):
        return []
    quality = run.world_model.result["quality"]
    tasks: Sequence[str | None] = run.tasks or [None]
    found: dict[str, list[str]] = {}
    for task in tasks:
        if problem := too_poor(quality, task):
            found.setdefault(problem, ["world model"]).extend([task] if task else [])
    return [f"{', '.join(subjects)}: {problem}" for problem, subjects in found.items()]


def _origin(run: RunFiles) -> str:
    parts = []
    if run.times:
        first, last = (datetime.fromtimestamp(t, timezone.utc) for t in run.times)
        end = f"{last:%H:%M}" if first.date() == last.date() else f"{last:%Y-%m-%d %H:%M}"
        parts.append(f"{first:%Y-%m-%d %H:%M} – {end} UTC")
    configs = [stage.config for stage in run.stages if stage.config]
    seeds = sorted({c["config"]["seed"] for c in configs if "seed" in c.get("config", {})})
    if seeds:
        parts.append(f"training seed {', '.join(map(str, seeds))}")
    revisions = dict.fromkeys(c["git"] for c in configs if "git" in c)
    if revisions:
        parts.append(f"revision {', '.join(short_revision(revision) for revision in revisions)}")
    if machine := next((c["machine"] for c in configs if "machine" in c), None):
        parts.append(
            f"{machine['cpus']} CPUs, {machine['cuda'] or 'no GPU'}, {machine['platform']}"
        )
        parts.append(f"Python {machine['python']}, torch {machine['torch']}")
    return " · ".join(parts)


def _tiles(run: RunFiles) -> Iterator[Tile]:
    yield from _policy_tiles(run)
    if run.world_model and run.world_model.result:
        error = run.world_model.result["quality"]["reward_error"]
        remark = f"held-out reward error; trusted up to {percent(REWARD_ERROR_LIMIT)}"
        yield "World model", "unknown" if error is None else percent(error), remark
    yield from _ros_tiles(run)
    if run.stage_seconds:
        total = sum(seconds for _, seconds in run.stage_seconds)
        yield "Whole path", clock(total), f"{clock_unit(total)}, {len(run.stage_seconds)} stages"


def _policy_tiles(run: RunFiles) -> Iterator[Tile]:
    judged = [s for s in run.summaries if s.controller == EXTRACTED]
    if len(judged) <= FEW:
        for mine in judged:
            seeds = f" of {mine.training_seeds} seeds" if mine.training_seeds > 1 else ""
            yield mine.task, f"{mine.mean:.0f}", f"mean return{seeds}; {rivals(run, mine.task)}"
        return
    beaten = [mine.mean > clone.mean for mine in judged if (clone := best_clone(run, mine.task))]
    if beaten:
        yield "Better than the best clone", f"{sum(beaten)} of {len(beaten)}", "tasks, mean return"
    scores = [(mine.score, run.summary(mine.task, AUTHORS)) for mine in judged]
    both = [(mine, authors.score) for mine, authors in scores if mine is not None and authors]
    if both:
        remark = f"over {len(both)} tasks; the authors' {np.mean([a for _, a in both]):.3f}"
        yield "Mean score", f"{np.mean([mine for mine, _ in both]):.3f}", remark


def _ros_tiles(run: RunFiles) -> Iterator[Tile]:
    if run.live:
        node, swaps = run.live["policy_node"], run.live["swaps"]
        if node.get("rate_hz"):
            missed = f"{node.get('missed_ticks', 0)} of {node['ticks']} ticks missed"
            remark = f"p99 period {node['period_p99_ms']:.1f} ms; {missed}"
            yield "Control rate over ROS 2", f"{node['rate_hz']:.2f} Hz", remark
        if swaps:
            slowest = max(swap["latency_seconds"] for swap in swaps) * 1e3
            remark = f"request to first action, slowest of {len(swaps)}"
            yield "Policy swap", f"{slowest:.0f} ms", remark
    difference = agreement(run)
    if difference is not None:
        remark = "relative difference of return, same seed, lockstep"
        yield "ROS 2 against pwm eval", f"{difference:.1g}", remark
