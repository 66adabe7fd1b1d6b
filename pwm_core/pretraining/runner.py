# SPDX-License-Identifier: Apache-2.0
"""Pre-train one world model on a dataset; resumable at any checkpoint to the same numbers."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pwm_core.checkpoint import (
    load_checkpoint,
    load_optimizer,
    load_weights,
    optimizer_tensors,
    part,
    prefixed,
    save_checkpoint,
)
from pwm_core.data.dataset import Dataset, DatasetError
from pwm_core.data.sampler import Windows, WindowSampler
from pwm_core.data.split import split
from pwm_core.device import choose_threads, resolve_device
from pwm_core.errors import PwmError
from pwm_core.model.store import TrainedWorldModel
from pwm_core.model.world_model import WorldModel, WorldModelConfig
from pwm_core.pretraining.loss import (
    LossWeights,
    ModelQuality,
    WorldModelLoss,
    judge,
    world_model_loss,
)
from pwm_core.progress import ProgressDisplay
from pwm_core.run_directory import RunDirectory, plain

VALIDATION_BATCH = 512


@dataclass(frozen=True)
class PretrainingConfig:
    """How a world model is trained."""

    model: WorldModelConfig
    weights: LossWeights
    updates: int
    transitions: int
    """Transitions per update; windows per update = transitions / horizon of the moment."""
    horizon: int
    """Decisions per window, in the last stage and when the model is judged."""
    curriculum: tuple[tuple[float, int], ...]
    """(share of the updates, horizon) of the stages before, with shorter windows;
    ``docs/results.md`` has what this gained on the demo's data."""
    learning_rate: float
    """Adam's, cosine decay after a short warm-up."""
    encoder_rate: float
    """Factor on the learning rate of the encoder."""
    clip: float
    """Largest gradient norm."""
    betas: tuple[float, float]
    """Adam's moment decays."""
    held_out: float
    """Share of episodes that judge the model and never train it."""
    seed: int

    def __post_init__(self) -> None:
        longest = max(self.horizon, *(horizon for _, horizon in self.curriculum), 1)
        if self.transitions < longest:
            raise PwmError(
                f"{self.transitions} transitions per update hold no window of {longest} decisions"
            )


@dataclass(frozen=True)
class PretrainingOptions:
    """What changes the speed of a run but not what it computes (up to float rounding)."""

    device: str = "auto"
    compile: bool = True
    threads: int = 0
    """CPU threads; 0 measures whether more than one pays. A resumed run keeps the number it had."""
    validate_every: int = 250
    checkpoint_every: int = 250


def observation_statistics(dataset: Dataset, tasks: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and standard deviation ``[tasks, O]`` of the observations, per task."""
    means, scales = [], []
    for task in tasks:
        rows = np.concatenate([dataset.observation[e.rows] for e in dataset.of_task(task)])
        means.append(rows.mean(0))
        scales.append(np.maximum(rows.std(0), 1e-3))
    return torch.from_numpy(np.stack(means)), torch.from_numpy(np.stack(scales))


def build_model(dataset: Dataset, config: PretrainingConfig) -> WorldModel:
    """Return an untrained model for the dataset's tasks, normalisation and masks set."""
    tasks = list(dataset.tasks)
    model = WorldModel(config.model, len(tasks), *dataset.widths)
    mean, scale = observation_statistics(dataset, tasks)
    model.observation_mean.copy_(mean)
    model.observation_scale.copy_(scale)
    for row, task in enumerate(dataset.tasks.values()):
        model.action_mask[row, task.action.size :] = 0
    return model


class Pretraining:
    """The runner: owns the loop, the files and the display; the maths is in ``loss``."""

    def __init__(
        self, dataset: Dataset, out: Path, config: PretrainingConfig, options: PretrainingOptions
    ) -> None:
        self.dataset, self.out, self.config, self.options = dataset, out, config, options
        self.device = resolve_device(options.device)
        torch.manual_seed(config.seed)
        self.model = build_model(dataset, config).to(self.device)
        encoder = list(self.model.encoder.parameters())
        others = [p for n, p in self.model.named_parameters() if not n.startswith("encoder.")]
        rate = config.learning_rate
        self.optimizer = torch.optim.Adam(
            [{"params": others, "lr": rate}, {"params": encoder, "lr": rate * config.encoder_rate}],
            betas=config.betas,
            fused=True,
        )
        self._rates = [group["lr"] for group in self.optimizer.param_groups]
        training, held_out = split(dataset.episodes, config.held_out)
        if not held_out:
            raise DatasetError(f"{dataset.path}: too few episodes to hold any out")
        tasks = list(dataset.tasks)
        self.samplers = {
            horizon: WindowSampler(
                dataset, training, tasks, horizon, config.transitions // horizon, config.seed
            )
            for horizon in {config.horizon, *(horizon for _, horizon in config.curriculum)}
        }
        self.validation = WindowSampler(
            dataset, held_out, tasks, config.horizon, VALIDATION_BATCH, config.seed
        ).batch(0)
        self.step = 0
        self._threads = options.threads

    @property
    def _checkpoint(self) -> Path:
        return self.out / "checkpoint.safetensors"

    def _resume(self) -> int | None:
        """Return the step of the checkpoint that was loaded, ``None`` for a run from the start."""
        if not self._checkpoint.is_file():
            return None
        tensors, header = load_checkpoint(self._checkpoint)
        load_weights(self.model, part("model", tensors), self._checkpoint)
        load_optimizer(self.optimizer, part("optimizer", tensors))
        self.step, self._threads = header["step"], header["threads"]
        return self.step

    def _save(self) -> None:
        tensors = prefixed("model", self.model.state_dict()) | prefixed(
            "optimizer", optimizer_tensors(self.optimizer)
        )
        header = {"step": self.step, "threads": torch.get_num_threads()}
        save_checkpoint(self._checkpoint, tensors, header)

    def run(self) -> TrainedWorldModel:
        """Train to the last update and write ``world_model.safetensors``."""
        fingerprint = self.dataset.fingerprint()
        run = RunDirectory(self.out, "pretrain", self.config, {"dataset": fingerprint})
        run.open_metrics(self._resume())
        try:
            quality = self._train(run)
        finally:
            run.close()
        trained = TrainedWorldModel(
            self.model,
            list(self.dataset.tasks.values()),
            plain(quality),
            {"dataset": fingerprint, "config": plain(self.config)},
        )
        trained.save(self.out / "world_model.safetensors")
        return trained

    def _train(self, run: RunDirectory) -> ModelQuality:
        if self.options.compile:
            self.model.compile_parts()
        self._set_threads()
        updates = self.config.updates
        quality, begin = self._judge(), time.monotonic()
        with ProgressDisplay("pretrain", updates, "updates", start=self.step) as progress:
            while self.step < updates:
                figures = self._update()
                self.step += 1
                last = self.step == updates
                if last or self.step % self.options.validate_every == 0:
                    quality = self._judge()
                    run.log(
                        self.step,
                        {name: value.item() for name, value in figures.items()}
                        | {"reward_error": quality.reward_error}
                        | {"latent_error": list(quality.latent_error)}
                        | {"seconds": time.monotonic() - begin},
                    )
                if last or self.step % self.options.checkpoint_every == 0:
                    self._save()
                progress.update(
                    self.step,
                    {
                        "held-out reward error": f"{quality.reward_error:.2%}",
                        "latent error": f"{quality.latent_error[-1]:.2%}",
                    },
                )
        return quality

    def _set_threads(self) -> None:
        if self._threads:
            torch.set_num_threads(self._threads)
        elif self.device.type == "cpu":
            windows = self._windows()
            choose_threads(lambda: self._gradients(windows))
            self.optimizer.zero_grad(set_to_none=True)

    def _windows(self) -> Windows:
        return self.samplers[self._horizon()].batch(self.step).to(self.device)

    def _gradients(self, windows: Windows) -> WorldModelLoss:
        loss = world_model_loss(self.model, windows, self.config.weights)
        self.optimizer.zero_grad(set_to_none=True)
        loss.total.backward()
        return loss

    def _update(self) -> dict[str, torch.Tensor]:
        self._schedule()
        loss = self._gradients(self._windows())
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.optimizer.step()
        return {f"loss/{name}": value.detach() for name, value in vars(loss).items()} | {
            "gradient_norm": norm.detach()
        }

    def _horizon(self) -> int:
        """Return the horizon of the present stage."""
        end = 0.0
        for share, horizon in self.config.curriculum:
            end += share
            if self.step < end * self.config.updates:
                return horizon
        return self.config.horizon

    def _schedule(self) -> None:
        warm = min(1.0, (self.step + 1) / 50)
        cosine = 0.5 * (1 + math.cos(math.pi * self.step / self.config.updates))
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * warm * max(cosine, 0.01)

    def _judge(self) -> ModelQuality:
        return judge(self.model, self.validation.to(self.device))
