# SPDX-License-Identifier: Apache-2.0
"""The rounds with a learner that is a script and a policy node that is made up; no ROS."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pwm_core.data.dataset import TaskInfo
from pwm_core.files import write_atomically
from pwm_core.finetuning.held_out import LEAST_WINDOWS
from pwm_core.tasks import get_task
from pwm_finetune import proposing, takeover
from pwm_finetune.course import RoundSettings
from pwm_finetune.data import Bounds, OnlineData
from pwm_finetune.learner import LearnerSettings
from pwm_finetune.rounds import Rounds
from pwm_finetune.state import Mode, Phase, State, StateError
from pwm_finetune.transitions import Outcome, Stretch

TASK = "cartpole-balance"
CANDIDATE = f"{TASK}_round_0001"
SCRIPT = Path(__file__).parents[1] / "integration" / "scripted_learner.py"
GOOD = [500.0, 498.0, 502.0]


@dataclass
class Answered:
    success: bool = True
    message: str = ""
    answered: bool = True


class Request:
    def __init__(self, answer: Answered) -> None:
        self._answer = answer

    def answer(self) -> Answered:
        return self._answer


class PolicyNode:
    """Does as it is asked at once, unless told otherwise."""

    def __init__(self) -> None:
        self.acting, self.stopped = TASK, False
        self.asked: list[tuple[str, str]] = []
        self.answer = Answered()
        self.deaf = False
        self.loaded = {TASK}
        self.unreadable = ""

    def load(self, name: str) -> Request:
        self.asked.append(("load", name))
        if self.unreadable:
            return Request(Answered(False, self.unreadable))
        if self.answer.success:
            self.loaded.add(name)
        return Request(self.answer)

    def swap(self, name: str, blend_seconds: float) -> Request:
        self.asked.append(("swap", name))
        if name not in self.loaded:
            return Request(Answered(False, f"unknown policy {name!r}"))
        if self.answer.success and not self.deaf:
            self.acting = name
        return Request(self.answer)


class Rig:
    """A run directory, what serves it, and what it said."""

    def __init__(self, directory: Path, bundle: Path) -> None:
        self.directory, self.bundle = directory, bundle
        self.node = PolicyNode()
        self.verdicts: list[dict[str, Any]] = []
        (directory / "policies").mkdir()
        self.settings = RoundSettings(
            directory=directory,
            policy_dir=directory / "policies",
            offline=directory,
            origin=directory / "policy",
            task=TASK,
            episodes=2,
            watch=2,
            watch_seconds=600.0,
            before=3,
            auto_approve=True,
            retries=2,
            blend_seconds=0.0,
        )
        for name in ("policy", "world_model"):
            (directory / name).write_text(name)

    def begin(self, finetune: list[str], export: list[str], **changes: Any) -> Rounds:
        plan = {
            "finetune": finetune,
            "export": [e.replace("GOOD", str(self.bundle)) for e in export],
        }
        (self.directory / "plan.json").write_text(json.dumps(plan))
        return self.rounds(**changes)

    def rounds(self, **changes: Any) -> Rounds:
        """Return rounds that go on from the state file, or begin."""
        file = self.directory / "state.json"
        policy, model = (str(self.directory / n) for n in ("policy", "world_model"))
        fresh = State(Mode.RUNNING, TASK, policy, model, "origin", before=list(GOOD))
        state = State.load(file) if file.exists() else fresh
        self.data = OnlineData(
            self.directory / "data", TaskInfo.of(get_task(TASK)), Bounds(1e9, True, 2)
        )
        command = (sys.executable, "-I", "-S", str(SCRIPT), str(self.directory / "plan.json"))
        # Not at the lowest priority: on a busy machine it would hardly ever run.
        learner = LearnerSettings(command, "", (), (), False, niceness=0, timeout=600.0)
        settings = replace(self.settings, **changes)
        return Rounds(
            settings, learner, state, self.data, self.node, self.verdicts.append, lambda: None
        )

    def record(self, count: int = 2, length: int = 20) -> None:
        for episode in range(count):
            observation = np.zeros((length + 1, 5), np.float32)
            action = np.zeros((length, 1), np.float32)
            self.data.add(Stretch(episode, TASK, observation, action, np.ones(length), False))

    @property
    def said(self) -> list[str]:
        return [verdict["verdict"] for verdict in self.verdicts]


def until(rounds: Rounds, *phases: Phase) -> None:
    """Step until a phase is reached."""
    deadline = time.monotonic() + 120
    while rounds.state.phase not in phases:
        assert time.monotonic() < deadline, rounds.state
        rounds.step()
        time.sleep(0.01)


def earn(rounds: Rounds, policy: str, *totals: float) -> None:
    for total in totals:
        rounds.heard(Outcome(policy, 1, total, 20))
        rounds.step()


@pytest.fixture
def rig(tmp_path: Path, make_bundle: Callable[..., Path]) -> Rig:
    bundle = make_bundle("made", provenance={}, parity={"max_abs_error": 1e-6})
    (tmp_path / "policies").rename(tmp_path / TASK)
    return Rig(tmp_path, tmp_path / TASK / bundle.name)


@pytest.fixture
def watched(rig: Rig) -> Rounds:
    """Rounds whose first candidate acts."""
    rounds = rig.begin(["pass", "hang"], ["GOOD"])
    rig.record()
    until(rounds, Phase.WATCHING)
    return rounds


def test_a_good_candidate_becomes_what_the_next_round_goes_on_from(
    rig: Rig, watched: Rounds
) -> None:
    earn(watched, CANDIDATE, 501.0, 499.0)
    assert rig.said == ["passed the gate", "stays"]
    state = watched.state
    assert (state.bundle, state.phase, state.accepted) == (CANDIDATE, Phase.GATHERING, 1)
    assert state.policy.endswith("round_0001/run/candidate/policy.safetensors")
    assert state.world_model.endswith("round_0001/run/world_model/world_model.safetensors")
    assert state.before == [501.0, 499.0]
    rig.record()
    until(watched, Phase.LEARNING)
    arguments = watched.round.finetune(watched._learning._settings)
    given = dict(zip(arguments[1::2], arguments[2::2], strict=False))
    assert given["--policy"] == state.policy
    assert given["--origin"] == str(rig.directory / "policy"), "and what drift is measured from"
    watched.close()


@pytest.mark.parametrize("dies", [True, False])
def test_one_that_the_policy_node_took_back_meanwhile_is_not_rejected_for_ever(
    rig: Rig, watched: Rounds, dies: bool
) -> None:
    """This process died in a trial, or the policy node did, or answers were lost for long."""
    watched.step()
    assert watched.state.phase is Phase.WATCHING
    rig.node.acting = TASK
    again = rig.rounds() if dies else watched
    again.step()
    assert rig.said[-1] == "rolled back"
    assert "nobody watched" in rig.verdicts[-1]["reason"]
    until(again, Phase.GATHERING)
    assert rig.node.acting == TASK
    assert not (rig.directory / "rejected.jsonl").exists()


def test_one_that_earns_less_than_the_policy_before_is_taken_back(
    rig: Rig, watched: Rounds
) -> None:
    earn(watched, CANDIDATE, 481.0, 479.0)
    assert rig.said[-1] == "rolled back"
    until(watched, Phase.GATHERING)
    assert rig.node.acting == TASK
    assert (watched.state.bundle, watched.state.refused) == (TASK, 1)
    assert (rig.directory / "rejected.jsonl").read_text().count("\n") == 1
    kept = (rig.directory / "verdicts.jsonl").read_text().splitlines()
    assert kept == [json.dumps(verdict) for verdict in rig.verdicts]


def test_the_way_back_does_not_need_the_file(rig: Rig, watched: Rounds) -> None:
    rig.node.unreadable = "no bundle of that name"
    earn(watched, CANDIDATE, 0.0, 0.0)
    until(watched, Phase.GATHERING)
    assert rig.node.acting == TASK
    assert ("load", TASK) not in rig.node.asked


def test_a_new_policy_node_reads_the_policy_before_and_its_refusal_is_told(
    rig: Rig, watched: Rounds
) -> None:
    rig.node.loaded, rig.node.unreadable = {CANDIDATE}, "its file was refused"
    earn(watched, CANDIDATE, 0.0, 0.0)
    for _ in range(6):
        watched.step()
    assert watched.state.phase is Phase.ROLLING_BACK
    assert watched.state.reason.endswith("does not act yet: its file was refused")
    rig.node.unreadable = ""
    until(watched, Phase.GATHERING)
    assert rig.node.acting == TASK
    assert "below" in watched.state.reason
    assert "was refused" not in watched.state.reason


@pytest.mark.parametrize("ends", ["refuse", "pass"])
def test_after_a_round_without_success_it_is_found_out_anew_what_the_running_policy_earns(
    rig: Rig, ends: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The robot may have changed: a candidate is not held against what was earned before that."""
    monkeypatch.setattr(takeover, "STATUS_SECONDS", 0.0)
    rounds = rig.begin([ends, "pass"], ["GOOD"])
    rig.record()
    until(rounds, Phase.LEARNING)
    until(rounds, Phase.GATHERING, Phase.WATCHING)
    earn(rounds, CANDIDATE, 300.0, 302.0)  # too little, if it acts
    until(rounds, Phase.GATHERING)
    assert rounds.state.before == []
    rig.record()
    until(rounds, Phase.PROPOSED)
    rounds.step()
    assert "returns of" in rounds.state.reason
    earn(rounds, TASK, 250.0, 251.0)
    until(rounds, Phase.WATCHING)
    earn(rounds, rounds.state.candidate, 300.0, 302.0)
    assert (rig.said[-1], rounds.state.accepted) == ("stays", 1)


def test_only_bundles_that_may_act_stay_where_the_policy_node_reads(
    rig: Rig, watched: Rounds
) -> None:
    file = rig.settings.policy_dir / f"{CANDIDATE}.onnx"
    assert file.exists()
    earn(watched, CANDIDATE, 0.0, 0.0)
    until(watched, Phase.GATHERING)
    assert not file.exists()


def test_a_bundle_that_stays_is_removed_when_the_operator_goes_back(
    rig: Rig, watched: Rounds
) -> None:
    file = rig.settings.policy_dir / f"{CANDIDATE}.onnx"
    earn(watched, CANDIDATE, 501.0, 499.0)
    assert file.exists()
    watched.roll_back()
    until(watched, Phase.GATHERING)
    assert not file.exists()


def test_a_name_that_is_taken_is_not_used_again(rig: Rig) -> None:
    rounds = rig.begin(["hang"], ["GOOD"])
    (rig.settings.policy_dir / f"{CANDIDATE}.onnx").touch()
    (rig.directory / "round_0002" / "run").mkdir(parents=True)
    rig.record()
    until(rounds, Phase.LEARNING)
    assert rounds.state.round == 3
    rounds.close()


def fails(*_: Any) -> None:
    raise OSError(28, "No space left on device")


def dies(*_: Any) -> None:
    raise KeyboardInterrupt


def test_a_full_disk_does_not_keep_a_bad_candidate(
    rig: Rig, watched: Rounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = rig.directory / "full"
    full.touch()  # no directory: nothing can be written below it
    watched._course.settings = replace(watched._course.settings, directory=full)
    monkeypatch.setattr(watched._course.rejected, "add", fails)
    watched.heard(Outcome(CANDIDATE, 1, 0.0, 20))
    watched.heard(Outcome(CANDIDATE, 1, 0.0, 20))
    for _ in range(4):
        with suppress(OSError):
            watched.step()
    assert rig.node.acting == TASK
    assert rig.said[-1] == "rolled back"


def test_a_full_disk_leaves_the_operator_the_way_back(
    rig: Rig, watched: Rounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    earn(watched, CANDIDATE, 501.0, 499.0)
    monkeypatch.setattr(watched._course.rejected, "add", fails)
    assert watched.roll_back()[0]
    until(watched, Phase.GATHERING)
    assert (rig.node.acting, watched.state.bundle, watched.state.history) == (TASK, TASK, [])


def test_a_snapshot_that_cannot_be_written_begins_no_round(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = rig.begin(["hang"], ["GOOD"])
    rig.record()

    def half(to: Path) -> float:
        to.mkdir(parents=True)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(rig.data, "snapshot", half)
        for _ in range(2):
            with pytest.raises(OSError, match="No space"):
                rounds.step()
    assert (rounds.state.round, rounds.state.phase) == (0, Phase.GATHERING)
    assert not (rig.directory / "round_0001" / "data").exists()
    until(rounds, Phase.LEARNING)
    assert rounds.state.round == 1
    rounds.close()


def test_a_round_waits_for_as_much_held_out_data_as_the_gate_judges_by(rig: Rig) -> None:
    """Fragments: the second of two episodes judges, and its stretch is too short for that."""
    rounds = rig.begin(["hang"], ["GOOD"])
    rig.record(length=LEAST_WINDOWS - 1)
    rounds.step()
    assert (rounds.state.phase, rounds.state.round) == (Phase.GATHERING, 0)
    assert rounds.state.reason == (
        "waits: 9 windows of 1 decisions fit side by side into the held-out episodes, the gate "
        "judges by 10 or more"
    )
    assert rounds.propose_now() == (False, rounds.state.reason.removeprefix("waits: "))
    rig.node.acting = "another"
    rounds.step()
    assert "another acts" in rounds.state.reason
    rig.node.acting = TASK
    rig.record(length=LEAST_WINDOWS - 1)
    until(rounds, Phase.LEARNING)
    rounds.close()


def test_the_safe_action_in_a_trial_ends_it(watched: Rounds, rig: Rig) -> None:
    watched.heard(Outcome(CANDIDATE, 1, float("nan"), 20))
    assert rig.said[-1] == "rolled back"
    until(watched, Phase.GATHERING)
    assert rig.node.acting == TASK


def test_the_safe_action_before_a_trial_is_not_what_a_candidate_is_held_against(rig: Rig) -> None:
    rounds = rig.begin(["pass"], ["GOOD"])
    earn(rounds, TASK, float("nan"))
    assert rounds.state.before == GOOD


def test_a_candidate_that_cannot_be_judged_in_time_is_taken_back(rig: Rig, watched: Rounds) -> None:
    watched.step()
    assert watched.state.phase is Phase.WATCHING
    watched._course.settings = replace(watched._course.settings, watch_seconds=0.0)
    until(watched, Phase.GATHERING)
    assert rig.node.acting == TASK
    assert "could not be judged in" in rig.verdicts[-1]["reason"]


def test_a_candidate_whose_trial_was_cut_short_may_be_proposed_again(
    rig: Rig, watched: Rounds
) -> None:
    """A late sensor is no fault of the candidate's."""
    watched.heard(Outcome(CANDIDATE, 1, float("nan"), 20))
    until(watched, Phase.GATHERING)
    assert not (rig.directory / "rejected.jsonl").exists()
    (rig.directory / "plan.finetune").write_text("0")  # the same candidate
    rig.record()
    until(watched, Phase.LEARNING)
    until(watched, Phase.PROPOSED)
    assert rig.said == ["passed the gate", "rolled back", "passed the gate"]


def test_the_next_candidate_is_held_against_whichever_earned_more(
    rig: Rig, watched: Rounds
) -> None:
    """One that stays although it earned a little less does not lower the bound."""
    earn(watched, CANDIDATE, 496.0, 500.0)
    assert (rig.said[-1], watched.state.bundle) == ("stays", CANDIDATE)
    assert watched.state.before == GOOD


def test_episodes_of_others_do_not_count(rig: Rig, watched: Rounds) -> None:
    earn(watched, TASK, 0.0, 0.0, 0.0)
    assert watched.state.phase is Phase.WATCHING
    assert watched.state.before == GOOD


def test_a_candidate_that_was_rejected_is_not_proposed_again(rig: Rig, watched: Rounds) -> None:
    earn(watched, CANDIDATE, 0.0, 0.0)
    until(watched, Phase.GATHERING)
    (rig.directory / "plan.finetune").write_text("0")  # the same candidate
    rig.record()
    until(watched, Phase.LEARNING)
    until(watched, Phase.GATHERING)
    assert "rejected before" in watched.state.reason
    assert rig.node.acting == TASK
    assert ("swap", f"{TASK}_round_0002") not in rig.node.asked


def test_one_that_the_operator_rolls_back_is_not_proposed_again(rig: Rig, watched: Rounds) -> None:
    assert watched.roll_back()[0]
    until(watched, Phase.GATHERING)
    assert rig.node.acting == TASK
    assert "rolled back by the operator" in (rig.directory / "rejected.jsonl").read_text()


def test_the_emergency_stop_ends_a_trial(rig: Rig, watched: Rounds) -> None:
    rig.node.stopped = True
    until(watched, Phase.GATHERING)
    assert rig.node.acting == TASK
    assert "emergency stop" in rig.verdicts[-1]["reason"]
    assert "emergency stop" in (rig.directory / "rejected.jsonl").read_text()


def test_nothing_is_swapped_in_while_stopped_or_while_another_acts(rig: Rig) -> None:
    rounds = rig.begin(["pass"], ["GOOD"])
    rig.record()
    rig.node.stopped = True
    until(rounds, Phase.PROPOSED)
    rounds.step()
    assert "emergency stop" in rounds.state.reason
    rig.node.stopped, rig.node.acting = False, "another"
    rounds.step()
    assert "another acts" in rounds.state.reason
    assert rig.node.asked == []
    rig.node.acting = TASK
    until(rounds, Phase.WATCHING)


def test_an_operator_who_swaps_in_another_policy_is_left_alone(rig: Rig, watched: Rounds) -> None:
    rig.node.acting = "another"
    until(watched, Phase.GATHERING)
    assert watched.state.mode is Mode.STOPPED
    assert rig.node.acting == "another"


def test_a_swap_is_not_repeated_while_its_status_is_on_the_way(rig: Rig) -> None:
    rounds = rig.begin(["pass"], ["GOOD"])
    rig.record()
    until(rounds, Phase.PROPOSED)
    rig.node.deaf = True
    for _ in range(10):
        rounds.step()
    assert rig.node.asked.count(("swap", CANDIDATE)) == 1
    rig.node.acting = CANDIDATE
    until(rounds, Phase.WATCHING)


@pytest.mark.parametrize("ask", ["stop", "roll_back", "pause"])
def test_a_candidate_that_is_taking_over_is_not_left_unwatched(rig: Rig, ask: str) -> None:
    rounds = rig.begin(["pass"], ["GOOD"])
    rig.record()
    until(rounds, Phase.PROPOSED)
    rig.node.deaf = True
    rounds.step()
    rounds.step()
    assert getattr(rounds, ask)()[0] is (ask == "pause")
    rig.node.acting, rig.node.deaf = CANDIDATE, False
    until(rounds, Phase.WATCHING)
    earn(rounds, CANDIDATE, 0.0, 0.0)
    until(rounds, Phase.GATHERING)
    assert rig.node.acting == TASK


def test_a_swap_that_never_came_is_asked_for_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(takeover, "STATUS_SECONDS", 0.05)
    rounds = rig.begin(["pass"], ["GOOD"])
    rig.record()
    until(rounds, Phase.PROPOSED)
    rig.node.deaf = True
    rounds.step()
    rounds.step()
    rig.node.deaf = False
    until(rounds, Phase.WATCHING)
    assert rig.node.asked.count(("swap", CANDIDATE)) >= 2


def test_a_policy_node_that_does_not_answer_is_waited_for(rig: Rig) -> None:
    rounds = rig.begin(["pass"], ["GOOD"])
    rig.record()
    rig.node.answer = Answered(False, "no service", answered=False)
    until(rounds, Phase.PROPOSED)
    for _ in range(3):
        rounds.step()
    assert "no service" in rounds.state.reason
    rig.node.answer = Answered()
    until(rounds, Phase.WATCHING)


def test_a_candidate_that_waits_is_written_once_and_again_when_it_was_changed(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A policy node may be away for days, and a robot's flash wears out."""
    written: list[Path] = []

    def write(path: Path, content: bytes) -> None:
        written.append(path)
        write_atomically(path, content)

    monkeypatch.setattr(proposing, "write_atomically", write)
    rounds = rig.begin(["pass"], ["GOOD"])
    rig.record()
    rig.node.answer = Answered(False, "no service", answered=False)
    until(rounds, Phase.PROPOSED)
    for _ in range(50):
        rounds.step()
    assert written == [rig.settings.policy_dir / f"{CANDIDATE}.onnx"]
    good = written[0].read_bytes()
    written[0].write_bytes(good[:-1] + b"x")
    for _ in range(3):
        rounds.step()
    assert written[0].read_bytes() == good


@pytest.mark.parametrize("dies", ["finetune", "export"])
def test_a_learner_that_dies_is_started_again_and_then_given_up(rig: Rig, dies: str) -> None:
    plan = {"finetune": ["pass"], "export": ["GOOD"]} | {dies: ["die"]}
    rounds = rig.begin(**plan)
    rig.record()
    until(rounds, Phase.FAILED)
    assert rounds.state.attempts == 3
    assert (rig.directory / f"plan.{dies}").read_text() == "3"
    assert "status -9" in rounds.state.reason
    assert rig.node.asked == []
    rounds.step()
    assert rounds.start()[0]
    assert rounds.state.phase is Phase.GATHERING


def test_wrong_input_is_not_tried_again(rig: Rig) -> None:
    rounds = rig.begin(["pass"], ["wrong"])
    rig.record()
    until(rounds, Phase.FAILED)
    assert rounds.state.attempts == 1


def test_training_that_diverges_ends_the_round_and_the_next_one_begins(rig: Rig) -> None:
    rounds = rig.begin(["diverge", "pass"], ["GOOD"])
    rig.record()
    until(rounds, Phase.LEARNING)
    until(rounds, Phase.GATHERING)
    assert "training has diverged" in rounds.state.reason
    assert (rig.directory / "plan.finetune").read_text() == "1"
    rig.record()
    until(rounds, Phase.PROPOSED)
    assert rounds.state.round == 2


def test_exit_status_0_without_a_passed_gate_proves_nothing(rig: Rig) -> None:
    rounds = rig.begin(["lie"], ["GOOD"], retries=0)
    rig.record()
    until(rounds, Phase.FAILED)
    assert "left no passed gate" in rounds.state.reason


def test_a_node_started_again_goes_on_in_each_phase(rig: Rig) -> None:
    rounds = rig.begin(["pass", "hang"], ["GOOD"], auto_approve=False)
    rig.record()
    for phase in (Phase.LEARNING, Phase.EXPORTING, Phase.PROPOSED):
        until(rounds, phase)
        rounds.close()
        (rig.directory / "plan.finetune").write_text("0")
        rounds = rig.rounds(auto_approve=False)
        assert (rounds.state.phase, rounds.state.round) == (phase, 1)
    assert rounds.approve()[0]
    rounds = rig.rounds(auto_approve=False)
    until(rounds, Phase.WATCHING)
    earn(rounds, CANDIDATE, 501.0)
    rounds = rig.rounds(auto_approve=False)
    assert rounds.state.watched == [501.0]
    earn(rounds, CANDIDATE, 0.0)
    assert rounds.state.phase is Phase.ROLLING_BACK
    rounds = rig.rounds(auto_approve=False)
    until(rounds, Phase.GATHERING)
    assert rig.node.acting == TASK


def test_stopping_takes_back_an_unproven_candidate(rig: Rig, watched: Rounds) -> None:
    watched.stop()
    until(watched, Phase.GATHERING)
    assert rig.node.acting == TASK
    assert watched.state.mode is Mode.STOPPED


def test_a_paused_trial_is_watched_on(rig: Rig, watched: Rounds) -> None:
    watched.pause()
    earn(watched, CANDIDATE, 0.0, 0.0)
    until(watched, Phase.GATHERING)
    assert rig.node.acting == TASK
    rig.record()
    for _ in range(3):
        watched.step()
    assert watched.state.round == 1


def test_what_cannot_be_done_is_said(rig: Rig) -> None:
    rounds = rig.begin(["hang"], ["GOOD"])
    assert rounds.propose_now() == (False, "no training episode has been recorded yet")
    assert not rounds.approve()[0]
    assert "no policy before" in rounds.roll_back()[1]
    rig.record(2)
    assert rounds.propose_now()[0]
    assert not rounds.propose_now()[0]
    assert rounds.stop()[0]
    rounds.close()


def test_a_candidate_that_acts_as_before_is_not_swapped_in(rig: Rig) -> None:
    rounds = rig.begin(["same", "hang"], ["GOOD"])
    rig.record()
    until(rounds, Phase.LEARNING)
    until(rounds, Phase.GATHERING)
    assert "nothing better was found" in rounds.state.reason
    assert rig.node.asked == []


def test_a_round_does_not_wait_for_episodes_that_were_deleted(rig: Rig) -> None:
    rounds = rig.begin(["hang"], ["GOOD"])
    rounds.state.trained_on = 40
    rounds._course.save()
    rounds = rig.rounds()
    rig.record()
    until(rounds, Phase.LEARNING)
    rounds.close()


def test_a_round_that_has_ended_leaves_its_models_and_no_checkpoints(
    rig: Rig, watched: Rounds
) -> None:
    directory = watched.round.directory
    for stage in ("world_model", "candidate"):
        (directory / "run" / stage / "checkpoint.safetensors").touch()
    assert (directory / "data").is_dir()
    earn(watched, CANDIDATE, 501.0, 499.0)
    assert watched.state.phase is Phase.GATHERING
    left = {file.name for file in directory.rglob("*.safetensors")}
    assert left == {"policy.safetensors", "world_model.safetensors"}
    assert not (directory / "data").exists()


@pytest.mark.parametrize("ends", ["full disk", "death"])
def test_a_round_whose_end_was_not_saved_has_all_that_it_goes_on_from(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    """Its node starts anew with the state before: learning, on data that must be there."""
    rounds = rig.begin(["hang"], ["GOOD"])
    rig.record()
    until(rounds, Phase.LEARNING)
    with monkeypatch.context() as patched:
        patched.setattr(State, "save", fails if ends == "full disk" else dies)
        with pytest.raises(OSError if ends == "full disk" else KeyboardInterrupt):
            rounds.stop()
    rounds = rig.rounds()
    assert (rounds.state.phase, rounds.state.round) == (Phase.LEARNING, 1)
    assert rounds.round.data.is_dir()
    rounds.close()


def test_what_a_round_left_whose_end_was_cut_short_is_removed_with_the_next(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = rig.begin(["hang"], ["GOOD"])
    rig.record()
    until(rounds, Phase.LEARNING)
    left = rounds.round.data
    with monkeypatch.context() as patched:
        patched.setattr(State, "save", fails)
        with pytest.raises(OSError, match="No space"):
            rounds.stop()
    assert left.is_dir()
    rounds.start()
    rig.record()
    until(rounds, Phase.LEARNING)
    assert not left.exists()
    assert rounds.round.data.is_dir()
    rounds.close()


def test_it_is_known_who_acts_without_having_shown_itself(rig: Rig, watched: Rounds) -> None:
    """Whoever ends the node is told."""
    assert watched.unproven == CANDIDATE
    watched.pause()
    assert watched.unproven == CANDIDATE
    earn(watched, CANDIDATE, 501.0, 499.0)
    assert (watched.unproven, watched.state.bundle) == ("", CANDIDATE)


def test_a_damaged_state_file_is_named(rig: Rig) -> None:
    (rig.directory / "state.json").write_text('{"mode": "asleep"}')
    with pytest.raises(StateError, match=r"state\.json cannot be read"):
        rig.rounds()
