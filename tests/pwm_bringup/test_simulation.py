# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from pwm_bringup.simulation import simulation_nodes


def nodes(mode: str = "realtime", policy_dir: str = "policies"):
    return simulation_nodes("cartpole-balance", policy_dir, "", mode, False, True)


@pytest.mark.parametrize(
    ("mode", "trigger"), [("lockstep", "observation"), ("realtime", "clock"), ("paused", "clock")]
)
def test_the_policy_waits_for_the_physics_only_in_lockstep(mode: str, trigger: str) -> None:
    bridge, policy = nodes(mode)
    assert bridge.parameters["mode"] == mode
    assert policy.parameters["trigger"] == trigger


def test_a_relative_policy_directory_is_the_callers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert nodes()[1].parameters["policy_dir"] == str(tmp_path / "policies")


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="mode 'sideways' is none of lockstep, realtime, paused"):
        nodes("sideways")
