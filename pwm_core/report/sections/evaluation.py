# SPDX-License-Identifier: Apache-2.0
"""Returns in the real simulator beside what the policies must beat."""

from __future__ import annotations

from pwm_core.evaluation.score import EXTRACTED, Score
from pwm_core.evaluation.summary import AUTHORS, Summary
from pwm_core.report import commands
from pwm_core.report.charts import Bar, bar_chart
from pwm_core.report.markup import figure, grid, note, paragraph, table, warning
from pwm_core.report.run_files import RunFiles
from pwm_core.report.sections.overall import overall

MEAN, BEST = "data, mean", "data, best episode"
CLONES = ("cloning, all data", "cloning, best tenth", "cloning, one for all tasks")
SEVERAL = 3
"""From so many tasks on there are figures over tasks."""
FEW = 4
"""Up to so many tasks each have a chart with all controllers."""


def evaluation(run: RunFiles) -> str:
    """Return charts, verdicts, and the table of all controllers."""
    if not run.scores:
        return note("The policies have not been evaluated.", commands.evaluate(run.path))
    tasks = list(dict.fromkeys(score.task for score in run.scores))
    shown = _stale(run, tasks)
    if len(tasks) >= SEVERAL:
        shown.append(overall(run.summaries))
    if len(tasks) <= FEW:
        shown += [paragraph(text) for text in (_verdict(run, task) for task in tasks) if text]
        shown.append(grid([_chart(run, task) for task in tasks]))
    else:
        shown += [paragraph(text) for text in counts(run)]
    return "".join([*shown, _seeds(run), _table(run.summaries)])


def _table(summaries: list[Summary]) -> str:
    tasks = list(dict.fromkeys(summary.task for summary in summaries))
    rows = [
        [
            summary.task,
            summary.controller,
            str(summary.training_seeds),
            str(summary.episodes),
            f"{summary.mean:.1f}",
            "{:.1f} – {:.1f}".format(*summary.interval) if summary.interval else "–",
            "–" if summary.success is None else f"{summary.success:.0%}",
            "–" if summary.score is None else f"{summary.score:.3f}",
            "{:.2f} / {:.2f}".format(*summary.decision_ms) if summary.decision_ms else "–",
        ]
        for summary in sorted(summaries, key=lambda s: tasks.index(s.task))
    ]
    caption = (
        "Return of an episode: sum of rewards, no unit, in the real simulator without exploration "
        "noise. Interval: 95 % bootstrap interval of the mean over training seeds and episodes. "
        "Success: share of episodes solved at their end. Score: return / 1000 for DM Control, "
        "success for Meta-World. Time: median / 99th percentile per decision on the evaluating "
        "machine, in ms. The data's rows are its episodes; published: the authors' scores."
    )
    columns = (
        *("task", "controller", "seeds", "episodes", "mean", "95 % interval", "success"),
        *("score", "decision (ms)"),
    )
    return table(columns, rows, caption)


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
    best, clone, authors = (
        run.summary(task, BEST),
        best_clone(run, task),
        run.summary(task, AUTHORS),
    )
    parts = [f"best in data {best.mean:.0f}"] if best else []
    parts += [f"cloning {clone.mean:.0f}"] if clone else []
    parts += [f"published {authors.mean:.0f}"] if authors else []
    return ", ".join(parts) or "no baselines"


def best_clone(run: RunFiles, task: str) -> Summary | None:
    """Return the best of the clones of ``task``."""
    found = [run.summary(task, name) for name in CLONES]
    return max((clone for clone in found if clone), key=lambda s: s.mean, default=None)


def _verdict(run: RunFiles, task: str) -> str | None:
    policy, best, clone = (
        run.summary(task, EXTRACTED),
        run.summary(task, BEST),
        best_clone(run, task),
    )
    if not (policy and best and clone):
        return None
    compared = {"the best episode in its data": best.mean, "the best clone": clone.mean}
    said = " and ".join(
        f"{'above' if policy.mean > other else 'NOT above'} {name} ({other:.0f})"
        for name, other in compared.items()
    )
    return f"{task}: the extracted policy's mean return, {policy.mean:.0f}, is {said}."


def counts(run: RunFiles) -> list[str]:
    """Return on how many tasks the policies beat what they are held against, and where not."""
    said = []
    for name, controller, margin in (
        ("the mean of their data by half", MEAN, 0.5),
        ("the best episode of their data", BEST, 0.0),
        ("cloning of the best tenth", "cloning, best tenth", 0.0),
        ("the authors' published score", AUTHORS, 0.0),
    ):
        pairs = [
            (mine.task, mine.mean > other.mean + margin * abs(other.mean))
            for mine in run.summaries
            if mine.controller == EXTRACTED and (other := run.summary(mine.task, controller))
        ]
        failed = [task for task, beaten in pairs if not beaten]
        if pairs:
            text = f"{len(pairs) - len(failed)} of {len(pairs)} policies beat {name}"
            said.append(f"{text}; not {', '.join(failed)}." if failed else f"{text}.")
    return said


def _chart(run: RunFiles, task: str) -> str:
    bars = [
        Bar(
            summary.controller,
            summary.mean,
            summary.interval,
            _dots([s for s in run.scores if (s.task, s.controller) == (task, summary.controller)]),
            summary.controller == EXTRACTED,
        )
        for summary in run.summaries
        if summary.task == task
    ]
    chart = bar_chart(bars, "return per episode", lambda value: f"{value:.0f}")
    caption = f"{task}: bars are means, whiskers 95 % intervals of the mean, dots single episodes."
    return figure(chart, caption)


def _dots(scores: list[Score], most: int = 200) -> list[float]:
    """Return the single returns, evenly fewer where there are many; none for a single figure."""
    returns = [value for score in scores for value in score.returns]
    return returns[:: len(returns) // most + 1] if len(returns) > 1 else []
