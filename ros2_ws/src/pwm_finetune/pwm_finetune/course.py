# SPDX-License-Identifier: Apache-2.0
"""What the phases of a round share: the state, how it is told of, and how a round ends. No ROS."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pwm_finetune.learner import Basis, Round
from pwm_finetune.rejected import Rejected
from pwm_finetune.state import Phase, State
from pwm_finetune.takeover import PolicyNode, Takeover


@dataclass(frozen=True)
class RoundSettings:
    """When a round begins and what a candidate has to show."""

    directory: Path
    """Run directory."""
    policy_dir: Path
    """Directory that the policy node reads bundles from."""
    offline: Path
    """Dataset that the world model was trained on."""
    origin: Path
    """The policy that all rounds began with."""
    task: str
    episodes: int
    """New episodes that begin a round."""
    watch: int
    """Whole episodes of a candidate after which it is judged."""
    watch_seconds: float
    """Seconds after which a candidate that could not be judged is taken back."""
    before: int
    """Last whole episodes of the running policy that it is held against."""
    auto_approve: bool
    """Whether a candidate that passed the gate is swapped in without asking."""
    retries: int
    """How often a learner that died is started again."""
    blend_seconds: float
    """Seconds over which a candidate takes over."""


class Course:
    """The state and its file, verdicts, the rejected, and the policy node."""

    def __init__(
        self,
        settings: RoundSettings,
        state: State,
        policy_node: PolicyNode,
        announce: Callable[[dict[str, Any]], None],
        changed: Callable[[], None],
    ) -> None:
        """``announce`` hears of every verdict; ``changed`` of every change once it is on disk."""
        self.settings, self.state, self.policy_node = settings, state, policy_node
        self.takeover = Takeover(policy_node)
        self.rejected = Rejected(settings.directory / "rejected.jsonl")
        self.entered = time.monotonic()
        """When the present phase began."""
        self._announce, self._changed = announce, changed

    @property
    def round(self) -> Round:
        """The files of the present round."""
        state, settings = self.state, self.settings
        basis = Basis(state.bundle, Path(state.policy), Path(state.world_model), settings.origin)
        directory = settings.directory / f"round_{state.round:04}"
        return Round(directory, basis, settings.offline, settings.task, state.held_out)

    @property
    def bundle_name(self) -> str:
        """Name of this round's candidate at the policy node."""
        return f"{self.settings.task}_round_{self.state.round:04}"

    def put(self, candidate: str) -> Path:
        """Return where the policy node reads a candidate from."""
        return self.settings.policy_dir / f"{candidate}.onnx"

    # How a round ends

    def refuse(self, reason: str, checks: list[dict[str, Any]]) -> str:
        """End the round with a candidate that never acted."""
        self.takeover.drop()
        self.rejected.add(self._name, self.round.policy, reason)
        self.state.refused += 1
        self.tell("refused", reason, checks)
        return self.end_round(f"{self._name} refused: {reason}")

    def reject(
        self, reason: str, policy: Path | None = None, trial: dict[str, Any] | None = None
    ) -> str:
        """Take back a candidate that acts, and never propose it again."""
        with suppress(OSError):  # a full disk does not keep it acting
            self.rejected.add(self._name, policy or self.round.policy, reason)
        return self.take_back(reason, trial)

    def take_back(self, reason: str, trial: dict[str, Any] | None = None) -> str:
        """Take back a candidate that acts; alone: of which nothing was found out."""
        self.takeover.forget()
        self.state.phase = Phase.ROLLING_BACK
        self.state.refused += 1
        self.tell("rolled back", reason, [], trial)
        return self.enter(Phase.ROLLING_BACK, f"{self._name} rolled back: {reason}")

    def end_round(self, reason: str, before: Sequence[float] = ()) -> str:
        """Gather again; nothing is left of a candidate that does not act.

        ``before`` is what the next candidate is held against. Without, that is found out anew: the
        robot may have changed since the last ones, and a candidate must not pay for that.
        """
        state = self.state
        state.before = list(before)
        if state.candidate and state.candidate != state.bundle:
            with suppress(OSError):  # a policy node that starts anew may pick any bundle there
                self.put(state.candidate).unlink(missing_ok=True)
        state.candidate, state.approved, state.watched = "", False, []
        self.enter(Phase.GATHERING, reason)
        self.round.tidy()  # what a round goes on from is needed until it is on disk that it ended
        return reason

    # Words

    @property
    def _name(self) -> str:
        return self.state.candidate or f"the candidate of round {self.state.round}"

    def tell(
        self,
        verdict: str,
        reason: str,
        checks: list[dict[str, Any]],
        trial: dict[str, Any] | None = None,
    ) -> None:
        """Make a verdict known: in the run directory if it can be written to, and to ``announce``.

        The state that is saved after it tells of a full disk.
        """
        record = {
            "round": self.state.round,
            "candidate": self._name,
            "running": self.state.bundle,
            "verdict": verdict,
            "reason": reason,
            "checks": checks,
            "trial": trial,
        }
        with suppress(OSError), open(self.settings.directory / "verdicts.jsonl", "a") as file:
            file.write(json.dumps(record) + "\n")
        self._announce(record)

    def enter(self, phase: Phase, reason: str) -> str:
        """Begin a phase; return the reason."""
        self.state.phase, self.entered = phase, time.monotonic()
        return self.say(reason, always=True)

    def say(self, reason: str, always: bool = False) -> str:
        """Note why it is as it is; the same words again change nothing."""
        if always or reason != self.state.reason:
            self.state.reason = reason
            self.save()
        return reason

    def save(self) -> None:
        """Write the state; ``OSError`` when it cannot be."""
        self.state.save(self.settings.directory / "state.json")
        self._changed()
