# SPDX-License-Identifier: Apache-2.0
"""Real time: the policy node keeps its rate through swaps, resets and refusals."""

from __future__ import annotations

import json
import math
import os
import signal

import pytest

LEFT, RIGHT = (-20.0, 0, 0, 0, 0), (20.0, 0, 0, 0, 0)


@pytest.fixture
def simulation(make_bundle, start_bridge, start_policy, session):
    """Both nodes in real time, policy ``upright`` active and ``other`` beside it."""
    make_bundle("upright")
    make_bundle("other", (0.1, 0.0, 2.5, 0.2, 0.7), task="cartpole-swingup")
    bridge = start_bridge(mode="realtime", time_limit=False)
    policy = start_policy(policy="upright")
    session.connect()
    return bridge, policy


def test_a_live_session_with_swaps(simulation, domain, tmp_path) -> None:
    from pwm_bringup.processes import RosProcess

    output = tmp_path / "live.json"
    arguments = [
        *("live", "--output", str(output)),
        *("--segment", "policy=upright,seconds=2"),
        *("--segment", "policy=upright,seconds=1,task=cartpole-swingup,label=hanging"),
        *("--segment", "policy=other,seconds=1,blend=0.3"),
        *("--segment", "policy=upright,seconds=1.5,task=cartpole-balance"),
    ]
    assert RosProcess("pwm_bringup", "session", arguments, domain).wait(timeout=120) == 0
    record = json.loads(output.read_text())
    assert [swap["epoch"] for swap in record["swaps"]] == [2, 3]
    for latency in ("latency_seconds", "latency_of_node_seconds"):
        assert all(0 < swap[latency] < math.inf for swap in record["swaps"])
    balance, hanging, _, again = record["segments"]
    assert hanging["label"] == "hanging"
    assert hanging["mean_reward"] < min(balance["mean_reward"], again["mean_reward"])
    assert record["refused_swap"]["known"] == ["other", "upright"]
    assert record["refused_swap"]["policy_still_running"] == "upright"
    assert record["refused_swap"]["frames_after"] > 0
    # How fast depends on the machine: `python -m benchmarks control_loop` judges that.
    assert 0 < record["policy_node"]["period_p50_ms"] < math.inf
    assert record["policy_node"]["refused_swaps"] == 1
    assert 0 < record["real_time_factor"] < math.inf
    assert {"upright", "other"} <= set(record["frames"]["policy"])


def test_refusals_leave_the_running_policy_alone(
    simulation, session, until, ask, make_bundle, tmp_path
) -> None:
    from pwm_interfaces.srv import ListPolicies, LoadPolicy, SwapPolicy

    for name in ("no-such", "../upright", "/etc/passwd", "upright.onnx", ""):
        answer = ask(SwapPolicy, "policy_node/swap_policy", name=name)
        assert not answer.success
        assert list(answer.known) == ["other", "upright"]
        assert "other, upright" in answer.message
    negative = ask(SwapPolicy, "policy_node/swap_policy", name="other", blend_seconds=-1.0)
    assert "blend_seconds is -1.0" in negative.message

    make_bundle("slow", control_step=0.04)
    truncated = tmp_path / "policies" / "truncated.onnx"
    truncated.write_bytes((tmp_path / "policies" / "other.onnx").read_bytes()[:150])
    for name, reason in (
        ("slow", "bundle slow.onnx: control step is 0.04 s, expected 0.02 s"),
        ("truncated", "bundle truncated.onnx: not a complete ONNX model"),
        ("../policies/other", "no bundle '../policies/other' in the policy directory"),
    ):
        refused = ask(LoadPolicy, "policy_node/load_policy", name=name)
        assert not refused.success
        assert reason in refused.message

    listed = ask(ListPolicies, "policy_node/list_policies")
    assert listed.active == "upright"
    assert [info.name for info in listed.policies] == ["other", "upright"]
    assert session.status.policy_epoch == 1
    step = session.frames[-1].step
    until(lambda: session.frames[-1].step > step + 10, "the simulation to go on")
    assert session.frames[-1].policy == "upright"


def test_loading_swapping_and_rolling_back(simulation, session, ask, make_bundle) -> None:
    from pwm_interfaces.srv import LoadPolicy
    from std_srvs.srv import Trigger

    nothing = ask(Trigger, "policy_node/rollback")
    assert (nothing.success, nothing.message) == (False, "there is no previous policy")
    make_bundle("late", LEFT)
    loaded = ask(LoadPolicy, "policy_node/load_policy", name="late")
    assert loaded.success, loaded.message
    assert (loaded.info.name, loaded.info.task) == ("late", "cartpole-balance")
    assert session.swap("late")["success"]
    assert session.status.previous == "upright"
    rolled = ask(Trigger, "policy_node/rollback")
    assert rolled.success
    session.spin_until(lambda: session.status.policy_epoch == 3, "the rollback")
    assert (session.status.policy, session.status.previous) == ("upright", "late")


def test_emergency_stop_latches_the_safe_action(simulation, until, ask, listen) -> None:
    from pwm_interfaces.msg import Action
    from std_srvs.srv import SetBool

    actions = listen(Action, "action")
    until(lambda: actions and not actions[-1].safe, "the policy's actions")
    assert ask(SetBool, "policy_node/emergency_stop", data=True).success
    until(lambda: actions[-1].safe, "the safe action")
    assert list(actions[-1].values) == [0.0]
    assert ask(SetBool, "policy_node/emergency_stop", data=False).success
    until(lambda: not actions[-1].safe, "the policy's actions again")


def test_a_silent_simulator_brings_the_safe_action(simulation, until, listen) -> None:
    from pwm_interfaces.msg import Action

    bridge, _ = simulation
    actions = listen(Action, "action")
    until(lambda: actions and not actions[-1].safe, "the policy's actions")
    os.kill(bridge.pid, signal.SIGSTOP)
    until(lambda: actions[-1].safe, "the safe action")
    os.kill(bridge.pid, signal.SIGCONT)
    until(lambda: not actions[-1].safe, "the policy's actions again")


def test_both_nodes_end_cleanly_on_ctrl_c(simulation, session, until) -> None:
    until(lambda: len(session.frames) > 5, "observations")
    for process in simulation:
        process.interrupt()
    assert [process.wait(timeout=30) for process in simulation] == [0, 0]
    assert not any("Traceback" in line for process in simulation for line in process.tail)
