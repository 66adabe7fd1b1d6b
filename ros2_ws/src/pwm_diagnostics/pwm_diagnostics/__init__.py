# SPDX-License-Identifier: Apache-2.0
"""How the nodes say on ``/diagnostics`` how they are: one status each, once a second."""

from __future__ import annotations

from collections.abc import Mapping

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue


def diagnostic_message(
    stamp: Time,
    name: str,
    hardware: str,
    level: bytes,
    text: str,
    values: Mapping[str, object],
) -> DiagnosticArray:
    """Return one diagnostic status of ``hardware``; numbers are rounded for reading."""
    status = DiagnosticStatus(level=level, name=name, message=text, hardware_id=hardware)
    for key, value in values.items():
        shown = f"{value:.6g}" if isinstance(value, float) else str(value)
        status.values.append(KeyValue(key=key, value=shown))
    message = DiagnosticArray(status=[status])
    message.header.stamp = stamp
    return message
