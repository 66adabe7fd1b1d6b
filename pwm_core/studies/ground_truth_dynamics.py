# SPDX-License-Identifier: Apache-2.0
"""The same extractor through true dynamics and through a world model of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from pwm_core.data.behaviours import Correlated, SamplingMpc
from pwm_core.data.collect import collect, plan
from pwm_core.data.dataset import Dataset
from pwm_core.evaluation.episodes import deterministic, run_episodes
from pwm_core.extraction.config import ExtractionConfig
from pwm_core.extraction.frozen_model import FrozenModel
from pwm_core.extraction.layer_gradients import output
from pwm_core.extraction.learner import Learner
from pwm_core.extraction.reward import training_reward
from pwm_core.extraction.runner import Extraction
from pwm_core.extraction.together import Together
from pwm_core.model.config import SIZES, WorldModelConfig
from pwm_core.studies.analytic_worlds import AnalyticWorld, BallAgainstWall, DoublePendulum
from pwm_core.studies.drawing import bars, panels, selected
from pwm_core.studies.extracting import begin, encoded, frozen, rollouts
from pwm_core.studies.gradient_quality import first_order, own_quality
from pwm_core.studies.mujoco_world import mujoco_world
from pwm_core.studies.study import Column, Figures, Inputs, Result, Setting, Topic
from pwm_core.studies.true_world import TrueWorld, true_returns
from pwm_core.studies.world_data import SMALL, WORLD_MODEL, collect_random, pretrain, recipe

ANALYTIC: dict[str, Callable[[], AnalyticWorld]] = {
    "double-pendulum": DoublePendulum,
    "ball-against-wall": BallAgainstWall,
}
TRUE, MODEL = "true dynamics", "world model"


@dataclass(frozen=True)
class GroundTruthDynamics:
    """Worlds with gradients of their own, against world models trained on their data.

    Every seed collects data of its own, which both ways of extraction start from.
    """

    analytic: tuple[str, ...] = ("double-pendulum", "ball-against-wall")
    """Worlds in closed form."""
    mujoco: tuple[str, ...] = ("cartpole-swingup", "cheetah-run")
    """Tasks of MuJoCo: without contacts, and on them."""
    seeds: tuple[int, ...] = (0, 1, 2)
    iterations: int = 100
    batch: int = 32
    horizon: int = 16
    model: WorldModelConfig = SMALL
    """World model of each world."""
    updates: int = 500
    """Its gradient steps."""
    episodes: int = 300
    """Episodes of random actions in an analytic world: its data."""
    steps: int = 100
    """Decisions per episode of an analytic world."""
    wandering: int = 24
    """Episodes of correlated noise on a task of MuJoCo, ..."""
    planned: int = 2
    """... and of disturbed planning on the true dynamics: its data."""
    judged: int = 32
    """Episodes of an analytic world that judge a policy; 10 of a task."""
    probe_batches: int = 8
    """Batches whose gradients are compared, at the untrained actor and at the trained one."""
    landscape_points: int = 401
    landscape_steps: int = 100
    """Decisions over which the landscape's return is summed."""

    def settings(self) -> Sequence[Setting]:
        worlds = (*self.analytic, *self.mujoco)
        return [
            {"world": world, "through": through} for world in worlds for through in (TRUE, MODEL)
        ]

    def measure(self, setting: Setting, seed: int, inputs: Inputs, folder: Path) -> Figures:
        name = str(setting["world"])
        world = true_world(name)
        extraction = self._extraction(name, seed, self._learned(name, world, seed, folder), folder)
        if setting["through"] == MODEL:
            model = frozen(extraction)
        else:
            model = world
            extraction.learner = self._learner(world, extraction)
        before = self._probe(model, extraction)
        together = Together(model, [extraction.learner])
        for iteration in range(self.iterations):
            extraction.iteration = iteration
            together.update(self._starts(model, extraction)[None], [iteration])
        after = self._probe(model, extraction)
        landscape = self._landscape(world, model, extraction)
        return {
            "return": self._returns(name, world, model, extraction),
            "signal_to_noise_before": before,
            "signal_to_noise_after": after,
            "wiggles": wiggles(landscape),
            "largest_jump": largest_jump(landscape),
            "landscape": landscape,
        }

    def _learned(self, name: str, world: TrueWorld, seed: int, folder: Path) -> Inputs:
        """Return data of ``world`` and a model trained on it; the first cell makes them."""
        shared = folder.parent / f"learned,world={name},seed={seed}"
        data, out = shared / "data", shared / "world_model"
        with FileLock(f"{shared}.lock"):
            if isinstance(world, AnalyticWorld):
                collect_random(name, world, data, self.episodes, self.steps, seed)
            else:
                mixed = (Correlated(), self.wandering), (SamplingMpc(0.4), self.planned)
                collect(plan([name], mixed, seed), data, workers=1)
            pretrain(Dataset(data), out, recipe(self.model, self.updates, seed))
        return Inputs(data, out / WORLD_MODEL)

    def _extraction(self, name: str, seed: int, inputs: Inputs, folder: Path) -> Extraction:
        config = ExtractionConfig(
            iterations=self.iterations,
            batch=self.batch,
            horizon=self.horizon,
            seed=seed,
            evaluate="model",
        )
        return begin(name, config, inputs, folder)

    def _learner(self, world: TrueWorld, extraction: Extraction) -> Learner:
        """Return a learner on observations instead of latents, all else the same."""
        info, config = extraction.info, extraction.config
        episodes = extraction.dataset.of_task(info.name)
        earned = [extraction.dataset.reward[e.start + 1 : e.rows.stop] for e in episodes]
        reward = training_reward(config, np.concatenate(earned), info.discount, 1.0)
        device = torch.device("cpu")
        return Learner(world.latent, world.actions, info.discount, reward, config, device)

    @torch.no_grad()
    def _starts(self, model: FrozenModel, extraction: Extraction) -> Tensor:
        """Return states ``[batch, latent]`` that the extraction's iteration starts from."""
        return self._encoded(model, extraction, extraction.start_observations())

    def _encoded(self, model: FrozenModel, extraction: Extraction, observation: Tensor) -> Tensor:
        return observation if isinstance(model, TrueWorld) else encoded(extraction, observation)

    def _probe(self, model: FrozenModel, extraction: Extraction) -> float:
        """Return the signal to noise of the actor's gradient from one batch."""
        learner = extraction.learner
        samples = rollouts(
            extraction, learner, self.probe_batches, lambda each: self._starts(model, each)
        )
        return own_quality(first_order(model, learner, samples))[1]

    @torch.no_grad()
    def _landscape(
        self, world: TrueWorld, model: FrozenModel, extraction: Extraction
    ) -> list[float]:
        """Return what ``model`` says is earned along the world's line, ``landscape_points``."""
        observation, action = world.line(torch.linspace(0, 1, self.landscape_points))
        z = self._encoded(model, extraction, observation)
        action, total = action.to(z.device), torch.zeros(len(z), device=z.device)
        spare = model.actions - action.shape[1]
        for _ in range(self.landscape_steps):
            pair = torch.cat([z, torch.nn.functional.pad(action, (0, spare))], 1)[None]
            total += model.reward(pair)[0]
            if isinstance(model, TrueWorld):  # whose network would prepare for a way back
                z = model.next(z, action)
            else:
                z = output(model.dynamics, pair)[0]
        return total.tolist()

    def _returns(
        self, name: str, world: TrueWorld, model: FrozenModel, extraction: Extraction
    ) -> list[float]:
        """Return what the policy earns in the true world, episode by episode."""
        through_model = not isinstance(model, TrueWorld)
        policy = extraction.policy() if through_model else extraction.learner.actor
        if isinstance(world, AnalyticWorld):
            starts = world.starts(self.judged, torch.Generator().manual_seed(12345))
            return true_returns(world, policy, starts, self.steps).tolist()
        task = mujoco_world(name).task
        return run_episodes(task, deterministic(policy), range(10)).returns.tolist()

    def draw(self, results: Sequence[Result]) -> Mapping[str, Figure]:
        worlds = (*self.analytic, *self.mujoco)
        figure, axes = panels(len(worlds), 2)
        for axis, name in zip(axes, worlds, strict=True):
            self._draw_landscapes(axis, name, selected(results, world=name))
        returns, axes = panels(len(worlds), 4)
        for axis, name in zip(axes, worlds, strict=True):
            bars(axis, selected(results, world=name), "through", "return")
            axis.set_title(name, fontsize=10)
            axis.set_ylabel("return in the true world")
        return {"landscapes": figure, "returns": returns}

    def _draw_landscapes(self, axis: Axes, name: str, results: Sequence[Result]) -> None:
        """Draw the true landscape, which seeds share, and that of every seed's model."""
        world = true_world(name)
        true, learned = selected(results, through=TRUE)[:1], selected(results, through=MODEL)
        for result in (*true, *learned):
            heights, own = result.figures["landscape"], result in true
            axis.plot(
                np.linspace(*world.line_ends, len(heights)),
                heights,
                color="black" if own else f"C{result.seed}",
                lw=1.2 if own else 0.8,
                label=TRUE if own else f"{MODEL}, seed {result.seed}",
            )
        axis.set_title(name, fontsize=10)
        axis.set_xlabel(world.line_name)
        axis.set_ylabel(f"return of {self.landscape_steps} decisions")
        axis.locator_params(axis="x", nbins=5)
        axis.legend(fontsize=7)


def true_world(name: str) -> TrueWorld:
    """Return the world called ``name``, in closed form or of MuJoCo."""
    return ANALYTIC[name]() if name in ANALYTIC else mujoco_world(name)


def wiggles(heights: Sequence[float]) -> float:
    """Return the way up and down along ``heights`` over their range: 1 where it only rises."""
    steps = np.abs(np.diff(heights))
    return float(steps.sum() / max(np.ptp(heights), 1e-12))


def largest_jump(heights: Sequence[float]) -> float:
    """Return the largest step between neighbours over the range of ``heights``."""
    return float(np.abs(np.diff(heights)).max() / max(np.ptp(heights), 1e-12))


TOPIC = Topic(
    "ground-truth-dynamics",
    "Is a regularised world model a better landscape for first-order extraction than the true "
    "dynamics? The same extractor works through both: a double pendulum and a ball against a wall "
    "in closed form (the paper's teaching cases), and MuJoCo through its own derivatives "
    "(`mjd_transitionFD`), without contacts and with them. Every world has a model of its own, "
    "trained on its own data. Policies are judged in the true world.",
    (
        Column("return", "return in the true world"),
        Column("signal_to_noise_before", "signal to noise, untrained actor"),
        Column("signal_to_noise_after", "signal to noise, trained actor"),
        Column("wiggles", "landscape: way over range"),
        Column("largest_jump", "landscape: largest step over range"),
    ),
    {
        "quick": GroundTruthDynamics(),
        "full": GroundTruthDynamics(
            iterations=300,
            batch=64,
            model=SIZES["tiny"],
            updates=2000,
            episodes=1000,
            wandering=24,
            planned=24,
            probe_batches=16,
        ),
        "gpu": GroundTruthDynamics(
            seeds=(0, 1, 2, 3, 4),
            iterations=5000,
            batch=64,
            model=SIZES["5M"],
            updates=20_000,
            episodes=5000,
            wandering=500,
            planned=200,
            probe_batches=128,
        ),
    },
)
