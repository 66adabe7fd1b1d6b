# SPDX-License-Identifier: Apache-2.0
"""What fine-tuning reads, checked against each other, and the model of the one task it is about."""

from __future__ import annotations

from copy import copy
from dataclasses import replace

import torch

from pwm_core.data.dataset import Dataset, DatasetError, EpisodeTable, TaskInfo
from pwm_core.data.split import split
from pwm_core.errors import PwmError
from pwm_core.extraction.store import TrainedPolicy, build_policy
from pwm_core.model.networks import renormalise
from pwm_core.model.store import TrainedWorldModel
from pwm_core.model.world_model import WorldModel


class FinetuningError(PwmError):
    """World model, policy and data do not belong together."""


def view(dataset: Dataset, task: str, episodes: EpisodeTable) -> Dataset:
    """Return ``dataset`` as if it held ``episodes``, all of ``task``, and nothing else."""
    chosen = copy(dataset)
    chosen.episodes = episodes
    chosen.schema = replace(dataset.schema, tasks={task: dataset.tasks[task]})
    return chosen


def of_policy(dataset: Dataset, policy: TrainedPolicy, horizon: int) -> Dataset:
    """Return the data of the policy's task, without episodes of fewer than ``horizon`` decisions.

    ``DatasetError`` when the task is missing, described otherwise, or has too few episodes.
    """
    name = policy.task.name
    episodes = dataset.of_task(name)
    if difference := policy.task.difference(dataset.tasks[name]):
        raise DatasetError(
            f"{dataset.path} describes {name} otherwise than the policy: {'; '.join(difference)}"
        )
    long = episodes[episodes.length >= horizon]
    if not split(long, 0.5)[1]:
        raise DatasetError(
            f"{dataset.path} has {len(long)} episodes of {name} with {horizon} decisions or more, "
            "expected 2 of a behaviour: one to train on, one to judge by"
        )
    return view(dataset, name, long)


def parts(dataset: Dataset, held_out: float) -> tuple[Dataset, Dataset]:
    """Return training and held-out episodes of a dataset of one task."""
    (task,) = dataset.tasks
    training, judging = split(dataset.episodes, held_out)
    return view(dataset, task, training), view(dataset, task, judging)


def single_task(trained: TrainedWorldModel, task: str) -> TrainedWorldModel:
    """Return the world model of ``task`` alone, with the same predictions."""
    index = trained.task_index(task)
    return _rows(trained, [index], [trained.tasks[index]])


def two_robots(trained: TrainedWorldModel, task: str) -> TrainedWorldModel:
    """Return the world model of ``task`` on the robot as it is, and on the one it was before.

    They begin alike and have an embedding each: what the offline data shows of the old robot
    then contradicts nothing that the new one does. A model that was fine-tuned knows both.
    """
    index = trained.task_index(task)
    info = trained.tasks[index]
    before = replace(info, name=f"{task} before")
    known = [t.name for t in trained.tasks]
    other = known.index(before.name) if before.name in known else index
    return _rows(trained, [index, other], [info, before])


@torch.no_grad()
def _rows(trained: TrainedWorldModel, rows: list[int], tasks: list[TaskInfo]) -> TrainedWorldModel:
    """Return a world model of ``tasks``, which are alike in size and start as ``rows`` are.

    The encoder's view of the first one's embedding becomes part of its bias, as in the policy. So
    embeddings can be trained while latents keep their meaning.
    """
    old, index = trained.model, rows[0]
    observations, actions = tasks[0].observation.size, tasks[0].action.size
    wide, wide_actions = old.observation_mean.shape[1], old.action_mask.shape[1]
    model = WorldModel(old.config, len(rows), observations, actions)
    state = old.state_dict()
    embedding = renormalise(old.task_embedding)
    weight, latent = state["encoder.0.weight"], old.config.latent
    seen = weight[:, :observations]
    state["encoder.0.bias"] = state["encoder.0.bias"] + weight[:, wide:] @ embedding[index]
    state["encoder.0.weight"] = torch.cat([seen, torch.zeros_like(weight[:, wide:])], 1)
    for name, tensor in state.items():
        if name.endswith(".0.weight") and not name.startswith(("encoder", "termination")):
            pair = [tensor[:, : latent + actions], tensor[:, latent + wide_actions :]]
            state[name] = torch.cat(pair, 1)
    state["task_embedding"] = embedding[rows]
    for name, size in (
        ("observation_mean", observations),
        ("observation_scale", observations),
        ("action_mask", actions),
    ):
        state[name] = state[name][rows, :size]
    model.load_state_dict(state)
    return TrainedWorldModel(model, tasks, trained.quality, trained.provenance)


def require_match(trained: TrainedWorldModel, policy: TrainedPolicy) -> None:
    """Raise ``FinetuningError`` unless ``policy`` acts on the latents of this world model."""
    rebuilt = build_policy(policy.task, policy.architecture)
    rebuilt.adopt(trained.model, trained.task_index(policy.task.name), policy.policy.actor)
    found = policy.policy.state_dict()
    for name, tensor in rebuilt.state_dict().items():
        if not torch.allclose(tensor, found[name], atol=1e-5):
            raise FinetuningError(
                f"the policy of {policy.task.name} was not extracted from this world model: "
                f"{name} differs; give the world model that it came from"
            )
