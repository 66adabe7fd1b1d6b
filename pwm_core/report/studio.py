# SPDX-License-Identifier: Apache-2.0
"""Make the page's films side by side in worker processes; what fails becomes a remark."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pwm_core.evaluation.score import EXTRACTED
from pwm_core.evaluation.summary import Summary
from pwm_core.progress import ProgressDisplay
from pwm_core.rendering import find_renderer, use_renderer
from pwm_core.report.film import (
    FILM_SIZE,
    SMALL_FILM_SIZE,
    render_episode,
    render_session,
    render_session_gif,
)
from pwm_core.report.run_files import RunFiles
from pwm_core.workers import worker_pool

LARGE_FILMS = 4
"""Up to so many films of episodes are large."""
GIF_LIMIT = 350_000
"""Largest GIF in bytes: it lies in a README."""
NO_RENDERER = (
    "No videos: MuJoCo could not draw without a display here. Install EGL (libegl1 with a driver, "
    "or Mesa's software one) or OSMesa (libosmesa6), then run pwm report again."
)


@dataclass(frozen=True)
class Film:
    """A finished film."""

    data: bytes
    facts: dict[str, Any]
    """What the worker says of it: seconds, and seed and return of an episode."""


@dataclass(frozen=True)
class Films:
    """What could be made, and why the rest could not."""

    session: Film | None = None
    episodes: dict[str, Film] = field(default_factory=dict)
    """By task."""
    gif: Film | None = None
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Job:
    label: str
    function: Callable[..., dict[str, Any]]
    arguments: tuple[Any, ...]
    """All but the last: the file to write."""
    suffix: str


def make_films(run: RunFiles, videos: int, gif: bool) -> Films:
    """Make the films of up to ``videos`` policies and of the live session, and its small GIF."""
    jobs = _jobs(run, videos, gif)
    if not jobs:
        return Films()
    backend = find_renderer()
    if backend is None:
        print(NO_RENDERER, file=sys.stderr)
        return Films(problems=(NO_RENDERER,))
    made, problems = _run(jobs, backend)
    for problem in problems:
        print(problem, file=sys.stderr)
    episodes = {task: made[task] for task in run.policies if task in made}
    return Films(made.get("live session"), episodes, made.get("GIF"), tuple(problems))


def _jobs(run: RunFiles, videos: int, gif: bool) -> list[_Job]:
    jobs = []
    if videos and run.live:
        jobs.append(_Job("live session", render_session, (run.live_path, run.names), ".mp4"))
    if gif and run.live:
        arguments = (run.live_path, run.names, GIF_LIMIT)
        jobs.append(_Job("GIF", render_session_gif, arguments, ".gif"))
    filmed = _filmed(run, videos)
    size = FILM_SIZE if len(filmed) <= LARGE_FILMS else SMALL_FILM_SIZE
    for task in filmed:
        if policy := run.policy_file(task):
            score = run.policy_score(task)
            seed = score.seeds[0] if score else 0
            jobs.append(_Job(task, render_episode, (policy, seed, run.names, size), ".mp4"))
    return jobs


def _filmed(run: RunFiles, videos: int) -> list[str]:
    """Return the tasks to film: where there are too many, from the best score to the worst."""
    tasks = [task for task in run.policies if run.policy_file(task)]
    if len(tasks) <= videos:
        return tasks
    summaries = {task: run.summary(task, EXTRACTED) for task in tasks}
    ranked = sorted(tasks, key=lambda task: -_score(summaries[task]))
    places = {round(i * (len(tasks) - 1) / max(videos - 1, 1)) for i in range(videos)}
    return [task for place, task in enumerate(ranked) if place in places]


def _score(summary: Summary | None) -> float:
    """Return a figure to rank tasks by; tasks without a score come last."""
    return summary.score if summary and summary.score is not None else -1.0


def _run(jobs: list[_Job], backend: str) -> tuple[dict[str, Film], list[str]]:
    made, problems = {}, []
    workers = min(len(jobs), os.cpu_count() or 1)
    with (
        tempfile.TemporaryDirectory(prefix="pwm-report-") as folder,
        # Fresh interpreters: the GL backend is chosen when MuJoCo is imported.
        worker_pool(workers, partial(use_renderer, backend)) as pool,
        ProgressDisplay("videos", len(jobs), "films") as progress,
    ):
        files = [Path(folder) / f"{index}{job.suffix}" for index, job in enumerate(jobs)]
        futures: list[Future[dict[str, Any]]] = [
            pool.submit(job.function, *job.arguments, file)
            for job, file in zip(jobs, files, strict=True)
        ]
        for count, (job, file, future) in enumerate(zip(jobs, files, futures, strict=True), 1):
            try:
                facts = future.result()
                made[job.label] = Film(file.read_bytes(), facts)
            except Exception as error:  # a film is no reason to lose the page
                problems.append(f"No film of {job.label}: {type(error).__name__}: {error}")
            progress.update(count, {"now": job.label})
    return made, problems
