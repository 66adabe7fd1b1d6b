# SPDX-License-Identifier: Apache-2.0
"""``pwm pretrain``: one multi-task world model from a dataset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pwm_core.data.dataset import Dataset
from pwm_core.model.world_model import SIZES
from pwm_core.pretraining.loss import LossWeights
from pwm_core.pretraining.quality import REWARD_ERROR_LIMIT
from pwm_core.pretraining.runner import Pretraining, PretrainingConfig, PretrainingOptions
from pwm_core.tables import print_table


@dataclass(frozen=True)
class Pretrain:
    """Train one world model over all tasks of a dataset. An interrupted run resumes."""

    data: Path = Path("runs/data")
    """Dataset directory."""
    out: Path = Path("runs/world_model")
    """Run directory; ``world_model.safetensors`` is the result."""
    size: Literal["tiny", "1M", "5M", "19M", "48M", "317M"] = "tiny"
    """Model size by TD-MPC2's names; tiny has 0.3 million parameters."""
    updates: int = 2000
    """Gradient steps."""
    transitions: int = 1024
    """Transitions per update (published: 1024 windows of 16)."""
    horizon: int = 16
    """Decisions per window at the end of training and when the model is judged."""
    curriculum: bool = True
    """Train half the updates on windows of 4, a quarter on windows of 8, then the full horizon."""
    learning_rate: float = 1e-3
    """Adam's learning rate (published: 3e-4 for much longer training)."""
    encoder_rate: float = 0.3
    """Factor on the encoder's learning rate."""
    consistency: float = 20.0
    """Weight of latent consistency."""
    reward: float = 0.1
    """Weight of the reward's cross-entropy."""
    clip: float = 1.0
    """Largest gradient norm (published: 20)."""
    held_out: float = 0.1
    """Share of episodes held out to judge the model."""
    seed: int = 0
    """Seed of weights and batches."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 …"""
    compile: bool = True
    """Compile the networks (needs a C++ compiler; pays from about 500 updates on)."""
    threads: int = 0
    """CPU threads; 0 measures at the start whether more than one pays."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> int:
        """Train, then print the model's errors on held-out episodes."""
        dataset = Dataset(self.data)
        options = PretrainingOptions(self.device, self.compile, self.threads)
        trained = Pretraining(dataset, self.out, self._config(), options).run()
        latent = trained.quality["latent_error"]
        row = {
            "world model": str(self.out / "world_model.safetensors"),
            "parameters": sum(p.numel() for p in trained.model.parameters()),
            "reward error": f"{trained.quality['reward_error']:.2%}",
            "latent error, 1 step": f"{latent[0]:.2%}",
            f"latent error, {len(latent)} steps": f"{latent[-1]:.2%}",
        }
        title = (
            "Held-out, open loop: squared error / variance "
            f"(policies exploit models above {REWARD_ERROR_LIMIT:.0%} reward error)"
        )
        print_table(title, [row], self.json)
        return 0

    def _config(self) -> PretrainingConfig:
        return PretrainingConfig(
            model=SIZES[self.size],
            weights=LossWeights(self.consistency, self.reward),
            updates=self.updates,
            transitions=self.transitions,
            horizon=self.horizon,
            curriculum=((0.5, 4), (0.25, 8)) if self.curriculum else (),
            learning_rate=self.learning_rate,
            encoder_rate=self.encoder_rate,
            clip=self.clip,
            betas=(0.9, 0.95),
            held_out=self.held_out,
            seed=self.seed,
        )
