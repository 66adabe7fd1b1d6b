# SPDX-License-Identifier: Apache-2.0
"""Make a bundle's world-model monitor: its graph, and what is normal for the bundle's policy.

A world model errs, and differently in each state. A deployed policy keeps to few states, so the
monitor is calibrated where that policy goes: on episodes of its own in the nominal simulator, half
of them with disturbed actions, which leave its usual path as small pushes do. Where there is no
simulator, held-out episodes of the data take their place; they are from many behaviours, which
makes the threshold higher and the monitor less sensitive.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from pwm_core.data.behaviours import behaviour
from pwm_core.data.behaviours.noise import exploration
from pwm_core.data.dataset import Dataset, Trajectory
from pwm_core.data.split import split
from pwm_core.evaluation.episodes import deterministic
from pwm_core.extraction.store import TrainedPolicy
from pwm_core.files import sha256, write_atomically
from pwm_core.model.store import TrainedWorldModel
from pwm_core.tasks import Task, UnknownTaskError, get_task
from pwm_export.bundle import METADATA_KEY, Bundle
from pwm_export.monitor import GRAPH_KEY, INPUTS, LEAST_ODD, OUTPUTS, RECORD
from pwm_export.writer import ExportError

WINDOW_SECONDS = 0.5
"""Errors are averaged over this time."""
FALSE_ALARM_MINUTES = 100.0
"""Nominal minutes per false alarm that the threshold is set for."""
EPISODES = 64
"""Calibration episodes: every other one shapes the measure of errors, the rest the threshold."""
DISTURBANCE = 0.1
"""Deviation of the noise on the actions, in [-1, 1], of half the calibration episodes."""
FLOOR = 1e-4
"""Directions of nearly no nominal error count as this share of the one of the largest variance."""
QUANTILES = (0.5, 0.9, 0.99, 0.999, 1.0)
"""Of the novelty in calibration, kept in the bundle."""
PARITY_LIMIT = 1e-3
"""Largest difference between ONNX Runtime's and torch's outputs, in units of the threshold."""

Recorded = Trajectory | behaviour.Trajectory
"""An episode, from the data or just played."""


class OneStep(nn.Module):
    """Where a robot is and will be in latent space, for one task of a world model.

    Once whitened, nominal differences between the two have no mean and the same variance in every
    direction where they vary. Task embedding and padding are folded into biases.
    """

    mean: Tensor
    scale: Tensor
    low: Tensor
    span: Tensor
    offset: Tensor
    whitening: Tensor

    def __init__(self, trained: TrainedWorldModel, task: str) -> None:
        super().__init__()
        model, index = trained.model, trained.task_index(task)
        info = trained.tasks[index]
        latent, observations = model.config.latent, info.observation.size
        embedding = model.embedding(torch.tensor([index]))[0].detach()
        self.encoder = folded(model.encoder, observations, embedding)
        self.dynamics = folded(model.dynamics, latent + info.action.size, embedding)
        self.register_buffer("mean", model.observation_mean[index, :observations].clone())
        self.register_buffer("scale", model.observation_scale[index, :observations].clone())
        self.register_buffer("low", torch.from_numpy(info.action.low))
        self.register_buffer("span", torch.from_numpy(info.action.high - info.action.low))
        self.register_buffer("offset", torch.zeros(latent))
        self.register_buffer("whitening", torch.eye(latent))

    def forward(self, observation: Tensor, command: Tensor) -> tuple[Tensor, Tensor]:
        """Map ``[batch, O]`` and ``[batch, A]``, raw units, to seen and expected ``[batch, K]``."""
        z = self.encoder((observation - self.mean) / self.scale)
        action = (command - self.low) / self.span * 2 - 1
        following = self.dynamics(torch.cat([z, action], -1)) + self.offset
        return z @ self.whitening, following @ self.whitening

    @torch.no_grad()
    def errors(self, episode: Recorded) -> np.ndarray:
        """Return seen less expected ``[T, K]`` over an episode."""
        command = (torch.from_numpy(episode.action).float() + 1) * 0.5 * self.span + self.low
        observation = torch.from_numpy(episode.observation)
        seen, _ = self(observation[1:], command)
        _, expected = self(observation[:-1], command)
        return (seen - expected).numpy()

    @torch.no_grad()
    def whiten(self, errors: np.ndarray) -> None:
        """Measure errors from now on by what is usual in ``errors [N, K]``, not whitened yet."""
        variance, directions = np.linalg.eigh(np.cov(errors.T.astype(np.float64)))
        variance = np.maximum(variance, FLOOR * variance[-1])
        self.offset.copy_(torch.from_numpy(errors.mean(0)))
        self.whitening.copy_(torch.from_numpy(directions / np.sqrt(variance * len(variance))))


@dataclass(frozen=True)
class Monitoring:
    """A world model that is to watch over the policies extracted from it."""

    model: TrainedWorldModel
    sha256: str
    """Digest of its file."""

    @classmethod
    def load(cls, path: Path) -> Monitoring:
        """Read a ``world_model.safetensors``."""
        return cls(TrainedWorldModel.load(path, torch.device("cpu")), sha256(path))

    def add(self, bundle: Bundle, trained: TrainedPolicy, dataset: Dataset) -> Bundle:
        """Give ``bundle`` of the policy ``trained`` a monitor; see :func:`add_monitor`.

        Calibrated in the task's simulator; on the episodes of ``dataset`` that were held out when
        the model was trained where there is none.
        """
        try:
            task = get_task(trained.task.name)
        except UnknownTaskError:
            held_out = self._held_out(dataset, trained.task.name)
            return add_monitor(bundle, self.model, self.sha256, "data", held_out)
        calm, disturbed = own_episodes(trained.policy, task)
        return add_monitor(bundle, self.model, self.sha256, "policy", calm, disturbed)

    def _held_out(self, dataset: Dataset, task: str) -> Sequence[Recorded]:
        """Return the episodes the model was not trained on: all, where it was not trained here."""
        episodes = dataset.of_task(task)
        if "config" in self.model.provenance:
            _, episodes = split(episodes, self.model.provenance["config"]["held_out"])
        return [dataset.trajectory(episode) for episode in episodes]


def folded(network: nn.Sequential, kept: int, embedding: Tensor) -> nn.Sequential:
    """Return a copy of ``network`` that takes its first ``kept`` inputs only.

    Those that follow are constant: padding, which is zero, and at the end the task embedding.
    """
    first = network[0]
    assert isinstance(first, nn.Linear)
    narrow = nn.Linear(kept, first.out_features)
    with torch.no_grad():
        narrow.weight.copy_(first.weight[:, :kept])
        narrow.bias.copy_(first.bias + first.weight[:, -len(embedding) :] @ embedding)
    return nn.Sequential(narrow, *copy.deepcopy(list(network)[1:]))


def own_episodes(
    policy: nn.Module, task: Task, seed: int = 0
) -> tuple[Sequence[Recorded], Sequence[Recorded]]:
    """Return the policy's episodes in the nominal simulator: as they are, and with noisy actions.

    Of each there is one half of :data:`EPISODES`.
    """
    noise = exploration(np.random.default_rng(seed), task, EPISODES, DISTURBANCE)
    noise[: EPISODES // 2] = 0.0
    act = deterministic(policy)
    episodes = behaviour.play(
        task, lambda decision, seen: act(seen) + noise[:, decision], EPISODES, seed
    )
    return episodes[: EPISODES // 2], episodes[EPISODES // 2 :]


def add_monitor(
    bundle: Bundle,
    trained: TrainedWorldModel,
    digest: str,
    source: str,
    calm: Sequence[Recorded],
    disturbed: Sequence[Recorded] = (),
) -> Bundle:
    """Give ``bundle`` a monitor calibrated on episodes and return it as a robot would load it.

    ``calm`` ones are as a robot is to run; those ``disturbed`` may be novel, if not too often.
    ``digest`` is the SHA-256 of the world model's file, ``source`` says what the episodes are
    (``policy`` or ``data``). ``ExportError`` when the world model does not fit the bundle.
    """
    _require_fit(bundle, trained)
    if len(calm) < 4:
        raise ExportError(
            f"{bundle.name}: {len(calm)} episodes cannot calibrate a monitor, 4 or more can"
        )
    network = OneStep(trained, bundle.task).eval()
    shaping = [*calm[::2], *disturbed[::2]]
    network.whiten(np.concatenate([network.errors(episode) for episode in shaping]))
    window = max(round(WINDOW_SECONDS / bundle.control_step), LEAST_ODD)
    judged = [windowed(network.errors(episode), window) for episode in calm[1::2]]
    minutes = sum(map(len, judged)) * bundle.control_step / 60
    rough = [windowed(network.errors(episode), window).max() for episode in disturbed[1::2]]
    threshold = max(
        return_level([errors.max() for errors in judged], minutes / FALSE_ALARM_MINUTES),
        float(np.median(rough)) if rough else 0.0,
    )
    shares = np.quantile(np.concatenate(judged) / threshold, QUANTILES)
    graph = _graph(network, bundle).SerializeToString()
    record = {
        "sha256": hashlib.sha256(graph).hexdigest(),
        "world_model": digest,
        "window": window,
        "threshold": threshold,
        "false_alarm_minutes": FALSE_ALARM_MINUTES,
        "calibration": {
            "source": source,
            "episodes": len(calm),
            "disturbed_episodes": len(disturbed),
            "minutes": minutes,
            "novelty": {f"{q:g}": float(x) for q, x in zip(QUANTILES, shares, strict=True)},
        },
    }
    written = _write(bundle, graph, record)
    _require_parity(written, network, calm[-1])
    return written


def windowed(errors: np.ndarray, window: int) -> np.ndarray:
    """Return the length ``[T]`` of the mean over ``window`` of ``errors [T, K]``, zero before."""
    sums = np.concatenate([np.zeros((window, errors.shape[1])), errors]).cumsum(0)
    return np.linalg.norm(sums[window:] - sums[:-window], axis=1) / window


def return_level(peaks: Sequence[float], exceeded: float) -> float:
    """Return the level that the highest value of an episode passes ``exceeded`` times.

    That is: in as many episodes as gave ``peaks``, one each. By a Gumbel distribution with their
    mean and deviation.
    """
    scale = np.std(peaks, ddof=1) * math.sqrt(6) / math.pi
    return float(np.mean(peaks) + scale * (math.log(len(peaks) / exceeded) - np.euler_gamma))


def _require_fit(bundle: Bundle, trained: TrainedWorldModel) -> None:
    info = trained.tasks[trained.task_index(bundle.task)]
    differences = [f"observation {d}" for d in bundle.observation.difference(info.observation)]
    differences += [f"action {d}" for d in bundle.action.difference(info.action)]
    if differences:
        raise ExportError(f"{bundle.name}: the world model has another layout: {differences[0]}")


def _graph(network: OneStep, bundle: Bundle) -> onnx.ModelProto:
    batch = torch.export.Dim("batch")
    program = torch.onnx.export(
        network,
        (torch.zeros(2, bundle.observation.size), torch.zeros(2, bundle.action.size)),
        dynamo=True,
        verbose=False,
        input_names=list(INPUTS),
        output_names=list(OUTPUTS),
        dynamic_shapes=({0: batch}, {0: batch}),
    )
    assert program is not None  # only the older exporter (dynamo=False) returns None
    return program.model_proto


def _write(bundle: Bundle, graph: bytes, record: dict[str, Any]) -> Bundle:
    """Put graph and calibration into the bundle's file, whole or not at all."""
    model = onnx.load(bundle.path)
    properties = {
        METADATA_KEY: json.dumps(bundle.metadata | {RECORD: record}),
        GRAPH_KEY: base64.b64encode(graph).decode(),
    }
    onnx.helper.set_model_props(model, properties)
    write_atomically(bundle.path, model.SerializeToString())
    return Bundle.load(bundle.path)


def _require_parity(bundle: Bundle, network: OneStep, episode: Recorded) -> None:
    """Run the stored graph on an episode; ``ExportError`` where torch's outputs are others."""
    monitor = bundle.monitor
    assert monitor is not None
    command = bundle.action.to_units(episode.action).astype(np.float32)
    with torch.inference_mode():
        wanted = network(torch.from_numpy(episode.observation[:-1]), torch.from_numpy(command))
    found = [monitor.look(*given) for given in zip(episode.observation[:-1], command, strict=True)]
    difference = np.abs(np.array(found).swapaxes(0, 1) - np.stack([w.numpy() for w in wanted]))
    worst = float(difference.max()) / monitor.threshold
    if worst > PARITY_LIMIT:
        raise ExportError(
            f"{bundle.name}: the exported monitor differs from torch's by {worst:.1e} of its "
            f"threshold, more than {PARITY_LIMIT:.0e}"
        )
