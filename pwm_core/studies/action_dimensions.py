# SPDX-License-Identifier: Apache-2.0
"""How extraction scales with the number of actions, where the optimum is known exactly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from pwm_core.device import resolve_device
from pwm_core.extraction.config import ExtractionConfig
from pwm_core.extraction.frozen_model import FrozenModel
from pwm_core.extraction.learner import Learner
from pwm_core.extraction.reward import TrainingReward
from pwm_core.extraction.together import Together
from pwm_core.studies.drawing import curve, measured_places, panels, selected, values
from pwm_core.studies.gradient_quality import (
    GradientQuality,
    first_order,
    gradient_quality,
    score_function,
)
from pwm_core.studies.linear_quadratic import (
    Body,
    LinearQuadraticModel,
    Regulator,
    discounted_cost,
    identified,
    regulator,
)
from pwm_core.studies.score_function import ScoreFunction
from pwm_core.studies.study import Column, Figures, Inputs, Result, Setting, Topic

FIRST_ORDER, LEARNED, SCORE = "first-order", "first-order, learned model", "score function"
SPREAD = 0.3
"""Standard deviation of the states that imagination and evaluation start from."""
DISCOUNT = 0.99
EVALUATION_SEED, REFERENCE_SEED = 1_000_000, 2_000_000
"""Seeds of the states that policies are judged on, and of those of the true gradient."""


@dataclass(frozen=True)
class ActionDimensions:
    """Regulators with more and more actuators, each solved by extraction in several ways."""

    bodies: tuple[Body, ...] = ("muscles", "joints")
    actions: tuple[int, ...] = (2, 32, 500)
    """Numbers of actuators."""
    most_joints: int = 32
    """Largest chain: its state has two numbers for each joint."""
    seeds: tuple[int, ...] = (0, 1, 2)
    iterations: int = 200
    """Actor updates of every method."""
    batch: int = 64
    horizon: int = 16
    actor_rates: tuple[float, ...] = (1e-2, 1e-3)
    """Learning rates of the actor that are tried; the best by the model's own account counts."""
    critic_hidden: tuple[int, ...] = (64, 64)
    critic_passes: int = 1
    transitions: int = 5000
    """Random transitions that the learned model is fitted to."""
    measurement_noise: float = 0.01
    """Standard deviation of the noise on the states that those transitions lead to."""
    probe_after: int = 50
    """First-order updates after which gradients are judged: the same policy for all methods."""
    probe_batches: int = 32
    """Batches whose gradients are held against the true one."""
    reference_batches: int = 128
    """Batches whose mean first-order gradient through the true model is called the true one."""
    evaluation_starts: int = 256
    evaluation_steps: int = 400
    """Decisions after which the rest of the cost, discounted to below 2 %, is left out."""

    @property
    def device(self) -> torch.device:
        """Where everything is computed: a GPU where there is one."""
        return resolve_device("auto")

    def settings(self) -> Sequence[Setting]:
        return [
            {"body": body, "actions": actions, "method": method}
            for body in self.bodies
            for actions in self.actions
            if body == "muscles" or actions <= self.most_joints
            for method in (FIRST_ORDER, LEARNED, SCORE)
        ]

    def measure(self, setting: Setting, seed: int, inputs: Inputs, folder: Path) -> Figures:
        body, actions = cast(Body, setting["body"]), int(setting["actions"])
        true = regulator(body, actions, DISCOUNT)
        known = true
        if setting["method"] == LEARNED:
            known = identified(true, self.transitions, self.measurement_noise, seed)
        score = setting["method"] == SCORE
        found = [self._extract(known, score, seed, rate) for rate in self.actor_rates]
        actor = min(found, key=lambda learner: self._cost(known, learner.actor)).actor
        quality = self._gradient_quality(true, known, score, seed)
        least = self._least(true)
        return {
            "regret": 100 * (self._cost(true, actor) / least - 1),
            "optimal_gain_regret": 100 * (self._cost(true, _OptimalGain(true)) / least - 1),
            "cosine": quality.cosine,
            "signal_to_noise": quality.signal_to_noise,
        }

    def _learner(self, known: Regulator, seed: int, rate: float) -> Learner:
        """Return a new learner; its actor is linear behind the tanh, as the optimum is."""
        config = ExtractionConfig(
            iterations=self.iterations,
            batch=self.batch,
            horizon=self.horizon,
            actor_hidden=(),
            critic_hidden=self.critic_hidden,
            critic_passes=self.critic_passes,
            actor_rate=rate,
            critic_rate=1e-3,
            final_rate=rate / 100,
            seed=seed,
        )
        typical = SPREAD**2 * float(known.q.sum()) / (1 - known.discount)
        reward = TrainingReward(symlog=False, scale=typical, penalty=0.0)
        states, actions = known.b.shape
        return Learner(states, actions, known.discount, reward, config, self.device)

    def _extract(self, known: Regulator, score: bool, seed: int, rate: float) -> Learner:
        """Return a learner after all its iterations in the model that is ``known``."""
        learner = self._learner(known, seed, rate)
        model = LinearQuadraticModel(known, self.device)
        if score:
            self._zeroth(ScoreFunction(model, learner))
        else:
            self._first(Together(model, [learner]), model, self.iterations, seed)
        return learner

    def _zeroth(self, method: ScoreFunction) -> None:
        seed = method.learner.config.seed
        for iteration in range(self.iterations):
            method.update(self._starts(method.model, seed, iteration), iteration)

    def _first(self, method: Together, model: FrozenModel, iterations: int, seed: int) -> None:
        for iteration in range(iterations):
            method.update(self._starts(model, seed, iteration)[None], [iteration])

    def _starts(self, model: FrozenModel, seed: int, iteration: int) -> Tensor:
        return _states(self.batch, model.latent, seed * 10_007 + iteration).to(self.device)

    def _cost(self, of: Regulator, policy: nn.Module) -> float:
        """Return the mean discounted cost of ``policy``."""
        x = _states(self.evaluation_starts, len(of.a), EVALUATION_SEED).to(self.device)
        return float(discounted_cost(of, policy, x, self.evaluation_steps).mean())

    def _least(self, of: Regulator) -> float:
        """Return the mean of the least costs possible from the same states."""
        x = _states(self.evaluation_starts, len(of.a), EVALUATION_SEED)
        p = torch.from_numpy(of.cost_to_go()).float()
        return float((x @ p * x).sum(1).mean())

    def _gradient_quality(
        self, true: Regulator, known: Regulator, score: bool, seed: int
    ) -> GradientQuality:
        """Judge the method's gradient of a batch at a policy that is half trained."""
        world, model = (LinearQuadraticModel(each, self.device) for each in (true, known))
        learner = self._learner(true, seed, self.actor_rates[0])
        self._first(Together(world, [learner]), world, self.probe_after, seed)
        exact = Together(world, [learner.twin()])
        truth = torch.zeros_like(learner.actor_gradient())
        for z, noise in self._samples(learner, self.reference_batches, REFERENCE_SEED):
            truth += exact.ascend(z[None], noise[:, None])[0] / self.reference_batches
        samples = self._samples(learner, self.probe_batches, seed)
        gradients = score_function if score else first_order
        return gradient_quality(gradients(model, learner, samples), truth)

    def _samples(
        self, learner: Learner, batches: int, seed: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield starts ``[batch, state]`` and noise ``[horizon, batch, A]``."""
        size = learner.actor.mean.get_parameter("0.weight").shape[1]
        for batch in range(batches):
            generator = torch.Generator(self.device).manual_seed(seed * 10_007 + batch + 5_000)
            z = SPREAD * torch.randn(self.batch, size, generator=generator, device=self.device)
            yield z, learner.noise(self.batch, generator)

    def draw(self, results: Sequence[Result]) -> Mapping[str, Figure]:
        return {"scaling": self._scaling(results)}

    def _scaling(self, results: Sequence[Result]) -> Figure:
        bodies = values(results, "body")
        figure, axes = panels(3 * len(bodies))
        for row, body in enumerate(bodies):
            regret, cosine, noise = axes[3 * row : 3 * row + 3]
            of_body = selected(results, body=body)
            for method in values(of_body, "method"):
                chosen = selected(of_body, method=method)
                dashes = "--" if method == LEARNED else "-"  # which lies upon that of the true one
                curve(regret, chosen, "actions", "regret", str(method), _positive, ls=dashes)
                curve(cosine, chosen, "actions", "cosine", ls=dashes)
                curve(noise, chosen, "actions", "signal_to_noise", None, _positive, ls=dashes)
            chosen = selected(of_body, method=FIRST_ORDER)
            curve(regret, chosen, "actions", "optimal_gain_regret", "optimal gain, tanh", _positive)
            regret.set_ylabel(f"{body}: regret (%)")
            cosine.set_ylabel("cosine to the true gradient")
            noise.set_ylabel("signal to noise of a batch")
            cosine.set_ylim(-0.05, 1.05)
            for each in (regret, noise):
                each.set_yscale("log")
            for each in (regret, cosine, noise):
                measured_places(each, values(of_body, "actions"))
                each.set_xlabel("actions")
            regret.legend(fontsize=7)
        return figure


class _OptimalGain(nn.Module):
    """The optimal controller behind the tanh that every actor has: ``tanh(−K x)``."""

    def __init__(self, of: Regulator) -> None:
        super().__init__()
        self._gain = torch.from_numpy(of.gain())

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(-x @ self._gain.to(x).T)


def _states(count: int, size: int, seed: int) -> Tensor:
    """Return states ``[count, size]`` to start from."""
    return SPREAD * torch.randn(count, size, generator=torch.Generator().manual_seed(seed))


def _positive(value: float) -> float:
    """Return ``value``, or the smallest that a logarithmic axis is to show."""
    return max(value, 1e-6)


TOPIC = Topic(
    "action-dimensions",
    "How does extraction scale with the number of actions? On linear-quadratic regulators the "
    "optimum is known exactly (Riccati), so that regret and the quality of gradients can be told. "
    "The extractor is `pwm extract`'s own: in the true linear model, in one fitted to noisy "
    "transitions, and with the model's gradient replaced by the score function (REINFORCE with "
    "the critics as a baseline) on the same samples.",
    (
        Column("regret", "regret (%)"),
        Column("optimal_gain_regret", "of the optimal gain behind the tanh (%)"),
        Column("cosine", "cosine to the true gradient"),
        Column("signal_to_noise", "signal to noise of a batch"),
    ),
    {
        "quick": ActionDimensions(),
        "full": ActionDimensions(
            actions=(2, 8, 32, 128, 500), most_joints=128, iterations=400, critic_passes=2
        ),
        "gpu": ActionDimensions(
            actions=(2, 4, 8, 16, 32, 64, 128, 256, 500, 1000),
            most_joints=500,
            seeds=(0, 1, 2, 3, 4),
            iterations=5000,
            batch=512,
            actor_rates=(1e-2, 3e-3, 1e-3, 3e-4),
            critic_hidden=(256, 128),
            critic_passes=4,
            probe_batches=256,
            reference_batches=1024,
        ),
    },
)
