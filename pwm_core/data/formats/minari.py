# SPDX-License-Identifier: Apache-2.0
"""Minari datasets, both ways; nothing is downloaded.

A Minari episode has T + 1 observations and T actions, rewards, terminations and truncations.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import minari
import numpy as np
from gymnasium.spaces import Box, Dict, Space
from minari.data_collector import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage

from pwm_core.data.dataset import Dataset, TaskInfo, Trajectory
from pwm_core.data.episodes import Episode
from pwm_core.data.formats.source import FormatError
from pwm_core.layout import ActionChannel, ActionLayout, ObservationChannel, ObservationLayout
from pwm_core.progress import ProgressDisplay
from pwm_core.tasks import UnknownTaskError, get_task
from pwm_core.tasks.task import discount

TASK_KEY = "pwm_task"
"""Key of our description of the task in a dataset that we exported."""
EPISODES_AT_ONCE = 100


class MinariDataset:
    """One Minari dataset; see ``formats.source.Source``."""

    def __init__(
        self, path: Path, task: str | None = None, control_step: float | None = None
    ) -> None:
        """Open a directory, or an id below ``MINARI_DATASETS_PATH``.

        ``task`` names our task; without it the dataset's own description is taken, or that of the
        Gymnasium environment, or one made of the spaces, for which ``control_step`` (seconds per
        decision) has to be given.
        """
        self.path = _directory(path)
        try:
            self._storage = MinariStorage.read(self.path)
            metadata = self._storage.metadata
            self.episodes = self._storage.total_episodes
        except (AssertionError, KeyError, OSError, ValueError) as error:
            raise FormatError(f"{path} is no Minari dataset, or is damaged ({error})") from error
        self.name = str(metadata.get("dataset_id", path.name))
        self._parts = _parts(self._storage.observation_space, self.path)
        self._low, self._high = _limits(self._storage.action_space, self.path)
        self._task = self._describe(metadata, task, control_step)
        self._check_sizes()
        self.tasks = [self._task]

    def _describe(
        self, metadata: dict[str, Any], task: str | None, control_step: float | None
    ) -> TaskInfo:
        if task is not None:
            return TaskInfo.of(get_task(task))
        if TASK_KEY in metadata:
            return TaskInfo.from_json(json.loads(metadata[TASK_KEY]))
        environment = json.loads(metadata.get("env_spec") or "{}")
        try:
            return TaskInfo.of(get_task(_gymnasium_task(environment.get("id", ""))))
        except UnknownTaskError as error:
            if control_step is None:
                raise FormatError(
                    f"{self.path}: environment {environment.get('id')!r} is none of our tasks: "
                    "name one with --task, or give --control-step to describe it from its spaces"
                ) from error
        return self._generic(environment, control_step)

    def _generic(self, environment: dict[str, Any], control_step: float) -> TaskInfo:
        """Describe the task by its spaces: numbered entries without a place on a robot."""
        name = environment.get("id") or self.name
        steps = environment.get("max_episode_steps") or max(
            (len(e["rewards"]) for e in self._storage.get_episodes(range(self.episodes))), default=1
        )
        observation = ObservationLayout(
            tuple(
                ObservationChannel(f"{part}/{i}", "1", "observation", part, str(i))
                for part, size in self._parts.items()
                for i in range(size)
            )
        )
        action = ActionLayout(
            tuple(
                ActionChannel(f"action/{i}", f"action/{i}", "effort", "1", low, high, safe)
                for i, (low, high) in enumerate(zip(self._low, self._high, strict=True))
                for safe in [min(max(0.0, low), high)]
            )
        )
        return TaskInfo(
            name, "minari", name, observation, action, control_step, steps, discount(steps), True
        )

    def _check_sizes(self) -> None:
        sizes = {
            "observations": (sum(self._parts.values()), self._task.observation.size),
            "actions": (len(self._low), self._task.action.size),
        }
        for name, (present, expected) in sizes.items():
            if present != expected:
                raise FormatError(
                    f"{self.path} has {present} {name}, task {self._task.name} has {expected}"
                )

    def trajectories(self, numbers: Iterator[int]) -> Iterator[Trajectory]:
        for number in numbers:
            (episode,) = self._storage.get_episodes([number])
            observation = np.concatenate(
                [_flat(episode["observations"], part) for part in self._parts], axis=1
            )
            middle = np.flatnonzero(episode["terminations"][:-1])
            if len(middle):
                raise FormatError(
                    f"{self.path}, episode {number}: terminations[{middle[0]}] is true before the "
                    f"last of {len(episode['terminations'])} steps"
                )
            yield Trajectory(
                self._task.name,
                self.name,
                number,
                observation.astype(np.float32),
                self._normalised(episode["actions"]),
                np.asarray(episode["rewards"], np.float32),
                bool(episode["terminations"][-1:].any()),
                _success(episode["infos"]),
            )

    def _normalised(self, action: np.ndarray) -> np.ndarray:
        """Return actions of the dataset's box ``[T, A]`` in [-1, 1]."""
        low, high = np.array(self._low), np.array(self._high)
        return ((action - low) / (high - low) * 2 - 1).astype(np.float32)


def _directory(path: Path) -> Path:
    root = Path(os.environ.get("MINARI_DATASETS_PATH", Path.home() / ".minari" / "datasets"))
    for candidate in (path, path / "data", root / path / "data"):
        if (candidate / "metadata.json").is_file():
            return candidate
    raise FormatError(f"{path} is no Minari dataset: no metadata.json there nor below {root}")


def _parts(space: Space, path: Path) -> dict[str, int]:
    """Return names and sizes of the vectors that make an observation."""
    parts = dict(space.spaces) if isinstance(space, Dict) else {"observation": space}
    sizes = {}
    for name, part in parts.items():
        if not isinstance(part, Box) or part.low.ndim != 1:
            raise FormatError(f"{path}: {name} is {part}, expected a box with one axis")
        sizes[name] = len(part.low)
    return sizes


def _limits(space: Space, path: Path) -> tuple[list[float], list[float]]:
    if not isinstance(space, Box) or space.low.ndim != 1 or not space.is_bounded():
        raise FormatError(f"{path}: actions are {space}, expected a bounded box with one axis")
    return space.low.astype(float).tolist(), space.high.astype(float).tolist()


def _gymnasium_task(environment: str) -> str:
    """Return the name our task of a Gymnasium MuJoCo environment would have."""
    name, _, version = environment.rpartition("-")
    return f"gym-{name.lower()}" if version == "v5" else environment


def _flat(observations: Any, part: str) -> np.ndarray:
    return np.asarray(observations[part] if isinstance(observations, dict) else observations)


def _success(infos: dict[str, Any] | None) -> bool | None:
    """Return what was reported at the last decision; ``None`` where nothing was."""
    found = (infos or {}).get("success")
    return None if found is None else bool(np.ravel(found)[-1])


def export_minari(dataset: Dataset, tasks: list[str], out: Path) -> list[str]:
    """Write a Minari dataset ``TASK-v0`` per task below ``out``; return the ids.

    ``minari.load_dataset`` finds them when ``MINARI_DATASETS_PATH`` is ``out``. Observations and
    actions are the task's own entries, actions in [-1, 1]; memory holds one episode at a time.
    ``FormatError`` when one is there already.
    """
    chosen = {f"{task}-v0": dataset.of_task(task) for task in tasks}
    for identity in chosen:
        if (out / identity).exists():
            raise FormatError(f"{out / identity} exists: delete it or choose another directory")
    done = 0
    with ProgressDisplay("export", sum(map(len, chosen.values())), "episodes") as progress:
        for (identity, episodes), task in zip(chosen.items(), tasks, strict=True):
            partial = out / f".{identity}.partial"
            shutil.rmtree(partial, ignore_errors=True)  # what an interrupted export left
            storage = _new_storage(partial / "data", identity, dataset.tasks[task])
            for block in range(0, len(episodes), EPISODES_AT_ONCE):
                chunk = episodes[block : block + EPISODES_AT_ONCE]
                storage.update_episodes(_buffer(dataset, episode) for episode in chunk)
                done += len(chunk)
                progress.update(done, {"task": task})
            partial.rename(out / identity)
    return list(chosen)


def _new_storage(data: Path, identity: str, task: TaskInfo) -> MinariStorage:
    data.mkdir(parents=True)
    storage = MinariStorage.new(
        data,
        Box(-np.inf, np.inf, (task.observation.size,), np.float32),
        Box(-1.0, 1.0, (task.action.size,), np.float32),
    )
    storage.update_metadata(
        {
            "dataset_id": identity,
            "minari_version": minari.__version__,
            "description": f"{task.name}, exported by PWM Deploy",
            TASK_KEY: json.dumps(task.to_json()),
        }
    )
    return storage


def _buffer(dataset: Dataset, episode: Episode) -> EpisodeBuffer:
    trajectory = dataset.trajectory(episode)
    terminations = np.zeros(episode.length, bool)
    terminations[-1] = trajectory.terminated
    truncations = np.zeros(episode.length, bool)
    truncations[-1] = not trajectory.terminated
    infos = {}
    if trajectory.success is not None:
        infos["success"] = np.full(episode.length + 1, trajectory.success)
    return EpisodeBuffer(
        seed=trajectory.seed,
        observations=trajectory.observation,
        actions=trajectory.action,
        rewards=trajectory.reward,
        terminations=terminations,
        truncations=truncations,
        infos=infos,
    )
