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


class _Value(NamedTuple):
    raw: float
    arrived: float


class Assembler:
    """Keeps the newest value of everything a layout reads, and makes observations of them.

    Joints may come in any order, among others, and spread over several messages. One thread hears,
    another one assembles.

    A commanded velocity is zero before the first command and again ``command_timeout`` seconds
    after the last: a robot whose operator is gone is told to stop. A goal holds until the next.
    """

    def __init__(
        self, observation: ObservationLayout, action: ActionLayout, command_timeout: float
    ) -> None:
        """``ContractError`` when no topic can give what the layouts ask for."""
        objections = _objections(observation, action)
        if objections:
            raise ContractError(
                "the observation cannot be assembled from topics: " + "; ".join(objections)
            )
        self._channels = observation.channels
        self._places = [_place(channel) for channel in observation.channels]
        self._action = action
        self._command_timeout = command_timeout
        self._lock = threading.Lock()
        self._values: dict[str, dict[Place, _Value]] = {}
        self._history = History(observation)
        self.wanted = _wanted(observation)
        self.reset()

    def reset(self) -> None:
        """Forget past decisions: the next one is the first, after the safe action."""
        with self._lock:
            self._history.reset()
            self._note(self._action.safe)

    def forget(self) -> None:
        """Forget everything heard too."""
        self.reset()
        with self._lock:
            for topic in self.wanted:
                self._values.pop(topic, None)

    def hear(self, topic: str, said: Mapping[Place, float], arrived: float) -> str:
        """Take what a message said; return why all of it was ignored, or nothing.

        Values that are not wanted may be anything.
        """
        wanted = self.wanted[topic]
        heard = {place: value for place, value in said.items() if place in wanted}
        for place, value in heard.items():
            if not math.isfinite(value):
                return f"{_words(topic, place)} is {value}"
        with self._lock:
            values = self._values.setdefault(topic, {})
            values.update({place: _Value(value, arrived) for place, value in heard.items()})
        return ""

    def acted(self, command: np.ndarray) -> None:
        """Note the command ``[A]`` that was sent, in actuator units."""
        with self._lock:
            self._note(command)

    def missing(self) -> list[str]:
        """Return what was never heard and must be."""
        with self._lock:
            return [
                _words(topic, place)
                for topic, places in self.wanted.items()
                if SOURCES[topic].kind is not Kind.COMMAND
                for place in sorted(places - self._values.get(topic, {}).keys())
            ]

    def oldest(self) -> tuple[str, float] | None:
        """Return the measurement that is longest ago and when it arrived; None without any."""
        with self._lock:
            heard = [
                (_words(topic, place), value.arrived)
                for topic, values in self._values.items()
                if SOURCES[topic].kind is Kind.MEASUREMENT
                for place, value in values.items()
            ]
        return min(heard, key=lambda entry: entry[1], default=None)

    def assemble(self, now: float) -> Assembled | None:
        """Return the observation for a decision made at ``now``; None while anything is missing.

        Each call is one decision: histories move on by one.
        """
        if self.missing():
            return None
        with self._lock:
            raw = [
                self._raw(channel.topic, place, now)
                for channel, place in zip(self._channels, self._places, strict=True)
            ]
            read = [
                channel.read(value.raw) for channel, value in zip(self._channels, raw, strict=True)
            ]
            present = np.array(read, np.float32)
            data = self._history.recall(present)
            self._history.remember(present)
        return Assembled(data, min(value.arrived for value in raw))

    def _note(self, command: np.ndarray) -> None:
        self._values[PREVIOUS_ACTION.topic] = {
            (name, "value"): _Value(float(value), math.inf)
            for name, value in zip(self._action.names, command, strict=True)
        }

    def _raw(self, topic: str, place: Place, now: float) -> _Value:
        """Return a value and the arrival that counts for the age of the observation."""
        value = self._values.get(topic, {}).get(place, _Value(0.0, -math.inf))
        kind = SOURCES[topic].kind
        if kind is Kind.MEASUREMENT:
            return value
        expired = kind is Kind.COMMAND and now - value.arrived > self._command_timeout
        return _Value(0.0 if expired else value.raw, math.inf)


def topics(observation: ObservationLayout) -> tuple[str, ...]:
    """Return the topics a layout reads, sorted."""
    return tuple(sorted({channel.topic for channel in observation.channels}))


def _place(channel: ObservationChannel) -> Place:
    return (channel.key if SOURCES[channel.topic].keyed else "", channel.field)


def _wanted(observation: ObservationLayout) -> dict[str, frozenset[Place]]:
    """Return what is to be heard, by topic."""
    return {
        topic: frozenset(_place(c) for c in observation.channels if c.topic == topic)
        for topic in topics(observation)
        if topic != PREVIOUS_ACTION.topic
    }


def _words(topic: str, place: Place) -> str:
    key, field = place
    return f"{topic}: {field} of {key}" if key else f"{topic}: {field}"


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
