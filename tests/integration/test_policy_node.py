# SPDX-License-Identifier: Apache-2.0
"""The policy node alone: lifecycle, bad bundles, bad observations."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable

import pytest

from pwm_core.tasks import get_task

LAYOUT = get_task("cartpole-balance").observation


@pytest.fixture
def transition(ask) -> Callable[[str], bool]:
    """Ask for a lifecycle transition by name; True if it was made."""
    from lifecycle_msgs.msg import Transition
    from lifecycle_msgs.srv import ChangeState

    def change(name: str) -> bool:
        number = getattr(Transition, f"TRANSITION_{name.upper()}")
        request = Transition(id=number)
        return ask(ChangeState, "policy_node/change_state", transition=request).success

    return change


def figure(session, key: str) -> float:
    return float(session.diagnostics.get("policy_node", {}).get(key, 0))


def test_every_transition(
    make_bundle, start_policy, session, until, observe, actions, transition
) -> None:
    make_bundle("upright")
    node = start_policy(autostart=False, stale_timeout=60.0)  # a busy machine is no fault
    until(lambda: session.status.state == "unconfigured", "the node")
    assert transition("configure")
    until(lambda: session.status.state == "inactive", "configured")
    assert session.status.policy == "upright"
    observe([0.1, 1.0, 0.0, 0.0, 0.0])
    assert transition("activate")
    until(lambda: actions and not actions[-1].safe, "actions")
    assert transition("deactivate")
    until(lambda: session.status.state == "inactive", "inactive again")
    until(lambda: actions[-1].safe, "the safe action as the last word")
    said, step = len(actions), actions[-1].observation_step
    until(lambda: figure(session, "ticks") > 0, "a diagnostic of the finished loop")
    assert len(actions) == said
    assert transition("activate")
    until(lambda: actions[-1].observation_step > step and not actions[-1].safe, "actions again")
    assert transition("deactivate")
    assert transition("cleanup")
    until(lambda: session.status.state == "unconfigured", "unconfigured again")
    assert transition("unconfigured_shutdown")
    until(lambda: session.status.state == "finalized", "finalized")
    node.interrupt()
    assert node.wait(timeout=30) == 0


def test_an_impossible_transition_is_survived(
    make_bundle, start_policy, session, until, transition, ask
) -> None:
    from lifecycle_msgs.msg import Transition
    from lifecycle_msgs.srv import ChangeState, GetState

    make_bundle("upright")
    start_policy(autostart=False)
    until(lambda: session.status.state == "unconfigured", "the node")
    client = session.create_client(ChangeState, "policy_node/change_state")
    until(client.service_is_ready, "the service")
    # Jazzy's rclpy never answers this one.
    client.call_async(
        ChangeState.Request(transition=Transition(id=Transition.TRANSITION_DEACTIVATE))
    )
    assert ask(GetState, "policy_node/get_state").current_state.label == "unconfigured"
    assert transition("configure")


def test_configure_fails_with_the_reason_and_can_be_repeated(
    make_bundle, start_policy, session, until, transition
) -> None:
    make_bundle("upright")
    start_policy(policy="missing")
    expected = "cannot configure: unknown policy 'missing': the policies are upright"
    until(lambda: session.status.reason == expected, "the reason")
    assert session.status.state == "unconfigured"
    session.configure("policy_node", policy="upright")
    assert transition("configure")
    assert transition("activate")
    until(lambda: session.status.state == "active", "the node to be active")


def test_bad_bundles_are_refused_by_name_and_the_others_serve(
    make_bundle, start_policy, session, until, ask, tmp_path
) -> None:
    from pwm_interfaces.srv import ListPolicies, SwapPolicy

    make_bundle("upright")
    make_bundle("slow", control_step=0.04)
    make_bundle("edited", observation_hash="0123456789abcdef")
    directory = tmp_path / "policies"
    (directory / "cut.onnx").write_bytes((directory / "upright.onnx").read_bytes()[:99])
    start_policy(policy="upright")
    until(lambda: session.status.state == "active", "the node to be active")
    listed = ask(ListPolicies, "policy_node/list_policies")
    assert [info.name for info in listed.policies] == ["upright"]
    refused = dict(line.split(": ", 1) for line in listed.refused)
    assert "not a complete ONNX model" in refused["cut"]
    assert "does not match its own hash" in refused["edited"]
    assert "control step is 0.04 s" in refused["slow"]
    answer = ask(SwapPolicy, "policy_node/swap_policy", name="slow")
    assert not answer.success
    assert "policy 'slow' was refused: bundle slow.onnx" in answer.message


def test_services_before_configuration_answer(start_policy, session, until, ask, tmp_path) -> None:
    from pwm_interfaces.srv import ListPolicies, LoadPolicy, SwapPolicy

    start_policy(policy_dir=str(tmp_path / "nowhere"))
    until(lambda: "does not exist" in session.status.reason, "the reason")
    assert not ask(ListPolicies, "policy_node/list_policies").policies
    for kind, name in ((SwapPolicy, "swap_policy"), (LoadPolicy, "load_policy")):
        answer = ask(kind, f"policy_node/{name}", name="any")
        assert (answer.success, answer.message) == (False, "the node is not configured")


def test_bad_observations_are_ignored_and_counted(
    make_bundle, start_policy, session, until, observe, actions
) -> None:
    make_bundle("upright")
    start_policy()
    until(lambda: session.status.state == "active", "the node to be active")
    good = [0.1, 1.0, 0.0, 0.0, 0.0]
    observe(good)
    until(lambda: actions and not actions[-1].safe, "actions")
    for data, layout_hash in (
        ([math.nan, 1.0, 0.0, 0.0, 0.0], LAYOUT.hash()),
        ([0.1, 1.0], LAYOUT.hash()),
        (good, "0123456789abcdef"),
    ):
        counted = figure(session, "refused_inputs")
        observe(data, layout_hash)
        # A safe action alone may come of a machine too busy to publish anything for a while.
        until(lambda counted=counted: figure(session, "refused_inputs") > counted, "the count")
        until(lambda: actions[-1].safe, "the safe action after the time-out")
        observe(good)
        until(lambda: not actions[-1].safe, "actions again")
    until(lambda: figure(session, "stale_inputs") > 0, "the count of decisions without one")
    assert all(math.isfinite(value) for action in actions for value in action.values)


def test_an_output_that_is_not_finite_becomes_the_safe_action(
    make_bundle, start_policy, session, until, observe, actions
) -> None:
    make_bundle("roots", (1.0, 0, 0, 0, 0), square_root=True)
    start_policy()
    until(lambda: session.status.state == "active", "the node to be active")
    observe([0.25, 0.0, 0.0, 0.0, 0.0])
    until(lambda: actions and not actions[-1].safe, "actions")
    observe([-0.25, 0.0, 0.0, 0.0, 0.0])
    until(lambda: actions[-1].safe, "the safe action")
    until(lambda: figure(session, "invalid_outputs") > 0, "the count")
    assert all(math.isfinite(value) for action in actions for value in action.values)


def test_parameters_are_checked(make_bundle, start_policy, session, until) -> None:
    from pwm_bringup.session import SessionError

    make_bundle("upright")
    start_policy(autostart=False)
    until(session.parameter_clients["policy_node"].service_is_ready, "parameters")
    with pytest.raises(SessionError, match="none of clock, observation"):
        session.configure("policy_node", trigger="whenever")
    with pytest.raises(SessionError, match="stale_timeout"):
        session.configure("policy_node", stale_timeout=0.0)


@pytest.mark.parametrize(
    "change",
    [{"dry_run": True}, {"limits_file": "limits.yaml"}, {"observation_source": "sensors"}],
)
def test_what_configure_reads_is_not_changed_under_a_running_policy(
    make_bundle, start_policy, session, until, transition, change
) -> None:
    from pwm_bringup.session import SessionError

    make_bundle("upright")
    start_policy()
    until(lambda: session.status.state == "active", "the node to be active")
    with pytest.raises(SessionError, match=f"{next(iter(change))}: read by .* and `cleanup`"):
        session.configure("policy_node", **change)
    session.configure("policy_node", dry_run=False, policy="")  # as they are
    assert transition("deactivate")
    with pytest.raises(SessionError, match="the node is configured"):
        session.configure("policy_node", **change)
    assert transition("cleanup")
    session.configure("policy_node", **change)


def test_what_configure_reads_is_not_changed_while_it_reads(domain, monkeypatch) -> None:
    """The node in this process, so that its `configure` lasts until it is let go on."""
    from rclpy.parameter import Parameter

    from pwm_policy.node import PolicyNode
    from pwm_policy.registry import PolicyError

    reading, go_on = threading.Event(), threading.Event()

    def configure(*_: object) -> None:
        reading.set()
        assert go_on.wait(30)
        raise PolicyError("no policies here")

    monkeypatch.setattr("pwm_policy.node.configure", configure)
    node = PolicyNode(threading.Event())
    try:
        configuring = threading.Thread(target=node.trigger_configure)
        configuring.start()
        assert reading.wait(30)
        changes = [Parameter("dry_run", value=True), Parameter("stale_timeout", value=0.5)]
        for answer in node.set_parameters([*changes, Parameter("trigger", value="observation")]):
            refused = "`configure` reads the parameters just now" in answer.reason
            assert refused == (not answer.successful)
        assert not node.get_parameter("dry_run").value
        assert node.get_parameter("stale_timeout").value == 0.2
        assert node.get_parameter("trigger").value == "observation"
        go_on.set()
        configuring.join(30)
        assert all(answer.successful for answer in node.set_parameters(changes))
    finally:
        go_on.set()
        node.start()
        node.close()
        node.destroy_node()


def test_a_timeout_below_the_time_between_observations_is_refused(
    make_bundle, start_policy, session, until, transition
) -> None:
    from pwm_bringup.session import SessionError

    make_bundle("upright", control_step=0.25)
    start_policy()
    expected = "stale_timeout is 0.2 s, less than 1.5 control steps of 0.25 s"
    until(lambda: expected in session.status.reason, "the reason")
    session.configure("policy_node", stale_timeout=0.375)
    assert transition("configure")
    with pytest.raises(SessionError, match=r"expected 0\.375 s or more"):
        session.configure("policy_node", stale_timeout=0.37)


def test_settings_of_a_running_loop_change_without_a_safe_action(
    make_bundle, start_policy, session, until, observe, actions
) -> None:
    make_bundle("upright")
    start_policy(stale_timeout=60.0)
    until(lambda: session.status.state == "active", "the node to be active")
    observe([0.1, 1.0, 0.0, 0.0, 0.0])
    until(lambda: actions and not actions[-1].safe, "actions")
    actions.clear()  # the first observation may be late already: then there is nothing to hold
    for change in ({"stale_timeout": 30.0}, {"trigger": "observation"}, {"trigger": "clock"}):
        session.configure("policy_node", **change)
        said = len(actions)
        until(lambda said=said: len(actions) > said + 5, "actions")
    assert not any(action.safe for action in actions)


def test_the_safe_action_is_the_last_word_on_sigterm(
    make_bundle, start_policy, session, until, observe, actions
) -> None:
    make_bundle("upright")
    node = start_policy()
    until(lambda: session.status.state == "active", "the node to be active")
    observe([0.1, 1.0, 0.0, 0.0, 0.0])
    until(lambda: actions and not actions[-1].safe, "actions")
    node._process.send_signal(signal.SIGTERM)
    until(lambda: actions[-1].safe, "the safe action")
    assert node.wait(timeout=30) == 0


def test_an_exception_in_the_loop_is_safe_deactivates_and_is_told(
    make_bundle, start_policy, session, until, observe, actions, transition, listen
) -> None:
    from pwm_interfaces.msg import Observation

    make_bundle("picks", picks=True)
    observed = listen(Observation, "observation")
    start_policy()
    until(lambda: session.status.state == "active", "the node to be active")
    observe([1.0, 0.0, 0.0, 0.0, 0.0])
    until(lambda: actions and not actions[-1].safe, "actions")
    observe([1000.0, 0.0, 0.0, 0.0, 0.0])
    until(lambda: session.status.state == "inactive", "the node to be inactive")
    until(lambda: actions[-1].safe, "the safe action")
    assert "the control loop failed: " in session.status.reason
    observe([1.0, 0.0, 0.0, 0.0, 0.0])
    observed.clear()
    until(
        lambda: sum(o.data[0] == 1.0 for o in observed) > 20,
        "good observations in place of a bad one on its way",
    )
    assert transition("activate")
    until(lambda: not actions[-1].safe, "actions again")


def test_an_emergency_stop_outlasts_deactivation(
    make_bundle, start_policy, session, until, observe, actions, transition, ask
) -> None:
    from std_srvs.srv import SetBool

    make_bundle("upright")
    start_policy()
    until(lambda: session.status.state == "active", "the node to be active")
    observe([0.1, 1.0, 0.0, 0.0, 0.0])
    until(lambda: actions and not actions[-1].safe, "actions")
    assert ask(SetBool, "policy_node/emergency_stop", data=True).success
    until(lambda: actions[-1].safe, "the safe action")
    for name in ("deactivate", "cleanup", "configure", "activate"):
        assert transition(name)
        until(lambda: session.status.emergency_stop, "the stop in the status")
    last = actions[-1].sequence
    until(lambda: actions[-1].sequence > last + 5, "commands again")
    assert all(action.safe for action in actions if action.sequence > last)
    assert ask(SetBool, "policy_node/emergency_stop", data=False).success
    until(lambda: not actions[-1].safe, "actions again")


def test_an_emergency_stop_does_not_wait_for_an_observation(
    make_bundle, start_policy, session, until, actions, ask
) -> None:
    from pwm_interfaces.msg import Observation
    from std_srvs.srv import SetBool

    make_bundle("upright")
    start_policy(trigger="observation", stale_timeout=60.0)
    until(lambda: session.status.state == "active", "the node to be active")
    publisher = session.create_publisher(Observation, "observation", 10)
    message = Observation(layout_hash=LAYOUT.hash(), data=[0.1, 1.0, 0.0, 0.0, 0.0])
    due = time.monotonic()

    def answered() -> bool:
        nonlocal due
        if not actions and time.monotonic() > due:  # seldom, so that none waits beside the stop
            due += 2.0
            message.step += 1
            publisher.publish(message)
        return bool(actions)

    until(answered, "an action")
    assert ask(SetBool, "policy_node/emergency_stop", data=True).success
    until(lambda: actions[-1].safe, "the safe action, with no observation to answer")
    assert actions[-1].observation_step == actions[-2].observation_step


def test_shutdown_of_an_active_node_ends_with_the_safe_action(
    make_bundle, start_policy, session, until, observe, actions, transition
) -> None:
    make_bundle("upright")
    start_policy()
    until(lambda: session.status.state == "active", "the node to be active")
    observe([0.1, 1.0, 0.0, 0.0, 0.0])
    until(lambda: actions and not actions[-1].safe, "actions")
    assert transition("active_shutdown")
    until(lambda: session.status.state == "finalized", "finalized")
    until(lambda: actions[-1].safe, "the safe action")


def test_what_training_never_saw_is_warned_of_but_acted_on(
    make_bundle, start_policy, session, until, observe, actions
) -> None:
    make_bundle("upright", observation_range={"low": [-1.0] * 5, "high": [1.0] * 5})
    start_policy()
    until(lambda: session.status.state == "active", "the node to be active")
    observe([3.0, 1.0, 0.0, 0.0, 0.0])
    until(lambda: actions and not actions[-1].safe, "actions")
    until(lambda: figure(session, "out_of_range_inputs") > 0, "the count")


def test_missed_ticks_are_warned_of(
    make_bundle, start_policy, session, until, observe, actions, listen
) -> None:
    from diagnostic_msgs.msg import DiagnosticArray

    said = listen(DiagnosticArray, "/diagnostics")
    make_bundle("upright")
    node = start_policy()
    until(lambda: session.status.state == "active", "the node to be active")
    observe([0.1, 1.0, 0.0, 0.0, 0.0])
    until(lambda: actions and not actions[-1].safe, "actions")

    def warned() -> bool:
        return any("ticks missed" in message.status[0].message for message in said)

    for number in range(1, 6):  # a warning that matters more may come first
        node._process.send_signal(signal.SIGSTOP)
        stopped = time.monotonic()
        until(lambda stopped=stopped: time.monotonic() - stopped > 0.5, "half a second without")
        node._process.send_signal(signal.SIGCONT)
        until(lambda number=number: figure(session, "missed_ticks") >= 20 * number, "the count")
        told = len(said)
        until(lambda told=told: len(said) > told, "a diagnostic")
        if warned():
            break
    assert warned()
