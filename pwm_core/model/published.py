# SPDX-License-Identifier: Apache-2.0
"""World models as TD-MPC2's and PWM's public code saves them (``.pt``), read without their code.

    TD-MPC2   {"model": state}         encoder under ``_encoder.state.``; Q functions in several
                                       layouts over the years, never read
    PWM       {"world_model": state}   encoder under ``_encoder.``; running statistics of
                                       observations and rewards beside it, as pickled objects

Layer ``i`` of a network is a linear ``i.weight``, ``i.bias`` and, but for the last of the reward
head, a LayerNorm ``i.ln.weight``, ``i.ln.bias``. Dynamics and reward take latent, task embedding
and action in this order, ours the embedding last. Policy and Q functions are left out.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pwm_core.checkpoint import CheckpointError
from pwm_core.data.dataset import TaskInfo
from pwm_core.model.config import SIZES, LatentLayerName, WorldModelConfig
from pwm_core.model.world_model import WorldModel
from pwm_core.tasks.published_tasks import PUBLISHED_TASKS

_NETWORKS = {
    "_encoder": "encoder",
    "_dynamics": "dynamics",
    "_reward": "reward_head",
    "_termination": "termination_head",
}
_KEPT = re.compile(r"(_task_emb|_action_masks|_encoder|_dynamics|_reward|_termination)\b")
_SIZE_FIELDS = ("latent", "encoder_layers", "encoder_width", "width", "task_embedding")
PUBLISHED_SIZES = tuple(name for name in SIZES if name != "tiny")


class RunningStatistics:
    """Stands in for the class that PWM pickles: holds its attributes and does nothing."""

    mean: Tensor
    var: Tensor

    @property
    def deviation(self) -> Tensor:
        """Return what PWM divides by."""
        return (self.var + 1e-5).sqrt()


@dataclass(frozen=True)
class PublishedWeights:
    """What a file holds of a world model."""

    path: Path
    tensors: dict[str, Tensor]
    """By the public code's names, ``state.`` left out of the encoder's."""
    single_number_symlog: bool
    """Whether a reward head of one output stands for symlog(reward) (TD-MPC2) or reward (PWM)."""
    observation: RunningStatistics | None = None
    reward: RunningStatistics | None = None

    def error(self, problem: str) -> CheckpointError:
        """Return the error that names the file."""
        return CheckpointError(f"{self.path}: {problem}")

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape; ``CheckpointError`` where there is none of that name."""
        if name not in self.tensors:
            raise self.error(f"{name} is missing: no world model of TD-MPC2's or PWM's")
        return tuple(self.tensors[name].shape)

    @property
    def tasks(self) -> int:
        """Return the number of task embeddings, one for a model of a single task."""
        return len(self.tensors.get("_task_emb.weight", [None]))

    def layers(self, network: str) -> int:
        """Return the number of linear layers of ``network``."""
        found = (re.fullmatch(rf"{network}\.(\d+)\.weight", name) for name in self.tensors)
        return max((int(match[1]) + 1 for match in found if match), default=0)


def read_published(path: Path) -> PublishedWeights:
    """Read ``path``; ``CheckpointError`` when it is damaged, runs code or holds something else."""
    content = _load(path)
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, expected a dictionary")
    state = content.get("world_model", content.get("model", content))
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: the world model is a {type(state).__name__}, no dictionary")
    tensors, is_tdmpc2 = {}, False
    for name, value in state.items():
        plain = str(name).replace("_orig_mod.", "")
        if plain.startswith("_encoder.rgb"):
            raise CheckpointError(f"{path}: encoders of images are not supported")
        is_tdmpc2 |= plain.startswith("_encoder.state.")
        if isinstance(value, Tensor) and _KEPT.match(plain):
            tensors[plain.replace("_encoder.state.", "_encoder.")] = value
    statistics = {name: content.get(f"{name[:3]}_rms") for name in ("observation", "reward")}
    return PublishedWeights(path, tensors, is_tdmpc2, **statistics)


def _load(path: Path) -> Any:
    """Return the unpickled content: tensors, plain containers and running statistics only."""
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist")
    known = (RunningStatistics, "pwm.utils.running_mean_std.RunningMeanStd")
    try:
        with torch.serialization.safe_globals([known]):
            return torch.load(
                path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
            )
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"asks for {asked[1]}" if asked else "is no plain data"
        raise CheckpointError(f"{path} {what}: refused, a checkpoint may only hold data") from error
    except (EOFError, OSError, RuntimeError, ValueError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path} is no torch file or is damaged: {error}") from error


def published_sizes(size: str, suite: str | None) -> dict[str, Any]:
    """Return the sizes of the published ``size`` by field; mt30's models depart a little.

    Without ``suite``, the model of a single task.
    """
    config = SIZES[size]
    sizes = {name: getattr(config, name) for name in _SIZE_FIELDS}
    if suite is None:
        sizes["task_embedding"] = 0
    elif suite == "mt30" and size not in ("1M", "317M"):
        sizes["task_embedding"] = 64
        if size == "19M":
            sizes["latent"] = 512
    return sizes


def found_config(weights: PublishedWeights, latent_layer: LatentLayerName) -> WorldModelConfig:
    """Return the configuration that the shapes in the file tell."""
    encoder, reward = weights.layers("_encoder"), weights.layers("_reward")
    outputs = weights.shape(f"_reward.{max(reward - 1, 0)}.weight")[0]
    embedded = "_task_emb.weight" in weights.tensors
    config = WorldModelConfig(
        latent=weights.shape(f"_encoder.{max(encoder - 1, 0)}.weight")[0],
        encoder_layers=encoder - 1,
        encoder_width=weights.shape("_encoder.0.weight")[0],
        width=weights.shape("_dynamics.0.weight")[0],
        task_embedding=weights.shape("_task_emb.weight")[1] if embedded else 0,
        termination=weights.layers("_termination") > 0,
        latent_layer=latent_layer,
    )
    if outputs == 1:
        symlog = weights.single_number_symlog
        return replace(config, reward_head="mse", reward_symlog=symlog)
    return replace(config, bins=outputs)


def published_shapes(
    config: WorldModelConfig, tasks: int, observation: int, action: int
) -> dict[str, tuple[int, ...]]:
    """Return the shapes that the public code gives the tensors of a world model."""
    e, z, w = config.task_embedding, config.latent, config.width
    outputs = 1 if config.reward_head == "mse" else config.bins
    networks = {
        "_encoder": [observation + e, *[config.encoder_width] * config.encoder_layers, z],
        "_dynamics": [z + action + e, w, w, z],
        "_reward": [z + action + e, w, w, outputs],
    }
    if config.termination:
        networks["_termination"] = [z + e, w, w, 1]
    shapes: dict[str, tuple[int, ...]] = {"_task_emb.weight": (tasks, e)} if e else {}
    for network, sizes in networks.items():
        for i, (inputs, width) in enumerate(pairwise(sizes)):
            shapes |= {f"{network}.{i}.weight": (width, inputs), f"{network}.{i}.bias": (width,)}
            if i < len(sizes) - 2 or network in ("_encoder", "_dynamics"):
                shapes |= dict.fromkeys(
                    (f"{network}.{i}.ln.weight", f"{network}.{i}.ln.bias"), (width,)
                )
    return shapes


def require_fit(
    weights: PublishedWeights, config: WorldModelConfig, tasks: Sequence[TaskInfo]
) -> None:
    """Raise ``CheckpointError`` that names the first tensor that is not as ``config`` has it."""
    observation = max(task.observation.size for task in tasks)
    action = max(task.action.size for task in tasks)
    wanted = published_shapes(config, len(tasks), observation, action)
    found = {name: weights.shape(name) for name in weights.tensors if name != "_action_masks"}
    for name in [*wanted, *sorted(found.keys() - wanted.keys())]:
        if wanted.get(name) != found.get(name):
            raise weights.error(
                f"{name} is {found.get(name, 'missing')}, expected {wanted.get(name, 'nothing')} "
                f"for {len(tasks)} tasks, {observation} observations and {action} actions at most"
            )
    masks = weights.tensors.get("_action_masks")
    for task, mask in zip(tasks, () if masks is None else masks, strict=masks is not None):
        if int(mask.sum()) != task.action.size:
            raise weights.error(
                f"{task.name} has {task.action.size} actions, the file's task in its place "
                f"{int(mask.sum())}: the tasks are in another order"
            )


def fitting_sizes(config: WorldModelConfig, tasks: int) -> list[str]:
    """Return the published sizes, with their suite, that a file of so many tasks fits."""
    found = {name: getattr(config, name) for name in _SIZE_FIELDS}
    suites: dict[str | None, int] = {name: len(names) for name, names in PUBLISHED_TASKS.items()}
    suites[None] = 1
    return [
        f"--size {size}" + (f" --suite {suite}" if suite else " of one task")
        for size in PUBLISHED_SIZES
        for suite, count in suites.items()
        if count == tasks and published_sizes(size, suite) == found
    ]


def build_published(
    weights: PublishedWeights, config: WorldModelConfig, tasks: Sequence[TaskInfo]
) -> WorldModel:
    """Return the world model; the file must fit, see :func:`require_fit`."""
    observation = max(task.observation.size for task in tasks)
    action = max(task.action.size for task in tasks)
    model = WorldModel(config, len(tasks), observation, action)
    model.load_state_dict(dict(_translated(weights.tensors, config, action)), strict=False)
    for row, task in enumerate(tasks):
        model.action_mask[row, task.action.size :] = 0
    _apply_statistics(model, weights)
    return model.requires_grad_(True)


def _translated(
    tensors: Mapping[str, Tensor], config: WorldModelConfig, action: int
) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors under our names, with our order of inputs."""
    if "_task_emb.weight" in tensors:
        yield "task_embedding", tensors["_task_emb.weight"].float()
    for name, tensor in tensors.items():
        match = re.fullmatch(r"(_\w+)\.(\d+)\.(ln\.)?(weight|bias)", name)
        if match is None:
            continue
        network, layer, norm, kind = match.groups()
        if name in ("_dynamics.0.weight", "_reward.0.weight"):
            z, e, a = tensor.split([config.latent, config.task_embedding, action], 1)
            tensor = torch.cat([z, a, e], 1)
        place = 3 * int(layer) + (1 if norm else 0)  # Linear, LayerNorm, activation
        yield f"{_NETWORKS[network]}.{place}.{kind}", tensor.float()


@torch.no_grad()
def _apply_statistics(model: WorldModel, weights: PublishedWeights) -> None:
    """Put PWM's running statistics where this model has them: normalisation and reward head."""
    if weights.observation is not None:
        model.observation_mean.copy_(weights.observation.mean)
        model.observation_scale.copy_(weights.observation.deviation)
    if weights.reward is None:
        return
    if model.config.reward_head != "mse" or model.config.reward_symlog:
        raise weights.error("rewards were normalised before they were binned: not supported")
    last = f"{len(model.reward_head) - 1}"
    model.reward_head.get_parameter(f"{last}.weight").mul_(weights.reward.deviation)
    bias = model.reward_head.get_parameter(f"{last}.bias")
    bias.mul_(weights.reward.deviation).add_(weights.reward.mean)
