# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pwm_core.data.dataset import Dataset
from pwm_core.extraction.store import TrainedPolicy
from pwm_core.finetuning import adaptation
from pwm_core.finetuning.adaptation import AdaptationConfig, Policies, Round, adapt
from pwm_core.finetuning.config import FinetuningConfig
from pwm_core.finetuning.gate import Verdict
from pwm_core.finetuning.runner import Proposal
from pwm_core.tasks import Task, get_task
from pwm_core.tasks.shift import Shift

CONFIG = AdaptationConfig(
    rounds=2,
    watched=2,
    exploring=1,
    finetuning=FinetuningConfig(
        updates=2, transitions=64, horizon=4, iterations=1, critic_iterations=1
    ),
)


@pytest.fixture
def start(tiny_policy: Path, tiny_world_model: Path) -> Policies:
    return Policies(tiny_policy, tiny_world_model)


@pytest.fixture
def robot() -> Task:
    return Shift(actuator_gain=0.4).of(get_task("cartpole-swingup"))


def verdict(passes: bool) -> Verdict:
    return Verdict("by the test", 0.0 if passes else 1.0, "below", 0.5, "")


class Proposing:
    """Stands for fine-tuning: proposes the policies it was given, one per round."""

    def __init__(self, candidates: list[tuple[Path, bool]]) -> None:
        self.candidates = candidates
        self.running: list[Path] = []

    def __call__(self, sources, out: Path, config: FinetuningConfig) -> Proposing:
        self.running.append(sources.policy)
        self._model = sources.world_model
        return self

    def run(self) -> Proposal:
        policy, passes = self.candidates.pop(0)
        return Proposal(policy, self._model, [verdict(passes)])


def pushing(policy: Path, out: Path, force: float) -> Path:
    """A policy that always does the same."""
    trained = TrainedPolicy.load(policy)
    last = trained.policy.actor.mean[-1]
    with torch.no_grad():
        last.get_parameter("weight").zero_()
        last.get_parameter("bias").fill_(force)
    trained.save(out)
    return out


def test_whole_rounds_end_with_a_policy_that_was_watched(
    start: Policies, robot: Task, tiny_data: Path, tmp_path: Path
) -> None:
    told: list[Round] = []
    found = adapt(robot, start, tiny_data, tmp_path, CONFIG, told.append)
    assert told == list(found.rounds)
    assert len(found.running.returns) == 2
    recorded = Dataset(tmp_path / "online")
    recorded.validate()
    assert len(recorded.episodes) == found.rounds[-1].episodes
    assert [e.seed for e in recorded.episodes] == [*range(len(recorded.episodes))]
    assert len({e.behaviour for e in recorded.episodes}) >= 3  # no noise, and two levels of it
    before = (tmp_path / "online" / "episodes.jsonl").read_bytes()
    assert adapt(robot, start, tiny_data, tmp_path, CONFIG) == found  # as a resumed one would
    assert (tmp_path / "online" / "episodes.jsonl").read_bytes() == before


def test_a_worse_candidate_is_rolled_back_and_a_refused_one_never_acts(
    start: Policies,
    robot: Task,
    tiny_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first does nothing at all, which the running one beats; the second is refused."""
    still = pushing(start.policy, tmp_path / "still.safetensors", 0.0)
    running = pushing(start.policy, tmp_path / "running.safetensors", 0.0)
    earned = {running: (60.0, 62.0), still: (5.0, 6.0)}
    monkeypatch.setattr(adaptation._Recording, "watch", lambda self, policy: earned[policy])
    proposing = Proposing([(still, True), (still, False)])
    monkeypatch.setattr(adaptation, "Finetuning", proposing)
    found = adapt(robot, replace(start, policy=running), tiny_data, tmp_path / "out", CONFIG)
    assert [(r.kept, r.returns) for r in found.rounds] == [(False, (5.0, 6.0)), (False, ())]
    assert found.running.policy == running
    assert proposing.running == [running, running]


def test_a_better_candidate_is_what_the_next_round_starts_from(
    start: Policies, robot: Task, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    better = pushing(start.policy, tmp_path / "better.safetensors", 0.1)
    earned = {start.policy: (60.0, 62.0), better: (70.0, 71.0)}
    monkeypatch.setattr(adaptation._Recording, "watch", lambda self, policy: earned[policy])
    proposing = Proposing([(better, True), (better, False)])
    monkeypatch.setattr(adaptation, "Finetuning", proposing)
    found = adapt(robot, start, tiny_data, tmp_path / "out", CONFIG)
    assert found.running.policy == better
    assert proposing.running == [start.policy, better]


def test_a_decision_stands_when_the_run_goes_on(
    start: Policies, robot: Task, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    better = pushing(start.policy, tmp_path / "better.safetensors", 0.1)
    earned = {start.policy: (60.0, 62.0), better: (70.0, 71.0)}
    monkeypatch.setattr(adaptation._Recording, "watch", lambda self, policy: earned[policy])
    proposing = Proposing([(better, True), (better, False)] * 2)
    monkeypatch.setattr(adaptation, "Finetuning", proposing)
    found = adapt(robot, start, tiny_data, tmp_path / "out", CONFIG)
    assert [r.kept for r in found.rounds] == [True, False]
    (file,) = (tmp_path / "out").glob("round*/trial.json")
    trial = json.loads(file.read_text())
    assert trial["returns"] == [70.0, 71.0]
    file.write_text(json.dumps(trial | {"passed": False}))  # as by another rule
    again = adapt(robot, start, tiny_data, tmp_path / "out", CONFIG)
    assert [r.kept for r in again.rounds] == [False, False]
    assert again.running.policy == start.policy
