# SPDX-License-Identifier: Apache-2.0
"""Fine-tune a running policy: world model, then policy, then the gate; resumable."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from pwm_core.data.dataset import Dataset
from pwm_core.extraction.config import ExtractionOptions
from pwm_core.extraction.store import POLICY_FILE, TrainedPolicy
from pwm_core.files import sha256, write_atomically
from pwm_core.finetuning.config import FinetuningConfig
from pwm_core.finetuning.gate import Contenders, Verdict, recorded_rewards, verdicts
from pwm_core.finetuning.held_out import lack_of_windows
from pwm_core.finetuning.inputs import (
    FinetuningError,
    of_policy,
    parts,
    require_match,
    single_task,
    two_robots,
)
from pwm_core.finetuning.stages import ModelTuning, PolicyTuning, model_config
from pwm_core.model.store import TrainedWorldModel
from pwm_core.pretraining.runner import PretrainingOptions
from pwm_core.run_directory import RunDirectory

CANDIDATE = Path("candidate", POLICY_FILE)
WORLD_MODEL = Path("world_model", "world_model.safetensors")
METRICS = "metrics.jsonl"
"""In the directory of a stage: a line per :data:`EVERY` steps or less, with its ``step``."""
EVERY = 50
"""Steps between checkpoints, and of the model between lines; five times as many of the policy."""
Report = Callable[[str], None]
"""Hears the name of each stage as it begins: world model, policy, gate."""


@dataclass(frozen=True)
class Sources:
    """The files that fine-tuning goes on from."""

    world_model: Path
    """The one that the running policy was extracted from."""
    policy: Path
    """The running policy; it is never written to."""
    online: Path
    """Dataset of the robot that it runs on."""
    offline: Path
    """Dataset that the world model was trained on."""
    origin: Path | None = None
    """The policy that all rounds began with; the running one by default."""


@dataclass(frozen=True)
class Proposal:
    """A candidate and what the gate says of it."""

    policy: Path
    world_model: Path
    verdicts: list[Verdict]

    @property
    def accepted(self) -> bool:
        """Whether it passed every check."""
        return all(verdict.passed for verdict in self.verdicts)

    @classmethod
    def stored(cls, out: Path) -> Proposal | None:
        """Return what a finished run in ``out`` proposed; ``None`` where none has finished."""
        if not (out / "gate.json").is_file():
            return None
        found = json.loads((out / "gate.json").read_text())["verdicts"]
        verdicts = [Verdict(**{k: v for k, v in each.items() if k != "passed"}) for each in found]
        return cls(out / CANDIDATE, out / WORLD_MODEL, verdicts)


class Finetuning:
    """One candidate: ``OUT/world_model``, ``OUT/candidate`` and ``OUT/gate.json``."""

    def __init__(self, sources: Sources, out: Path, config: FinetuningConfig) -> None:
        """Read and check everything; ``PwmError`` names what does not belong together."""
        self.out, self.config = out, config
        if sources.policy.resolve() == (out / CANDIDATE).resolve():
            raise FinetuningError(f"{out} holds the running policy: choose another directory")
        online = Dataset(sources.online)
        online.validate()
        offline = Dataset(sources.offline)
        self.running = TrainedPolicy.load(sources.policy)
        trained = TrainedWorldModel.load(sources.world_model, torch.device("cpu"))
        require_match(trained, self.running)
        self.origin = TrainedPolicy.load(sources.origin) if sources.origin else self.running
        if self.origin.task != self.running.task:
            raise FinetuningError(
                f"{sources.origin} is a policy of {self.origin.task.name}, or of other layouts "
                f"than the running one of {self.running.task.name}"
            )
        self.lineage = {
            "running_policy": sha256(sources.policy),
            "running_world_model": sha256(sources.world_model),
            "dataset": online.fingerprint(),
            "offline_dataset": offline.fingerprint(),
        }
        if sources.origin:
            self.lineage["origin_policy"] = sha256(sources.origin)
        self.online = of_policy(online, self.running, config.horizon)
        judging = parts(self.online, config.held_out)[1].episodes
        if lack := lack_of_windows(judging, config.horizon):
            raise FinetuningError(
                f"{sources.online}: {lack}: record more, hold out more (--held-out), or give a "
                "shorter --horizon"
            )
        self.offline = of_policy(offline, self.running, config.horizon)
        self.trained = trained
        self.old = single_task(trained, self.running.task.name)

    def run(self, report: Report = lambda stage: None) -> Proposal:
        """Make the candidate and judge it; goes on from where an interrupted run stopped."""
        RunDirectory(self.out, "finetune", self.config, self.lineage)

        def begin(stage: str, steps: int, metrics: Path | None) -> None:
            report(stage)
            self._note(stage=stage, steps=steps, metrics=metrics and str(metrics))

        config = self.config
        begin("world model", config.updates, Path("world_model", METRICS))
        new = self._tune_model()
        steps = config.critic_iterations + config.iterations
        begin("policy", steps, Path("candidate", METRICS))
        candidate = self._tune_policy(new)
        begin("gate", 0, None)
        proposal = self._judge(new, candidate)
        self._note(stage="done", accepted=proposal.accepted)
        return proposal

    def _note(self, **progress: Any) -> None:
        """Add a line to ``progress.jsonl``: whoever waits for the run reads how far it is."""
        with open(self.out / "progress.jsonl", "a") as file:
            file.write(json.dumps({"time": time.time()} | progress) + "\n")

    @property
    def _world_model(self) -> Path:
        return self.out / WORLD_MODEL

    def _tune_model(self) -> TrainedWorldModel:
        initial = self.out / "start.safetensors"
        two_robots(self.trained, self.running.task.name).save(initial)
        config = model_config(self.config, self.old.model.config)
        options = PretrainingOptions(
            "cpu",
            compile=False,
            threads=torch.get_num_threads(),
            validate_every=EVERY,
            checkpoint_every=EVERY,
        )
        folder = self._world_model.parent
        tuning = ModelTuning(self.online, self.offline, folder, config, options, initial)
        tuning.inputs |= self.lineage
        return tuning.run()

    def _tune_policy(self, new: TrainedWorldModel) -> TrainedPolicy:
        config = self.config
        options = ExtractionOptions(
            "cpu", evaluate_every=max(1, EVERY // 5), checkpoint_every=EVERY
        )
        tuning = PolicyTuning(
            new,
            self.online,
            self.offline,
            self.out / "candidate",
            config,
            options,
            self.running,
            self.origin,
        )
        return tuning.run(self.lineage | {"world_model": sha256(self._world_model)})

    def _judge(self, new: TrainedWorldModel, candidate: TrainedPolicy) -> Proposal:
        config = self.config
        online, offline = (parts(d, config.held_out)[1] for d in (self.online, self.offline))
        contenders = Contenders(self.old, new, self.running, candidate, self.origin)
        found = [
            recorded_rewards(self.old, self.online, self.offline, config.gate, config.seed),
            *verdicts(contenders, online, offline, config.horizon, config.gate, config.seed),
        ]
        proposal = Proposal(self.out / CANDIDATE, self._world_model, found)
        gate: dict[str, Any] = {
            "accepted": proposal.accepted,
            "verdicts": [verdict.to_json() for verdict in found],
        }
        marked = replace(candidate, record=candidate.record | {"gate": gate})
        marked.save(proposal.policy)
        kept = gate | {"policy": sha256(proposal.policy), "lineage": self.lineage}
        write_atomically(self.out / "gate.json", json.dumps(kept, indent=1))
        return proposal
