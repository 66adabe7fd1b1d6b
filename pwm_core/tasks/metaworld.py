# SPDX-License-Identifier: Apache-2.0
"""Meta-World's fifty tasks of a Sawyer arm, as ``mw-…``: names, scenes and layouts.

Settings are TD-MPC2's, which published scores refer to: the goal is part of the observation, every
episode draws new places for object and goal, two simulator steps per decision with their rewards
summed, 100 decisions, success as the last simulator step reports it.
"""

from __future__ import annotations

from functools import partial

from pwm_core.layout import ActionChannel, ActionLayout, ObservationChannel, ObservationLayout
from pwm_core.tasks.envpool import EnvPoolEnvironment, has_envpool
from pwm_core.tasks.metaworld_expert import ScriptedExpert
from pwm_core.tasks.metaworld_world import (
    ACTION_REPEAT,
    EPISODE_STEPS,
    MetaWorldEnvironment,
)
from pwm_core.tasks.sequential import SequentialVector
from pwm_core.tasks.task import Task, VectorEnvironment

SIMULATOR_STEP = 0.0125
"""Seconds: five steps of MuJoCo."""
SPEED = 0.8
"""m/s: at most 1 cm of the hand's target per simulator step."""
FINGER_GEAR = 400.0
"""N per unit of command, the fingers' position gain."""

_SCENES = {
    "assembly-peg": ("assembly", "disassemble"),
    "basketball": ("basketball",),
    "bin": ("bin-picking",),
    "box": ("box-close",),
    "button": ("button-press",),
    "button-topdown": ("button-press-topdown",),
    "button-topdown-wall": ("button-press-topdown-wall",),
    "button-wall": ("button-press-wall",),
    "coffee-machine": ("coffee-button", "coffee-pull", "coffee-push"),
    "dial": ("dial-turn",),
    "door": ("door-close", "door-open"),
    "door-lock": ("door-lock", "door-unlock"),
    "drawer": ("drawer-close", "drawer-open"),
    "faucet": ("faucet-close", "faucet-open"),
    "hammer": ("hammer",),
    "handle": ("handle-press", "handle-pull"),
    "handle-sideways": ("handle-press-side", "handle-pull-side"),
    "lever": ("lever-pull",),
    "peg-insert": ("peg-insert-side",),
    "peg-unplug": ("peg-unplug-side",),
    "pick-out-of-hole": ("pick-out-of-hole",),
    "pick-place": ("pick-place",),
    "pick-place-wall": ("pick-place-wall",),
    "plate": ("plate-slide", "plate-slide-back"),
    "plate-sideways": ("plate-slide-back-side", "plate-slide-side"),
    "push": ("push",),
    "push-back": ("push-back",),
    "push-wall": ("push-wall",),
    "reach": ("reach",),
    "reach-wall": ("reach-wall",),
    "shelf": ("shelf-place",),
    "soccer": ("soccer",),
    "stick": ("stick-pull", "stick-push"),
    "sweep": ("sweep",),
    "table-with-hole": ("hand-insert", "sweep-into"),
    "window": ("window-close", "window-open"),
}
"""Tasks by the scene (one MuJoCo model) they take place in."""


ENVPOOL_DIFFERS = {
    **dict.fromkeys(
        ("door-lock", "pick-place", "push-back", "soccer", "sweep", "sweep-into"),
        "the grip's reward: the package measures from where the fingers are, EnvPool from where "
        "they started",
    ),
    "button-press-topdown-wall": "the reward: the package asks for an open gripper, EnvPool for a "
    "closed one",
    **dict.fromkeys(
        ("dial-turn", "handle-press-side", "pick-out-of-hole", "plate-slide-side"),
        "contacts: those of the MuJoCo 3.6 that is inside EnvPool",
    ),
    "disassemble": "whether the peg turns the nut during the reset depends on the last episode",
    **dict.fromkeys(("hammer", "shelf-place"), "the goal moves further away with every reset"),
    **dict.fromkeys(
        ("coffee-pull", "coffee-push", "lever-pull"), "the object's quaternion is another one"
    ),
}
"""Tasks of which EnvPool 1.2.5 makes something else than metaworld 3.1.1, and what.

The package is the reference: these tasks step its worlds one after the other, at about 3000
simulator steps per second and core instead of EnvPool's threads.
"""


def _frame(prefix: str) -> tuple[ObservationChannel, ...]:
    """Return the 18 numbers of one simulator step; zeros where a task has no such object."""

    def channel(thing: str, entry: str, unit: str) -> ObservationChannel:
        return ObservationChannel(f"{prefix}{thing}/{entry}", unit, "observation", thing, entry)

    hand = [channel("hand", f"position/{axis}", "m") for axis in "xyz"]
    objects = [
        channel(thing, entry, unit)
        for thing in ("object_1", "object_2")
        for entry, unit in (
            *((f"position/{axis}", "m") for axis in "xyz"),
            *((f"quaternion/{i}", "1") for i in range(4)),
        )
    ]
    return (*hand, channel("gripper", "opening", "1"), *objects)


OBSERVATION = ObservationLayout(
    (
        *_frame(""),
        *_frame("previous/"),
        *(
            ObservationChannel(f"goal/position/{axis}", "m", "observation", "goal", axis)
            for axis in "xyz"
        ),
    )
)
"""Hand, gripper (0 closed, 1 open by 10 cm) and two objects now and one simulator step ago, goal.

Quaternions are in the order each Meta-World task has chosen: w first in some, last in others.
"""
ACTION = ActionLayout(
    (
        *(
            ActionChannel(f"hand/{axis}", "hand", "velocity", "m/s", -SPEED, SPEED, safe=0.0)
            for axis in "xyz"
        ),
        ActionChannel("gripper", "gripper", "effort", "1", -1.0, 1.0, safe=0.0, gear=FINGER_GEAR),
    )
)
"""Velocity of the target that pulls the hand, which keeps its orientation; 1 closes the gripper."""


def _make_vector(name: str, num_envs: int, seed: int) -> VectorEnvironment:
    """Return EnvPool's environments where it has them and they are right, else Meta-World's."""
    if name in ENVPOOL_DIFFERS or not has_envpool():
        return SequentialVector([MetaWorldEnvironment(name, seed + i) for i in range(num_envs)])
    words = "".join(word.capitalize() for word in name.split("-"))
    return EnvPoolEnvironment(
        f"MetaWorld/{words}-v3",
        ACTION.size,
        num_envs,
        seed,
        episode_steps=EPISODE_STEPS,
        action_repeat=ACTION_REPEAT,
        success_key="success",
        partially_observable=False,
    )


def _task(scene: str, name: str) -> Task:
    return Task(
        name=f"mw-{name}",
        suite="metaworld",
        body=f"sawyer-{scene}",
        observation=OBSERVATION,
        action=ACTION,
        control_step=SIMULATOR_STEP * ACTION_REPEAT,
        episode_steps=EPISODE_STEPS,
        make_single=partial(MetaWorldEnvironment, name),
        make_vector=partial(_make_vector, name),
        make_expert=partial(ScriptedExpert, name),
        reports_success=True,
    )


TASKS = tuple(
    _task(scene, name)
    for name, scene in sorted((name, scene) for scene, names in _SCENES.items() for name in names)
)
