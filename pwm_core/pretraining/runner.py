# SPDX-License-Identifier: Apache-2.0
"""Pre-train one world model on a dataset; resumable at any checkpoint to the same numbers."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pwm_core.checkpoint import (
    load_checkpoint,
    load_optimizer,
    load_weights,
    optimizer_tensors,
    part,
    prefixed,
    save_checkpoint,
)
from pwm_core.cuda_graph import Recorded, keep_rates_on, set_rate
from pwm_core.data.dataset import Dataset, DatasetError
from pwm_core.data.prefetch import Prefetch
from pwm_core.data.sampler import Windows, WindowSampler
from pwm_core.data.split import split
from pwm_core.device import choose_threads, resolve_device, seconds_of, sent, thread_choices
from pwm_core.errors import PwmError
from pwm_core.files import sha256
from pwm_core.limits import BELOW_ONE, INSIDE, NOT_NEGATIVE, ONE_OR_MORE, POSITIVE
from pwm_core.model.store import TrainedWorldModel
from pwm_core.model.world_model import WorldModel, WorldModelConfig
from pwm_core.pretraining.judgement import (
    ModelQuality,
    judge_tasks,
    quality_record,
    validation_windows,
)
from pwm_core.pretraining.loss import (
    LossWeights,
    WorldModelLoss,
    bootstrap_shares,
    world_model_loss,
)
from pwm_core.pretraining.preparation import (
    balanced,
    build_model,
    extend_model,
    pad,
    train_only_new_embeddings,
)
from pwm_core.progress import ProgressDisplay
from pwm_core.ranks import Ranks
from pwm_core.run_directory import RunDirectory, plain


class TrainingDivergedError(PwmError):
    """No gradient is finite any more."""


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
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of matrix products in training; weights, sums and judgement stay in float32."""
    balanced: bool = False
    """Repeat episodes of rarer tasks, so that every task is drawn about as often."""
    only_embedding: bool = False
    """Train the embeddings of new tasks alone; the tasks known before do not change."""

    def __post_init__(self) -> None:
        ONE_OR_MORE.require(self, "updates", "transitions", "horizon")
        POSITIVE.require(self, "learning_rate", "clip")
        NOT_NEGATIVE.require(self, "encoder_rate", "seed")
        BELOW_ONE.require(self, "betas")
        INSIDE.require(self, "held_out")
        for share, horizon in self.curriculum:
            if horizon < 1 or not 0 <= share <= 1:
                raise PwmError(
                    f"curriculum has horizon {horizon} for {share:g} of the updates, expected 1 or "
                    "more for a share between 0 and 1"
                )
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
    """On a GPU or in bfloat16; in float32 on a CPU the networks run by hand."""
    accumulate: int = 1
    """Parts in which the windows of an update go through the model, to save memory."""
    threads: int = 0
    """CPU threads; 0 measures whether more than one pays. A resumed run keeps the number it had."""
    validate_every: int = 250
    checkpoint_every: int = 250
    cuda_graph: bool = True
    """On a GPU, in one process: start each update as one CUDA graph."""

    def __post_init__(self) -> None:
        ONE_OR_MORE.require(self, "accumulate", "validate_every", "checkpoint_every")
        NOT_NEGATIVE.require(self, "threads")


class _Loss(nn.Module):
    """The loss as a module, which is what processes that share their gradients wrap."""

    def __init__(self, model: WorldModel, weights: LossWeights) -> None:
        super().__init__()
        self.model, self.weights = model, weights

    def forward(self, windows: Windows, shares: Tensor | None) -> WorldModelLoss:
        return world_model_loss(self.model, windows, self.weights, shares)


class Pretraining:
    """The runner: owns the loop, the files and the display; the maths is in ``loss``.

    Of several processes each takes its share of an update's windows and makes the same step by the
    mean of all their gradients; the first one alone writes files and the display.
    """

    def __init__(
        self,
        dataset: Dataset,
        out: Path,
        config: PretrainingConfig,
        options: PretrainingOptions,
        initial: Path | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        """Prepare to train on ``dataset``; ``initial`` is a world model to go on from.

        Its sizes and choices then stand instead of ``config.model``.
        """
        self.dataset, self.out, self.options = dataset, out, options
        self.ranks = ranks or Ranks()
        self.inputs = {"dataset": dataset.fingerprint()}
        self.device = self.ranks.device(resolve_device(options.device))
        if self.device.type == "cuda" and self.device.index is not None:
            torch.cuda.set_device(self.device)
        torch.manual_seed(config.seed)
        self._known_quality: dict[str, Any] = {}
        fewest = config.transitions // config.horizon // self.ranks.count
        if options.accumulate > fewest:
            raise PwmError(
                f"accumulate is {options.accumulate}, expected {fewest} or less, the windows per "
                f"update: {config.transitions} transitions in windows of {config.horizon} decisions"
                + (f", shared by {self.ranks.count} processes" if self.ranks.count > 1 else "")
            )
        if initial is None and config.only_embedding:
            raise PwmError("only_embedding needs a trained world model: say which with --from")
        if initial is None:
            self.model, self.tasks = build_model(dataset, config.model), [*dataset.tasks.values()]
        else:
            self._start_from(initial, config.only_embedding)
        self.config = replace(config, model=self.model.config)
        self.model.to(self.device)
        self._loss: nn.Module = _Loss(self.model, self.config.weights)
        self.optimizer = self._adam()
        self._rates = [group["lr"] for group in self.optimizer.param_groups]
        # Clipped apart, so that the ensemble does not slow the model down.
        self._ensemble = list(self.model.other_dynamics.parameters())
        apart = set(self._ensemble)
        self._own = [p for p in self.model.parameters() if p not in apart]
        self._prepare_windows()
        self._ahead = Prefetch(self._drawn)
        self._recorded: Callable[..., dict[str, Tensor]] = self._step
        self.step = 0
        self._threads = options.threads

    def _start_from(self, initial: Path, only_embedding: bool) -> None:
        trained = TrainedWorldModel.load(initial, torch.device("cpu"))
        self.inputs["from"] = sha256(initial)
        self.model, self.tasks = extend_model(trained, self.dataset)
        if not only_embedding:
            return
        new = self.tasks[len(trained.tasks) :]
        if not new:
            raise DatasetError(f"{self.dataset.path} has no task that {initial} does not know")
        old = trained.model
        for task in new:
            sizes = task.observation.size, task.action.size
            widths = old.observation_mean.shape[1], old.action_mask.shape[1]
            if sizes > widths or sizes[1] > widths[1]:
                raise DatasetError(
                    f"{task.name} has {sizes[0]} observations and {sizes[1]} actions, {initial} "
                    f"has weights for {widths[0]} and {widths[1]}: train more than the embedding"
                )
        train_only_new_embeddings(self.model, len(trained.tasks))
        self._known_quality = trained.quality.get("tasks", {})

    def _adam(self) -> torch.optim.Adam:
        encoder = list(self.model.encoder.parameters())
        others = [p for n, p in self.model.named_parameters() if not n.startswith("encoder.")]
        rate, factor = self.config.learning_rate, self.config.encoder_rate
        return torch.optim.Adam(
            [{"params": others, "lr": rate}, {"params": encoder, "lr": rate * factor}],
            betas=self.config.betas,
            fused=True,
        )

    def _prepare_windows(self) -> None:
        config, names = self.config, [task.name for task in self.tasks]
        training, held_out = split(self.dataset.episodes, config.held_out)
        if not held_out:
            raise DatasetError(f"{self.dataset.path}: too few episodes to hold any out")
        if config.balanced:
            training = balanced(training)
        self.samplers = {
            horizon: WindowSampler(
                self.dataset,
                training,
                names,
                horizon,
                config.transitions // horizon,
                config.seed,
            )
            for horizon in {config.horizon, *(horizon for _, horizon in config.curriculum)}
        }
        self.validation = self._placed(
            validation_windows(self.dataset, held_out, names, config.horizon, config.seed)
        )

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
        run = None
        if self.ranks.first:
            run = RunDirectory(self.out, "pretrain", self.config, self.inputs)
        resumed = self._resume()
        self.ranks.require_same({"config": plain(self.config), **self.inputs, "update": resumed})
        if run:
            run.open_metrics(resumed)
        try:
            whole, per_task = self._train(run)
        finally:
            if run:
                run.close()
        self.model.by_hand = False  # as its users, the exporters among them, expect it
        quality = plain(quality_record(whole, per_task))
        quality["tasks"] = self._known_quality | quality["tasks"]
        provenance = {**self.inputs, "config": plain(self.config)}
        trained = TrainedWorldModel(self.model, self.tasks, quality, provenance)
        if run:
            trained.save(self.out / "world_model.safetensors")
        return trained

    def _train(self, run: RunDirectory | None) -> tuple[ModelQuality, dict[str, ModelQuality]]:
        """Run the updates that are left; ``run`` is where the first process keeps a record."""
        self.prepare_networks()
        self._set_threads()
        updates = self.config.updates
        quality, begin = self._judge(), time.monotonic()
        with ProgressDisplay("pretrain", updates, "updates", start=self.step) as progress:
            while self.step < updates:
                figures = self._update()
                self.step += 1
                last = self.step == updates
                judged = last or self.step % self.options.validate_every == 0
                kept = last or self.step % self.options.checkpoint_every == 0
                if judged or kept:
                    self._require_finite(figures)
                if judged:
                    quality, figures = self._judge(), self.ranks.mean(figures)
                    if run:
                        scalars = {name: value.item() for name, value in figures.items()}
                        seconds = {"seconds": time.monotonic() - begin}
                        run.log(self.step, scalars | self._validation(*quality) | seconds)
                if run and kept:
                    self._save()
                if run:
                    progress.update(self.step, _shown(quality[0]))
        return quality

    def _require_finite(self, figures: dict[str, Tensor]) -> None:
        """Raise ``TrainingDivergedError`` before weights that have diverged are kept.

        From then on no gradient is finite. It is that of all processes, so that all of them stop.
        """
        for name, figure in figures.items():
            if name.startswith("gradient_norm") and not math.isfinite(norm := figure.item()):
                kept = f"{self._checkpoint} is from before. " if self._checkpoint.is_file() else ""
                raise TrainingDivergedError(
                    f"training has diverged: at update {self.step} of {self.config.updates} "
                    f"{name} is {norm}. {kept}Train anew, in another directory, with a learning "
                    f"rate below {self.config.learning_rate:g}"
                )

    def prepare_networks(self) -> None:
        """Let the networks run by hand where that is fastest, compiled elsewhere if wished."""
        self.model.by_hand = self.device.type == "cpu" and self.config.precision == "float32"
        if self.options.compile and not self.model.by_hand:
            self.model.compile_parts()
        if self.ranks.count > 1:
            self._loss = DistributedDataParallel(self._loss)
        elif self.device.type == "cuda" and self.options.cuda_graph:
            keep_rates_on(self.device, self.optimizer)
            self._recorded = Recorded(self._step)

    def _set_threads(self) -> None:
        if self._threads:
            torch.set_num_threads(self._threads)
        elif self.device.type == "cpu" and self.ranks.count == 1:  # else torchrun's choice stands
            windows, choices = self._windows(), thread_choices(os.cpu_count() or 1)
            update = partial(self._gradients, windows)
            choose_threads("pretrain", partial(seconds_of, update), choices)
            self.optimizer.zero_grad(set_to_none=True)

    def _wide(self, windows: Windows) -> Windows:
        """Return ``windows`` as wide as the model."""
        return pad(windows, self.model.observation_mean.shape[1], self.model.action_mask.shape[1])

    def _placed(self, windows: Windows) -> Windows:
        """Return ``windows`` as wide as the model, on its device."""
        return self._wide(windows).to(self.device)

    def _windows(self) -> Windows:
        """Return the windows of this update on the device."""
        if self.device.type == "cpu":
            return self._drawn(self.step)
        drawn = vars(self._ahead(self.step)).values()
        return Windows(*(sent(tensor, self.device) for tensor in drawn))

    def _drawn(self, step: int) -> Windows:
        """Return the windows of an update as wide as the model, in host memory."""
        horizon = self._horizon(step)
        share = self.ranks.share(self.config.transitions // horizon)
        return self._wide(self.samplers[horizon].batch(step, share))

    @property
    def _batch(self) -> int:
        """Return the number of windows of this update, those of all processes."""
        return self.config.transitions // self._horizon(self.step)

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.config.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def _gradients(self, windows: Windows, shares: Tensor | None = None) -> dict[str, Tensor]:
        """Set the gradients of the loss of ``windows``; return its named parts.

        ``shares`` say how often each window counts for the other dynamics heads, once by default.
        The gradients are those of all processes' windows, the parts this process's share of them,
        to be averaged.
        """
        self.optimizer.zero_grad(set_to_none=True)
        figures: dict[str, Tensor] = {}
        chunks = self._chunks(windows)
        split_shares: Sequence[Tensor | None] = [None] * len(chunks)
        if shares is not None:
            split_shares = shares.tensor_split(len(chunks), 1)
        for number, (chunk, own) in enumerate(zip(chunks, split_shares, strict=True), 1):
            weight = self.ranks.count * len(chunk.task) / self._batch
            with self._apart(until=number == len(chunks)):
                with self._autocast():
                    loss = self._loss(chunk, own)
                (loss.total * weight).backward()
            for name, value in loss.named().items():
                figures[f"loss/{name}"] = figures.get(f"loss/{name}", 0) + value * weight
        return figures

    def _apart(self, until: bool) -> AbstractContextManager[Any]:
        """Let the processes add up gradients by themselves ``until`` their last part."""
        if until or not isinstance(self._loss, DistributedDataParallel):
            return nullcontext()
        return self._loss.no_sync()

    def _chunks(self, windows: Windows) -> list[Windows]:
        """Return the windows in the parts of which gradients are added up."""
        count, tensors = self.options.accumulate, vars(windows).values()
        split_tensors = [t.tensor_split(count, min(1, t.ndim - 1)) for t in tensors]
        return [Windows(*chunk) for chunk in zip(*split_tensors, strict=True)]

    def _shares(self) -> list[Tensor]:
        """Return how often each window counts for the other dynamics heads, where there are any."""
        heads = self.model.config.dynamics_heads
        if heads == 1:
            return []
        shares = bootstrap_shares(heads, self._batch, self.config.seed, self.step)
        return [sent(shares[:, self.ranks.share(self._batch)], self.device)]

    def _update(self) -> dict[str, Tensor]:
        self._schedule()
        return self._recorded(*vars(self._windows()).values(), *self._shares())

    def _step(self, *given: Tensor) -> dict[str, Tensor]:
        """Run an update of windows, and shares perhaps, that are on the device already.

        Nothing here waits for the device or sends anything to it, so that it can be recorded.
        """
        windows, *shares = Windows(*given[:5]), *given[5:]
        figures = self._gradients(windows, *shares)
        parts = {"gradient_norm": self._own}
        if self._ensemble:
            parts["gradient_norm/ensemble"] = self._ensemble
        norms = {
            name: torch.nn.utils.clip_grad_norm_(part, self.config.clip).detach()
            for name, part in parts.items()
        }
        self.optimizer.step()
        return figures | norms

    def _horizon(self, step: int) -> int:
        """Return the horizon of the stage that an update is in."""
        end = 0.0
        for share, horizon in self.config.curriculum:
            end += share
            if step < end * self.config.updates:
                return horizon
        return self.config.horizon

    def _schedule(self) -> None:
        warm = min(1.0, (self.step + 1) / 50)
        cosine = 0.5 * (1 + math.cos(math.pi * self.step / self.config.updates))
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            set_rate(group, rate * warm * max(cosine, 0.01))

    def _judge(self) -> tuple[ModelQuality, dict[str, ModelQuality]]:
        return judge_tasks(self.model, self.validation, [task.name for task in self.tasks])

    @torch.no_grad()
    def _validation(
        self, whole: ModelQuality, per_task: dict[str, ModelQuality]
    ) -> dict[str, float | list[float] | None]:
        """Return the held-out figures of a line of metrics: loss, and errors of each task."""
        loss = world_model_loss(self.model, self.validation, self.config.weights)
        return (
            {f"validation/{name}": value.item() for name, value in loss.named().items()}
            | {"reward_error": whole.reward_error, "latent_error": list(whole.latent_error)}
            | {f"reward_error/{task}": quality.reward_error for task, quality in per_task.items()}
            | {f"latent_error/{task}": q.latent_error[-1] for task, q in per_task.items()}
        )


def _shown(quality: ModelQuality) -> dict[str, str]:
    error = quality.reward_error
    return {
        "held-out reward error": "unknown" if error is None else f"{error:.2%}",
        "latent error": f"{quality.latent_error[-1]:.2%}",
    }
