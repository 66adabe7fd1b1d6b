# SPDX-License-Identifier: Apache-2.0
"""Sampling MPC by ``mujoco.rollout`` and episodes side by side, against plain loops in Python.

With ``--threads 2`` ``mujoco.rollout`` simulates plans on so many threads. Where the task's planner
makes several simulator steps as one, that is a row of its own: its plans are not quite the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import mujoco
import numpy as np
import torch

from benchmarks.inference import untrained_policy
from benchmarks.measure import Program, Row, clock_name, function_rows, interleave
from benchmarks.settings import Settings
from pwm_core.data.behaviours import Planner, SamplingMpc
from pwm_core.data.dataset import TaskInfo
from pwm_core.evaluation.episodes import deterministic, run_episodes
from pwm_core.tasks import TrueDynamics, get_task
from pwm_core.tasks.stepped import SteppedDynamics
from pwm_core.tasks.task import STATE

TASKS = ("cartpole-swingup", "cheetah-run", "walker-walk")
REFERENCE, PLANNER, PHYSICS = "environments in Python", "mujoco.rollout", "mj_step alone"
COARSE = "mujoco.rollout, {} steps as one"
ONE_BY_ONE, SIDE_BY_SIDE = "one episode after the other", "side by side (pwm eval)"
EVALUATED = 10
"""Episodes of an evaluation, the default of ``pwm eval``."""


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

    make, threads = described.make_dynamics, torch.get_num_threads()
    assert make is not None
    ways = {
        REFERENCE: planning(SteppedDynamics(environments, 1)),
        PLANNER: planning(make(environments, threads)),
    }
    if (times := planner.coarseness) > 1:
        ways[COARSE.format(times)] = planning(make(environments, threads, times))
    return ways


def physics(task: str) -> Callable[[], None]:
    """Return the simulator's steps of one planning and nothing else, on one thread.

    No plan can be judged in less time: only more threads or fewer steps can.
    """
    described = get_task(task)
    planner, environment = Planner.of(described), described.make_single(0)
    environment.reset(seed=0)
    model, state = environment.model, environment.state()
    steps = round(described.control_step / model.opt.timestep)
    plans = (SamplingMpc.block or 1) * planner.samples
    shape = plans, planner.horizon, model.nu
    controls = np.clip(planner.spread * np.random.default_rng(0).standard_normal(shape), -1, 1)
    data = mujoco.MjData(model)

    def run() -> None:
        for plan in controls:
            mujoco.mj_setState(model, data, state, STATE)
            for control in plan:
                data.ctrl[:] = control
                mujoco.mj_step(model, data, nstep=steps)

    return run


def evaluations(task: str, episodes: int) -> dict[str, Callable[[], np.ndarray]]:
    """Return how to find the returns of an untrained policy in the same episodes."""
    described = get_task(task)
    policy = deterministic(untrained_policy(TaskInfo.of(described), "tiny").policy)

    def returns(seeds: range) -> np.ndarray:
        return run_episodes(described, policy, seeds).returns

    return {
        ONE_BY_ONE: lambda: np.concatenate([returns(range(s, s + 1)) for s in range(episodes)]),
        SIDE_BY_SIDE: lambda: returns(range(episodes)),
    }


def measure(directory: Path, settings: Settings) -> list[Row]:
    """Return a row per task and program."""
    rows: list[Row] = []
    for task in TASKS:
        ways = {**plannings(task), PHYSICS: physics(task)}
        rows += compared(f"{task}, planning", ways, settings.calls, settings.rounds)
    if torch.get_num_threads() > 1:
        return rows  # policies this small run on one, in pwm eval too
    for task in TASKS[: settings.calls]:  # one is enough to see that it runs
        judged = evaluations(task, min(EVALUATED, settings.episodes))
        rows += compared(f"{task}, evaluation", judged, 1, min(settings.rounds, 3))
    return rows


def compared(
    case: str, ways: Mapping[str, Callable[[], object]], calls: int, rounds: int
) -> list[Row]:
    """Return a row per way; the first is the reference."""
    seconds = interleave({name: Program(run, calls) for name, run in ways.items()}, rounds)
    reference = seconds[next(iter(ways))]
    return [
        {
            "case": case,
            "program": name,
            f"{clock_name()} ms": 1e3 * float(np.median(own)),
            "times reference": float(np.median(reference / own)),
        }
        for name, own in seconds.items()
    ]


def profiled(directory: Path, settings: Settings) -> list[Row]:
    """Return the costliest functions of planning on the last task."""
    return function_rows(plannings(TASKS[-1])[PLANNER], settings.calls)
