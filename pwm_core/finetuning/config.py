# SPDX-License-Identifier: Apache-2.0
"""How a running policy is fine-tuned, and what a candidate must hold to be proposed."""

from __future__ import annotations

from dataclasses import dataclass, field

from pwm_core.limits import INSIDE, NOT_NEGATIVE, ONE_OR_MORE, POSITIVE


@dataclass(frozen=True)
class GateConfig:
    """Bounds of the gate."""

    action_change: float = 1.0
    """Largest root mean square of the change of actions, which are in [-1, 1]."""
    action_drift: float = 2.0
    """The same against the policy that all rounds began with (``--origin``). Two is the most that
    actions can be apart: it lets all pass."""
    recorded_rewards: float = 0.05
    """Largest squared difference of recorded rewards from what the old model expects where the
    offline data lies near, relative to the variance of its rewards."""
    trust_rewards: bool = False
    """Take recorded rewards for right that the offline data lies nowhere near, as those of a robot
    whose sensors have shifted. Those that it lies near are held against it all the same."""
    reward_error: float = 0.06
    """Largest relative squared error of rewards on held-out offline data, one decision ahead. The
    task's reward is the same on any robot: where this grows, the online rewards contradict it."""
    told_apart: float = 2.0
    """Standard errors by which the new model may predict held-out online windows worse than the old
    one before it counts as worse and not merely unlucky; 0 lets no higher error pass."""
    starts: int = 64
    """Held-out online states from which both policies imagine, besides the episodes' first."""
    observations: int = 2000
    """Held-out online observations on which both policies act, at most."""

    def __post_init__(self) -> None:
        POSITIVE.require(self, "action_change", "action_drift", "recorded_rewards", "reward_error")
        NOT_NEGATIVE.require(self, "told_apart")
        ONE_OR_MORE.require(self, "starts", "observations")


@dataclass(frozen=True)
class FinetuningConfig:
    """What decides which candidate comes out."""

    updates: int = 300
    """Gradient steps of the world model."""
    transitions: int = 1024
    """Transitions per step, half of them online."""
    horizon: int = 16
    """Decisions per window."""
    learning_rate: float = 3e-4
    """Adam's for the world model, cosine decay."""
    clip: float = 1.0
    """Largest gradient norm of the world model."""
    iterations: int = 60
    """Actor updates at most, of the warm-started extraction; the best of them is kept."""
    actor_rate: float = 1e-4
    """Actor's learning rate, a fifth of what it was extracted with."""
    action_penalty: float = 0.3
    """Taken off the objective, in deviations of returns, per squared change of an action."""
    critic_iterations: int = 60
    """Iterations before them in which the critics, which begin anew, learn the running policy."""
    online_starts: float = 0.75
    """Share of imagination's start states that are online data."""
    held_out: float = 0.2
    """Share of online, and of offline, episodes that judge and never train."""
    seed: int = 0
    """Seed of batches, start states, noise and critics."""
    gate: GateConfig = field(default_factory=GateConfig)
    """What a candidate must hold."""

    def __post_init__(self) -> None:
        ONE_OR_MORE.require(self, "updates", "transitions", "horizon", "iterations")
        POSITIVE.require(self, "learning_rate", "actor_rate", "clip")
        NOT_NEGATIVE.require(self, "action_penalty", "critic_iterations", "seed")
        INSIDE.require(self, "held_out", "online_starts")
