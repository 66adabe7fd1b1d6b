# SPDX-License-Identifier: Apache-2.0
"""The published eighty, by their published names."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from pwm_core.tasks import Task, all_tasks, get_task

DM_CONTROL = [
    "acrobot-swingup",
    "cartpole-balance",
    "cartpole-balance-sparse",
    "cartpole-swingup",
    "cartpole-swingup-sparse",
    "cheetah-jump",
    "cheetah-run",
    "cheetah-run-back",
    "cheetah-run-backwards",
    "cheetah-run-front",
    "cup-catch",
    "cup-spin",
    "finger-spin",
    "finger-turn-easy",
    "finger-turn-hard",
    "fish-swim",
    "hopper-hop",
    "hopper-hop-backwards",
    "hopper-stand",
    "pendulum-spin",
    "pendulum-swingup",
    "reacher-easy",
    "reacher-hard",
    "reacher-three-easy",
    "reacher-three-hard",
    "walker-run",
    "walker-run-backwards",
    "walker-stand",
    "walker-walk",
    "walker-walk-backwards",
]
META_WORLD = [
    "mw-assembly",
    "mw-basketball",
    "mw-bin-picking",
    "mw-box-close",
    "mw-button-press",
    "mw-button-press-topdown",
    "mw-button-press-topdown-wall",
    "mw-button-press-wall",
    "mw-coffee-button",
    "mw-coffee-pull",
    "mw-coffee-push",
    "mw-dial-turn",
    "mw-disassemble",
    "mw-door-close",
    "mw-door-lock",
    "mw-door-open",
    "mw-door-unlock",
    "mw-drawer-close",
    "mw-drawer-open",
    "mw-faucet-close",
    "mw-faucet-open",
    "mw-hammer",
    "mw-hand-insert",
    "mw-handle-press",
    "mw-handle-press-side",
    "mw-handle-pull",
    "mw-handle-pull-side",
    "mw-lever-pull",
    "mw-peg-insert-side",
    "mw-peg-unplug-side",
    "mw-pick-out-of-hole",
    "mw-pick-place",
    "mw-pick-place-wall",
    "mw-plate-slide",
    "mw-plate-slide-back",
    "mw-plate-slide-back-side",
    "mw-plate-slide-side",
    "mw-push",
    "mw-push-back",
    "mw-push-wall",
    "mw-reach",
    "mw-reach-wall",
    "mw-shelf-place",
    "mw-soccer",
    "mw-stick-pull",
    "mw-stick-push",
    "mw-sweep",
    "mw-sweep-into",
    "mw-window-close",
    "mw-window-open",
]
SIZES = {
    "acrobot": (6, 1),
    "cartpole": (5, 1),
    "cheetah": (17, 6),
    "cup": (8, 2),
    "finger": (9, 2),
    "finger_target": (12, 2),
    "fish": (24, 5),
    "hopper": (15, 4),
    "pendulum": (3, 1),
    "reacher": (6, 2),
    "reacher_three": (8, 3),
    "walker": (24, 6),
}
"""Entries of observation and action, as published data has them."""


@pytest.mark.parametrize(
    ("suite", "names"), [("mt30", DM_CONTROL), ("mt80", DM_CONTROL + META_WORLD)]
)
def test_published_suites(suite: str, names: list[str]) -> None:
    listed = [task.name for task in all_tasks(suite)]
    assert sorted(listed) == sorted(names)
    assert len(listed) == int(suite[2:])
    assert all(get_task(name).name == name for name in names)


@pytest.mark.parametrize("task", all_tasks("mt30"), ids=lambda task: task.name)
def test_published_settings_of_dm_control(task: Task) -> None:
    assert task.suite == "dm_control"
    assert task.episode_steps == 500
    assert not task.episodic
    assert not task.reports_success
    assert (task.observation.size, task.action.size) == SIZES[task.body]


def test_the_command_lists_the_suite_without_loading_simulators() -> None:
    program = (
        "import sys\n"
        "from pwm_core.cli import main\n"
        "main(['tasks', '--suite', 'mt80', '--json'])\n"
        "loaded = {'torch', 'dm_control.suite', 'envpool', 'metaworld'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    listed = [row["task"] for row in json.loads(found.stdout)]
    assert sorted(listed) == sorted(DM_CONTROL + META_WORLD)
