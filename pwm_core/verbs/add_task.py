# SPDX-License-Identifier: Apache-2.0
"""``pwm tasks add``: make a task of your own robot's MJCF and your reward."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pwm_core.layout import ObservationChannel
from pwm_core.tables import print_table
from pwm_core.tasks import Task, UnknownTaskError, get_task
from pwm_core.tasks.mjcf import SUITE, MjcfTaskError
from pwm_core.tasks.mjcf_layout import JOINTS
from pwm_core.tasks.task_files import own_task, save, try_out


@dataclass(frozen=True)
class AddTask:
    """Make a task of an MJCF file and a reward in Python; it is tried before it is added.

    The task's file goes to ``./tasks`` (or ``$PWM_TASKS``), where every other command finds it.
    """

    mjcf: Path
    """MJCF or URDF file."""
    reward: str
    """module:function of ``reward(model, data, action) -> float``; the module may also hold
    ``terminated(model, data) -> bool`` and ``reset(model, data, rng)``."""
    name: str | None = None
    """Name of the task; by default the file's and the function's, e.g. my-robot-walk."""
    observation: tuple[str, ...] = (JOINTS,)
    """What is observed: ``joints`` (all positions and velocities) and names of sensors."""
    control_step: float = 0.02
    """Seconds per decision; a multiple of the MJCF's timestep."""
    episode_steps: int = 500
    """Decisions per episode."""
    history: int = 0
    """Earlier decisions whose observations are seen as well, e.g. 2 for three in a row."""
    previous_action: bool = False
    """Let the policy see the command it sent before."""
    json: bool = False
    """Print the layouts as JSON."""

    def run(self) -> int:
        """Try one decision, write the task's file, print the layouts."""
        description = own_task(
            self.mjcf,
            self.reward,
            self.name,
            observation=self.observation,
            control_step=self.control_step,
            episode_steps=self.episode_steps,
            history=self.history,
            previous_action=self.previous_action,
        )
        require_own_name(description.name)
        task = try_out(description)
        path = save(description)
        print_table(f"Task {task.name} in {path}", channel_rows(task), self.json)
        return 0


def require_own_name(name: str) -> None:
    """Refuse the name of a task that is not one's own."""
    try:
        known = get_task(name)
    except (UnknownTaskError, MjcfTaskError):  # an own one may be broken, and about to be mended
        return
    if known.suite != SUITE:
        raise MjcfTaskError(f"task name {name!r} is taken by suite {known.suite}: choose another")


def channel_rows(task: Task) -> list[dict[str, str]]:
    """Return a line per entry of observation and action."""
    seen = [
        {"entry": c.name, "kind": "observation", "unit": c.unit, "meaning": _source(c)}
        for c in task.observation.channels
    ]
    done = [
        {
            "entry": c.name,
            "kind": "action",
            "unit": c.unit,
            "meaning": f"{c.interpretation} of {c.joint}, {c.low:g} to {c.high:g}",
        }
        for c in task.action.channels
    ]
    return seen + done


def _source(channel: ObservationChannel) -> str:
    ago = f", lag {channel.lag}" if channel.lag else ""
    return f"{channel.topic} {channel.field}{ago}"
