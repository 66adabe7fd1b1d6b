# SPDX-License-Identifier: Apache-2.0
"""A policy's observation, put together by name from what a robot's topics say. No ROS."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from pwm_core.history import History
from pwm_core.layout import ActionLayout, ObservationChannel, ObservationLayout
from pwm_core.sources import PREVIOUS_ACTION, SOURCES, WHOLE_OBSERVATION, Kind

NEVER = -math.inf
"""When something arrived that never did."""
Place = tuple[str, str]
"""Key and field of a value on its topic; the key is empty where a topic tells of one thing."""


class ContractError(ValueError):
    """Topics cannot give what a policy was made for; the message names every such channel."""


class Assembled(NamedTuple):
    """An observation and its age."""

    data: np.ndarray
    """``[O]`` float32."""
    arrived: float
    """When the oldest of its measurements arrived, seconds monotonic."""


class Assembler:
    """Keeps the newest value of everything a layout reads, and makes observations of them.

    Joints may come in any order, among others, and spread over several messages. One thread hears,
    another one assembles.

    A commanded velocity is zero before the first command and again ``cmd_vel_timeout`` seconds
    after the last: a robot whose operator is gone is told to stop. A goal holds until the next.
    """

    def __init__(
        self, observation: ObservationLayout, action: ActionLayout, cmd_vel_timeout: float
    ) -> None:
        """``ContractError`` when no topic can give what the layouts ask for."""
        objections = _objections(observation, action)
        if objections:
            raise ContractError(
                "the observation cannot be assembled from topics: " + "; ".join(objections)
            )
        self._layout, self._action = observation, action
        self._cmd_vel_timeout = cmd_vel_timeout
        self._lock = threading.Lock()
        self._history = History(observation)
        self._places = list(dict.fromkeys((c.topic, _place(c)) for c in observation.channels))
        rows = {place: row for row, place in enumerate(self._places)}
        self._entries = np.array([rows[c.topic, _place(c)] for c in observation.channels])
        kinds = np.array([SOURCES[topic].kind for topic, _ in self._places])
        self._measured, self._commanded = kinds == Kind.MEASUREMENT, kinds == Kind.COMMAND
        self._required = self._measured | (kinds == Kind.GOAL)
        self._remembered = np.flatnonzero(kinds == Kind.MEMORY)
        names = [self._places[row][1][0] for row in self._remembered]
        self._actuators = [action.names.index(name) for name in names]
        self._rows = {
            topic: {place: row for (at, place), row in rows.items() if at == topic}
            for topic in topics(observation)
        }
        self.forget()

    @property
    def topics(self) -> tuple[str, ...]:
        """Topics to listen to."""
        return tuple(t for t in topics(self._layout) if SOURCES[t].kind is not Kind.MEMORY)

    def forget(self) -> None:
        """Start over with nothing heard."""
        with self._lock:
            self._raw = np.zeros(len(self._places))
            self._arrived = np.full(len(self._places), NEVER)
        self.reset()

    def reset(self) -> None:
        """Forget past decisions: the next one is the first, after the safe action."""
        with self._lock:
            self._history.reset()
            self._present: np.ndarray | None = None
            self._command = self._action.safe
            self._move_on()

    def hear(self, topic: str, said: Mapping[Place, float], arrived: float) -> str:
        """Take what a message said; return why all of it was ignored, or nothing.

        Values that are not wanted may be anything.
        """
        rows = self._rows[topic]
        heard = {rows[place]: value for place, value in said.items() if place in rows}
        for row, value in heard.items():
            if not math.isfinite(value):
                return f"{self._words(row)} is {value}"
        with self._lock:
            for row, value in heard.items():
                self._raw[row], self._arrived[row] = value, arrived
        return ""

    def acted(self, command: np.ndarray) -> None:
        """Note the command ``[A]``, in actuator units, that answers the last observation."""
        with self._lock:
            self._command = command

    def missing(self) -> list[str]:
        """Return what was never heard and must be."""
        with self._lock:
            never = np.flatnonzero(self._required & (self._arrived == NEVER))
        return [self._words(int(row)) for row in never]

    def oldest(self) -> tuple[str, float]:
        """Return the measurement that is longest ago and when it arrived (never: ``-inf``)."""
        with self._lock:
            arrived = np.where(self._measured, self._arrived, math.inf)
        row = int(arrived.argmin())
        return self._words(row), float(arrived[row])

    def assemble(self, now: float, again: bool = False) -> Assembled | None:
        """Return the observation for a decision made at ``now``; None while anything is missing.

        Each call is the next decision: histories move on by one. ``again`` is a newer look for
        the last decision instead.
        """
        with self._lock:
            if (self._arrived[self._required] == NEVER).any():
                return None
            if not again:
                self._move_on()
            silent = self._commanded & (now - self._arrived > self._cmd_vel_timeout)
            raw = np.where(silent, 0.0, self._raw)[self._entries]
            self._present = self._layout.read(raw)
            data = self._history.recall(self._present)
            return Assembled(data, float(self._arrived[self._measured].min()))

    def _move_on(self) -> None:
        """Let the last decision be the one before."""
        if self._present is not None:
            self._history.remember(self._present)
        self._raw[self._remembered] = self._command[self._actuators]

    def _words(self, row: int) -> str:
        topic, (key, field) = self._places[row]
        return f"{topic}: {field} of {key}" if key else f"{topic}: {field}"


def topics(observation: ObservationLayout) -> tuple[str, ...]:
    """Return the topics a layout reads, sorted."""
    return tuple(sorted({channel.topic for channel in observation.channels}))


def _place(channel: ObservationChannel) -> Place:
    return (channel.key if SOURCES[channel.topic].keyed else "", channel.field)


def _objections(observation: ObservationLayout, action: ActionLayout) -> list[str]:
    """Return why ``observation`` cannot be assembled, one sentence per reason."""
    channels = observation.channels
    whole = [c.name for c in channels if c.topic == WHOLE_OBSERVATION.topic]
    unknown = [
        c.name for c in channels if c.topic == PREVIOUS_ACTION.topic and c.key not in action.names
    ]
    sentences = []
    if whole:
        sentences.append(f"no topic gives {', '.join(whole)}, which only a simulator knows")
    if unknown:
        sentences.append(
            f"{', '.join(unknown)} repeat commands of no actuator ({', '.join(action.names)})"
        )
    if not any(SOURCES[c.topic].kind is Kind.MEASUREMENT for c in channels):
        sentences.append("nothing in it is measured")
    return sentences + _ambiguities(channels)


def _ambiguities(channels: tuple[ObservationChannel, ...]) -> list[str]:
    """Name two sensors that would have to share a topic that tells of one."""
    keys: dict[tuple[str, str], list[str]] = {}
    for channel in channels:
        if not SOURCES[channel.topic].keyed:
            known = keys.setdefault((channel.topic, channel.field), [])
            if channel.key not in known:
                known.append(channel.key)
    return [
        f"{topic} tells of one sensor, but {field} is wanted of {' and '.join(found)}"
        for (topic, field), found in keys.items()
        if len(found) > 1
    ]
