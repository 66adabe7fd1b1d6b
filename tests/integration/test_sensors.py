# SPDX-License-Identifier: Apache-2.0
"""The policy node on a robot's own topics: observations assembled by name."""

from __future__ import annotations

import itertools
import math
import random
import re
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pwm_core.history import previous_commands, with_history
from pwm_core.layout import ActionLayout, ObservationChannel, ObservationLayout
from pwm_core.tasks import get_task
from pwm_core.tasks.channels import vector
from pwm_core.tasks.task_files import save

TASK = get_task("cartpole-balance")
GAIN = np.array([0.3, -0.2, 0.5, 0.4, -0.1])
JOINTS = {"slider": (0.4, -0.3), "hinge_1": (0.7, 1.1)}
SEEN = np.array([0.4, math.cos(0.7), math.sin(0.7), -0.3, 1.1])


def channel(topic: str, field: str) -> ObservationChannel:
    return ObservationChannel(f"base/{topic}/{field}", "1", topic, "base", field)


def layout_of(*channels: ObservationChannel) -> dict[str, Any]:
    """Metadata of a bundle with another observation."""
    layout = ObservationLayout(channels)
    return {"observation": layout.to_json(), "observation_hash": layout.hash()}


def joint_state(joints: dict[str, tuple[float, float]] = JOINTS, **changes: Any) -> Any:
    """The joints in any order, among others that have no velocity."""
    from sensor_msgs.msg import JointState

    said = [*joints.items(), ("gripper", (9.0, math.nan)), ("wheel", (-9.0, math.nan))]
    random.shuffle(said)
    fields = {
        "name": [name for name, _ in said],
        "position": [position for _, (position, _) in said],
        "velocity": [velocity for _, (_, velocity) in said],
    }
    return JointState(**(fields | changes))


@pytest.fixture
def robot(session, until) -> Iterator[Callable[..., None]]:
    """Publish what each topic is given to say at about 50 Hz; saying None falls silent."""
    publishers: dict[str, Any] = {}
    words: dict[str, Callable[[], Any]] = {}
    stopped = threading.Event()

    def publish() -> None:
        while not stopped.wait(0.02):
            for topic, word in list(words.items()):
                message = word()
                if hasattr(message, "header"):
                    message.header.stamp = session.get_clock().now().to_msg()
                publishers[topic].publish(message)

    thread = threading.Thread(target=publish, daemon=True)

    def say(topic: str, word: Callable[[], Any] | None) -> None:
        if word is None:
            words.pop(topic)
            return
        if topic not in publishers:
            publishers[topic] = session.create_publisher(type(word()), topic, 10)
            until(publishers[topic].get_subscription_count, f"a subscription of {topic}")
        words[topic] = word
        if not thread.is_alive():
            thread.start()

    yield say
    stopped.set()
    if thread.is_alive():
        thread.join(timeout=5)


@pytest.fixture
def actions(listen) -> list:
    from pwm_interfaces.msg import Action

    return listen(Action, "action")


@pytest.fixture
def health(listen) -> Callable[[], str]:
    """The newest diagnostic of the control loop, in words."""
    from diagnostic_msgs.msg import DiagnosticArray

    received = listen(DiagnosticArray, "/diagnostics")

    def words() -> str:
        said = [s.message for array in received for s in array.status if "control loop" in s.name]
        return said[-1] if said else ""

    return words


@pytest.fixture
def start_on_sensors(start_policy) -> Callable[..., Any]:
    return lambda **parameters: start_policy(observation_source="sensors", **parameters)


def acts(actions: list, expected: float) -> Callable[[], bool]:
    """Whether the newest action is the policy's, of this value."""
    return lambda: bool(
        actions and not actions[-1].safe and abs(actions[-1].values[0] - expected) < 1e-6
    )


def test_joints_by_name_in_any_order_among_others(
    make_bundle, start_on_sensors, robot, until, actions, listen
) -> None:
    from pwm_interfaces.msg import Observation

    make_bundle("policy", GAIN)
    shown = listen(Observation, "policy_node/observation")
    start_on_sensors()
    robot("joint_states", joint_state)
    until(acts(actions, math.tanh(GAIN @ SEEN)), "the policy's action on the assembled vector")
    until(lambda: shown, "what the policy saw")
    np.testing.assert_allclose(shown[0].data, SEEN, atol=1e-6)
    assert shown[0].layout_hash == TASK.observation.hash()
    assert math.isnan(shown[0].reward)
    until(lambda: actions[-1].observation_step >= shown[0].step, "the answer to it")
    robot("joint_states", lambda: joint_state({"hinge_1": (-0.2, 0.0), "slider": (0.0, 2.0)}))
    other = np.array([0.0, math.cos(-0.2), math.sin(-0.2), 2.0, 0.0])
    until(acts(actions, math.tanh(GAIN @ other)), "the action on other joint states")
    steps = [action.observation_step for action in actions]
    assert steps == sorted(steps)


def test_what_is_missing_or_wrong_is_named_and_made_safe(
    make_bundle, start_on_sensors, robot, until, actions, health
) -> None:
    make_bundle("policy", GAIN)
    start_on_sensors()
    robot("joint_states", lambda: joint_state({"slider": (0.4, -0.3)}))
    missing = "never heard joint_states: position of hinge_1, joint_states: velocity of hinge_1"
    until(lambda: missing in health(), "the missing joint")
    robot("joint_states", lambda: joint_state(velocity=[]))
    without = "never heard joint_states: velocity of hinge_1): silent"
    until(lambda: without in health(), "the missing velocity")
    assert not actions, "silent until there is something to answer"
    for wrong in (
        lambda: joint_state(JOINTS | {"slider": (math.nan, 0.0)}),
        lambda: joint_state(velocity=[1.0]),
        lambda: joint_state({"slider": (0.4, -0.3)}),
    ):
        robot("joint_states", joint_state)
        until(acts(actions, math.tanh(GAIN @ SEEN)), "the policy's action")
        robot("joint_states", wrong)
        until(lambda: actions[-1].safe, "the safe action")
    until(lambda: "of hinge_1 is" in health() and "s old" in health(), "the reading that is old")


def test_sensors_slower_than_the_policy_are_told(
    make_bundle, start_on_sensors, robot, until, actions, health
) -> None:
    make_bundle("policy", GAIN, control_step=0.005)
    start_on_sensors(stale_timeout=60.0)
    robot("joint_states", joint_state)
    until(lambda: "held an older one, for input comes too rarely" in health(), "the share")
    assert "joint_states: " in health()
    # On a busy machine the first observation may be late already: then there is nothing to hold.
    acted = list(itertools.dropwhile(lambda action: action.safe, actions))
    assert acted
    assert not any(action.safe for action in acted)


def test_joints_under_the_robots_own_names_in_and_out(
    make_bundle, start_on_sensors, robot, until, actions, health, listen, tmp_path
) -> None:
    from sensor_msgs.msg import JointState

    make_bundle("policy", GAIN)
    names = tmp_path / "joints.yaml"
    names.write_text("hinge_1: pole\n")
    commands = listen(JointState, "joint_commands")
    start_on_sensors(
        joint_prefix="left_", joint_names_file=str(names), command_interface="joint_state"
    )
    robot("joint_states", joint_state)  # another robot's, under the contract's names
    until(lambda: "never heard joint_states: position of left_slider" in health(), "what it lacks")
    own = {"left_slider": JOINTS["slider"], "pole": JOINTS["hinge_1"], "slider": (9.0, 9.0)}
    robot("joint_states", lambda: joint_state(own))
    expected = math.tanh(GAIN @ SEEN)
    until(acts(actions, expected), "the policy's action on the robot's joints")
    until(lambda: commands and commands[-1].effort[0] != 0.0, "a command")
    assert commands[-1].name == ["left_slider"]
    assert commands[-1].effort.tolist() == pytest.approx([TASK.action.channels[0].gear * expected])


def test_names_of_joints_that_cannot_be_are_refused(
    make_bundle, start_on_sensors, session, until, tmp_path
) -> None:
    make_bundle("policy", GAIN)
    names = tmp_path / "joints.yaml"
    names.write_text("hinge_1: slider\nelbow: left_elbow\n")
    start_on_sensors(joint_names_file=str(names))
    until(lambda: session.status.reason.startswith("cannot configure"), "the refusal")
    assert "elbow is no joint of the policy's: slider, hinge_1" in session.status.reason
    assert "slider and hinge_1 would both be slider" in session.status.reason


def test_imu_odometry_and_an_operator_who_falls_silent(
    make_bundle, start_on_sensors, robot, until, actions
) -> None:
    from geometry_msgs.msg import Quaternion, Twist, Vector3
    from nav_msgs.msg import Odometry
    from sensor_msgs.msg import Imu

    channels = (
        channel("imu/data", "angular_velocity.z"),
        channel("imu/data", "projected_gravity.x"),
        channel("odom", "twist.linear.y"),
        channel("cmd_vel", "linear.x"),
    )
    gain = np.array([0.2, 0.3, 0.4, 0.5])
    make_bundle("policy", gain, **layout_of(*channels))
    start_on_sensors(cmd_vel_timeout=2.0)
    half = math.sqrt(0.5)
    odometry = Odometry()
    odometry.pose.pose.orientation = Quaternion(w=half, z=half)  # a quarter turn to the left
    odometry.twist.twist.linear = Vector3(x=0.6)
    nose_down = Quaternion(w=half, y=half)
    imu = Imu(orientation=nose_down, angular_velocity=Vector3(z=-0.4))
    robot("odom", lambda: odometry)
    robot("imu/data", lambda: imu)
    still = math.tanh(gain @ [-0.4, 1.0, 0.6, 0.0])
    until(acts(actions, still), "the action without a command")
    robot("cmd_vel", lambda: Twist(linear=Vector3(x=0.8)))
    until(acts(actions, math.tanh(gain @ [-0.4, 1.0, 0.6, 0.8])), "the action under a command")
    robot("cmd_vel", None)
    until(acts(actions, still), "a stop after the time-out")
    robot("imu/data", None)
    until(lambda: actions[-1].safe, "the safe action without one of two sensors")


def test_history_and_previous_actions_decision_by_decision(
    make_bundle, start_on_sensors, session, until, actions
) -> None:
    from builtin_interfaces.msg import Time

    slider = TASK.observation.channels[0]
    channels = with_history((slider, *previous_commands(TASK.action)), 2)
    gain = np.array([0.5, 0.4, -0.3, 0.3, 0.2, -0.6])
    make_bundle("policy", gain, **layout_of(*channels))
    start_on_sensors(trigger="observation", stale_timeout=60.0)
    publisher = session.create_publisher(type(joint_state()), "joint_states", 10)
    until(publisher.get_subscription_count, "the subscription")
    until(lambda: session.status.state == "active", "the node to be active")

    def decide(number: int, position: float) -> float:
        """Say the same until it is answered: an answer may be lost, or the question."""
        message = joint_state({"slider": (position, 0.0)})
        message.header.stamp = Time(sec=1 + number // 50, nanosec=number % 50 * 20_000_000)

        def answered() -> bool:
            publisher.publish(message)
            session.spin_for(0.05)
            return any(action.observation_step == number + 1 for action in actions)

        until(answered, f"decision {number}")
        return next(a.values[0] for a in actions if a.observation_step == number + 1)

    positions = [0.9, -0.4, 0.3, 0.8, -0.7, 0.1]
    sent = [0.0]
    for number, position in enumerate(positions):
        rows = [positions[number - lag] if number >= lag else positions[0] for lag in range(3)]
        commands = [sent[number - lag] if number >= lag else sent[0] for lag in range(3)]
        seen = np.array([rows, commands]).T.ravel()
        found = decide(number, position)
        assert found == pytest.approx(math.tanh(gain @ seen), abs=1e-6)
        sent.append(found)


def test_what_no_topic_can_give_is_refused_by_name(
    make_bundle, start_on_sensors, session, until
) -> None:
    touch = vector("touch", 2)
    make_bundle("policy", np.zeros(5), **layout_of(*TASK.observation.channels[:3], *touch))
    start_on_sensors()
    until(lambda: session.status.reason.startswith("cannot configure"), "the refusal")
    assert "no topic gives touch/0, touch/1, which only a simulator knows" in session.status.reason
    assert session.status.state == "unconfigured"


def test_a_cartpole_is_balanced_by_its_joint_states(
    make_bundle, start_bridge, start_on_sensors, session, until
) -> None:
    """In lockstep: a pole waits for nobody, and a busy machine is no fault of the sensors."""
    make_bundle("upright")
    start_bridge(mode="lockstep", time_limit=False)
    start_on_sensors(trigger="observation", stale_timeout=60.0)
    session.connect()
    until(lambda: session.frames[-1].episode_step > 150, "three simulated seconds")
    until(lambda: len(session.frames) > 50, "some of the states")
    rewards = [frame.reward for frame in session.frames if frame.episode_step > 0]
    assert len(rewards) > 20, "what a busy machine lets a client see"
    assert min(rewards) > 1.0, "2 is the most; an unguided pole falls below 0.1 on its way round"


def test_histories_are_those_of_the_simulator_over_resets(
    make_bundle,
    start_bridge,
    start_on_sensors,
    session,
    until,
    listen,
    arm_task,
    tmp_path,
    monkeypatch,
) -> None:
    from pwm_interfaces.msg import Observation

    monkeypatch.setenv("PWM_TASKS", str(tmp_path / "tasks"))
    save(arm_task)
    gain = np.random.default_rng(0).normal(size=get_task("arm-still").observation.size)
    make_bundle("policy", gain, task="arm-still")
    truth = listen(Observation, "observation", 1000)
    shown = listen(Observation, "policy_node/observation", 1000)
    start_bridge(task="arm-still", mode="lockstep", time_limit=False)
    start_on_sensors(trigger="observation", stale_timeout=60.0)  # a held action is no decision
    session.connect()
    for seed in (1, 2):
        session.reset(seed=seed)
        step = session.frames[-1].step
        until(lambda step=step: shown and shown[-1].step > step + 20, "decisions")
    known: dict[int, list[Any]] = {}
    for message in truth:
        known.setdefault(message.step, []).append(message.data)
    seen = {message.step: message.data for message in shown if message.step in known}
    assert len(seen) > 20
    overtaken = set()  # by a reset, whose observation the old one's answer then answers
    for step, data in seen.items():
        if step - 1 in overtaken:
            continue  # the node has decided nothing in this episode before
        *before, now = (np.allclose(data, values, atol=1e-6) for values in known[step])
        assert now or any(before), f"step {step}: {data}, not {known[step]}"
        if not now:
            overtaken.add(step)
    assert len(overtaken) <= 2, "one of each reset"


SLOW = replace(
    TASK.action.channels[0],
    joint="hinge_1",
    interpretation="position",
    gear=-1.0,
    offset=0.1,
    rate=0.05,
)
FOUND = -0.6
"""The command that holds ``hinge_1`` where :data:`JOINTS` has it."""


def careful_arm() -> dict[str, Any]:
    """Metadata of a bundle that commands a position so slowly that its way takes 32 s."""
    action = ActionLayout((SLOW,))
    return {"action": action.to_json(), "action_hash": action.hash()}


def come_from_where_the_joint_is(actions: list) -> bool:
    assert SLOW.rate is not None
    step = SLOW.rate * TASK.control_step
    return all(abs(a.values[0] - FOUND) <= a.sequence * step + 1e-9 for a in actions)


def test_the_first_position_comes_from_the_measured_joint(
    make_bundle, start_on_sensors, robot, session, until, actions
) -> None:
    make_bundle("policy", (20.0, 0, 0, 0, 0), **careful_arm())
    start_on_sensors()
    until(lambda: session.count_publishers("action"), "the node's publisher")
    robot("joint_states", joint_state)
    until(lambda: sum(not action.safe for action in actions) > 5, "actions")
    assert actions[0].sequence < 500, "too late to tell where it came from"
    assert come_from_where_the_joint_is(actions)


def test_without_joint_states_a_position_is_not_commanded(
    make_bundle, start_policy, observe, robot, until, session, actions, health
) -> None:
    make_bundle("policy", (20.0, 0, 0, 0, 0), **careful_arm())
    start_policy()
    until(lambda: session.status.state == "active", "the node to be active")
    observe([1.0, 0.0, 0.0, 0.0, 0.0])
    until(
        lambda: "silent until joint_states say where these are: hinge_1" in health(), "the reason"
    )
    assert not actions
    robot("joint_states", joint_state)
    until(lambda: sum(not action.safe for action in actions) > 5, "actions")
    assert actions[0].sequence < 500, "too late to tell where it came from"
    assert come_from_where_the_joint_is(actions)


def test_a_joint_that_does_not_follow_stops_the_robot_where_it_is(
    make_bundle, start_on_sensors, robot, until, session, ask, actions, health
) -> None:
    from std_srvs.srv import SetBool

    make_bundle("policy", (20.0, 0, 0, 0, 0), **careful_arm())
    # A busy machine is no fault: the only safe action is the stop's.
    start_on_sensors(max_following_error=0.02, following_error_time=0.3, stale_timeout=60.0)
    robot("joint_states", joint_state)  # of a joint that never moves
    until(lambda: session.status.emergency_stop, "the stop")
    expected = "joint hinge_1 does not follow its command: "
    assert session.status.reason.startswith(f"emergency stop latched: {expected}")
    until(lambda: actions and actions[-1].safe, "the safe action")
    assert actions[-1].values[0] == pytest.approx(FOUND)
    until(lambda: expected in health(), "the reason in the diagnostics")
    stopped = actions[-1].sequence
    assert ask(SetBool, "policy_node/emergency_stop", data=False).success
    until(lambda: not actions[-1].safe and actions[-1].sequence > stopped, "actions again")


@pytest.mark.parametrize(
    ("told", "state", "last"),
    [("deactivate", "deactivating", "inactive"), ("SIGTERM", "shuttingdown", "finalized")],
)
def test_the_node_answers_while_the_robot_lands(
    make_bundle, start_on_sensors, robot, until, session, actions, listen, told, state, last
) -> None:
    """The way to the safe action takes 12 s here, however long the policy, which holds the joint
    where it is, has acted; discovery of what is asked comes before.
    """
    from diagnostic_msgs.msg import DiagnosticArray
    from lifecycle_msgs.msg import Transition
    from lifecycle_msgs.srv import ChangeState, GetState
    from pwm_interfaces.srv import ListPolicies
    from std_srvs.srv import SetBool

    def landing() -> list[str]:
        """What the diagnostics of the landing say."""
        said = [s for array in diagnostics for s in array.status if "control loop" in s.name]
        return [s.message for s in said if ("state", state) in [(v.key, v.value) for v in s.values]]

    diagnostics = listen(DiagnosticArray, "/diagnostics")
    make_bundle("policy", (math.atanh(FOUND) / SEEN[0], 0, 0, 0, 0), **careful_arm())
    node = start_on_sensors()
    asked = {
        name: session.create_client(kind, f"policy_node/{name}")
        for name, kind in (
            ("change_state", ChangeState),
            ("get_state", GetState),
            ("list_policies", ListPolicies),
            ("emergency_stop", SetBool),
        )
    }
    for client in asked.values():
        session.be_known(client)
    until(lambda: diagnostics, "diagnostics")
    robot("joint_states", joint_state)  # of a joint that never moves
    until(lambda: sum(not action.safe for action in actions) > 5, "actions")
    if told == "SIGTERM":
        node._process.send_signal(signal.SIGTERM)
    else:
        deactivate = Transition(id=Transition.TRANSITION_DEACTIVATE)
        transition = asked["change_state"].call_async(ChangeState.Request(transition=deactivate))
    until(lambda: session.status.state == state, "the landing")
    assert re.match(r"moving to the safe action takes \d+", session.status.reason)
    until(lambda: len(landing()) > 1, "two diagnostics of the landing")
    assert set(landing()) == {"moving to the safe action"}, "nothing about its sensors"
    answers = [
        asked["emergency_stop"].call_async(SetBool.Request(data=True)),
        asked["list_policies"].call_async(ListPolicies.Request()),
        asked["get_state"].call_async(GetState.Request()),
    ]
    until(lambda: all(answer.done() for answer in answers), "answers")
    stop, listed, found = [answer.result() for answer in answers]
    assert (stop.message, listed.active) == ("emergency stop latched", "policy")
    assert found.current_state.label == state, "it answered while it landed"
    until(lambda: session.status.state == last, "the end of the landing")
    assert session.status.emergency_stop
    until(lambda: actions[-1].values[0] == 0.0, "the safe action")
    steps = [abs(b.values[0] - a.values[0]) for a, b in itertools.pairwise(actions)]
    gaps = [b.sequence - a.sequence for a, b in itertools.pairwise(actions)]
    assert SLOW.rate is not None
    allowed = SLOW.rate * TASK.control_step
    assert all(s <= gap * allowed + 1e-9 for s, gap in zip(steps, gaps, strict=True))
    if told == "SIGTERM":
        assert node.wait(timeout=30) == 0
    else:
        until(transition.done, "the transition")
        assert transition.result().success


def test_following_errors_of_efforts_are_refused(
    make_bundle, start_on_sensors, session, until
) -> None:
    make_bundle("policy", GAIN)
    start_on_sensors(max_following_error=0.1)
    until(lambda: session.status.reason.startswith("cannot configure"), "the refusal")
    assert "no command is a position with a rate" in session.status.reason
