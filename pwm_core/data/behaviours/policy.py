# SPDX-License-Identifier: Apache-2.0
"""A policy from a file, disturbed by noise: data around what a trained controller does.

Which files hold policies is for their own layers to say: an entry point of group ``pwm.policies``
is called like the ending of the files it reads (``onnx``) and returns a :class:`LoadedPolicy`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import ClassVar

import numpy as np

from pwm_core.data.behaviours.behaviour import BehaviourError, Trajectory, play
from pwm_core.data.behaviours.noise import exploration
from pwm_core.files import sha256
from pwm_core.layout import ActionLayout, ObservationLayout
from pwm_core.tasks import Task, get_task


@dataclass(frozen=True)
class LoadedPolicy:
    """A controller and what it was made for."""

    task: str
    observation: ObservationLayout
    action: ActionLayout
    act: Callable[[np.ndarray], np.ndarray]
    """``act(observation [N, O]) -> action [N, A]`` in [-1, 1]."""


def load_policy(path: Path) -> LoadedPolicy:
    """Read ``path``; ``BehaviourError`` lists the known endings when its own is not among them."""
    loaders = {entry.name: entry for entry in entry_points(group="pwm.policies")}
    ending = path.suffix.removeprefix(".")
    if ending not in loaders:
        known = " or ".join(f".{name}" for name in sorted(loaders))
        raise BehaviourError(f"{path} is no policy: expected a file that ends in {known}")
    return loaders[ending].load()(path)


def require_fit(path: Path, policy: LoadedPolicy, task: Task) -> None:
    """Raise ``BehaviourError`` with every difference unless ``policy`` was made for ``task``."""
    reasons = [] if policy.task == task.name else [f"made for {policy.task}, not {task.name}"]
    reasons += [f"observation: {d}" for d in task.observation.difference(policy.observation)]
    reasons += [f"action: {d}" for d in task.action.difference(policy.action)]
    if reasons:
        raise BehaviourError(f"policy {path}: {'; '.join(reasons)}")


@dataclass(frozen=True)
class StoredPolicy:
    """The policy in a file plus correlated noise on what it executes."""

    path: Path
    task: str
    """Task it was made for."""
    digest: str
    """First eight hex digits of the file's SHA-256: data of an older policy keeps its name."""
    noise: float = 0.0
    """Standard deviation of the noise; actions are in [-1, 1]."""
    block: ClassVar[int | None] = 10

    @classmethod
    def open(cls, path: Path, noise: float) -> StoredPolicy:
        """Return the behaviour; ``PwmError`` when the file is no policy or its layouts differ."""
        policy = load_policy(path)
        require_fit(path, policy, get_task(policy.task))
        return cls(path, policy.task, sha256(path)[:8], noise)

    @property
    def name(self) -> str:
        return f"policy-{self.digest}-{self.noise:g}"

    def suits(self, task: Task) -> bool:
        return task.name == self.task

    def collect(self, task: Task, episodes: int, seed: int) -> list[Trajectory]:
        policy = load_policy(self.path)
        require_fit(self.path, policy, task)
        disturbance = exploration(np.random.default_rng(seed), task, episodes, self.noise)
        return play(
            task, lambda decision, seen: policy.act(seen) + disturbance[:, decision], episodes, seed
        )
