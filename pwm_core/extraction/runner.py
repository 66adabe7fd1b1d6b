# SPDX-License-Identifier: Apache-2.0
"""Extract one task's policy from a frozen world model; resumable to the same numbers."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

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
from pwm_core.device import resolve_device
from pwm_core.evaluation.episodes import deterministic, run_episodes
from pwm_core.extraction.actor_critic import Actor, Critics, Policy
from pwm_core.extraction.loss import (
    Imagined,
    actor_loss,
    critic_loss,
    imagine,
    lambda_returns,
)
from pwm_core.extraction.store import TrainedPolicy, architecture, build_policy
from pwm_core.model.store import TrainedWorldModel
from pwm_core.progress import ProgressDisplay
from pwm_core.run_directory import RunDirectory, plain
from pwm_core.tasks import get_task


@dataclass(frozen=True)
class ExtractionConfig:
    """How a policy is extracted (arXiv 2407.02466, with batch 512 and 10,000 iterations)."""

    iterations: int
    batch: int
    """Imagined rollouts per iteration."""
    horizon: int
    """Decisions per rollout."""
    actor_hidden: tuple[int, ...]
    critic_hidden: tuple[int, ...]
    critics: int
    """Members of the critic ensemble; the actor sees their minimum."""
    critic_passes: int
    """Passes of the critics over the imagined states, per iteration."""
    critic_batches: int
    """Shuffled mini-batches per pass."""
    lam: float
    """TD(lambda)'s lambda."""
    actor_rate: float
    """Actor's learning rate, linear to ``final_rate``."""
    critic_rate: float
    """Critics' learning rate, linear to ``final_rate``."""
    final_rate: float
    betas: tuple[float, float]
    """Adam's moment decays."""
    actor_clip: float
    critic_clip: float
    sigma_floor: float
    """Smallest exploration scale in imagination."""
    seed: int


@dataclass(frozen=True)
class ExtractionOptions:
    """What does not change the policy that comes out (up to float rounding)."""

    device: str = "auto"
    compile: bool = True
    evaluate_every: int = 100
    evaluation_episodes: int = 4
    checkpoint_every: int = 100


EVALUATION_SEED = 10_000
"""Seeds of the episodes on the learning curve; ``pwm eval`` uses others."""


class Extraction:
    """The runner: owns the loop, the files and the display; the maths is in ``loss``."""

    def __init__(
        self,
        trained: TrainedWorldModel,
        dataset: Dataset,
        task: str,
        out: Path,
        config: ExtractionConfig,
        options: ExtractionOptions,
    ) -> None:
        self.config, self.options, self.out = config, options, out
        self.device = resolve_device(options.device)
        self.trained, self.index = trained, trained.task_index(task)
        self.info = trained.tasks[self.index]
        if dataset.tasks.get(task) != self.info:
            raise DatasetError(f"{dataset.path} does not describe {task} as the world model does")
        self.model = trained.model.to(self.device).requires_grad_(False).eval()
        self._rows = np.concatenate(
            [np.arange(e.start, e.rows.stop - 1) for e in dataset.of_task(task)]
        )
        self.dataset = dataset
        torch.manual_seed(config.seed)
        model, actions = self.model.config, self.info.action.size
        self.actor = Actor(model.latent, config.actor_hidden, actions, config.sigma_floor).to(
            self.device
        )
        self.critics = Critics(model.latent, config.critic_hidden, config.critics).to(self.device)
        self.actor_optimizer = self._adam(self.actor, config.actor_rate)
        self.critic_optimizer = self._adam(self.critics, config.critic_rate)
        rewards = np.abs(dataset.reward[self._rows + 1]).mean()
        # Critics learn values in units of a typical return, so that targets are of order one.
        self.value_scale = float(max(rewards, 1e-3) / (1 - self.info.discount))
        self.return_spread = torch.ones((), device=self.device)
        self.iteration = 0

    def _adam(self, module: torch.nn.Module, rate: float) -> torch.optim.Adam:
        return torch.optim.Adam(module.parameters(), rate, betas=self.config.betas, fused=True)

    @property
    def _checkpoint(self) -> Path:
        return self.out / "checkpoint.safetensors"

    def _resume(self) -> int | None:
        if not self._checkpoint.is_file():
            return None
        tensors, header = load_checkpoint(self._checkpoint)
        for name, module in (("actor", self.actor), ("critics", self.critics)):
            load_weights(module, part(name, tensors), self._checkpoint)
        load_optimizer(self.actor_optimizer, part("actor_optimizer", tensors))
        load_optimizer(self.critic_optimizer, part("critic_optimizer", tensors))
        self.return_spread = tensors["return_spread"].to(self.device)
        self.iteration = header["iteration"]
        return self.iteration

    def _save(self) -> None:
        tensors = (
            prefixed("actor", self.actor.state_dict())
            | prefixed("critics", self.critics.state_dict())
            | prefixed("actor_optimizer", optimizer_tensors(self.actor_optimizer))
            | prefixed("critic_optimizer", optimizer_tensors(self.critic_optimizer))
            | {"return_spread": self.return_spread}
        )
        header = {"iteration": self.iteration, "value_scale": self.value_scale}
        save_checkpoint(self._checkpoint, tensors, header)

    def run(self, inputs: dict[str, str]) -> TrainedPolicy:
        """Extract to the last iteration and write ``policy.safetensors``.

        ``inputs`` are the hashes of world model and dataset.
        """
        run = RunDirectory(self.out, "extract", self.config, inputs)
        run.open_metrics(self._resume())
        try:
            figures = self._train(run)
        finally:
            run.close()
        record = {
            "training": figures,
            "world_model": self.trained.quality,
            "provenance": {**inputs, "config": plain(self.config)},
        }
        described = architecture(
            self.model.config, self.config.actor_hidden, self.config.sigma_floor
        )
        policy = TrainedPolicy(self.policy(), self.info, described, record)
        policy.save(self.out / "policy.safetensors")
        return policy

    def _train(self, run: RunDirectory) -> dict[str, Any]:
        if self.options.compile:
            self.model.compile_parts()
            self.critics.network.compile()
        config, options = self.config, self.options
        begin, returns = time.monotonic(), self._evaluate()
        label = f"extract {self.info.name}"
        if self.iteration == 0:
            run.log(0, returns | {"seconds": 0.0})
        with ProgressDisplay(label, config.iterations, "iterations", self.iteration) as progress:
            while self.iteration < config.iterations:
                figures = self.iterate()
                self.iteration += 1
                last = self.iteration == config.iterations
                if last or self.iteration % options.evaluate_every == 0:
                    returns = self._evaluate()
                    scalars = {name: value.item() for name, value in figures.items()}
                    seconds = {"seconds": time.monotonic() - begin}
                    run.log(self.iteration, returns | scalars | seconds)
                if last or self.iteration % options.checkpoint_every == 0:
                    self._save()
                shown = {
                    "imagined": f"{returns['imagined_return']:.0f}",
                    "real": f"{returns['real_return']:.0f}",
                }
                progress.update(self.iteration, shown)
        return returns

    def iterate(self) -> dict[str, Tensor]:
        """Run one iteration: an actor step through the model, then the critics' passes."""
        self._schedule()
        generator = torch.Generator(self.device).manual_seed(
            self.config.seed * 1_000_003 + self.iteration
        )
        z, embedding = self._start_states()
        shape = self.config.horizon, len(z), self.info.action.size
        noise = torch.randn(shape, generator=generator, device=self.device)
        imagined = imagine(self.model, self.actor, z, embedding, noise)
        reward = imagined.reward / self.value_scale
        loss = actor_loss(
            Imagined(imagined.latent, reward),
            self.critics(imagined.latent[-1]).min(0).values,
            self.info.discount,
        )
        self.actor_optimizer.zero_grad(set_to_none=True)
        (loss / self.return_spread.clamp(min=1e-3)).backward(inputs=list(self.actor.parameters()))
        norm = torch.nn.utils.clip_grad_norm_(self.actor.parameters(), self.config.actor_clip)
        self.actor_optimizer.step()
        errors = self._fit_critics(imagined.latent.detach(), reward.detach(), generator)
        return {
            "loss/actor": loss.detach(),
            "loss/critic": errors,
            "gradient_norm/actor": norm.detach(),
            "sigma": self.actor.sigma().detach().mean(),
        }

    @torch.no_grad()
    def _start_states(self) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng([self.config.seed, self.iteration])
        rows = rng.choice(self._rows, self.config.batch)
        observation = self.dataset.observation[rows][:, : self.info.observation.size]
        return self._encode(torch.from_numpy(observation))

    def _encode(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Return latents and task embeddings of ``observation [N, O]``, padded to the model's."""
        padding = self.model.observation_mean.shape[1] - observation.shape[1]
        padded = torch.nn.functional.pad(observation, (0, padding)).to(self.device)
        task = torch.full((len(padded),), self.index, device=self.device)
        return self.model.encode(padded, task), self.model.embedding(task)

    def _fit_critics(self, latent: Tensor, reward: Tensor, generator: torch.Generator) -> Tensor:
        config = self.config
        with torch.no_grad():
            value = self.critics(latent[1:].flatten(0, 1)).min(0).values.view_as(reward)
            target = lambda_returns(reward, value, self.info.discount, config.lam)
            self.return_spread.lerp_(target.std(), 0.05 if self.iteration else 1.0)
        z, target = latent[:-1].flatten(0, 1), target.flatten()
        total = torch.zeros((), device=self.device)
        for _ in range(config.critic_passes):
            order = torch.randperm(len(z), generator=generator, device=self.device)
            for chosen in order.chunk(config.critic_batches):
                loss = critic_loss(self.critics, z[chosen], target[chosen])
                self.critic_optimizer.zero_grad(set_to_none=True)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(self.critics.parameters(), config.critic_clip)
                self.critic_optimizer.step()
                total += loss.detach()
        return total / (config.critic_passes * config.critic_batches)

    def _schedule(self) -> None:
        done = self.iteration / self.config.iterations
        for optimizer, rate in (
            (self.actor_optimizer, self.config.actor_rate),
            (self.critic_optimizer, self.config.critic_rate),
        ):
            optimizer.param_groups[0]["lr"] = rate + done * (self.config.final_rate - rate)

    def policy(self) -> Policy:
        """Return the present policy, from raw observation to action, on the CPU."""
        described = architecture(
            self.model.config, self.config.actor_hidden, self.config.sigma_floor
        )
        policy = build_policy(self.info, described).to(self.device)
        policy.adopt(self.model, self.index, self.actor)
        return policy.cpu().eval()

    def _evaluate(self) -> dict[str, float]:
        """Return the mean real return of a few episodes and what the model imagines of them."""
        seeds = range(EVALUATION_SEED, EVALUATION_SEED + self.options.evaluation_episodes)
        real = run_episodes(get_task(self.info.name), deterministic(self.policy()), seeds)
        imagined = self.imagined_return(torch.from_numpy(real.observation[0]))
        return {"real_return": float(real.returns.mean()), "imagined_return": imagined}

    @torch.no_grad()
    def imagined_return(self, observation: Tensor) -> float:
        """Return the model's own estimate for whole episodes from ``observation [N, O]``.

        The policy acts without noise in the model alone for a whole episode, so that the figure can
        be held against a real return: a policy that exploits the model imagines far more.
        """
        z, embedding = self._encode(observation)
        spare = self.model.action_mask.shape[-1] - self.info.action.size
        total = torch.zeros(len(z), device=self.device)
        for _ in range(self.info.episode_steps):
            action = torch.nn.functional.pad(self.actor(z), (0, spare))
            total += self.model.reward(z, action, embedding)
            z = self.model.next(z, action, embedding)
        return float(total.mean())
