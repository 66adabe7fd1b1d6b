# SPDX-License-Identifier: Apache-2.0
"""The fine-tuning node's parameters: description, type, range. All are read when it starts."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node

from pwm_core.data.schema import DatasetError, Schema, TaskInfo
from pwm_core.finetuning.config import FinetuningConfig
from pwm_finetune.course import RoundSettings
from pwm_finetune.data import Bounds
from pwm_finetune.learner import LearnerSettings
from pwm_finetune.lease import LEAST_SECONDS
from pwm_finetune.recorder import Topics

ON_FULL = ("drop_oldest", "stop")
MEGABYTE = 1e6
LEAST_WATCH_SECONDS = 600.0


@dataclass(frozen=True)
class Settings:
    """The parameters, read."""

    policy: Path
    world_model: Path
    bundle: str
    policy_node: str
    task: TaskInfo
    topics: Topics
    bounds: Bounds
    learner: LearnerSettings
    rounds: RoundSettings
    exploration: tuple[float, ...]
    """Levels of noise; empty: none."""
    trial_lease: float
    """Seconds that a candidate may act unwatched; 0: for ever."""
    autostart: bool


def declare(node: Node) -> None:
    """Declare every parameter; values given at start outside their range raise."""
    _declare_files(node)
    _declare_recorder(node)
    _declare_learner(node)
    _declare_trial(node)
    text = "Start when the node starts, unless it was paused or stopped before; else on ~/start."
    _declare(node, "autostart", True, text)


def _declare_files(node: Node) -> None:
    _declare(node, "task", "", "Task of the running policy.")
    _declare(node, "policy", "", "The running policy's policy.safetensors; never written to.")
    _declare(node, "world_model", "", "The world_model.safetensors that it was extracted from.")
    _declare(node, "offline", "", "Dataset that the world model was trained on.")
    _declare(
        node,
        "directory",
        "online",
        "Run directory: recorded episodes, rounds, verdicts, state. A node that is started again "
        "on it goes on.",
    )
    _declare(
        node, "policy_dir", "", "The policy node's directory of bundles; candidates are put there."
    )
    _declare(
        node,
        "bundle",
        "",
        "Name of the running policy's bundle at the policy node; empty: the task's name.",
    )
    _declare(node, "policy_node", "policy_node", "Name of the policy node.")


def _declare_recorder(node: Node) -> None:
    _declare(
        node,
        "observation_topic",
        "observation",
        "Observations as the policy uses them: observation (a simulator), or policy_node/"
        "observation where the policy node assembles them of sensors.",
    )
    _declare(node, "action_topic", "action", "Commands as they were sent.")
    _declare(
        node,
        "reward",
        "message",
        "message: the observation's; topic: the sum of what was sent on `reward_topic` since the "
        "observation before and not after this one, by clocks that agree; MODULE:FUNCTION: a "
        "function of observation, action in [-1, 1] and next observation.",
    )
    _declare(node, "reward_topic", "reward", "std_msgs/Float64, for `reward` topic.")
    _declare(
        node,
        "held_out_every",
        5,
        "Of so many episodes the last one judges candidates and never trains.",
        integer_range=[IntegerRange(from_value=2, to_value=1000, step=1)],
    )
    _declare(
        node,
        "shortest_stretch",
        16,
        "Decisions of the shortest stretch without a gap that is kept; not below the `--horizon` "
        "of `pwm finetune`.",
        integer_range=[IntegerRange(from_value=1, to_value=100_000, step=1)],
    )
    _declare(
        node,
        "max_disk",
        1000.0,
        "Megabytes of recorded episodes; a round works on a copy.",
        floating_point_range=[FloatingPointRange(from_value=0.01, to_value=1e7)],
    )
    _declare(
        node,
        "on_full",
        "drop_oldest",
        "What happens then: drop_oldest: a quarter of them is dropped; stop: no more is recorded.",
        additional_constraints=f"one of {', '.join(ON_FULL)}",
    )


def _declare_learner(node: Node) -> None:
    _declare(
        node,
        "episodes_per_round",
        5,
        "New episodes that begin a round.",
        integer_range=[IntegerRange(from_value=1, to_value=100_000, step=1)],
    )
    _declare(
        node,
        "exploration_noise",
        [0.0],
        "Noise on actions while episodes are gathered, deviations as fractions of the actions' "
        "range, in turn; sets the policy node's parameter of this name, to 0 while returns are "
        "judged. [0.0]: leave it alone.",
    )
    _declare(
        node,
        "learner",
        "pwm",
        "Command of the learner; a prefix may run it elsewhere on the same files, say "
        "`ssh -tt trainer pwm`.",
    )
    _declare(
        node,
        "learner_cores",
        "",
        "Processor cores of the learner, as taskset takes them: 1 or 0-3,6; empty: all.",
    )
    _declare(
        node,
        "learner_niceness",
        19,
        "Priority of the learner: 19: it runs only when nobody else wants to; 0: like any other.",
        integer_range=[IntegerRange(from_value=0, to_value=19, step=1)],
    )
    _declare(node, "finetune_options", "", "Further options of `pwm finetune`.")
    _declare(node, "export_options", "", "Further options of `pwm export`.")
    _declare(node, "monitor", False, "Give candidates a world-model monitor.")
    _declare(
        node,
        "learner_timeout",
        3600.0,
        "Seconds after which a learner that has not ended is killed and counts as dead.",
        floating_point_range=[FloatingPointRange(from_value=1.0, to_value=1e6)],
    )
    _declare(
        node,
        "retries",
        3,
        "How often a learner that died is started again before fine-tuning gives up.",
        integer_range=[IntegerRange(from_value=0, to_value=100, step=1)],
    )


def _declare_trial(node: Node) -> None:
    _declare(
        node,
        "auto_approve",
        True,
        "Swap in candidates that passed the gate; else each waits for ~/approve.",
    )
    _declare(
        node,
        "watch_episodes",
        5,
        "Whole episodes of a candidate after which its real return is judged.",
        integer_range=[IntegerRange(from_value=1, to_value=10_000, step=1)],
    )
    _declare(
        node,
        "watch_seconds",
        0.0,
        "Seconds after which a candidate that could not be judged is taken back; 0: ten times what "
        "these episodes last, and ten minutes at least.",
        floating_point_range=[FloatingPointRange(from_value=0.0, to_value=1e7)],
    )
    _declare(
        node,
        "trial_lease",
        30.0,
        "Seconds that a candidate may act without being watched: should this node die for good, "
        "the policy node lets the policy before act again; 5 or more. 0: it does not.",
        floating_point_range=[FloatingPointRange(from_value=0.0, to_value=86400.0)],
    )
    _declare(
        node,
        "baseline_episodes",
        5,
        "Last whole episodes of the policy before, which its returns are held against.",
        integer_range=[IntegerRange(from_value=2, to_value=10_000, step=1)],
    )
    _declare(
        node,
        "blend_seconds",
        0.0,
        "Seconds over which a candidate takes over.",
        floating_point_range=[FloatingPointRange(from_value=0.0, to_value=60.0)],
    )


def read(node: Node) -> Settings:
    """Return the parameters; ``ValueError`` or ``PwmError`` names one that does not fit."""

    def get(name: str) -> Any:
        return node.get_parameter(name).value

    for name in ("task", "policy", "world_model", "offline", "policy_dir"):
        if not get(name):
            raise ValueError(f"parameter {name} is empty, expected one: {_DESCRIBED[name]}")
    for name in ("policy", "world_model", "offline", "policy_dir"):
        if not Path(get(name)).exists():
            raise ValueError(f"{name} {get(name)} does not exist")
    if get("on_full") not in ON_FULL:
        raise ValueError(f"on_full {get('on_full')!r} is none of {', '.join(ON_FULL)}")
    directory = Path(get("directory")).expanduser().absolute()
    offline = Path(get("offline")).absolute()
    task = _task(offline, get("task"))
    lasting = get("watch_episodes") * task.episode_steps * task.control_step
    options = shlex.split(get("finetune_options"))
    require_horizon(options, get("shortest_stretch"))
    require_lease(get("trial_lease"))
    return Settings(
        policy=Path(get("policy")).absolute(),
        world_model=Path(get("world_model")).absolute(),
        bundle=get("bundle") or get("task"),
        policy_node=get("policy_node"),
        task=task,
        topics=Topics(
            get("observation_topic"), get("action_topic"), get("reward"), get("reward_topic")
        ),
        bounds=Bounds(
            get("max_disk") * MEGABYTE,
            get("on_full") == "drop_oldest",
            get("held_out_every"),
            get("shortest_stretch"),
        ),
        learner=LearnerSettings(
            tuple(shlex.split(get("learner"))),
            get("learner_cores"),
            tuple(options),
            tuple(shlex.split(get("export_options"))),
            get("monitor"),
            get("learner_niceness"),
            get("learner_timeout"),
        ),
        rounds=RoundSettings(
            directory=directory,
            policy_dir=Path(get("policy_dir")).absolute(),
            offline=offline,
            origin=Path(get("policy")).absolute(),
            task=get("task"),
            episodes=get("episodes_per_round"),
            watch=get("watch_episodes"),
            watch_seconds=get("watch_seconds") or max(10 * lasting, LEAST_WATCH_SECONDS),
            before=get("baseline_episodes"),
            auto_approve=get("auto_approve"),
            retries=get("retries"),
            blend_seconds=get("blend_seconds"),
        ),
        trial_lease=get("trial_lease"),
        exploration=exploration_levels(
            get("exploration_noise"), get("episodes_per_round"), get("baseline_episodes")
        ),
        autostart=get("autostart"),
    )


_DESCRIBED: dict[str, str] = {}


def exploration_levels(given: Sequence[float], episodes: int, baseline: int) -> tuple[float, ...]:
    """Return the levels of noise; refuse those that would never act."""
    wrong = [level for level in given if not 0.0 <= level <= 1.0]
    if wrong:
        raise ValueError(f"exploration_noise has {wrong[0]}, expected 0 to 1")
    if any(given) and episodes <= baseline:
        raise ValueError(
            f"episodes_per_round {episodes} leaves none for exploration_noise: the first "
            f"{baseline} (baseline_episodes) are without; expected more"
        )
    return tuple(given) if any(given) else ()


def require_horizon(finetune_options: Sequence[str], shortest: int) -> None:
    """Refuse a horizon of `pwm finetune` beyond the shortest stretch that is recorded.

    It would leave stretches out, and what judges is found by counting them: others than those that
    were held out would judge, and some that were held out would train.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--horizon", type=int, default=FinetuningConfig.horizon)
    try:
        horizon = parser.parse_known_args(finetune_options)[0].horizon
    except argparse.ArgumentError as error:
        raise ValueError(f"finetune_options: {error}") from error
    if horizon > shortest:
        raise ValueError(
            f"shortest_stretch {shortest} is below the horizon {horizon} of `pwm finetune`, which "
            f"needs stretches of so many decisions: expected {horizon} or more"
        )


def require_lease(seconds: float) -> None:
    """Refuse a lease that could run out between two renewals."""
    if 0 < seconds < LEAST_SECONDS:
        raise ValueError(
            f"trial_lease is {seconds:g} s: it could run out while the candidate is watched; "
            f"expected {LEAST_SECONDS:g} or more, or 0 for none"
        )


def _task(offline: Path, name: str) -> TaskInfo:
    tasks = Schema.read(offline).tasks
    if name not in tasks:
        raise DatasetError(f"{offline} has no task {name!r}; it has {', '.join(sorted(tasks))}")
    return tasks[name]


def _declare(
    node: Node, name: str, default: object, description: str, **constraints: object
) -> None:
    _DESCRIBED[name] = description
    descriptor = ParameterDescriptor(
        name=name, description=description, read_only=True, **constraints
    )
    node.declare_parameter(name, default, descriptor)
