# SPDX-License-Identifier: Apache-2.0
"""TD-MPC2's ``.pt`` files of offline episodes, read without running what is pickled in them.

A file is a TensorDict, or a dictionary, of ``obs [E, T + 1, O]``, ``action [E, T + 1, A]``,
``reward [E, T + 1]`` and, for several tasks, ``task [E, T + 1]`` or ``[E]``; newer ones may have
``terminated [E, T + 1]``. Row t's action and reward lead to row t's observation; those of row 0
have no meaning (NaN, or what was in memory) and are not read. Observations and actions are padded
with zeros to the widest task.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pwm_core.data.dataset import TaskInfo, Trajectory
from pwm_core.data.formats.source import FormatError
from pwm_core.tasks import get_task
from pwm_core.tasks.published_tasks import PUBLISHED_TASKS

TASKS = PUBLISHED_TASKS["mt80"]
"""Names by number; mt30's numbers are the first thirty."""
FIELDS = {"obs": 3, "action": 3, "reward": 2}
"""Number of axes of what every file has."""


class _TensorDict:
    """What is kept of a pickled TensorDict: its attributes, as plain values."""


def _make(_kind: type, state: dict[str, Any]) -> _TensorDict:
    stored = _TensorDict()
    stored.__dict__.update(state)
    return stored


STAND_INS: list[Any] = [
    (_TensorDict, "tensordict.tensordict.TensorDict"),  # tensordict 0.1 and 0.2
    (_TensorDict, "tensordict._td.TensorDict"),  # 0.3 and later
    (_make, "tensordict._reductions._make_td"),  # 0.5 and later
    (dict, "tensordict.utils._StringOnlyDict"),
    (set, "__builtin__.set"),
]
"""All that a file may name besides tensors, and what is made instead: nothing of it is imported."""


def read_tensors(file: Path) -> dict[str, torch.Tensor]:
    """Return the named tensors of ``file``, still on disk (memory-mapped).

    ``FormatError`` names the code a file asks to run, or what else it is.
    """
    try:
        with torch.serialization.safe_globals(STAND_INS):
            loaded = torch.load(file, map_location="cpu", mmap=True, weights_only=True)
    except pickle.UnpicklingError as error:
        raise FormatError(f"{file} {_refusal(str(error))}") from error
    except (RuntimeError, EOFError, ValueError) as error:
        reason = str(error).split("\n")[0]
        raise FormatError(
            f"{file} is no file of torch.save in its present format, or is truncated ({reason})"
        ) from error
    stored = vars(loaded).get("_tensordict") if isinstance(loaded, _TensorDict) else loaded
    if not isinstance(stored, dict):
        raise FormatError(f"{file} holds a {type(loaded).__name__}, expected named tensors")
    return stored


def _refusal(message: str) -> str:
    """Return one sentence for torch's page of advice."""
    named = re.search(r"GLOBAL ([\w.]+)", message) or re.search(
        r"([\w.]+) was not an allowed", message
    )
    if named is None:
        return f"cannot be read without running its code ({message.splitlines()[-1].strip()})"
    if "LazyStacked" in named[1]:
        return "is a lazy stack of TensorDicts: save it again after .contiguous()"
    return f"is refused: loading it would run {named[1]}"


class TdMpc2File:
    """One file; see ``formats.source.Source``."""

    def __init__(self, path: Path, task: str | None = None) -> None:
        """Open ``path``; ``task`` names the task of a file that has no task numbers."""
        self.path, self.name = path, path.stem
        self._tensors = read_tensors(path)
        self._check_shapes()
        self.episodes = len(self._tensors["reward"])
        self._number = self._task_numbers(task)
        self._names = (task,) if task else TASKS
        present = [self._names[number] for number in np.unique(self._number)]
        self._infos = {name: TaskInfo.of(get_task(name)) for name in present}
        self.tasks = list(self._infos.values())
        for info in self.tasks:
            for field, layout in (("obs", info.observation), ("action", info.action)):
                width = self._tensors[field].shape[-1]
                if width < layout.size:
                    raise FormatError(
                        f"{path}: {field} has {width} entries, {info.name} needs {layout.size}"
                    )

    def _check_shapes(self) -> None:
        for field, axes in FIELDS.items():
            tensor = self._tensors.get(field)
            if not isinstance(tensor, torch.Tensor) or tensor.ndim != axes:
                found = tuple(tensor.shape) if isinstance(tensor, torch.Tensor) else tensor
                expected = "[episodes, rows, entries]" if axes == 3 else "[episodes, rows]"
                known = ", ".join(map(str, self._tensors))
                raise FormatError(
                    f"{self.path}: {field} is {found}, expected {expected}; the file has {known}"
                )
        shape = self._tensors["reward"].shape
        for field in self._tensors.keys() & {"obs", "action", "terminated"}:
            if self._tensors[field].shape[:2] != shape:
                raise FormatError(
                    f"{self.path}: {field} is {tuple(self._tensors[field].shape)}, "
                    f"reward is {tuple(shape)}: episodes and rows differ"
                )
        if len(shape) != 2 or shape[1] < 2:
            raise FormatError(f"{self.path}: reward is {tuple(shape)}, expected two rows or more")

    def _task_numbers(self, task: str | None) -> np.ndarray:
        stored = self._tensors.get("task")
        if task is not None:
            return np.zeros(self.episodes, np.int64)
        if stored is None:
            raise FormatError(f"{self.path} has no task numbers: name its task with --task")
        first = stored.reshape(self.episodes, -1)[:, 0]
        numbers = first.numpy().astype(np.int64)
        wrong = np.flatnonzero((numbers < 0) | (numbers >= len(TASKS)))
        if len(wrong):
            raise FormatError(
                f"{self.path}, episode {wrong[0]}: task is {numbers[wrong[0]]}, "
                f"expected 0 to {len(TASKS) - 1}"
            )
        return numbers

    def trajectories(self, numbers: Iterator[int]) -> Iterator[Trajectory]:
        for number in numbers:
            info = self._infos[self._names[self._number[number]]]
            yield Trajectory(
                info.name,
                self.name,
                number,
                self._entries("obs", number, 0, info.observation.size),
                self._entries("action", number, 1, info.action.size),
                _array(self._tensors["reward"][number])[1:],
                self._terminated(number),
            )

    def _entries(self, field: str, number: int, first: int, size: int) -> np.ndarray:
        """Return the task's own entries from row ``first`` on; the others have to be padding."""
        array = _array(self._tensors[field][number])[first:]
        padding = array[:, size:]
        if padding.any():
            row, entry = np.argwhere(padding)[0]
            raise FormatError(
                f"{self.path}, episode {number}: {field}[{first + row}, {size + entry}] is "
                f"{padding[row, entry]:g}, expected zeros beyond the {size} entries of "
                f"{self._names[self._number[number]]}"
            )
        return array[:, :size]

    def _terminated(self, number: int) -> bool:
        stored = self._tensors.get("terminated")
        if stored is None:
            return False
        rows = np.flatnonzero(_array(stored[number])[1:] > 0) + 1
        last = stored.shape[1] - 1
        if len(rows) and rows[0] != last:
            raise FormatError(
                f"{self.path}, episode {number}: terminated at row {rows[0]}, "
                f"expected at row {last}, the last, or nowhere"
            )
        return bool(len(rows))


def _array(tensor: torch.Tensor) -> np.ndarray:
    """Return float32 values; those of a float32 file are not copied."""
    return tensor.to(torch.float32).numpy()
