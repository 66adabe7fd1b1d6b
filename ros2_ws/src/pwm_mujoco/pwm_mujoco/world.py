# SPDX-License-Identifier: Apache-2.0
"""One simulated body under a task: episodes, the newest command, and their bookkeeping. No ROS."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from pwm_core.tasks import SingleEnvironment, Task, get_task
from pwm_core.tasks.stability import diverged
from pwm_mujoco.bare_model import BareModel
from pwm_mujoco.disturbances import Disturbances
from pwm_mujoco.disturbed_physics import DisturbedPhysics
from pwm_mujoco.readings import Sensors

ROUNDING = 1e-9
"""Seconds by which sums of simulator steps may be off."""


class CommandRefused(ValueError):
    """A command cannot be applied to this body; the message says why."""


@dataclass(frozen=True)
class _Simulated:
    """A task's environment, and how it is disturbed and measured."""

    environment: SingleEnvironment
    physics: DisturbedPhysics
    sensors: Sensors


class World:
    """A task's environment, stepped one simulator step at a time.

    ``step`` counts observations over all episodes, from 1. A ``fault`` (the physics diverged) stops
    everything until the next reset; ``withdrawn`` says that the safe action acts for want of a
    command; ``observation`` and ``reading`` are always the last finite
    ones, as measured: late and with the errors of ``disturbances``. Rewards are of the true state.
    """

    def __init__(
        self,
        task: str,
        seed: int,
        find_task: Callable[[str], Task | BareModel] = get_task,
        disturbances: Disturbances | None = None,
    ) -> None:
        self._find_task = find_task
        self._seed = seed
        self._simulated: dict[str, _Simulated] = {}
        self.disturbances = disturbances or Disturbances()
        self.task = find_task(task)
        self.step = 0
        self.withdrawals = 0
        """Commands that nothing renewed in time, over all episodes."""
        self.episode = -1
        self.time = 0.0  # simulated seconds over all episodes; a reset takes one control step
        self.prepare(task)
        self.reset()

    @property
    def environment(self) -> SingleEnvironment:
        """The environment of the present task."""
        return self._present.environment

    @property
    def _present(self) -> _Simulated:
        return self._simulated[self.task.name]

    @property
    def _episode_time(self) -> float:
        """Simulated seconds since the episode began."""
        return self.episode_step * self.task.control_step + self._substep * self.substep_seconds

    @property
    def substep_seconds(self) -> float:
        """Simulated seconds per :meth:`substep`."""
        return self.task.control_step / self.environment.substeps

    @property
    def ended(self) -> bool:
        """Whether the episode is over."""
        return self.terminated or self.truncated

    @property
    def halted(self) -> bool:
        """Whether only a reset can go on from here."""
        return self.ended or self.fault is not None

    @property
    def answered(self) -> bool:
        """Whether a command has answered the present observation."""
        return self._answered == self.step

    @property
    def command(self) -> dict[str, float]:
        """The command that acts, by actuator."""
        return dict(zip(self.task.action.names, self._command.tolist(), strict=True))

    def prepare(self, task: str) -> Task | BareModel:
        """Make the environment of ``task`` ready, which may take a while.

        Raises ``ValueError`` when the task is unknown, belongs to another body, or runs in a
        simulator that does not show its MuJoCo model.
        """
        wanted = self._find_task(task)
        if wanted.body != self.task.body:
            raise ValueError(
                f"task {wanted.name} is for body {wanted.body}; this world simulates "
                f"{self.task.body}: start another bridge for it"
            )
        if task not in self._simulated:
            environment = wanted.make_single(self._seed)
            model, data = environment.model, environment.data  # may be refused, but not later
            physics = DisturbedPhysics(model, data)
            physics.check(self.disturbances)
            sensors = Sensors(model, data, wanted.observation, environment.substeps)
            self._simulated[task] = _Simulated(environment, physics, sensors)
        return wanted

    def check(self, disturbances: Disturbances) -> None:
        """Raise ``ValueError`` when this body cannot be disturbed so."""
        self._present.physics.check(disturbances)

    def disturb(self, disturbances: Disturbances) -> None:
        """Change the disturbances now; ``ValueError`` when this body cannot be disturbed so."""
        self.check(disturbances)
        self.disturbances = disturbances
        self.acting = disturbances.drawn(self._episode_seed)
        self._present.physics.apply(self.acting)
        self._present.sensors.change(self.acting)

    def reset(
        self, seed: int | None = None, task: str | None = None, keyframe: str | None = None
    ) -> None:
        """Start an episode; without ``seed``: the world's seed plus the number of the episode.

        ``keyframe`` replaces the start that the task draws. Raises ``ValueError`` for a task or a
        keyframe that there is not; then nothing has changed.
        """
        wanted = self.task if task is None else self.prepare(task)
        start = self._keyframe(wanted, keyframe) if keyframe else None
        self.task = wanted
        self.episode += 1
        self._episode_seed = self._seed + self.episode if seed is None else seed
        self.acting = self.disturbances.drawn(self._episode_seed)
        self._present.physics.apply(self.acting)
        observation, _ = self.environment.reset(seed=self._episode_seed)
        if start is not None:
            observation = self._to_keyframe(start)
        self._present.sensors.start(self.acting, self._episode_seed)
        self.reading = self._present.sensors.measure()
        if self.step:  # no two states share a stamp: topics can be told to be of one moment
            self.time += self.task.control_step
        self.step += 1
        self.first_step = self.step
        self.layout_hash = self.task.observation.hash()
        self.episode_step = 0
        self.observation = self._present.sensors.observe(observation)
        self.reward = 0.0
        self.episode_return = 0.0
        self.terminated = self.truncated = False
        self.fault: str | None = None
        self._command = self.task.action.safe
        self._commanded_at: float | None = None
        self.withdrawn = False
        self._answered = 0
        self._substep = 0
        self._reward = 0.0

    def _keyframe(self, task: Task | BareModel, name: str) -> int:
        """Return the index of a keyframe, by its name or, where it has none, its number."""
        model = self._simulated[task.name].environment.model
        known = [model.key(index).name or str(index) for index in range(model.nkey)]
        if name not in known:
            own = ", ".join(known) or "none"
            raise ValueError(f"{task.body} has no keyframe {name!r}: its own are {own}")
        return known.index(name)

    def _to_keyframe(self, index: int) -> np.ndarray:
        """Put the model in a keyframe and return the observation there."""
        environment = self.environment
        mujoco.mj_resetDataKeyframe(environment.model, environment.data, index)
        environment.restore(environment.state())
        return environment.observation()

    def offer(
        self, names: Sequence[str], values: Sequence[float], step: int, exact: bool = False
    ) -> bool:
        """Take a command in actuator units that answers observation ``step``.

        Returns False for a stale one: of an earlier episode, older than what is applied or, with
        ``exact``, anything but the first answer to the present observation. Values are clipped to
        the limits. Raises :class:`CommandRefused` for anything that does not fit the body.
        """
        command = self._by_name(names, values)
        if not max(self.first_step, self._answered) <= step <= self.step:
            return False
        if exact and (step != self.step or self.answered):
            return False
        self._command = command
        self._commanded_at, self.withdrawn = self.time, False
        self._answered = step
        return True

    def withdraw(self, timeout: float) -> None:
        """Let the safe action act where no command came for ``timeout`` simulated seconds.

        What controllers' watchdogs do: whoever commanded may be gone.
        """
        if self._commanded_at is not None and self.time - self._commanded_at > timeout - ROUNDING:
            self._command, self._commanded_at = self.task.action.safe, None
            self.withdrawn = True
            self.withdrawals += 1

    def substep(self, time_limit: bool = True) -> bool:
        """Advance one simulator step under the newest command; True when a decision is complete."""
        action = self.task.action.to_normalised(self._command).astype(np.float32)
        self._present.physics.push(self._episode_time, self._episode_seed)
        try:
            self._reward += self.environment.substep(action)
        except Exception as error:  # simulators raise what they like; the world must survive it
            return self._diverge(f"{type(error).__name__}: {error}")
        reading = self._present.sensors.measure()
        if diverged(self.environment.data):
            return self._diverge("MuJoCo met numbers that are not finite or too large")
        self.reading = reading
        self.time += self.substep_seconds
        self._substep += 1
        if self._substep < self.environment.substeps:
            return False
        return self._complete(time_limit)

    def decide(self, time_limit: bool = True) -> None:
        """Advance to the end of the decision."""
        while not self.halted and not self.substep(time_limit):
            pass

    def _complete(self, time_limit: bool) -> bool:
        observation = self.environment.observation()
        if not (np.isfinite(observation).all() and np.isfinite(self._reward)):
            return self._diverge("the observation or the reward is not finite")
        self.observation = self._present.sensors.observe(observation)
        self.reward = self._reward
        self.episode_return += self._reward
        self._substep, self._reward = 0, 0.0
        self.step += 1
        self.episode_step += 1
        self.terminated = self.environment.terminated
        out_of_time = time_limit and self.episode_step >= self.task.episode_steps
        self.truncated = out_of_time and not self.terminated
        return True

    def _diverge(self, reason: str) -> bool:
        self.fault = (
            f"physics of {self.task.name} diverged in episode {self.episode} after "
            f"{self.episode_step} decisions: {reason}"
        )
        return False

    def _by_name(self, names: Sequence[str], values: Sequence[float]) -> np.ndarray:
        layout = self.task.action
        if len(names) != len(values):
            raise CommandRefused(f"{len(names)} names but {len(values)} values")
        missing = sorted(set(layout.names) - set(names))
        extra = sorted(set(names) - set(layout.names))
        if missing or extra or len(names) != layout.size:
            raise CommandRefused(
                f"actuators are {list(layout.names)}, got {list(names)}"
                + (f"; missing {missing}" if missing else "")
                + (f"; unknown {extra}" if extra else "")
            )
        position = {name: i for i, name in enumerate(names)}
        command = np.array([values[position[name]] for name in layout.names], np.float32)
        if not np.isfinite(command).all():
            raise CommandRefused(f"values are not finite: {dict(zip(names, values, strict=True))}")
        return np.clip(command, layout.low, layout.high)
