# SPDX-License-Identifier: Apache-2.0
"""``pwm collect``: offline data of mixed quality."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from pwm_core.data.behaviours import (
    Behaviour,
    BehaviourError,
    Correlated,
    SamplingMpc,
    ScriptedExpert,
    SoftActorCritic,
    StoredPolicy,
    Uniform,
)
from pwm_core.data.collect import collect, plan
from pwm_core.data.dataset import Dataset
from pwm_core.data.summary import behaviour_rows
from pwm_core.tables import print_table
from pwm_core.tasks import get_task
from pwm_core.tasks.mjcf import MjcfTask, MjcfTaskError
from pwm_core.tasks.shift import Shift
from pwm_core.tasks.task_files import TaskFiles, directory, own_task, read, save, try_out
from pwm_core.verbs.add_task import require_own_name


@dataclass(frozen=True)
class Collect:
    """Collect an offline dataset of mixed quality. Interrupted runs go on where they stopped.

    Each task gets what can act on it: noise always, MPC where its dynamics can be planned on,
    an expert where it has one.
    """

    tasks: tuple[str, ...] = ("cartpole-swingup", "cartpole-balance")
    """Tasks to collect; ``pwm tasks`` lists them."""
    mjcf: Path | None = None
    """MJCF file of your own robot, collected instead of ``tasks``; ``pwm tasks add`` has more."""
    reward: str | None = None
    """module:function of your own reward, with ``mjcf``."""
    out: Path = Path("runs/data")
    """Dataset directory to create or complete."""
    uniform: int = 6
    """Episodes of uniform random actions per task."""
    correlated: int = 14
    """Episodes of correlated noise per task."""
    mpc: int = 6
    """Episodes of sampling MPC on the true dynamics per task and noise level."""
    mpc_noise: tuple[float, ...] = (0.0, 0.2, 0.4, 0.7)
    """Noise levels added to what the MPC executes (standard deviation, actions are in [-1, 1])."""
    expert: int = 10
    """Episodes of the task's scripted expert per noise level."""
    expert_noise: tuple[float, ...] = (0.0, 0.3, 0.6, 1.0)
    """Noise levels added to what the expert executes."""
    policy: tuple[Path, ...] = ()
    """``policy.safetensors`` files or bundles (``.onnx``), each to act on the task it is for."""
    policy_episodes: int = 10
    """Episodes of each policy per noise level."""
    policy_noise: tuple[float, ...] = (0.0, 0.2, 0.4)
    """Noise levels added to what a policy executes."""
    sac: int = 0
    """Episodes of soft actor-critic per task: all of a training from scratch, however good."""
    shift: Shift = field(default_factory=Shift)
    """What is different about the robot that acts."""
    seed: int = 0
    """Seed; the data depends on it and on nothing else. Names carry one that is not 0
    (``uniform@1``), so that a directory can hold several."""
    workers: int = os.cpu_count() or 1
    """Processes."""
    ray: str | None = None
    """Ray cluster to spread the work over instead: its address, auto for the running one, local to
    start one here with so many workers (docs/scaling.md)."""
    json: bool = False
    """Print the table as JSON."""

    def run(self) -> int:
        """Collect, then print mean and best return per behaviour."""
        tasks = self._tasks()
        jobs = plan(tasks, self._behaviours(tasks), self.seed, self.shift)
        collect(jobs, self.out, self.workers, self.ray)
        print_table(f"Data in {self.out}", behaviour_rows(Dataset(self.out)), self.json)
        return 0

    def _tasks(self) -> tuple[str, ...]:
        """Return the names of the tasks, all of them known; one's own gets a task file."""
        if (self.mjcf is None) != (self.reward is None):
            raise MjcfTaskError("a task of your own needs both --mjcf and --reward")
        if self.mjcf is None or self.reward is None:
            return tuple(get_task(name).name for name in self.tasks)
        return (known_by_name(self.mjcf, self.reward),)

    def _behaviours(self, tasks: tuple[str, ...]) -> list[tuple[Behaviour, int]]:
        """Return every behaviour with its number of episodes."""
        behaviours: list[tuple[Behaviour, int]] = [
            (Uniform(), self.uniform),
            (Correlated(), self.correlated),
            *((SamplingMpc(noise), self.mpc) for noise in self.mpc_noise),
            *((ScriptedExpert(noise), self.expert) for noise in self.expert_noise),
            *((policy, self.policy_episodes) for policy in self._policies(tasks)),
        ]
        return [*behaviours, (SoftActorCritic(), self.sac)] if self.sac else behaviours

    def _policies(self, tasks: tuple[str, ...]) -> list[StoredPolicy]:
        policies = [StoredPolicy.open(path, n) for path in self.policy for n in self.policy_noise]
        for policy in policies:
            if policy.task not in tasks:
                raise BehaviourError(
                    f"policy {policy.path} is for {policy.task}, "
                    f"which is not among the tasks to collect ({', '.join(tasks)})"
                )
        return policies


def known_by_name(mjcf: Path, reward: str) -> str:
    """Return the name of the task, under which its file makes it known to every command.

    A file that is there keeps its settings; ``MjcfTaskError`` for another model or reward.
    """
    description = own_task(mjcf, reward)
    require_own_name(description.name)
    if description.name not in TaskFiles():
        try_out(description)
        save(description)
    present = read(directory() / f"{description.name}.json")
    for known, asked in zip(sources(present), sources(description), strict=True):
        if known != asked:
            raise MjcfTaskError(
                f"task {description.name} is of {known}, not of {asked}: "
                "give the new one a name with pwm tasks add --name"
            )
    return description.name


def sources(task: MjcfTask) -> tuple[str, str]:
    """Return the model's file, and the reward's with its function; an installed module's name."""
    module, _, function = task.reward.partition(":")
    place = task.modules.joinpath(*module.split("."))
    files = place.with_suffix(".py"), place / "__init__.py"
    rewards = next((str(file.resolve()) for file in files if file.is_file()), module)
    return str(task.mjcf.resolve()), f"{rewards}:{function}"
