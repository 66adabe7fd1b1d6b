# SPDX-License-Identifier: Apache-2.0
"""The simulator bridge alone: modes, services, refusals."""

from __future__ import annotations

import signal

import pytest


def recent_factor(session) -> float:
    """Simulated per wall time over the last 40 observations: one stall is soon forgotten."""
    frames = session.frames[-40:]
    if len(frames) < 40:
        return 0.0
    return (frames[-1].stamp - frames[0].stamp) / (frames[-1].arrived - frames[0].arrived)


def test_stepping_and_resetting_by_hand(start_bridge, session, until, ask) -> None:
    from pwm_interfaces.srv import ResetEpisode, StepSimulation

    start_bridge(mode="paused")
    until(lambda: session.frames, "the first observation")
    first = session.frames[-1]
    answer = ask(StepSimulation, "mujoco_bridge/step", steps=3)
    assert (answer.success, answer.step) == (True, first.step + 3)
    until(lambda: session.frames[-1].step == first.step + 3, "the third step")
    assert session.frames[-1].stamp - first.stamp == pytest.approx(0.06)

    refused = ask(StepSimulation, "mujoco_bridge/step", steps=0)
    assert not refused.success
    assert "expected 1 to 500" in refused.message

    reset = ask(ResetEpisode, "mujoco_bridge/reset", seed=5, task="cartpole-swingup")
    assert (reset.success, reset.task, reset.episode) == (True, "cartpole-swingup", 1)
    until(lambda: session.frames[-1].task == "cartpole-swingup", "the other task")

    wrong = ask(ResetEpisode, "mujoco_bridge/reset", seed=5, task="cartpole-swingupp")
    assert not wrong.success
    assert "unknown task 'cartpole-swingupp': did you mean cartpole-swingup" in wrong.message
    assert (wrong.task, wrong.episode) == ("cartpole-swingup", 1)


def test_the_same_seed_is_the_same_start(start_bridge, session, until) -> None:
    start_bridge(mode="paused")
    until(session.reset_client.service_is_ready, "the reset service")
    starts = []
    for seed in (4, 5, 4):
        episode = session.reset(seed)
        until(lambda e=episode: session.frames and session.frames[-1].episode == e, "the episode")
        stamp = session.frames[-1].stamp  # of this state alone: a reset takes time
        until(lambda s=stamp: s in session.positions, "its joints")
        starts.append(session.positions[stamp])
    assert starts[0] == starts[2] != starts[1]


def test_real_time_runs_without_a_policy(start_bridge, session, until, ask) -> None:
    from std_srvs.srv import SetBool

    start_bridge(mode="realtime")
    until(lambda: recent_factor(session) == pytest.approx(1.0, abs=0.1), "real time")

    assert ask(SetBool, "mujoco_bridge/pause", data=True).message == "mode is paused"
    until(lambda: "paused" in session.diagnostics.get("mujoco_bridge", {}).values(), "the pause")
    step = session.frames[-1].step
    assert ask(SetBool, "mujoco_bridge/pause", data=False).message == "mode is realtime"
    until(lambda: session.frames[-1].step > step + 5, "going on")


def test_parameters_are_checked(start_bridge, session, until) -> None:
    from pwm_bringup.session import SessionError

    start_bridge(mode="paused")
    until(session.parameter_clients["mujoco_bridge"].service_is_ready, "parameters")
    with pytest.raises(SessionError, match="none of lockstep, realtime, paused"):
        session.configure("mujoco_bridge", mode="sideways")
    with pytest.raises(SessionError, match="real_time_factor"):
        session.configure("mujoco_bridge", real_time_factor=-1.0)
    with pytest.raises(SessionError, match="read-only"):
        session.configure("mujoco_bridge", task="cartpole-swingup")
    session.configure("mujoco_bridge", mode="realtime", real_time_factor=2.0)
    until(lambda: recent_factor(session) == pytest.approx(2.0, abs=0.2), "twice real time")


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"task": "no-such-task"}, "unknown task 'no-such-task'"),
        ({"mode": "sideways"}, "mode 'sideways' is none of"),
    ],
)
def test_a_bad_start_says_why(start_bridge, parameters: dict, reason: str) -> None:
    bridge = start_bridge(**parameters)
    assert bridge.wait(timeout=60) == 2
    assert any(reason in line for line in bridge.tail)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_cleanly(start_bridge, session, until, number: signal.Signals) -> None:
    bridge = start_bridge(mode="realtime")
    until(lambda: session.frames, "observations")
    bridge._process.send_signal(number)
    assert bridge.wait(timeout=30) == 0
    assert not any("Traceback" in line for line in bridge.tail)
