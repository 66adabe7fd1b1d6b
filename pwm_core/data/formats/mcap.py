# SPDX-License-Identifier: Apache-2.0
"""rosbag2's MCAP bags of the observations and actions of our nodes, read without ROS.

A decision is an observation, the first action whose ``observation_step`` names it, and the next
observation, which says the reward and whether the episode ended. Where a message is missing (the
recorder lost it, or a controller was late) the episode is split: what was applied is not guessed.
Of a file whose recorder was killed, what it had flushed is read.
"""

from __future__ import annotations

import contextlib
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from mcap.exceptions import EndOfFile, McapError
from mcap.reader import NonSeekingReader, make_reader
from mcap_ros2.decoder import DecoderFactory

from pwm_core.data.dataset import TaskInfo, Trajectory
from pwm_core.data.formats.source import FormatError
from pwm_core.tasks import get_task

OBSERVATION = "pwm_interfaces/msg/Observation"
ACTION = "pwm_interfaces/msg/Action"
MAGIC = b"\x89MCAP0\r\n"
"""First and last bytes of a file that was closed."""
LATENESS = 8
"""Observations within which the answer to one is expected in the bag."""
ANSWERS_KEPT = 64


class McapBag:
    """One bag, a file or rosbag2's folder of files; see ``formats.source.Source``."""

    def __init__(self, path: Path) -> None:
        """Read ``path`` once to count its episodes; memory holds one of them."""
        self.path, self.name = path, path.stem
        self._files = sorted(path.glob("*.mcap"), key=_number) if path.is_dir() else [path]
        if not self._files:
            raise FormatError(f"{path} holds no .mcap file")
        self.unclosed = [file for file in self._files if not _is_closed(file)]
        """Files whose recorder was killed: what they end with may be missing."""
        self._infos: dict[str, TaskInfo] = {}
        self._read = {OBSERVATION: 0, ACTION: 0}
        self.episodes = sum(1 for _ in self._pieces())
        if not self.episodes:
            raise FormatError(f"{path}: {self._why_nothing_fits()}")
        self.tasks = list(self._infos.values())

    def _why_nothing_fits(self) -> str:
        observations, actions = self._read[OBSERVATION], self._read[ACTION]
        if observations < 2 or not actions:
            return (
                f"{observations} observations and {actions} actions, expected at least two and "
                f"one: record the topics of {OBSERVATION} and {ACTION}"
            )
        return (
            f"none of {actions} actions answers one of {observations} observations that another "
            "follows directly (observation_step, step)"
        )

    def trajectories(self, numbers: Iterator[int]) -> Iterator[Trajectory]:
        wanted = set(numbers)
        for number, piece in enumerate(self._pieces()):
            if number in wanted:
                yield self._trajectory(number, piece)

    def _pieces(self) -> Iterator[_Piece]:
        """Yield stretches of decisions without a gap, of one robot after the other."""
        self._read = dict.fromkeys(self._read, 0)
        robots: dict[str, _Robot] = {}
        for topic, schema, message in self._messages():
            self._read[schema] += 1
            robot = robots.setdefault(topic.rpartition("/")[0], _Robot())
            if schema == ACTION:
                robot.hear_action(message)
            else:
                self._check(topic, message)
                yield from robot.hear_observation(message)
        for robot in robots.values():
            yield from robot.finish()

    def _messages(self) -> Iterator[tuple[str, str, Any]]:
        for file in self._files:
            try:
                with open(file, "rb") as stream:
                    cut = file in self.unclosed
                    yield from (_decoded_to_the_end(stream) if cut else _decoded(stream))
            except (McapError, ValueError, EOFError) as error:
                raise FormatError(
                    f"{file} is no MCAP file, or damaged ({type(error).__name__}: {error})"
                ) from error

    def _check(self, topic: str, message: Any) -> None:
        info = self._infos.get(message.task)
        if info is None:
            info = self._infos[message.task] = TaskInfo.of(get_task(message.task))
        expected = info.observation.hash()
        if message.layout_hash != expected:
            raise FormatError(
                f"{self.path}, {topic} step {message.step}: layout_hash is "
                f"{message.layout_hash}, task {message.task} has {expected}: recorded with another "
                "observation layout"
            )

    def _trajectory(self, number: int, piece: _Piece) -> Trajectory:
        first, last = piece.observations[0], piece.observations[-1]
        layout = self._infos[first.task].action
        commands = [self._command(a, layout.names) for a in piece.actions]
        return Trajectory(
            first.task,
            self.name,
            number,
            np.array([o.data for o in piece.observations], np.float32),
            layout.to_normalised(np.array(commands)).astype(np.float32),
            np.array([o.reward for o in piece.observations[1:]], np.float32),
            bool(last.terminated),
        )

    def _command(self, message: Any, names: tuple[str, ...]) -> list[float]:
        """Return the values in the layout's order."""
        values = dict(zip(message.names, message.values, strict=False))
        if set(values) != set(names) or len(message.values) != len(names):
            raise FormatError(
                f"{self.path}, action {message.sequence}: names are {list(message.names)} with "
                f"{len(message.values)} values, expected {list(names)}"
            )
        return [values[name] for name in names]


@dataclass
class _Piece:
    """Consecutive observations and the actions between them."""

    observations: list[Any] = field(default_factory=list)
    actions: list[Any] = field(default_factory=list)


class _Robot:
    """Puts the messages of one namespace together.

    Two topics are recorded in the order in which they arrive, so that an answer may be found after
    the observation that follows: decisions are made up ``LATENESS`` observations later.
    """

    def __init__(self) -> None:
        self._piece = _Piece()
        self._waiting: deque[Any] = deque()
        self._answers: dict[int, Any] = {}
        """The first action that answers each observation, by its step."""

    def hear_action(self, message: Any) -> None:
        self._answers.setdefault(message.observation_step, message)
        if len(self._answers) > ANSWERS_KEPT:
            del self._answers[next(iter(self._answers))]

    def hear_observation(self, message: Any) -> Iterator[_Piece]:
        """Take one observation; yield a piece that has come to its end."""
        if self._waiting and message.step == self._waiting[-1].step:
            return  # repeated by a world that waits
        self._waiting.append(message)
        if len(self._waiting) > LATENESS:
            yield from self._decide()

    def finish(self) -> Iterator[_Piece]:
        """Yield what is left."""
        while len(self._waiting) > 1:
            yield from self._decide()
        yield from self._close()

    def _decide(self) -> Iterator[_Piece]:
        """Take the oldest observation; the next one continues its piece, or begins another."""
        before = self._waiting.popleft()
        after, answer = self._waiting[0], self._answers.pop(before.step, None)
        if not self._piece.observations:
            self._piece.observations.append(before)
        if answer is None or not _follows(before, after):
            yield from self._close()
        else:
            self._piece.actions.append(answer)
            self._piece.observations.append(after)

    def _close(self) -> Iterator[_Piece]:
        if self._piece.actions:
            yield self._piece
        self._piece = _Piece()


def _follows(before: Any, after: Any) -> bool:
    return (
        after.step == before.step + 1
        and after.episode == before.episode
        and after.task == before.task
        and after.episode_step == before.episode_step + 1
    )


def _number(file: Path) -> tuple[int, str]:
    """Order files as they were recorded: rosbag2 ends their names in ``_0``, ``_1`` …, ``_10``."""
    number = re.search(r"_(\d+)$", file.stem)
    return (int(number[1]) if number else 0, file.name)


def _decoded(stream: Any) -> Iterator[tuple[str, str, Any]]:
    """Yield topic, schema and message of what our nodes say, by the time it was recorded."""
    reader = make_reader(stream, decoder_factories=[DecoderFactory()])
    summary = reader.get_summary()
    topics = None
    if summary is not None:
        names = {number: schema.name for number, schema in summary.schemas.items()}
        kinds = (OBSERVATION, ACTION)
        topics = [c.topic for c in summary.channels.values() if names.get(c.schema_id) in kinds]
        if not topics:
            return
    for schema, channel, _, message in reader.iter_decoded_messages(topics):
        if schema is not None and schema.name in (OBSERVATION, ACTION):
            yield channel.topic, schema.name, message


def _is_closed(file: Path) -> bool:
    with open(file, "rb") as stream:
        stream.seek(max(0, file.stat().st_size - len(MAGIC)))
        return stream.read() == MAGIC


def _decoded_to_the_end(stream: Any) -> Iterator[tuple[str, str, Any]]:
    """Yield the same of a file that has no index, in the order in which it was written."""
    reader = NonSeekingReader(stream, decoder_factories=[DecoderFactory()])
    with contextlib.suppress(EndOfFile):
        for schema, channel, _, message in reader.iter_decoded_messages(log_time_order=False):
            if schema is not None and schema.name in (OBSERVATION, ACTION):
                yield channel.topic, schema.name, message
