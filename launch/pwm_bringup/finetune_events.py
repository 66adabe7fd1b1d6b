# SPDX-License-Identifier: Apache-2.0
"""What happens in a trial of online fine-tuning, in order: episodes, the shift, verdicts."""

from __future__ import annotations

import json
from typing import Any

from pwm_interfaces.msg import Observation
from rcl_interfaces.msg import ParameterEvent
from std_msgs.msg import String

from pwm_bringup.session import EVERY_MESSAGE, Session

NOISE = "exploration_noise"
ADAPTING = "adapting"
"""Stage of the episodes that are the robot's own."""
Event = dict[str, Any]
"""``what`` is ``shift``, ``verdict`` or ``episode``. An episode has ``stage``, ``return``, the
largest ``noise``, and ``policy``, which is empty where several acted."""


class Events:
    """Listens to verdicts from construction on, and to the robot's own episodes when told to."""

    def __init__(self, session: Session) -> None:
        self.found: list[Event] = []
        self.adapting = False
        """Whether the episodes that end are the robot's own, to be noted as such."""
        self._session = session
        self._episode, self._step = -1, -1
        self._policies: set[str] = set()
        self._noise = self._noisiest = 0.0
        session.create_subscription(Observation, "observation", self._on_observation, EVERY_MESSAGE)
        session.create_subscription(String, "finetune_node/verdict", self._on_verdict, 100)
        session.create_subscription(ParameterEvent, "/parameter_events", self._on_parameters, 100)

    def note(self, what: str, **details: Any) -> None:
        """Add an event."""
        self.found.append({"what": what} | details)

    def note_episode(self, stage: str, policy: str, earned: float, noise: float = 0.0) -> None:
        """Add a whole episode."""
        self.note("episode", **{"stage": stage, "policy": policy, "return": earned, "noise": noise})

    @property
    def verdicts(self) -> list[Event]:
        return [event for event in self.found if event["what"] == "verdict"]

    @property
    def episodes(self) -> int:
        """How many whole episodes the adaptation has had."""
        return sum(event.get("stage") == ADAPTING for event in self.found)

    def _on_observation(self, message: Observation) -> None:
        if message.step == self._step:
            return  # repeated while waiting
        self._step = message.step
        if message.episode != self._episode:
            self._episode, self._policies, self._noisiest = message.episode, set(), 0.0
        self._policies.add(self._session.status.policy)
        self._noisiest = max(self._noisiest, self._noise)
        if self.adapting and (message.terminated or message.truncated):
            policy = self._policies.pop() if len(self._policies) == 1 else ""
            self.note_episode(ADAPTING, policy, message.episode_return, self._noisiest)

    def _on_verdict(self, message: String) -> None:
        verdict = json.loads(message.data, parse_constant=lambda name: None)
        self.note(**{"what": "verdict"} | verdict)
        print(f"  round {verdict['round']}: {verdict['verdict']}. {verdict['reason']}", flush=True)

    def _on_parameters(self, message: ParameterEvent) -> None:
        if not message.node.endswith("/policy_node"):
            return
        for parameter in message.changed_parameters:
            if parameter.name == NOISE:
                self._noise = parameter.value.double_value
