# SPDX-License-Identifier: Apache-2.0
"""``episodes.jsonl``: a line per episode on disk, a column per field in memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, overload

import numpy as np

from pwm_core.data.schema import DatasetError

LINES_AT_ONCE = 65_536


@dataclass(frozen=True)
class Episode:
    """One line of ``episodes.jsonl``."""

    task: str
    behaviour: str
    """What chose the actions, e.g. ``mpc-0.4``."""
    seed: int
    """Number of the episode within its task and behaviour."""
    start: int
    """First row."""
    length: int
    """Decisions; the episode takes ``length + 1`` rows."""
    total_reward: float
    checksum: int
    """CRC-32 over the episode's observation, action and reward bytes, in this order."""
    terminated: bool = False
    """Whether the last row is a terminal state, rather than the last one before time ran out."""
    success: bool | None = None
    """Whether the task was solved; ``None`` where that is not known."""

    @property
    def rows(self) -> slice:
        return slice(self.start, self.start + self.length + 1)


NAMES = tuple(field.name for field in fields(Episode))
_REQUIRED, _KNOWN = frozenset(NAMES[:7]), frozenset(NAMES)
_KINDS: dict[str, tuple[type, ...]] = {
    "task": (str,),
    "behaviour": (str,),
    "total_reward": (float, int),
    "terminated": (bool, type(None)),
    "success": (bool, type(None)),
}
COLUMNS = np.dtype(
    [
        ("task", "<i4"),
        ("behaviour", "<i4"),
        ("seed", "<i8"),
        ("start", "<i8"),
        ("length", "<i8"),
        ("total_reward", "<f8"),
        ("checksum", "<u4"),
        ("terminated", "?"),
        ("success", "i1"),  # -1 where not known
    ]
)


class _Names:
    """Numbers for names, in the order in which they came."""

    def __init__(self) -> None:
        self.number: dict[str, int] = {}
        self.list: list[str] = []

    def __getitem__(self, name: str) -> int:
        if name not in self.number:
            self.number[name] = len(self.list)
            self.list.append(name)
        return self.number[name]


class EpisodeTable(Sequence[Episode]):
    """A sequence of episodes that takes 46 bytes for each.

    An index gives an :class:`Episode`; a slice, a mask or an array of indices gives a table. The
    columns are there as arrays for what must not loop.
    """

    def __init__(self, tasks: _Names, behaviours: _Names, columns: np.ndarray) -> None:
        """Prefer :meth:`of`, :func:`read_table` and indexing."""
        self._tasks, self._behaviours = tasks, behaviours
        self._columns, self._count = columns, len(columns)

    @classmethod
    def of(cls, episodes: Iterable[Episode] = ()) -> EpisodeTable:
        """Return a table of ``episodes``; a table is returned as it is."""
        if isinstance(episodes, cls):
            return episodes
        table = cls(_Names(), _Names(), np.empty(0, COLUMNS))
        for episode in episodes:
            table.append(episode)
        return table

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> Episode: ...
    @overload
    def __getitem__(self, place: slice | np.ndarray) -> EpisodeTable: ...
    def __getitem__(self, place: int | slice | np.ndarray) -> Episode | EpisodeTable:
        columns = self._columns[: self._count]
        if isinstance(place, int | np.integer):
            return self._episode(columns[place].item())
        return EpisodeTable(self._tasks, self._behaviours, columns[place])

    def __iter__(self) -> Iterator[Episode]:
        for first in range(0, self._count, LINES_AT_ONCE):
            chunk = self._columns[first : min(first + LINES_AT_ONCE, self._count)]
            yield from map(self._episode, chunk.tolist())

    def _episode(self, row: tuple[Any, ...]) -> Episode:
        values: dict[str, Any] = dict(zip(NAMES, row, strict=True))
        values["task"] = self._tasks.list[values["task"]]
        values["behaviour"] = self._behaviours.list[values["behaviour"]]
        values["success"] = None if values["success"] < 0 else bool(values["success"])
        return Episode(**values)

    def append(self, episode: Episode) -> None:
        """Add one episode; the cost is constant on average."""
        self._add([self._row(vars(episode))])

    def _row(self, values: dict[str, Any]) -> tuple[Any, ...]:
        success = values.get("success")
        return (
            self._tasks[values["task"]],
            self._behaviours[values["behaviour"]],
            values["seed"],
            values["start"],
            values["length"],
            values["total_reward"],
            values["checksum"],
            values.get("terminated") or False,
            -1 if success is None else success,
        )

    def _add(self, rows: list[tuple[Any, ...]]) -> None:
        needed = self._count + len(rows)
        if needed > len(self._columns):
            larger = np.empty(max(needed, 2 * self._count), COLUMNS)
            larger[: self._count] = self._columns[: self._count]
            self._columns = larger
        self._columns[self._count : needed] = np.array(rows, COLUMNS)
        self._count = needed

    def column(self, name: str) -> np.ndarray:
        """Return one field of all episodes; ``task`` and ``behaviour`` are numbers of names."""
        return self._columns[: self._count][name]

    @property
    def start(self) -> np.ndarray:
        """First rows ``[E]``."""
        return self.column("start")

    @property
    def length(self) -> np.ndarray:
        """Decisions ``[E]``."""
        return self.column("length")

    @property
    def stop(self) -> np.ndarray:
        """Rows after the last ones ``[E]``."""
        return self.start + self.length + 1

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks that occur, in the order in which they first do."""
        return [self._tasks.list[number] for number in _in_order(self.column("task"))]

    @property
    def behaviours(self) -> list[str]:
        """Names of the behaviours that occur, in the order in which they first do."""
        return [self._behaviours.list[number] for number in _in_order(self.column("behaviour"))]

    def task_index(self, tasks: Sequence[str]) -> np.ndarray:
        """Return each episode's place ``[E]`` in ``tasks``, -1 for a task that is not there."""
        place = {name: i for i, name in enumerate(tasks)}
        places = np.array([place.get(name, -1) for name in self._tasks.list], np.int64)
        return places[self.column("task")]

    def of_task(self, task: str) -> EpisodeTable:
        """Return the episodes of ``task``."""
        return self[self.column("task") == self._tasks.number.get(task, -1)]

    def of_behaviour(self, behaviour: str) -> EpisodeTable:
        """Return the episodes whose actions ``behaviour`` chose."""
        return self[self.column("behaviour") == self._behaviours.number.get(behaviour, -1)]

    def groups(self) -> Iterator[np.ndarray]:
        """Yield the places of the episodes of each task's each behaviour, by first appearance."""
        key = self.column("task").astype(np.int64) * len(self._behaviours.list)
        key += self.column("behaviour")
        for value in _in_order(key):
            yield np.flatnonzero(key == value)


def _in_order(values: np.ndarray) -> np.ndarray:
    """Return the different ``values`` in the order of their first appearance."""
    different, first = np.unique(values, return_index=True)
    return different[np.argsort(first)]


def to_line(episode: Episode) -> str:
    """Return the line of ``episodes.jsonl``, with its newline."""
    return json.dumps(asdict(episode)) + "\n"


def read_table(file: Path) -> tuple[EpisodeTable, int]:
    """Return the complete lines of ``file`` and the bytes they take.

    A last line without newline is being written and is left out. ``DatasetError`` names the first
    line that is no episode.
    """
    table, size = EpisodeTable.of(), 0
    if not file.is_file():
        return table, size
    with open(file, "rb") as lines:
        while chunk := lines.readlines(LINES_AT_ONCE * 128):
            complete = chunk if chunk[-1].endswith(b"\n") else chunk[:-1]
            try:
                table._add([table._row(_checked(line)) for line in complete])
            except (OverflowError, TypeError, ValueError):
                raise _first_bad_line(file, complete, len(table)) from None
            size += sum(map(len, complete))
            if len(complete) < len(chunk):
                break  # what follows was appended while this was read
    return table, size


def _checked(line: bytes) -> dict[str, Any]:
    """Return the fields of a line; ``ValueError`` for what no episode can have."""
    values = json.loads(line)
    if not isinstance(values, dict) or not _REQUIRED <= values.keys() <= _KNOWN:
        found = list(values) if isinstance(values, dict) else values
        raise ValueError(f"fields are {found}, expected {list(NAMES)}")
    for name in ("seed", "start", "length", "checksum"):
        if type(values[name]) is not int:
            raise ValueError(f"{name} is {values[name]!r}, expected a whole number")
    if values["start"] < 0 or values["length"] < 1:
        raise ValueError(
            f"start is {values['start']} and length {values['length']}, expected >= 0 and >= 1"
        )
    for name, kinds in _KINDS.items():
        if not isinstance(values.get(name), kinds):
            raise ValueError(f"{name} is {values.get(name)!r}, which it cannot be")
    return values


def _first_bad_line(file: Path, lines: list[bytes], before: int) -> DatasetError:
    """Return the error for the first of ``lines`` that cannot be read."""
    for number, line in enumerate(lines, start=before + 1):
        try:
            EpisodeTable.of()._add([EpisodeTable.of()._row(_checked(line))])
        except (OverflowError, TypeError, ValueError) as error:
            return DatasetError(f"{file}, line {number}: not an episode ({error})")
    raise AssertionError("every line can be read alone")
