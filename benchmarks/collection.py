# SPDX-License-Identifier: Apache-2.0
"""One replanning of sampling MPC: ``mujoco.rollout`` against stepping environments in Python."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import Program, Row, clock_name, function_rows, interleave
from benchmarks.settings import Settings
from pwm_core.data.behaviours import Planner, SamplingMpc
from pwm_core.tasks import TrueDynamics, get_task
from pwm_core.tasks.stepped import SteppedDynamics

TASKS = ("cartpole-swingup", "cheetah-run", "walker-walk")
REFERENCE, PLANNER = "environments in Python", "mujoco.rollout"


def plannings(task: str) -> dict[str, Callable[[], np.ndarray]]:
    """Return how to plan once for a block of episodes, from the same states and random numbers."""
    described = get_task(task)
    planner = Planner.of(described)
    environments = [described.make_single(seed) for seed in range(SamplingMpc.block or 1)]
    for seed, environment in enumerate(environments):
        environment.reset(seed=seed)
    state = np.stack([environment.state() for environment in environments])
    plan = np.zeros((len(environments), planner.horizon, described.action.size))

    def planning(dynamics: TrueDynamics) -> Callable[[], np.ndarray]:
        return lambda: planner.improve(dynamics, state, plan, np.random.default_rng(0))

    assert described.make_dynamics is not None
    return {
        REFERENCE: planning(SteppedDynamics(environments, 1)),
        PLANNER: planning(described.make_dynamics(environments, 1)),
    }


def measure(directory: Path, settings: Settings) -> list[Row]:
    """Return a row per task and program."""
    rows: list[dict[str, Any]] = []
    for task in TASKS:
        ways = plannings(task)
        programs = {name: Program(plan, settings.calls) for name, plan in ways.items()}
        seconds = interleave(programs, settings.rounds)
        for name, own in seconds.items():
            rows.append(
                {
                    "case": task,
                    "program": name,
                    f"{clock_name()} ms": 1e3 * float(np.median(own)),
                    "times reference": float(np.median(seconds[REFERENCE] / own)),
                }
            )
    return rows


def profiled(directory: Path, settings: Settings) -> list[Row]:
    """Return the costliest functions of planning on the last task."""
    return function_rows(plannings(TASKS[-1])[PLANNER], settings.calls)
