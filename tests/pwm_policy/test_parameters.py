# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from rclpy.parameter import Parameter

from pwm_policy.parameters import (
    READ_BY_CONFIGURE,
    RENAMED,
    refusal_while_configured,
    refusal_while_configuring,
)


@pytest.mark.parametrize("name", [*READ_BY_CONFIGURE, "stale_timeout"])
def test_what_configure_reads_is_not_taken_while_it_reads(name: str) -> None:
    refused = refusal_while_configuring([Parameter("trigger", value="clock"), Parameter(name)])
    assert refused.startswith(f"{name}: `configure` reads")


def test_what_acts_on_a_running_loop_is_taken_at_any_time() -> None:
    driving = [Parameter("trigger", value="clock"), Parameter("exploration_noise", value=0.1)]
    assert refusal_while_configuring(driving) == ""
    assert refusal_while_configured(driving, 0.02) == ""


def test_a_timeout_is_compared_with_the_control_step_of_the_policies() -> None:
    assert refusal_while_configured([Parameter("stale_timeout", value=0.03)], 0.02) == ""
    refused = refusal_while_configured([Parameter("stale_timeout", value=0.029)], 0.02)
    assert "stale_timeout is 0.029 s, less than 1.5 control steps of 0.02 s" in refused


def test_no_old_name_is_in_use_again() -> None:
    assert not RENAMED.keys() & {*READ_BY_CONFIGURE, *RENAMED.values()}
