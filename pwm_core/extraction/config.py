# SPDX-License-Identifier: Apache-2.0
"""How a policy is extracted: every number and every switch, and the published settings of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Literal

from pwm_core.extraction.actor_critic import Networks
from pwm_core.limits import BELOW_ONE, FRACTION, INSIDE, NOT_NEGATIVE, ONE_OR_MORE, POSITIVE

Preset = Literal["default", "paper", "released"]


@dataclass(frozen=True)
class ExtractionConfig:
    """What decides which policy comes out. The defaults are those of preset ``default``."""

    iterations: int = 400
    """Actor updates at most."""
    batch: int = 64
    """Imagined rollouts per iteration."""
    horizon: int = 16
    """Decisions per rollout."""
    actor_hidden: tuple[int, ...] = (256, 128)
    """Hidden layers of the actor."""
    critic_hidden: tuple[int, ...] = (256, 128)
    """Hidden layers of the critics."""
    critics: int = 3
    """Members of the critic ensemble; the actor sees their minimum."""
    critic_passes: int = 4
    """Passes of the critics over the imagined states, per iteration."""
    critic_batches: int = 4
    """Mini-batches per pass."""
    critic_iterations: int = 0
    """First iterations, in which the critics alone learn: for an actor that is not new."""
    lam: float = 0.95
    """TD(lambda)'s lambda."""
    actor_rate: float = 5e-4
    """Actor's learning rate, linear to ``final_rate``."""
    critic_rate: float = 5e-4
    """Critics' learning rate, linear to ``final_rate``."""
    final_rate: float = 1e-5
    """Learning rate after the last iteration."""
    betas: tuple[float, float] = (0.7, 0.95)
    """Adam's moment decays."""
    actor_clip: float = 1.0
    """Largest gradient norm of the actor."""
    critic_clip: float = 100.0
    """Largest gradient norm of the critics together, whose losses are summed."""
    sigma_floor: float = 0.24
    """Smallest exploration scale in imagination."""
    seed: int = 0
    """Seed of weights, start states and noise."""
    discount: float | None = None
    """Discount per decision; None takes the task's own, from its episode length (TD-MPC2)."""
    bootstrap: Literal["H", "H+1"] = "H"
    """Exponent of the discount on the last state's value; H+1 is a slip of the released code."""
    imagined_reward: Literal["decoded", "symlog"] = "decoded"
    """Reward as the task counts it, or compressed by symlog."""
    action_masks: bool = True
    """Keep padded actions at zero, as in the data; else the actor drives them too."""
    shuffle: bool = True
    """Draw the critics' mini-batches over all steps; else they are contiguous blocks of time."""
    detach_actor: bool = False
    """Cut the gradient from a latent into the action taken there: it flows through F alone."""
    networks: Networks = "norm-mish"
    """Order within hidden layers; ``mish-norm`` also starts from the released initial weights."""
    spread: Literal["targets", "returns"] = "targets"
    """What the actor's loss is divided by: deviation of recent critic targets, or of all returns
    since the start."""
    scale_values: bool = True
    """Count rewards in units of a typical return, so that critics learn numbers near one."""
    resample_episodes: bool = False
    """Draw episodes with replacement (a third of the data is lost), starts with a horizon left."""
    uncertainty_penalty: float = 0.0
    """Reward deviations taken off for a step on which the dynamics heads disagree as they do on
    the data; needs a model with several heads."""
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    """Of matrix products: TF32 on a GPU, or bfloat16 for the frozen model's and TF32 for others."""
    evaluate: Literal["auto", "real", "model"] = "auto"
    """Judge by the simulator, or by the model's own estimate; auto: real where there is one."""
    patience: int = 0
    """Stop after so many evaluations without a better one; 0 never stops early."""
    keep: Literal["last", "best"] = "last"
    """Policy of the last iteration, or of the best evaluation."""
    preset: Preset = "default"
    """Settings that the others started from."""
    overrides: tuple[str, ...] = ()
    """Fields that differ from the preset's, the seed aside."""

    def __post_init__(self) -> None:
        ONE_OR_MORE.require(self, "iterations", "batch", "horizon", "actor_hidden", "critic_hidden")
        ONE_OR_MORE.require(self, "critics", "critic_passes", "critic_batches")
        POSITIVE.require(self, "actor_rate", "critic_rate", "actor_clip", "critic_clip")
        POSITIVE.require(self, "sigma_floor")
        NOT_NEGATIVE.require(self, "final_rate", "uncertainty_penalty", "patience", "seed")
        NOT_NEGATIVE.require(self, "critic_iterations")
        FRACTION.require(self, "lam")
        BELOW_ONE.require(self, "betas")
        if self.discount is not None:
            INSIDE.require(self, "discount")


_PAPER = ExtractionConfig(
    iterations=10_000,
    batch=512,
    actor_hidden=(400, 200, 100),
    critic_hidden=(400, 200),
    critic_passes=8,
    critic_clip=300.0,  # published: 100 on the mean over three critics
    sigma_floor=math.exp(-1.427),
    discount=0.99,
    spread="returns",
    scale_values=False,
    preset="paper",
)

PRESETS: dict[Preset, ExtractionConfig] = {
    "default": ExtractionConfig(),
    "paper": _PAPER,
    "released": replace(
        _PAPER,
        bootstrap="H+1",
        imagined_reward="symlog",
        action_masks=False,
        shuffle=False,
        detach_actor=True,
        networks="mish-norm",
        resample_episodes=True,
        preset="released",
    ),
}
"""``paper``: arXiv 2407.02466 as written. ``released``: its public code, slips included."""


@dataclass(frozen=True)
class Overrides:
    """Options that replace what the preset says."""

    iterations: int | None = None
    """Actor updates at most (default 400, published 10,000)."""
    batch: int | None = None
    """Imagined rollouts per iteration (default 64, published 512; 32 was best on Ant)."""
    horizon: int | None = None
    """Decisions per rollout (16)."""
    actor_hidden: tuple[int, ...] | None = None
    """Hidden layers of the actor (default 256 128, published 400 200 100)."""
    critic_hidden: tuple[int, ...] | None = None
    """Hidden layers of the critics (default 256 128, published 400 200)."""
    critics: int | None = None
    """Critics in the ensemble (3)."""
    critic_passes: int | None = None
    """Critic passes over the imagined states per iteration (default 4, published 8)."""
    critic_batches: int | None = None
    """Mini-batches per pass (4)."""
    learning_rate: float | None = None
    """Learning rate of actor and critics, linear to 1e-5 (5e-4)."""
    sigma_floor: float | None = None
    """Smallest exploration scale in imagination (0.24)."""
    discount: float | None = None
    """One discount for all tasks (default: each task's own, published 0.99)."""
    bootstrap: Literal["H", "H+1"] | None = None
    """Exponent of the discount on the last value (H; released H+1)."""
    imagined_reward: Literal["decoded", "symlog"] | None = None
    """Imagined reward as the task counts it or left in symlog space (decoded; released symlog)."""
    action_masks: bool | None = None
    """Keep padded actions at zero (True; released False)."""
    shuffle: bool | None = None
    """Shuffle the critics' mini-batches (True; released False)."""
    detach_actor: bool | None = None
    """Cut the gradient from latents into actions (False; released True)."""
    networks: Networks | None = None
    """Order within hidden layers (norm-mish; released mish-norm)."""
    spread: Literal["targets", "returns"] | None = None
    """What the actor's loss is divided by (default targets, published returns)."""
    scale_values: bool | None = None
    """Count rewards in units of a typical return (default True, published False)."""
    resample_episodes: bool | None = None
    """Start from episodes drawn with replacement (False; released True)."""
    uncertainty_penalty: float | None = None
    """Reward deviations taken off where the dynamics heads disagree as on the data (0)."""
    precision: Literal["float32", "tf32", "bfloat16"] | None = None
    """Of matrix products: tf32 on a GPU, or bfloat16 for the frozen model's, tf32 for others
    (float32)."""
    evaluate: Literal["auto", "real", "model"] | None = None
    """Judge by the simulator or by the model's own estimate (auto: real where there is one)."""
    patience: int | None = None
    """Stop after so many evaluations without a better one (0: never)."""
    keep: Literal["last", "best"] | None = None
    """Keep the last policy or that of the best evaluation (last)."""


def configure(preset: Preset, overrides: Overrides, seed: int) -> ExtractionConfig:
    """Return ``preset`` with what ``overrides`` gives; the names of what differs are kept in it."""
    base = PRESETS[preset]
    given = {name: value for name, value in vars(overrides).items() if value is not None}
    if (rate := given.pop("learning_rate", None)) is not None:
        given |= {"actor_rate": rate, "critic_rate": rate}
    config = replace(base, **given)
    names = [field.name for field in fields(config)]
    different = tuple(name for name in names if getattr(config, name) != getattr(base, name))
    return replace(config, seed=seed, overrides=different)


@dataclass(frozen=True)
class ExtractionOptions:
    """What does not change the numbers (up to float rounding).

    How often and how well policies are evaluated decides only where ``patience`` or ``keep best``
    looks at it.
    """

    device: str = "auto"
    """auto, cpu, cuda, cuda:1 …"""
    compile: bool = False
    """Compile the critics' gradient."""
    evaluate_every: int = 100
    """Iterations between evaluations."""
    evaluation_episodes: int = 4
    """Episodes per evaluation."""
    checkpoint_every: int = 100
    """Iterations between checkpoints."""
    cuda_graph: bool = True
    """On a GPU: start each iteration as one CUDA graph."""
    threads: tuple[int, ...] = ()
    """Numbers of CPU threads to choose from by measurement; none leaves them as they are."""

    def __post_init__(self) -> None:
        ONE_OR_MORE.require(self, "evaluate_every", "evaluation_episodes", "checkpoint_every")
        ONE_OR_MORE.require(self, "threads")
