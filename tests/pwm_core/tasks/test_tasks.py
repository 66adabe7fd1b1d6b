# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from pwm_core.errors import PwmError
from pwm_core.tasks import UnknownTaskError, all_tasks, get_task

TASK = get_task("cartpole-swingup")


def test_unknown_task_names_the_nearest() -> None:
    with pytest.raises(UnknownTaskError, match="unknown task 'cartpole-swing-up': did you mean "):
        get_task("cartpole-swing-up")
    with pytest.raises(PwmError) as caught:
        get_task("cartpole_swingup")
    assert "cartpole-swingup" in str(caught.value)


def test_a_name_like_no_other() -> None:
    with pytest.raises(UnknownTaskError, match="unknown task 'zzz': pwm tasks lists them"):
        get_task("zzz")


def test_unknown_suite() -> None:
    assert TASK in all_tasks("dm_control")
    with pytest.raises(UnknownTaskError, match="the suites are dm_control"):
        all_tasks("atari")


def test_what_the_contract_promises_of_the_cartpole() -> None:
    balance = get_task("cartpole-balance")
    for task in (TASK, balance):
        assert (task.suite, task.body) == ("dm_control", "cartpole")
        assert (task.control_step, task.episode_steps) == (0.02, 500)
        assert task.discount == pytest.approx(0.99)
    assert TASK.observation == balance.observation
    assert TASK.action == balance.action
