# SPDX-License-Identifier: Apache-2.0
"""Extract policies from a frozen world model; resumable to the same numbers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from pwm_core.checkpoint import (
    CheckpointError,
    load_checkpoint,
    load_weights,
    part,
    prefixed,
    save_checkpoint,
)
from pwm_core.data.dataset import Dataset, DatasetError, Episode
from pwm_core.device import choose_threads, resolve_device
from pwm_core.evaluation.episodes import deterministic, run_episodes
from pwm_core.extraction.actor_critic import Policy
from pwm_core.extraction.config import ExtractionConfig, ExtractionOptions
from pwm_core.extraction.diagnosis import FIGURES, DataReturns, diagnose, gap
from pwm_core.extraction.gradient_noise import gradient_noise
from pwm_core.extraction.imagination import imagined_returns
from pwm_core.extraction.iterations import Iterations
from pwm_core.extraction.learner import Learner
from pwm_core.extraction.reward import training_reward
from pwm_core.extraction.starts import StartRows, resampled
from pwm_core.extraction.stopping import best, stalled
from pwm_core.extraction.store import TrainedPolicy, architecture, build_policy
from pwm_core.model.store import TrainedWorldModel
from pwm_core.progress import ProgressDisplay
from pwm_core.run_directory import RunDirectory, plain, read_metrics
from pwm_core.tasks import Task, UnknownTaskError, get_task

EVALUATION_SEED = 10_000
"""Seeds of the episodes on the learning curve; ``pwm eval`` uses others."""
CONFIRMATION_SEED = 20_000
"""Seeds of the episodes that judge a policy which the learning curve has selected."""
IMAGINED_EPISODES = 16
"""Episodes of the data whose first states the model's own estimate starts from."""


class Extraction:
    """One task's run: its files, its evaluations and when it ends; the loop is :func:`extract`."""

    learner_type: ClassVar[type[Learner]] = Learner

    def __init__(
        self,
        trained: TrainedWorldModel,
        dataset: Dataset,
        task: str,
        out: Path,
        config: ExtractionConfig,
        options: ExtractionOptions,
        begin_from: TrainedPolicy | None = None,
    ) -> None:
        """``begin_from`` gives the actor's first weights.

        Raise ``DatasetError``, ``CheckpointError`` or ``PwmError`` for what does not fit together.
        """
        self.config, self.options, self.out = config, options, out
        self.device = resolve_device(options.device)
        if self.device.type == "cuda" and self.device.index is not None:
            torch.cuda.set_device(self.device)  # whose streams record CUDA graphs
        if self.device.type == "cuda" and config.precision != "float32":
            torch.set_float32_matmul_precision("high")  # TF32
        self.trained, self.index = trained, trained.task_index(task)
        self.info = trained.tasks[self.index]
        if dataset.tasks.get(task) != self.info:
            raise DatasetError(f"{dataset.path} does not describe {task} as the world model does")
        self.simulator = simulator(task, config.evaluate)
        self.model = trained.model.to(self.device).requires_grad_(False).eval()
        self.dataset = dataset
        self._episodes: Sequence[Episode] = dataset.of_task(task)
        chosen: Sequence[Episode] = self._episodes
        left = 1
        if config.resample_episodes:
            chosen, left = resampled(chosen, config.seed), config.horizon
        self._starts = StartRows(chosen, left)
        discount = self.info.discount if config.discount is None else config.discount
        rewards = np.concatenate([dataset.reward[e.start + 1 : e.rows.stop] for e in chosen])
        apart = self._disagreement() if config.uncertainty_penalty else 1.0
        self.learner = self.learner_type(
            self.model.config.latent,
            self.info.action.size if config.action_masks else self.model.action_mask.shape[-1],
            discount,
            training_reward(config, rewards, discount, apart),
            config,
            self.device,
        )
        self.learner.compiled = options.compile
        if begin_from:
            self._adopt(begin_from)
        self.iteration = 0
        self.threads: int | None = None
        """CPU threads of a run to be resumed."""
        self.iterations: Iterations | None = None
        self._run: RunDirectory | None = None
        self._curve: list[dict[str, Any]] = []
        self._best: dict[str, Tensor] = {}

    def _adopt(self, policy: TrainedPolicy) -> None:
        if policy.task.action.size != self.info.action.size:
            raise CheckpointError(
                f"a policy of {policy.task.name} with {policy.task.action.size} actions cannot "
                f"begin {self.info.name}, which has {self.info.action.size}"
            )
        weights = policy.policy.actor.state_dict()
        load_weights(self.learner.actor, weights, f"the policy of {policy.task.name}")

    @property
    def _checkpoint(self) -> Path:
        return self.out / "checkpoint.safetensors"

    def _resume(self) -> int | None:
        if not self._checkpoint.is_file():
            return None
        tensors, header = load_checkpoint(self._checkpoint)
        self.learner.load(tensors, self._checkpoint)
        self._best = part("best", tensors)
        self.iteration, self.threads = header["iteration"], header.get("threads")
        return self.iteration

    def save(self) -> None:
        """Write a checkpoint from which another process goes on to the same numbers."""
        tensors = self.learner.tensors() | prefixed("best", self._best)
        header = {
            "iteration": self.iteration,
            "value_scale": self.learner.reward.scale,
            "threads": torch.get_num_threads(),
        }
        save_checkpoint(self._checkpoint, tensors, header)

    def run(self, inputs: dict[str, str]) -> TrainedPolicy:
        """Extract to the end and write ``policy.safetensors``.

        ``inputs`` are the hashes of world model and dataset.
        """
        (outcome,) = extract([self], [inputs])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def begin(self, inputs: dict[str, str]) -> None:
        """Open the run's directory, and go on from its checkpoint where there is one."""
        self._inputs, self._begin = inputs, time.monotonic()
        run = RunDirectory(self.out, "extract", self.config, inputs)
        run.open_metrics(self._resume())
        self._run = run
        self._curve = read_metrics(self.out)
        if not self._curve:
            self._note(self._evaluate() | {"seconds": 0.0})

    def advance(self, figures: dict[str, Tensor]) -> None:
        """Take note of an iteration: evaluate the policy and keep a checkpoint when due."""
        self.iteration += 1
        if self._due(self.options.evaluate_every):
            scalars = {name: value.item() for name, value in figures.items()}
            noise = {"gradient_noise/actor": self._gradient_noise()}
            seconds = {"seconds": time.monotonic() - self._begin}
            self._note(self._evaluate() | scalars | noise | seconds)
        if self._due(self.options.checkpoint_every) or self.finished():
            self.save()

    def conclude(self) -> TrainedPolicy:
        """Write the policy with the record of how it came to be."""
        training = self._conclude()
        data = DataReturns.of(self._episodes)
        findings = diagnose(self.info.name, self._curve, training, data, self.trained.quality)
        record = {
            "training": training,
            "diagnosis": [asdict(finding) for finding in findings],
            "world_model": self.trained.quality,
            "provenance": {**self._inputs, "config": plain(self.config)},
            "threads": torch.get_num_threads(),
        }
        policy = TrainedPolicy(self.policy(), self.info, self._architecture(), record)
        policy.save(self.out / "policy.safetensors")
        return policy

    def close(self) -> None:
        """Close the run's files, where they are open."""
        if self._run:
            self._run.close()

    def _due(self, every: int) -> bool:
        return self.iteration == self.config.iterations or self.iteration % every == 0

    def finished(self) -> bool:
        """Return whether nothing is left to do: all iterations, or no hope of a better policy."""
        return self.iteration >= self.config.iterations or stalled(
            self._scores(), self.config.patience
        )

    def _scores(self) -> list[float]:
        name = "real_return" if self.simulator else "imagined_return"
        return [line[name] for line in self._curve]

    def _note(self, figures: dict[str, Any]) -> None:
        """Log ``figures`` and remember the actor while it is the best."""
        figures = figures | {"gap": gap(figures)}
        assert self._run is not None
        self._run.log(self.iteration, figures)
        self._curve.append({"step": self.iteration, **figures})
        if self.config.keep == "best" and best(self._scores()) == len(self._curve) - 1:
            state = self.learner.actor.state_dict()
            self._best = {name: tensor.clone() for name, tensor in state.items()}

    def _conclude(self) -> dict[str, Any]:
        """Return the figures of the policy that is kept, and how it came to be that one."""
        last, kept = self._curve[-1], self._curve[-1]
        if self.config.keep == "best":
            kept = self._curve[best(self._scores())]
            load_weights(self.learner.actor, self._best, self._checkpoint)
        figures = {name: kept[name] for name in FIGURES if name in kept}
        if self.config.keep == "best" and self.simulator:
            # A figure that has selected the policy flatters it: judge it once more, elsewhere.
            figures = self._evaluate(CONFIRMATION_SEED)
            figures |= {"gap": gap(figures)}
        early = last["step"] < self.config.iterations
        return figures | {"iterations": last["step"], "kept": kept["step"], "stopped_early": early}

    def iterate(self) -> dict[str, Tensor]:
        """Run one iteration: an actor step through the model, then the critics' passes."""
        return iterate([self])[0]

    def _gradient_noise(self) -> float:
        z, _ = self._encode(self.start_observations())
        return gradient_noise(self.model, self.index, self.learner, z, self.iteration)

    def start_observations(self) -> Tensor:
        """Return the observations ``[batch, O]`` that the iteration starts from."""
        rng = np.random.default_rng([self.config.seed, self.iteration])
        return self._observations(self._starts.draw(rng, self.config.batch))

    def _observations(self, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(self.dataset.observation[rows][:, : self.info.observation.size])

    def wide(self, observation: Tensor) -> Tensor:
        """Return ``observation [N, O]`` as wide as the model's widest task."""
        padding = self.model.observation_mean.shape[1] - observation.shape[1]
        return torch.nn.functional.pad(observation, (0, padding))

    def padded(self, observation: Tensor) -> Tensor:
        """Return :meth:`wide` of ``observation [N, O]`` on the device."""
        return self.wide(observation).to(self.device)

    @torch.no_grad()
    def _encode(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Return latents and task embeddings of ``observation [N, O]``."""
        task = torch.full((len(observation),), self.index, device=self.device)
        return self.model.encode(self.padded(observation), task), self.model.embedding(task)

    @torch.no_grad()
    def _disagreement(self) -> float:
        """Return the mean disagreement of the dynamics heads on a sample of the task's data."""
        rows = self._starts.draw(np.random.default_rng(self.config.seed), 1024)
        z, embedding = self._encode(self._observations(rows))
        action = torch.from_numpy(self.dataset.action[rows + 1])
        padding = self.model.action_mask.shape[-1] - action.shape[-1]
        action = torch.nn.functional.pad(action, (0, padding)).to(self.device)
        return float(self.model.disagreement(z, action, embedding).mean())

    def policy(self) -> Policy:
        """Return the present policy, from raw observation to action, on the CPU."""
        policy = build_policy(self.info, self._architecture()).to(self.device)
        policy.adopt(self.model, self.index, self.learner.actor)
        return policy.cpu().eval()

    def shown(self) -> dict[str, str]:
        """Return what the progress display shows."""
        figures = self._curve[-1]
        real, imagined = figures["real_return"], figures["imagined_return"]
        return {"imagined": f"{imagined:.0f}", "real": "unknown" if real is None else f"{real:.0f}"}

    def _architecture(self) -> dict[str, Any]:
        config = self.config
        return architecture(
            self.model.config, config.actor_hidden, config.sigma_floor, config.networks
        )

    def _evaluate(self, first_seed: int = EVALUATION_SEED) -> dict[str, Any]:
        """Return the mean real return of a few episodes and what the model imagines of them.

        The real return is ``None`` where the task has no simulator.
        """
        if self.simulator is None:
            rows = np.array([episode.start for episode in self._episodes[:IMAGINED_EPISODES]])
            imagined = self.imagined_return(self._observations(rows))
            return {"real_return": None, "imagined_return": imagined}
        seeds = range(first_seed, first_seed + self.options.evaluation_episodes)
        real = run_episodes(self.simulator, deterministic(self.policy()), seeds)
        imagined = self.imagined_return(torch.from_numpy(real.observation[0]))
        figures = {"real_return": float(real.returns.mean()), "imagined_return": imagined}
        if real.success is not None:
            figures["success"] = float(real.success.mean())
        return figures

    @torch.no_grad()
    def imagined_return(self, observation: Tensor) -> float:
        """Return the model's own estimate for whole episodes from ``observation [N, O]``.

        The policy acts without noise in the model alone for a whole episode, so that the figure can
        be held against a real return: a policy that exploits the model imagines far more. A reward
        counts as much as the model believes that the episode goes on until then.
        """
        z, embedding = self._encode(observation)
        steps = self.info.episode_steps
        returns = imagined_returns(self.model, self.learner.actor, z, embedding, steps)
        return float(returns.mean())


Outcome = TrainedPolicy | Exception


def extract(extractions: Sequence[Extraction], inputs: Sequence[dict[str, str]]) -> list[Outcome]:
    """Run ``extractions`` of one world model and configuration side by side to their ends.

    ``inputs`` are what :meth:`Extraction.run` takes, for each. A policy is written as soon as its
    task is finished. Return the policies; the exception for a task that failed, which leaves the
    others alone.
    """
    found: dict[Extraction, Outcome] = {}
    try:
        for extraction, own in zip(extractions, inputs, strict=True):
            with _noted(found, extraction):
                extraction.begin(own)
        _train(extractions, found)
    finally:
        for extraction in extractions:
            extraction.close()
    return [found[extraction] for extraction in extractions]


@contextmanager
def _noted(found: dict[Extraction, Outcome], extraction: Extraction) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        found[extraction] = error


def _running(begun: Sequence[Extraction], found: dict[Extraction, Outcome]) -> list[Extraction]:
    """Conclude what is finished, and return what is not."""
    for extraction in begun:
        if extraction not in found and extraction.finished():
            with _noted(found, extraction):
                found[extraction] = extraction.conclude()
    return [extraction for extraction in begun if extraction not in found]


def _train(extractions: Sequence[Extraction], found: dict[Extraction, Outcome]) -> None:
    """Iterate until every extraction is in ``found``."""
    if not (begun := [e for e in extractions if e not in found]):
        return
    _set_threads(begun)
    one, total = len(begun) == 1, begun[0].config.iterations * len(begun)
    label = f"extract {begun[0].info.name if one else f'{len(begun)} tasks'}"
    with ProgressDisplay(label, total, "iterations", _done(begun)) as progress:
        while running := _running(begun, found):
            for extraction, figures in zip(running, iterate(running), strict=True):
                with _noted(found, extraction):
                    extraction.advance(figures)
            progress.update(_done(begun), running[0].shown() if one else None)


def _set_threads(extractions: Sequence[Extraction]) -> None:
    """Set the CPU threads that the options name, the best of them by iterations that leave nothing.

    A resumed run keeps its number, since sums depend on it.
    """
    choices, device = extractions[0].options.threads, extractions[0].device
    kept = [e.threads for e in extractions if e.threads in choices]
    if kept or len(choices) == 1:
        torch.set_num_threads((kept or choices)[0])
    elif choices and device.type == "cpu":
        before = [{n: t.clone() for n, t in e.learner.tensors().items()} for e in extractions]
        observation = _start_observations(extractions)
        choose_threads("extract", lambda: _iterations(extractions).measured(observation), choices)
        for extraction, tensors in zip(extractions, before, strict=True):
            extraction.learner.load(tensors, "the weights before")
            extraction.save()


def _done(extractions: Sequence[Extraction]) -> int:
    return sum(extraction.iteration for extraction in extractions)


def iterate(extractions: Sequence[Extraction]) -> list[dict[str, Tensor]]:
    """Run one iteration of each, side by side; return their figures."""
    numbers = [extraction.iteration for extraction in extractions]
    return _iterations(extractions).update(_start_observations(extractions), numbers)


def _iterations(extractions: Sequence[Extraction]) -> Iterations:
    """Return what runs these extractions, kept for as long as they are the same."""
    iterations = extractions[0].iterations
    if iterations is None or iterations.learners != [e.learner for e in extractions]:
        model, graph = extractions[0].model, extractions[0].options.cuda_graph
        tasks = [extraction.index for extraction in extractions]
        iterations = Iterations(model, tasks, [e.learner for e in extractions], graph)
        for extraction in extractions:
            extraction.iterations = iterations
    return iterations


def _start_observations(extractions: Sequence[Extraction]) -> Tensor:
    """Return what the extractions' iterations start from, ``[tasks, batch, O]``."""
    return torch.stack([e.wide(e.start_observations()) for e in extractions])


def simulator(task: str, evaluate: Literal["auto", "real", "model"]) -> Task | None:
    """Return the task to evaluate in, ``None`` where the model is to judge.

    ``auto`` takes what there is; ``UnknownTaskError`` when ``real`` is asked for in vain.
    """
    if evaluate == "model":
        return None
    try:
        return get_task(task)
    except UnknownTaskError:
        if evaluate == "real":
            raise
        return None
