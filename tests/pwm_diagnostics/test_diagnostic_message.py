# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus

from pwm_diagnostics import diagnostic_message


def test_one_status_whose_figures_can_be_read() -> None:
    values = {"ticks": 123456789, "rate_hz": 49.9999999, "noise": 1.25e-7, "p99": math.nan}
    message = diagnostic_message(
        Time(sec=5),
        "/robot1/policy_node: control loop",
        "policy",
        DiagnosticStatus.WARN,
        "late",
        values,
    )
    (status,) = message.status
    assert message.header.stamp.sec == 5
    assert (status.name, status.hardware_id) == ("/robot1/policy_node: control loop", "policy")
    assert (status.level, status.message) == (DiagnosticStatus.WARN, "late")
    shown = {value.key: value.value for value in status.values}
    assert shown == {"ticks": "123456789", "rate_hz": "50", "noise": "1.25e-07", "p99": "nan"}
