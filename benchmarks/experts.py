# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks.experts``: what Meta-World's scripted experts reach within our episodes.

The experts were written for 500 simulator steps, published episodes have 200: each task is played
for its own length in many worlds and in single ones, and the single ones go on to 500 steps.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from pwm_core.tables import print_table
from pwm_core.tasks import Task, all_tasks, get_task

DECISIONS = 250
"""500 simulator steps."""


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.experts", description=__doc__)
    parser.add_argument("tasks", nargs="*", metavar="TASK", help="all with an expert by default")
    parser.add_argument("--episodes", type=int, default=20, help="per task and kind of world")
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    return parser.parse_args(argv)


def in_many_worlds(task: Task, episodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return ``task``'s returns ``[N]`` and final successes ``[N]`` in its vector environment."""
    assert task.make_expert is not None
    many, expert = task.make_vector(episodes, 0), task.make_expert()
    observation, returns = many.reset(), np.zeros(episodes)
    for _ in range(task.episode_steps):
        observation, reward, _, _, success = many.step(expert(observation))
        returns += reward
    return returns, success


def in_single_worlds(task: Task, episodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rewards and successes ``[N, DECISIONS]``, past the end of ``task``'s episodes."""
    assert task.make_expert is not None
    world, expert = task.make_single(0), task.make_expert()
    outcomes = []
    for seed in range(episodes):
        observation, _ = world.reset(seed=seed)
        for _ in range(DECISIONS):
            observation, reward, _, _, info = world.step(expert(observation[None])[0])
            outcomes.append((reward, info["success"]))
    reward, success = np.array(outcomes, float).reshape(episodes, DECISIONS, 2).transpose(2, 0, 1)
    return reward, success


def row(task: Task, episodes: int) -> dict[str, Any]:
    """Return one row of the table."""
    returns, solved = in_many_worlds(task, episodes)
    reward, success = in_single_worlds(task, episodes)
    length = task.episode_steps
    return {
        "task": task.name,
        "success, vector": float(solved.mean()),
        "success, single": float(success[:, length - 1].mean()),
        "ever, single": float(success[:, :length].any(axis=1).mean()),
        "after 500 steps": float(success[:, -1].mean()),
        "return, vector": float(returns.mean()),
        "return, single": float(reward[:, :length].sum(axis=1).mean()),
        "its deviation": float(reward[:, :length].sum(axis=1).std()),
    }


def main(argv: Sequence[str]) -> int:
    """Play every task asked for and print the table."""
    asked = arguments(argv)
    tasks = [get_task(name) for name in asked.tasks] or [
        task for task in all_tasks("mt80") if task.make_expert is not None
    ]
    rows = [row(task, asked.episodes) for task in tasks]
    print_table(f"Scripted experts, {asked.episodes} episodes", rows, asked.json)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
