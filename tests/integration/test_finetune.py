# SPDX-License-Identifier: Apache-2.0
"""Online fine-tuning sabotaged: whatever the learner does, the robot keeps a policy that works.

Simulator, policy node and fine-tuning node are real; the learner is a script that fails as told.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pwm_core.data.dataset import Dataset
from pwm_core.files import sha256

TASK = "cartpole-balance"
WORSE = (-0.3, 0.0, -3.0, -0.4, -0.8)
"""Feedback that throws the pole over."""
BALANCES = (0.3, 0.0, 3.0, 0.4, 0.8)
"""Feedback that earns more than 999 of 1000 from every start."""
NOTHING = (0.0, 0.0, 0.0, 0.0, 0.0)
"""Feedback that lets it fall: it earns less than 800."""
LEARNER_PATIENCE = 120.0
"""Seconds: a robot in lockstep leaves a learner little."""
SCRIPT = Path(__file__).with_name("scripted_learner.py")


class Finetuning:
    """A fine-tuning node as a test sees it."""

    def __init__(self, session: Any, ask: Any, listen: Any) -> None:
        from rclpy.qos import QoSDurabilityPolicy, QoSProfile
        from std_msgs.msg import String

        latched = QoSProfile(depth=20, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
        self.session, self._ask = session, ask
        self._states = listen(String, "finetune_node/state", latched)
        self._verdicts = listen(String, "finetune_node/verdict", latched)
        self.process: Any = None
        self.policy: Any = None
        self.start_policy: Any = None

    @property
    def state(self) -> dict[str, Any]:
        return json.loads(self._states[-1].data) if self._states else {}

    @property
    def verdicts(self) -> list[str]:
        return [json.loads(message.data)["verdict"] for message in self._verdicts]

    @property
    def last_verdict(self) -> dict[str, Any]:
        return json.loads(self._verdicts[-1].data)

    def until(self, **wanted: Any) -> None:
        def holds() -> bool:
            return all(self.state.get(name) == value for name, value in wanted.items())

        self.session.spin_until(holds, f"fine-tuning to have {wanted}", LEARNER_PATIENCE)

    def told(self, *wanted: str) -> None:
        """Wait for these verdicts, which come on another topic than the state."""
        self.session.spin_until(
            lambda: self.verdicts[-len(wanted) :] == list(wanted), f"verdicts {wanted}"
        )

    def forget(self) -> None:
        """Wait for a state that is published from now on."""
        self._states.clear()

    def ask(self, service: str) -> Any:
        from std_srvs.srv import Trigger

        return self._ask(Trigger, f"finetune_node/{service}")


@pytest.fixture
def finetuning(
    start: Any,
    start_bridge: Any,
    start_policy: Any,
    session: Any,
    ask: Any,
    listen: Any,
    make_bundle: Any,
    tiny_data: Path,
    tmp_path: Path,
) -> Callable[..., Finetuning]:
    """Start a robot that balances, and fine-tuning with a learner that does as ``plan`` says."""

    def make(
        plan: dict[str, list[str]] | None = None, running: Any = BALANCES, **parameters: Any
    ) -> Finetuning:
        # A busy machine is no fault.
        patient = {"trigger": "observation", "policy": TASK, "stale_timeout": 60.0}
        start_node = partial(start_policy, **patient, state_directory=str(tmp_path / "state"))
        world_model = tmp_path / "world_model.safetensors"
        policy = tmp_path / "policy.safetensors"
        if plan is not None:
            for file in (world_model, policy):
                file.write_text(f"the running {file.stem}")
            make_bundle(TASK, running, provenance={"world_model": sha256(world_model)})
            start_bridge(mode="lockstep")
            (tmp_path / "plan.json").write_text(json.dumps(plan))
        found = Finetuning(session, ask, listen)
        found.start_policy = start_node
        found.policy = start_node() if plan is not None else None
        given = {
            "task": TASK,
            "policy": str(policy),
            "world_model": str(world_model),
            "offline": str(tiny_data),
            "directory": str(tmp_path / "online"),
            "policy_dir": str(tmp_path / "policies"),
            "learner": f"{sys.executable} -I -S {SCRIPT} {tmp_path / 'plan.json'}",
            "episodes_per_round": 2,
            "held_out_every": 2,
            "watch_episodes": 2,
            "baseline_episodes": 3,
            "retries": 1,
            "learner_niceness": 0,  # at the lowest priority it hardly runs on a busy machine
        }
        found.process = start("pwm_finetune", "finetune_node", **(given | parameters))
        return found

    return make


@pytest.fixture
def candidate(make_bundle: Any, tmp_path: Path) -> Callable[[Any], str]:
    """Make a bundle outside of the policy directory and return its path."""

    def make(gain: Any) -> str:
        path = make_bundle("made", gain, provenance={}, parity={"max_abs_error": 1e-6})
        target = tmp_path / TASK / f"{len(list(tmp_path.glob(f'{TASK}/*')))}.onnx"
        target.parent.mkdir(exist_ok=True)
        return str(path.rename(target))

    return make


def acting(session: Any) -> str:
    return session.status.policy


def kill(process: Any) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def test_a_worse_candidate_is_rolled_back_and_never_proposed_again(
    finetuning, candidate, session, until, tmp_path
) -> None:
    """Its gate was deceived; the node is killed and started again while it is watched."""
    plan = {"finetune": ["pass", "hang"], "export": [candidate(WORSE)]}
    patient = {"watch_episodes": 3, "trial_lease": 600.0}
    found = finetuning(plan, **patient)
    found.until(phase="watching")
    kill(found.process)
    found.forget()
    again = finetuning(None, **patient)
    again.until(candidate=f"{TASK}_round_0001")
    again.until(refused=1)
    until(lambda: acting(session) == TASK, "the policy before")
    again.told("rolled back")
    trial = again.last_verdict["trial"]
    assert trial["mean"] < trial["bound"] <= trial["mean_before"]
    assert len(trial["returns"]) == 3
    (line,) = (tmp_path / "online" / "rejected.jsonl").read_text().splitlines()
    candidate_file = tmp_path / "online" / "round_0001" / "run" / "candidate"
    assert json.loads(line)["policy_sha256"] == sha256(candidate_file / "policy.safetensors")
    again.until(round=2)  # life goes on


def test_a_candidate_that_nobody_watches_any_more_is_taken_back_by_the_policy_node(
    finetuning, candidate, session, until, tmp_path
) -> None:
    """Though it balances: that was not found out. The node that watched it dies for good."""
    plan = {"finetune": ["pass", "hang"], "export": [candidate(BALANCES)]}
    found = finetuning(plan, watch_episodes=1000, trial_lease=10.0)
    found.until(phase="watching")
    until(lambda: acting(session) == f"{TASK}_round_0001", "the candidate")
    kill(found.process)
    until(lambda: acting(session) == TASK, "the policy before")
    found.forget()
    again = finetuning(None, watch_episodes=1000, trial_lease=10.0)
    again.until(refused=1)
    again.told("rolled back")
    assert not (tmp_path / "online" / "rejected.jsonl").exists()


def test_a_trial_goes_on_when_the_policy_node_is_replaced(
    finetuning, candidate, session, until, tmp_path
) -> None:
    """And ends by itself, with the policy before, when the node that watched it dies as well."""
    name = f"{TASK}_round_0001"
    plan = {"finetune": ["pass", "hang"], "export": [candidate(BALANCES)]}
    found = finetuning(plan, watch_episodes=1000, trial_lease=600.0)
    found.until(phase="watching")
    kept: dict[str, Any] = {}

    def on_trial() -> bool:
        """Whether the disk knows what acts, and that it is on trial."""
        for file in (tmp_path / "state").glob("*.acting"):
            kept.update(json.loads(file.read_text()), file=file)
        trial = {"policy": name, "fallback": TASK, "timeout": 600.0, "until": None}
        return kept.get("trial") == trial and kept["acting"]["policy"] == name

    until(on_trial, "the trial on disk")
    kill(found.policy)
    policy = found.start_policy()
    until(lambda: session.status.reason == f"activated {name}", "the second policy node")
    watched = len(found.state["watched"])
    session.spin_until(
        lambda: len(found.state["watched"]) > watched + 1, "the trial to go on", LEARNER_PATIENCE
    )
    assert (found.state["phase"], found.state["refused"]) == ("watching", 0)
    for process in (found.process, policy):
        kill(process)
    assert on_trial()
    file = kept.pop("file")
    file.write_text(json.dumps(kept | {"trial": kept["trial"] | {"timeout": 1.0}}))  # no long wait
    policy = found.start_policy()
    until(lambda: acting(session) == TASK, "the policy before")
    taken_back = f"{name} is on trial and nobody watches it: {TASK} acts again"
    until(lambda: any(taken_back in line for line in policy.tail), "the reason")


def test_a_learner_killed_in_the_middle_of_the_export_goes_on(
    finetuning, candidate, session, until, tmp_path
) -> None:
    """It then makes a candidate better than the running policy, which waits for the operator."""
    plan = {"finetune": ["pass", "hang"], "export": ["half", candidate(BALANCES)]}
    found = finetuning(plan, running=NOTHING, auto_approve=False)
    found.until(phase="proposed")
    assert acting(session) == TASK
    assert not list((tmp_path / "policies").glob("*round*"))
    found.told("passed the gate")
    assert found.ask("approve").success
    found.until(accepted=1)
    until(lambda: acting(session) == f"{TASK}_round_0001", "the candidate's status")
    found.told("passed the gate", "stays")
    assert found.state["bundle"] == f"{TASK}_round_0001"
    assert found.ask("rollback").success
    until(lambda: acting(session) == TASK, "the policy before")
    found.until(bundle=TASK, refused=1)


def test_a_learner_that_dies_for_good_leaves_everything_as_it_is(
    finetuning, session, until, listen, tmp_path
) -> None:
    from pwm_interfaces.msg import Action

    before = {p.name: sha256(p) for p in (tmp_path / "policies").glob("*")}
    found = finetuning({"finetune": ["pass"], "export": ["die"]})
    found.until(phase="learning")
    session.configure("mujoco_bridge", mode="paused")
    found.until(phase="failed")
    session.configure("mujoco_bridge", mode="lockstep")
    assert "2 times" in found.state["reason"]
    found.told("failed")
    assert session.status.policy_epoch == 1
    after = {p.name: sha256(p) for p in (tmp_path / "policies").glob("*")}
    assert {**after, **before} == after
    assert set(after) - set(before) <= {f"{TASK}.onnx"}
    actions = listen(Action, "action")
    until(lambda: len(actions) > 50, "the policy to act on")
    assert not any(action.safe for action in actions)
    assert found.ask("start").success
    found.until(phase="failed", round=2)  # tried again with the episodes of now


def test_a_refusal_by_the_gate_and_one_by_the_policy_node(
    finetuning, candidate, make_bundle, session, until, tmp_path
) -> None:
    other_rate = make_bundle(
        "slow", provenance={}, parity={"max_abs_error": 1e-6}, control_step=0.5
    )
    target = Path(candidate(WORSE)).with_name("slow.onnx")
    plan = {"finetune": ["refuse", "pass", "hang"], "export": [str(other_rate.rename(target))]}
    found = finetuning(plan)
    found.until(refused=2)
    found.told("refused", "passed the gate", "refused")
    assert "control step is 0.5 s" in found.last_verdict["reason"]
    assert session.status.policy_epoch == 1


def test_pause_stop_and_what_does_not_fit(finetuning, session, until, tmp_path) -> None:
    found = finetuning({"finetune": ["hang"], "export": ["hang"]}, learner_niceness=19)
    found.until(phase="learning")
    learner = 0

    def learns() -> bool:
        nonlocal learner
        figures = session.diagnostics.get("finetune_node", {})
        learner = int(figures.get("learner_pid") or 0)
        return learner > 0

    until(learns, "the learner")
    until(lambda: os.getpriority(os.PRIO_PROCESS, learner) == 19, "its low priority")
    assert found.ask("pause").success
    until(lambda: not Path(f"/proc/{learner}").exists(), "the learner to end")
    found.until(mode="paused", phase="learning")
    assert not found.ask("propose_now").success
    assert not found.ask("approve").success
    assert not found.ask("rollback").success
    assert found.ask("start").success
    until(lambda: learns() and Path(f"/proc/{learner}").exists(), "the learner again")
    assert found.ask("stop").success
    found.until(mode="stopped", phase="gathering")
    assert session.status.policy_epoch == 1
    for name in ("training", "held_out"):
        Dataset(tmp_path / "online" / "data" / name).validate()


def test_another_world_model_than_the_policys_stops_before_it_begins(
    finetuning, tiny_world_model, session, until
) -> None:
    found = finetuning({"finetune": ["pass"], "export": ["die"]}, world_model=str(tiny_world_model))
    found.until(mode="stopped")
    assert "name the one it came from" in found.state["reason"]
    assert found.state["round"] == 0
    until(
        lambda: any("name the one it came from" in line for line in found.process.tail), "its log"
    )


def test_transitions_that_are_not_finite_never_reach_the_learner(
    finetuning, relay, session, until, tmp_path
) -> None:
    """Some observations are NaN, others infinite; a round begins with what lies between them."""

    def spoil(message: Any) -> None:
        if message.step % 50 == 0:
            message.data = [math.nan if message.step % 100 else math.inf] * len(message.data)

    found = finetuning(
        {"finetune": ["hang"], "export": ["hang"]},
        observation_topic=relay(spoil),
        episodes_per_round=6,  # one of which the node heard the end only counts too
    )
    found.until(phase="learning")
    data = Dataset(tmp_path / "online" / "round_0001" / "data")
    data.validate()
    learned = [data.trajectory(episode) for episode in data.episodes]
    for recorded in learned:
        assert len(recorded.reward) < 50
        for values in (recorded.observation, recorded.action, recorded.reward):
            assert np.isfinite(values).all()
    assert len(learned) > 4
    until(
        lambda: int(figures(session).get("gaps: an observation is not finite", 0)) > 2,
        "the gaps to be counted",
    )
    until(
        lambda: any("an observation is not finite: " in line for line in found.process.tail),
        "its log to say what is left out",
    )
    assert session.status.policy_epoch == 1


@pytest.mark.parametrize("reward", [math.nan, math.inf])
def test_rewards_that_are_not_finite_are_never_learned_from(
    finetuning, session, until, reward
) -> None:
    """They come on a topic of their own, far more often than decisions."""
    from std_msgs.msg import Float64

    found = finetuning({"finetune": ["hang"], "export": ["hang"]}, reward="topic")
    publisher = session.create_publisher(Float64, "reward", 10)
    until(publisher.get_subscription_count, "the node's subscription")
    session.create_timer(0.005, lambda: publisher.publish(Float64(data=reward)))
    until(
        lambda: int(figures(session).get("gaps: no finite reward", 0)) > 2000,
        "two episodes without",
    )
    assert (found.state["phase"], found.state["round"]) == ("gathering", 0)
    recorded = [figures(session)[f"{name}_transitions"] for name in ("training", "held_out")]
    assert recorded == ["0", "0"]
    assert session.status.policy_epoch == 1


def figures(session: Any) -> dict[str, str]:
    """Return the fine-tuning node's figures; empty before the first."""
    return session.diagnostics.get("finetune_node", {})
