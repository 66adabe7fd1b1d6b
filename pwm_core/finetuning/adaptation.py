# SPDX-License-Identifier: Apache-2.0
"""Fine-tuning in rounds in a simulator, as a robot does it: act, adapt, watch, roll back."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pwm_core.data.behaviours.policy import StoredPolicy
from pwm_core.data.dataset import DatasetWriter, TaskInfo
from pwm_core.files import write_atomically
from pwm_core.finetuning.config import FinetuningConfig
from pwm_core.finetuning.runner import Finetuning, Proposal, Sources
from pwm_core.finetuning.trial import better, judge
from pwm_core.limits import NOT_NEGATIVE, ONE_OR_MORE
from pwm_core.tasks import Task

SEED = 30_000
"""Episodes of adaptation have other seeds than those of evaluation."""


@dataclass(frozen=True)
class AdaptationConfig:
    """How often a robot adapts, and how much it acts before."""

    rounds: int = 3
    """Candidates proposed."""
    watched: int = 3
    """Episodes of a round without noise: their returns are what decides."""
    exploring: int = 3
    """Episodes of a round at each level of ``noise``."""
    noise: tuple[float, ...] = (0.2, 0.4)
    """Standard deviations of what is added to the actions, which are in [-1, 1]."""
    finetuning: FinetuningConfig = field(default_factory=FinetuningConfig)
    """How each candidate is made."""

    def __post_init__(self) -> None:
        ONE_OR_MORE.require(self, "rounds", "watched")
        NOT_NEGATIVE.require(self, "exploring", "noise")


@dataclass(frozen=True)
class Policies:
    """A policy and the world model that it was extracted from."""

    policy: Path
    world_model: Path
    returns: tuple[float, ...] = ()
    """What it earned on the robot while it was watched, or the policy before it if that was more:
    the next candidate is held against them."""


@dataclass(frozen=True)
class Round:
    """What came of one proposal."""

    proposal: Proposal
    episodes: int
    """Episodes recorded until then."""
    kept: bool
    """Whether the candidate runs on: accepted by the gate and, watched, not worse."""
    returns: tuple[float, ...]
    """Of the candidate, watched; empty for one that the gate refused."""


@dataclass(frozen=True)
class Adaptation:
    """What runs at the end, and how it came to that."""

    running: Policies
    rounds: Sequence[Round]


def adapt(
    task: Task,
    start: Policies,
    offline: Path,
    out: Path,
    config: AdaptationConfig,
    report: Callable[[Round], None] = lambda done: None,
) -> Adaptation:
    """Adapt ``start`` to ``task``, whose simulator is the robot; ``out/online`` is the recording.

    Each round records episodes of whatever acts, proposes a candidate to the running policy, and
    lets it act from then on if the gate accepts it. One that earns less than what ran before it
    is rolled back as soon as it was watched. Called again, it goes on from where it stopped.
    """
    recording = _Recording(task, out / "online", config)
    running, rounds = replace(start, returns=recording.watch(start.policy)), []
    recording.explore(running.policy)
    for number in range(config.rounds):
        folder = out / f"round{number}"
        proposal = Proposal.stored(folder)
        if proposal is None:
            sources = Sources(
                running.world_model, running.policy, recording.path, offline, start.policy
            )
            proposal = Finetuning(sources, folder, config.finetuning).run()
        candidate, kept = Policies(proposal.policy, proposal.world_model), False
        if proposal.accepted:
            candidate = replace(candidate, returns=recording.watch(candidate.policy))
            kept = _stays(folder, candidate, running)
        done = Round(proposal, recording.episodes, kept, candidate.returns)
        if kept:
            running = replace(candidate, returns=better(candidate.returns, running.returns))
        rounds.append(done)
        report(done)
        if number + 1 < config.rounds:
            acting = candidate if proposal.accepted else running  # refuted beliefs teach most
            recording.explore(acting.policy)
    return Adaptation(running, rounds)


def _stays(folder: Path, candidate: Policies, running: Policies) -> bool:
    """Return whether a watched candidate stays, as it was decided if it was decided before.

    What came after went by that decision, whatever the rule may be by now.
    """
    file = folder / "trial.json"
    if not file.is_file():
        judgement = judge(candidate.returns, running.returns)
        write_atomically(file, json.dumps(judgement.to_json(), indent=1))
    return bool(json.loads(file.read_bytes())["passed"])


class _Recording:
    """Episodes of the task on the robot, written as they are played; none is played twice."""

    def __init__(self, task: Task, path: Path, config: AdaptationConfig) -> None:
        self.path, self.episodes = path, 0
        self._task, self._config = task, config
        self._writer = DatasetWriter(path, [TaskInfo.of(task)])

    def watch(self, policy: Path) -> tuple[float, ...]:
        """Play episodes without noise; return what they earned."""
        return self._play(policy, 0.0, self._config.watched)

    def explore(self, policy: Path) -> None:
        """Play episodes with noise."""
        for noise in self._config.noise:
            self._play(policy, noise, self._config.exploring)

    def _play(self, policy: Path, noise: float, count: int) -> tuple[float, ...]:
        """Return the returns of the next ``count`` episodes, the ones there are as they were."""
        first, self.episodes = self.episodes, self.episodes + count
        if len(self._writer.episodes) < self.episodes:
            self._record(StoredPolicy.open(policy, noise), first, count)
        return tuple(e.total_reward for e in self._writer.episodes[first : self.episodes])

    def _record(self, behaviour: StoredPolicy, first: int, count: int) -> None:
        present = len(self._writer.episodes) - first
        for number, episode in enumerate(behaviour.collect(self._task, count, SEED + first)):
            if number >= present:
                self._writer.append(
                    self._task.name,
                    behaviour.name,
                    first + number,
                    episode.observation,
                    episode.action,
                    episode.reward,
                    episode.terminated,
                    episode.success,
                )
