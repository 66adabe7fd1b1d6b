# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from pwm_policy import emergency_stop
from pwm_policy.emergency_stop import EmergencyStop


def test_a_stop_is_latched_until_released() -> None:
    stop = EmergencyStop()
    assert not stop.latched
    assert stop.latch()
    with stop.leaving() as latched:
        assert latched
    stop.release()
    with stop.leaving() as latched:
        assert not latched


def test_a_command_that_never_leaves_does_not_keep_the_stop_from_being_latched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(emergency_stop, "LEAVING_SECONDS", 0.01)
    stop = EmergencyStop()
    with stop.leaving():
        assert not stop.latch()
        assert stop.latched


def test_a_command_that_fails_holds_up_no_stop() -> None:
    stop = EmergencyStop()
    with pytest.raises(RuntimeError), stop.leaving():
        raise RuntimeError
    assert stop.latch()
