# SPDX-License-Identifier: Apache-2.0
"""Returns in the real simulator beside what the policies must beat."""

from __future__ import annotations

from typing import Any

from pwm_core.report import commands
from pwm_core.report.charts import Bar, bar_chart
from pwm_core.report.markup import figure, grid, note, paragraph, table, warning
from pwm_core.report.run_files import POLICY, RunFiles

BEST = "data, best episode"


def evaluation(run: RunFiles) -> str:
    """Return a chart and a verdict per task, and the table of all controllers."""
    if not run.evaluation or not run.evaluation["scores"]:
        return note("The policies have not been evaluated.", commands.evaluate(run.path))
    scores = run.evaluation["scores"]
    tasks = list(dict.fromkeys(score["task"] for score in scores))
    charts = [_chart(task, [s for s in scores if s["task"] == task]) for task in tasks]
    verdicts = [paragraph(text) for text in (_verdict(run, task) for task in tasks) if text]
    rows = [
        [
            score["task"],
            score["controller"],
            f"{score['mean']:.1f}",
            _interval(score),
            f"{min(score['returns']):.1f}",
            f"{max(score['returns']):.1f}",
            str(len(score["returns"])),
        ]
        for score in scores
    ]
    caption = (
        "Return of an episode: sum of rewards, no unit, in the real simulator without exploration "
        "noise. Interval: 95 % bootstrap interval of the mean. The data's rows are its episodes."
    )
    columns = ("task", "controller", "mean", "95 % interval", "lowest", "highest", "episodes")
    shown = [*_stale(run, tasks), *verdicts, grid(charts), _seeds(run)]
    return "".join([*shown, table(columns, rows, caption)])


def _stale(run: RunFiles, tasks: list[str]) -> list[str]:
    """Return a warning for each policy that is not the one evaluated."""
    return [
        warning(f"{task}: the evaluation judged another policy file than the one that lies here.")
        for task in tasks
        if run.policy_file(task) and not run.policy_score(task)
    ]


def _seeds(run: RunFiles) -> str:
    """Return the study over training seeds, if there was one."""
    if not run.seeds:
        return ""
    columns = list(run.seeds[0])
    rows = [
        [f"{value:.1f}" if isinstance(value, float) else str(value) for value in row.values()]
        for row in run.seeds
    ]
    caption = (
        "Over training seeds: mean return of the extracted policy of each seed, their mean and "
        "standard deviation, no unit; the data is the same."
    )
    return table(columns, rows, caption)


def rivals(run: RunFiles, task: str) -> str:
    """Return what the policy of ``task`` is held against, in a few words."""
    best, clone = run.score(task, BEST), _best_clone(run, task)
    parts = [f"best in data {best['mean']:.0f}"] if best else []
    parts += [f"cloning {clone['mean']:.0f}"] if clone else []
    return ", ".join(parts) or "no baselines"


def _best_clone(run: RunFiles, task: str) -> dict[str, Any] | None:
    found = [run.score(task, f"cloning, {data}") for data in ("all data", "best tenth")]
    return max((score for score in found if score), key=lambda s: s["mean"], default=None)


def _verdict(run: RunFiles, task: str) -> str | None:
    policy, best, clone = run.policy_score(task), run.score(task, BEST), _best_clone(run, task)
    if not (policy and best and clone):
        return None
    compared = {"the best episode in its data": best["mean"], "the better clone": clone["mean"]}
    said = " and ".join(
        f"{'above' if policy['mean'] > other else 'NOT above'} {name} ({other:.0f})"
        for name, other in compared.items()
    )
    return f"{task}: the extracted policy's mean return, {policy['mean']:.0f}, is {said}."


def _chart(task: str, scores: list[dict[str, Any]]) -> str:
    bars = [
        Bar(
            score["controller"],
            score["mean"],
            tuple(score["interval"]) if score["interval"] else None,
            score["returns"] if len(score["returns"]) > 1 else (),
            score["controller"] == POLICY,
        )
        for score in scores
    ]
    chart = bar_chart(bars, "return per episode", lambda value: f"{value:.0f}")
    caption = f"{task}: bars are means, whiskers 95 % intervals of the mean, dots single episodes."
    return figure(chart, caption)


def _interval(score: dict[str, Any]) -> str:
    return "{:.1f} – {:.1f}".format(*score["interval"]) if score["interval"] else "–"
