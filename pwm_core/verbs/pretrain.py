# SPDX-License-Identifier: Apache-2.0
"""``pwm pretrain``: one multi-task world model from a dataset."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from pwm_core.data.dataset import Dataset
from pwm_core.device import keep_freed_memory
from pwm_core.errors import PwmError
from pwm_core.model.config import SIZES, LatentLayerName, RewardHeadName, WorldModelConfig
from pwm_core.model.store import TrainedWorldModel
from pwm_core.pretraining.loss import LossWeights
from pwm_core.pretraining.quality import REWARD_ERROR_LIMIT, quality_row, quality_rows
from pwm_core.pretraining.runner import Pretraining, PretrainingConfig, PretrainingOptions
from pwm_core.ranks import joined_ranks
from pwm_core.tables import print_table

CURRICULUM = ((0.5, 4), (0.25, 8))
"""(share of the updates, horizon) of the stages before the full horizon."""

MODEL_OPTIONS = (
    "size",
    "latent_layer",
    "simnorm_group",
    "simnorm_temperature",
    "reward_head",
    "reward_symlog",
    "reward_range",
    "dynamics_heads",
    "termination",
)
"""Options that describe a new model: with --from the given model has chosen already."""


@dataclass(frozen=True)
class Pretrain:
    """Train one world model over all tasks of a dataset. An interrupted run resumes.

    ``torchrun --nproc-per-node N -m pwm_core pretrain …`` shares each update among N processes, of
    several machines if need be (docs/scaling.md).
    """

    data: Path = Path("runs/data")
    """Dataset directory."""
    out: Path = Path("runs/world_model")
    """Run directory; ``world_model.safetensors`` is the result."""
    size: Literal["tiny", "1M", "5M", "19M", "48M", "317M"] = "tiny"
    """Model size by TD-MPC2's names; tiny has 0.3 million parameters."""
    initial: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    """World model to go on from: its size and choices stand, new tasks of the data are added."""
    only_embedding: bool = False
    """With --from, train the embeddings of the new tasks alone; old tasks do not change."""
    latent_layer: LatentLayerName = "simnorm"
    """Last layer of encoder and dynamics."""
    simnorm_group: int = 8
    """Entries per SimNorm group."""
    simnorm_temperature: float = 1.0
    """Temperature of SimNorm's softmax."""
    reward_head: RewardHeadName = "two-hot"
    """Distribution over bins, or one number by least squares."""
    reward_symlog: bool = True
    """Predict symlog(reward), which tasks of any scale share; else the reward itself."""
    reward_range: tuple[float, float] = (-10.0, 10.0)
    """Lowest and highest bin, in symlog units unless --no-reward-symlog."""
    dynamics_heads: int = 1
    """Dynamics networks; two or more measure how unsure the model is."""
    termination: Literal["auto", "on", "off"] = "auto"
    """Predict the end of episodes; auto does where the data has an episodic task."""
    updates: int = 2000
    """Gradient steps."""
    transitions: int = 1024
    """Transitions per update (published: 1024 windows of 16)."""
    horizon: int = 16
    """Decisions per window at the end of training and when the model is judged."""
    curriculum: bool = True
    """Train half the updates on windows of 4, a quarter on windows of 8, then the full horizon;
    stages no shorter than the full horizon are left out."""
    learning_rate: float = 1e-3
    """Adam's learning rate (published: 3e-4 for much longer training)."""
    encoder_rate: float = 0.3
    """Factor on the encoder's learning rate."""
    consistency: float = 20.0
    """Weight of latent consistency."""
    reward: float = 0.1
    """Weight of the reward's loss: cross-entropy, or squared error with --reward-head mse."""
    clip: float = 1.0
    """Largest gradient norm (published: 20)."""
    held_out: float = 0.1
    """Share of episodes held out to judge the model."""
    balanced: bool = False
    """Draw every task about as often, however many episodes it has."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of matrix products; bfloat16 is meant for GPUs; slower on the CPUs tried."""
    accumulate: int = 1
    """Parts in which an update's windows go through the model, to save memory."""
    seed: int = 0
    """Seed of weights and batches."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 …"""
    compile: bool = True
    """Compile the networks on a GPU or in bfloat16 (needs a C++ compiler; pays from about 500
    updates on). In float32 on a CPU they run by hand, which is faster."""
    cuda_graph: bool = True
    """On a GPU, in one process: start each update as one CUDA graph."""
    threads: int = 0
    """CPU threads; 0 measures at the start whether more than one pays (under torchrun:
    OMP_NUM_THREADS)."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> int:
        """Train, then print the model's errors on held-out episodes."""
        if self.initial:
            self._require_no_model_options()
        dataset = Dataset(self.data)
        options = PretrainingOptions(
            self.device,
            self.compile,
            accumulate=self.accumulate,
            threads=self.threads,
            cuda_graph=self.cuda_graph,
        )
        episodic = any(task.episodic for task in dataset.tasks.values())
        config = self._config(episodic)
        keep_freed_memory()
        with joined_ranks() as ranks:
            trained = Pretraining(dataset, self.out, config, options, self.initial, ranks).run()
        if ranks.first:
            self._report(trained)
        return 0

    def _require_no_model_options(self) -> None:
        for name in MODEL_OPTIONS:
            value = getattr(self, name)
            if value != getattr(Pretrain, name):
                raise PwmError(
                    f"{name} is {value}, but with --from the choices of the given model stand: "
                    f"leave out {name}, or train a new model without --from"
                )

    def _report(self, trained: TrainedWorldModel) -> None:
        summary: dict[str, Any] = {
            "world model": str(self.out / "world_model.safetensors"),
            "parameters": sum(p.numel() for p in trained.model.parameters()),
            **quality_row(trained.quality),
        }
        qualities = trained.quality["tasks"]
        rows = quality_rows(list(qualities.values()))
        tasks = [{"task": task, **row} for task, row in zip(qualities, rows, strict=True)]
        if self.json:
            summary["tasks"] = tasks
        title = (
            "Held-out, open loop: squared error / variance "
            f"(policies exploit models above {REWARD_ERROR_LIMIT:.0%} reward error)"
        )
        print_table(title, [summary], self.json)
        if not self.json:
            print_table("The same, task by task", tasks, self.json)

    def _model(self, episodic: bool) -> WorldModelConfig:
        low, high = self.reward_range
        return replace(
            SIZES[self.size],
            latent_layer=self.latent_layer,
            simnorm_group=self.simnorm_group,
            simnorm_temperature=self.simnorm_temperature,
            reward_head=self.reward_head,
            reward_symlog=self.reward_symlog,
            reward_low=low,
            reward_high=high,
            dynamics_heads=self.dynamics_heads,
            termination=episodic if self.termination == "auto" else self.termination == "on",
        )

    def _stages(self) -> tuple[tuple[float, int], ...]:
        """Return the stages of the curriculum that are shorter than the full horizon."""
        shorter = tuple((share, horizon) for share, horizon in CURRICULUM if horizon < self.horizon)
        return shorter if self.curriculum else ()

    def _config(self, episodic: bool = False) -> PretrainingConfig:
        return PretrainingConfig(
            model=self._model(episodic),
            weights=LossWeights(self.consistency, self.reward),
            updates=self.updates,
            transitions=self.transitions,
            horizon=self.horizon,
            curriculum=self._stages(),
            learning_rate=self.learning_rate,
            encoder_rate=self.encoder_rate,
            clip=self.clip,
            betas=(0.9, 0.95),
            held_out=self.held_out,
            seed=self.seed,
            precision=self.precision,
            balanced=self.balanced,
            only_embedding=self.only_embedding,
        )
