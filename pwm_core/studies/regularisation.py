# SPDX-License-Identifier: Apache-2.0
"""What bounds the latent: a model's accuracy, its smoothness, and the return of policies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from torch import Tensor

from pwm_core.data.dataset import Dataset
from pwm_core.extraction.config import ExtractionConfig
from pwm_core.extraction.frozen_model import FrozenModel
from pwm_core.extraction.layer_gradients import output
from pwm_core.extraction.runner import Extraction
from pwm_core.model.config import SIZES, WorldModelConfig
from pwm_core.studies.drawing import panels, point
from pwm_core.studies.extracting import begin, encoded, frozen, judge, rollouts
from pwm_core.studies.gradient_quality import first_order, own_quality
from pwm_core.studies.smoothness import actor_landscape, actor_parameters, smoothness
from pwm_core.studies.study import Column, Figures, Inputs, Result, Setting, Topic
from pwm_core.studies.table import by_setting, estimate
from pwm_core.studies.world_data import SMALL, WORLD_MODEL, pretrain, recipe

Choice = tuple[str, int, float]
"""Layer, and SimNorm's group and temperature, which no other layer has."""
OTHERS: tuple[Choice, ...] = (
    ("relu", 8, 1.0),
    ("mish", 8, 1.0),
    ("layernorm", 8, 1.0),
    ("spectral", 8, 1.0),
)
SOME: tuple[Choice, ...] = (
    *OTHERS,
    *(("simnorm", 8, t) for t in (0.25, 0.5, 1.0, 2.0, 4.0)),
    *(("simnorm", g, 1.0) for g in (4, 16, 32)),
)
MANY: tuple[Choice, ...] = (
    *OTHERS,
    *(("simnorm", g, t) for g in (4, 8, 16, 32) for t in (0.25, 0.5, 1.0, 2.0, 4.0)),
)
NEIGHBOUR = 0.01
"""Distance of neighbouring observations in standard deviations of each entry."""
PLACES = torch.linspace(0, 0.04, 9)
"""Distances from the untrained actor along its gradient at which the landscape is felt: about as
far as the first update goes that way (it moves by 0.11 in all, 65 degrees from it)."""


@dataclass(frozen=True)
class Regularisation:
    """World models that differ in the last layer of encoder and dynamics only."""

    task: str = "cartpole-swingup"
    choices: tuple[Choice, ...] = SOME
    model: WorldModelConfig = SMALL
    """All else of the world model."""
    updates: int = 500
    """Gradient steps of a world model."""
    seeds: tuple[int, ...] = (0, 1, 2)
    iterations: int = 100
    """Actor updates."""
    batch: int = 64
    """Imagined rollouts per update."""
    episodes: int = 10
    """Real episodes of each policy."""
    probe_batches: int = 8
    """Batches whose gradients are compared."""

    def settings(self) -> Sequence[Setting]:
        return [{"latent layer": _name(choice)} for choice in self.choices]

    def measure(self, setting: Setting, seed: int, inputs: Inputs, folder: Path) -> Figures:
        (choice,) = (c for c in self.choices if _name(c) == setting["latent layer"])
        layer, group, temperature = choice
        model = replace(
            self.model,
            latent_layer=layer,  # type: ignore[arg-type]
            simnorm_group=group,
            simnorm_temperature=temperature,
        )
        out = folder / "world_model"
        pretrain(Dataset(inputs.data), out, recipe(model, self.updates, seed))
        config = ExtractionConfig(
            iterations=self.iterations, batch=self.batch, seed=seed, evaluate="model"
        )
        learned = replace(inputs, world_model=out / WORLD_MODEL)
        extraction = begin(self.task, config, learned, folder / "extraction")
        landscape = self._landscape(extraction)
        for iteration in range(self.iterations):
            extraction.iteration = iteration
            extraction.iterate()
        quality = extraction.trained.quality["tasks"][self.task]
        accuracy = {
            "reward_error": 100 * quality["reward_error"],
            "one_step": 100 * quality["latent_error"][0],
            "open_loop": 100 * quality["latent_error"][-1],
            "sensitivity": sensitivity(extraction),
        }
        return judge(self.task, extraction.policy(), self.episodes) | accuracy | landscape

    def _landscape(self, extraction: Extraction) -> dict[str, float]:
        """Return how smooth the imagined objective is around the untrained actor.

        That actor, start states and noise of a seed are the same whatever the layer.
        """
        model, learner = frozen(extraction), extraction.learner
        samples = list(rollouts(extraction, learner, self.probe_batches))
        gradients = first_order(model, learner, samples)
        variance, ratio = own_quality(gradients)
        gradient = actor_landscape(model, learner, samples)
        along = smoothness(gradient, actor_parameters(learner), gradients.mean(0), PLACES)
        return {
            "signal_to_noise": ratio,
            "gradient_variance": variance,
            "slope": along.slope,
            "bend": along.bend,
        }

    def draw(self, results: Sequence[Result]) -> Mapping[str, Figure]:
        measured = [name for name in AGAINST if estimate(results, name)]
        figure, axes = panels(len(measured), 4)
        for axis, name in zip(axes, measured, strict=True):
            for place, (setting, group) in enumerate(by_setting(results)):
                x, y = estimate(group, name), estimate(group, "return")
                if x is not None and y is not None:
                    label = str(setting["latent layer"])
                    point(axis, x, y, color=to_hex(colormaps["tab20"](place)), label=label)
            axis.set_xlabel(AGAINST[name])
            axis.set_ylabel("return")
            axis.set_xlim(left=0)
            axis.set_ylim(0, 1.05 * axis.get_ylim()[1])
        axes[0].legend(fontsize=6)
        return {"return": figure}


def _name(choice: Choice) -> str:
    layer, group, temperature = choice
    return f"simnorm of {group} at {temperature:g}" if layer == "simnorm" else layer


@torch.no_grad()
def sensitivity(extraction: Extraction) -> float:
    """Return how far apart neighbouring states are after a horizon, over how far they were.

    The extraction's policy acts without noise from both: an estimate of the Lipschitz constant of
    the rollout along the directions that matter. Latents of any scale can be compared.
    """
    model, observation = frozen(extraction), extraction.start_observations()
    scale = observation.std(0) * NEIGHBOUR
    nearby = observation + scale * torch.randn(
        observation.shape, generator=torch.Generator().manual_seed(extraction.config.seed)
    )
    here, there = (encoded(extraction, seen) for seen in (observation, nearby))
    apart = (here - there).norm(dim=1)
    for _ in range(extraction.config.horizon):
        here, there = (_next(model, extraction, z) for z in (here, there))
    return float(((here - there).norm(dim=1) / apart.clamp(min=1e-9)).mean())


def _next(model: FrozenModel, extraction: Extraction, z: Tensor) -> Tensor:
    action = extraction.learner.actor(z)
    spare = model.actions - action.shape[1]
    pair = torch.cat([z, torch.nn.functional.pad(action, (0, spare))], 1)
    return output(model.dynamics, pair[None])[0]


AGAINST = {
    "reward_error": "reward error (%)",
    "one_step": "latent error, one step (% of variance)",
    "open_loop": "latent error, 16 steps (% of variance)",
    "signal_to_noise": "signal to noise of the actor's gradient",
    "gradient_variance": "variance of the actor's gradient",
    "slope": "Lipschitz constant of the objective",
    "bend": "Lipschitz constant of the gradient over its length",
    "sensitivity": "distance after a horizon over that before",
}

TOPIC = Topic(
    "regularisation",
    "Does a smoother world model give better policies, even where it is less accurate? World "
    "models that differ only in what bounds the latent (SimNorm of several groups and "
    "temperatures, Mish, ReLU, LayerNorm, spectral norm): their accuracy, how smooth they are, "
    "and what policies extracted from them earn.",
    (
        Column("return", "return"),
        *(Column(name, title) for name, title in AGAINST.items()),
    ),
    {
        "quick": Regularisation(),
        "full": Regularisation(
            task="cheetah-run", model=SIZES["tiny"], updates=2000, iterations=300
        ),
        "gpu": Regularisation(
            choices=MANY,
            model=SIZES["5M"],
            updates=20_000,
            seeds=(0, 1, 2, 3, 4),
            iterations=5000,
            probe_batches=256,
        ),
    },
    tasks_read=lambda study: (study.task,),
)
