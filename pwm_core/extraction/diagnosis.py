# SPDX-License-Identifier: Apache-2.0
"""What went wrong in an extraction: the failure signatures of the paper's notes, from its curve.

A curve is the run's metrics, a line per evaluation. Scores are real returns, or the model's own
estimate where no simulator is there to tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pwm_core.data.dataset import Episode
from pwm_core.pretraining.quality import too_poor

Curve = Sequence[Mapping[str, Any]]

FIGURES = ("real_return", "imagined_return", "gap", "success")
"""Figures of an evaluation that are kept with the policy."""
GAP_LIMIT = 0.25
"""Imagined return above the real one, as a share of the imagined, that counts as exploitation."""
ENOUGH = 5
"""Evaluations below which the shape of a curve tells nothing."""
EARLY = 1 / 3
"""Share of the run that is early."""
EARLY_GAIN = 0.95
"""Share of all gain made early that makes a plateau."""
LATE = 1 / 4
"""Share of the run that is late."""
LATE_GAIN = 0.15
"""Share of all gain made late that shows a policy which still learns."""
NOISE_LIMIT = 0.85
"""Standard error of the actor's gradient over its norm, median of the run's first half; pure noise
gives 1, a run that solved its task 0.55."""


@dataclass(frozen=True)
class DataReturns:
    """What the episodes of the task's data earned."""

    mean: float
    best: float

    @classmethod
    def of(cls, episodes: Sequence[Episode]) -> DataReturns:
        """Read them from the episode table."""
        returns = [episode.total_reward for episode in episodes]
        return cls(float(np.mean(returns)), float(np.max(returns)))


@dataclass(frozen=True)
class Finding:
    """A signature that a run shows."""

    signature: str
    evidence: str
    advice: str

    def __str__(self) -> str:
        return f"{self.signature}: {self.evidence}. {self.advice}"


def gap(figures: Mapping[str, Any]) -> float | None:
    """Return imagined less real return, ``None`` where the real one is unknown."""
    real = figures["real_return"]
    return None if real is None else figures["imagined_return"] - real


def exploited(training: Mapping[str, Any]) -> str | None:
    """Return how far imagination left reality, or ``None``, also where no real return is known."""
    imagined, real = training["imagined_return"], training["real_return"]
    if real is None or imagined - real <= GAP_LIMIT * abs(imagined):
        return None
    return f"the policy exploits the world model: imagined return {imagined:.0f}, real {real:.0f}"


def diagnose(
    task: str,
    curve: Curve,
    training: Mapping[str, Any],
    data: DataReturns,
    quality: Mapping[str, Any],
) -> list[Finding]:
    """Return the signatures that a run of ``task`` shows.

    ``training`` are the figures of the policy that was kept, ``quality`` those of the world model.
    """
    found = [
        model_exploitation(training),
        early_plateau(curve, data),
        gradient_variance(curve, data),
        slow_convergence(curve),
        poor_performance(task, training, data, quality),
    ]
    return [finding for finding in found if finding]


def model_exploitation(training: Mapping[str, Any]) -> Finding | None:
    """Imagined return far above the real one."""
    problem = exploited(training)
    if problem is None:
        return None
    return Finding(
        "model exploitation",
        problem.partition(": ")[2],
        "Train the world model longer or on more varied data, penalise uncertainty "
        "(pre-train with --dynamics-heads 3, extract with --uncertainty-penalty 0.3), or stop "
        "early (--patience 3 --keep best)",
    )


def early_plateau(curve: Curve, data: DataReturns) -> Finding | None:
    """All gain came early, and the data itself holds better episodes."""
    scores = _scores(curve)
    if len(scores) < ENOUGH or max(scores) >= data.best:
        return None
    early, total = _gain(curve, scores, EARLY), max(scores) - scores[0]
    if early < EARLY_GAIN * total:
        return None
    return Finding(
        "early plateau",
        f"nothing was gained after {EARLY:.0%} of the run, at {max(scores):.0f}, "
        f"while the data's best episode has {data.best:.0f}",
        "The world model is too little regularised or trained: train it longer, "
        "with SimNorm latents",
    )


def gradient_variance(curve: Curve, data: DataReturns) -> Finding | None:
    """The actor's gradient is mostly noise early in the run, and the data holds better episodes.

    At an optimum the gradient is noise anyway.
    """
    if len(curve) < ENOUGH or max(_scores(curve)) >= data.best:
        return None
    last = curve[-1]["step"]
    noise = [
        line["gradient_noise/actor"]
        for line in curve
        if "gradient_noise/actor" in line and line["step"] <= last / 2
    ]
    if not noise or not np.median(noise) > NOISE_LIMIT:
        return None
    return Finding(
        "high gradient variance",
        f"the standard error of the actor's gradient is {np.median(noise):.0%} of its length",
        "The world model is not smooth enough: use SimNorm latents, a shorter horizon, "
        "or a larger batch",
    )


def slow_convergence(curve: Curve) -> Finding | None:
    """The imagined return still rises when the run ends."""
    imagined = [line["imagined_return"] for line in curve]
    if len(imagined) < ENOUGH or curve[-1]["step"] == 0:
        return None
    total = max(imagined) - imagined[0]
    late = total - _gain(curve, imagined, 1 - LATE)
    if total <= 0 or late < LATE_GAIN * total:
        return None
    return Finding(
        "slow convergence",
        f"{late / total:.0%} of all that was gained in imagination came in the last {LATE:.0%} "
        "of the run",
        "Run more iterations; try a smaller batch or another learning rate",
    )


def poor_performance(
    task: str, training: Mapping[str, Any], data: DataReturns, quality: Mapping[str, Any]
) -> Finding | None:
    """The policy earns less in the simulator than its data does on average."""
    real = training["real_return"]
    if real is None or real >= data.mean:
        return None
    under_trained = too_poor(quality, task)
    return Finding(
        "poor performance",
        f"real return {real:.0f}, below the data's mean of {data.mean:.0f}",
        "The world model is under-trained: train it longer"
        if under_trained
        else "The data may not cover what the task needs: collect more varied episodes",
    )


def _scores(curve: Curve) -> list[float]:
    known = all(line["real_return"] is not None for line in curve)
    return [line["real_return" if known else "imagined_return"] for line in curve]


def _gain(curve: Curve, scores: Sequence[float], share: float) -> float:
    """Return what the best score of the first ``share`` of the run is above the first score."""
    steps = np.array([line["step"] for line in curve])
    return float(np.max(np.array(scores)[steps <= share * steps[-1]]) - scores[0])
