# SPDX-License-Identifier: Apache-2.0
"""How much of what a changed robot costs a policy comes back by fine-tuning, and what it takes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from pwm_core.data.dataset import Dataset
from pwm_core.evaluation.episodes import deterministic, run_episodes
from pwm_core.extraction.config import ExtractionConfig, ExtractionOptions
from pwm_core.extraction.runner import Extraction
from pwm_core.extraction.store import POLICY_FILE, TrainedPolicy
from pwm_core.files import sha256
from pwm_core.finetuning.adaptation import Adaptation, AdaptationConfig, Policies, Round, adapt
from pwm_core.finetuning.inputs import of_policy, single_task, two_robots
from pwm_core.finetuning.recorded_rewards import agreement
from pwm_core.finetuning.stages import PolicyTuning, model_config
from pwm_core.model.store import TrainedWorldModel
from pwm_core.studies.drawing import panels
from pwm_core.studies.extracting import fingerprints
from pwm_core.studies.study import Column, Figures, Inputs, Result, Setting, Topic
from pwm_core.studies.table import by_setting, estimate
from pwm_core.studies.world_data import WORLD_MODEL, only, pretrain
from pwm_core.tasks import Task, get_task
from pwm_core.tasks.shift import Shift

ARMS = {
    "nominal": "nominal",
    "shifted": "after the shift",
    "adapted": "adapted",
    "old_model": "policy alone, old model",
    "online_only": "new, online data only",
}
"""Returns that are compared."""
POISONS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "as recorded": lambda reward: reward,
    "negated": lambda reward: -reward,
    "halved": lambda reward: reward / 2,
    "one more every tenth time": lambda reward: reward + (np.arange(len(reward)) % 10 == 0),
}
"""What may be wrong with recorded rewards, to see whether the gate's check shows it."""


@dataclass(frozen=True)
class Finetune:
    """A policy per seed is extracted, its robot shifts, and it adapts in rounds."""

    tasks: tuple[str, ...]
    shifts: tuple[Shift, ...]
    seeds: tuple[int, ...] = (0, 1, 2)
    episodes: int = 10
    """Episodes of an evaluation, which trained nothing and selected nothing."""
    extraction: ExtractionConfig = field(default_factory=ExtractionConfig)
    """How the policies came to be."""
    adaptation: AdaptationConfig = field(default_factory=AdaptationConfig)
    """How they adapt."""
    updates: int = 600
    """Gradient steps of the world model that knows online data only."""

    def settings(self) -> Sequence[Setting]:
        return [{"shift": str(shift), "task": t} for shift in self.shifts for t in self.tasks]

    def measure(self, setting: Setting, seed: int, inputs: Inputs, folder: Path) -> Figures:
        """Adapt and compare; everything is judged in the same episodes of the robot that shifted.

        The other ways get the episodes that the adaptation has recorded; the policy alone is tuned
        as often as that proposes candidates, every time with what had been recorded until then.
        """
        task = get_task(str(setting["task"]))
        (shift,) = (shift for shift in self.shifts if str(shift) == setting["shift"])
        shifted = shift.of(task)
        policy = self._extracted(inputs, task, seed, folder / "policy")
        config = replace(self.adaptation, finetuning=replace(self.adaptation.finetuning, seed=seed))
        start = Policies(folder / "policy" / POLICY_FILE, inputs.world_model)
        adapted = adapt(shifted, start, inputs.data, folder / "adaptation", config)
        recorded = Dataset(folder / "adaptation" / "online")
        online = of_policy(recorded, policy, config.finetuning.horizon)
        offline = of_policy(Dataset(inputs.data), policy, config.finetuning.horizon)
        seen = [
            of_policy(only(recorded, recorded.episodes[:count]), policy, config.finetuning.horizon)
            for count in _recorded_before(adapted, config)
        ]
        old = self._on_the_old_model(inputs, policy, seen, offline, config, folder / "old_model")
        alone = self._online_only(inputs, policy, online, config, seed, folder / "online_only")
        nominal, before = self._returns(task, policy), self._returns(shifted, policy)
        after = self._returns(shifted, TrainedPolicy.load(adapted.running.policy))
        return {
            "nominal": nominal,
            "shifted": before,
            "adapted": after,
            "old_model": self._returns(shifted, old),
            "online_only": self._returns(shifted, alone),
            "lost": float(np.mean(nominal) - np.mean(before)),
            "regained": float(np.mean(after) - np.mean(before)),
            "minutes": _minutes(folder / "adaptation"),
            "recorded_rewards": _poisoned(_world_model(inputs), online, offline, seed),
            **_account(adapted),
        }

    def _returns(self, task: Task, policy: TrainedPolicy) -> list[float]:
        found = run_episodes(task, deterministic(policy.policy), range(self.episodes))
        return found.returns.tolist()

    def _extracted(self, inputs: Inputs, task: Task, seed: int, out: Path) -> TrainedPolicy:
        trained, data = _world_model(inputs), Dataset(inputs.data)
        config, options = replace(self.extraction, seed=seed), ExtractionOptions("cpu")
        found = {"world_model": sha256(inputs.world_model), "dataset": data.fingerprint()}
        return Extraction(trained, data, task.name, out, config, options).run(found)

    def _on_the_old_model(
        self,
        inputs: Inputs,
        policy: TrainedPolicy,
        seen: Sequence[Dataset],
        offline: Dataset,
        config: AdaptationConfig,
        out: Path,
    ) -> TrainedPolicy:
        """Fine-tune the policy in a model that nothing was told, by each of ``seen`` in turn."""
        old = two_robots(_world_model(inputs), policy.task.name)
        options, tuning, origin = ExtractionOptions("cpu"), config.finetuning, policy
        for number, online in enumerate(seen):
            read = {
                "world_model": sha256(inputs.world_model),
                "dataset": online.fingerprint(),
                "offline_dataset": offline.fingerprint(),
            }
            folder = out / f"round{number}"
            policy = PolicyTuning(
                old, online, offline, folder, tuning, options, policy, origin
            ).run(read)
        return policy

    def _online_only(
        self,
        inputs: Inputs,
        policy: TrainedPolicy,
        online: Dataset,
        config: AdaptationConfig,
        seed: int,
        out: Path,
    ) -> TrainedPolicy:
        """Train model and policy anew on what the robot has recorded."""
        sizes = _world_model(inputs).model.config
        training = replace(
            model_config(config.finetuning, sizes),
            updates=self.updates,
            learning_rate=1e-3,
            encoder_rate=0.3,
            curriculum=((0.5, 4), (0.25, 8)),
        )
        trained = pretrain(online, out / "world_model", training)
        extraction = replace(self.extraction, seed=seed, evaluate="model")
        run = Extraction(
            trained, online, policy.task.name, out / "policy", extraction, ExtractionOptions("cpu")
        )
        return run.run(fingerprints(Inputs(online.path, out / "world_model" / WORLD_MODEL)))

    def draw(self, results: Sequence[Result]) -> Mapping[str, Figure]:
        return {"returns": _returns_of(results)}


def _world_model(inputs: Inputs) -> TrainedWorldModel:
    return TrainedWorldModel.load(inputs.world_model, torch.device("cpu"))


def _poisoned(
    trained: TrainedWorldModel, online: Dataset, offline: Dataset, seed: int
) -> dict[str, float]:
    """Return the error of recorded rewards, as they are and as they might be."""
    (task,) = online.tasks
    old, found = single_task(trained, task), {}
    for name, poison in POISONS.items():
        other = copy(online)
        other.reward = poison(np.array(online.reward)).astype(np.float32)
        found[name] = agreement(old, other, offline, seed).error
    return found


def _recorded_before(adapted: Adaptation, config: AdaptationConfig) -> list[int]:
    """Return how many episodes were recorded when each round's candidate was made."""
    explored = config.exploring * len(config.noise)
    watched = [config.watched, *(done.episodes for done in adapted.rounds[:-1])]
    return [count + explored for count in watched]


def _minutes(adaptation: Path) -> float:
    """Return the wall clock of all rounds' fine-tuning, pauses included."""
    total = 0.0
    for file in adaptation.glob("round*/progress.jsonl"):
        times = [json.loads(line)["time"] for line in file.read_text().splitlines()]
        total += times[-1] - times[0]
    return total / 60


def _account(adapted: Adaptation) -> dict[str, Any]:
    """Return what became of the candidates."""
    refused = [r for r in adapted.rounds if not r.proposal.accepted]
    return {
        "kept": sum(r.kept for r in adapted.rounds),
        "refused": len(refused),
        "rolled_back": len(adapted.rounds) - len(refused) - sum(r.kept for r in adapted.rounds),
        "recorded": adapted.rounds[-1].episodes,
        "rounds": [_of_round(done) for done in adapted.rounds],
    }


def _of_round(done: Round) -> dict[str, Any]:
    return {
        "kept": done.kept,
        "episodes": done.episodes,
        "returns": list(done.returns),
        "verdicts": [verdict.to_json() for verdict in done.proposal.verdicts],
    }


def _returns_of(results: Sequence[Result]) -> Figure:
    """Draw every way's returns with their intervals, a panel per task and shift."""
    groups = by_setting(results)
    figure, axes = panels(len(groups))
    for panel, (setting, group) in zip(axes, groups, strict=True):
        for place, arm in enumerate(ARMS):
            found = estimate(group, arm)
            if found is None:
                continue
            low, high = found.interval or (found.mean, found.mean)
            reach = [[max(found.mean - low, 0)], [max(high - found.mean, 0)]]
            panel.bar(place, found.mean, yerr=reach, capsize=3, color=f"C{place}", alpha=0.8)
        panel.set_xticks(range(len(ARMS)), [*ARMS.values()], rotation=30, ha="right")
        panel.set_title(f"{setting['task']}, {setting['shift']}")
        panel.set_ylabel("return")
    return figure


TOPIC = Topic(
    name="finetune",
    question=(
        "A robot changes under a policy. How much of the return comes back by fine-tuning model "
        "and policy on 30 episodes of it, against the policy alone in the old model, and against "
        "training both anew on those episodes?"
    ),
    columns=(
        *(Column(arm, title) for arm, title in ARMS.items()),
        Column("lost", "lost"),
        Column("regained", "regained"),
        Column("kept", "candidates kept"),
        Column("refused", "refused"),
        Column("rolled_back", "rolled back"),
        Column("recorded", "episodes"),
        Column("minutes", "minutes of fine-tuning"),
    ),
    presets={
        "quick": Finetune(("cartpole-swingup",), (Shift(actuator_gain=0.4),)),
        "full": Finetune(
            ("cartpole-swingup", "cheetah-run"),
            (
                Shift(actuator_gain=0.4),
                Shift(actuator_gain=0.6),
                Shift(mass_scale=1.5),
                Shift(observation_delay=2),
            ),
        ),
    },
    tasks_read=lambda study: study.tasks,
    reads_world_model=True,
)
