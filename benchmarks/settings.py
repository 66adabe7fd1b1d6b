# SPDX-License-Identifier: Apache-2.0
"""How long to measure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ModelSize = Literal["tiny", "1M", "5M"]


@dataclass(frozen=True)
class Settings:
    """Numbers that change how sure the figures are, not what is measured."""

    rounds: int
    """Blocks of each program; ratios are medians over them."""
    calls: int
    """Updates or iterations per block."""
    decisions: int
    """Decisions per block of inference."""
    policies: tuple[str, ...]
    """Sizes of the policies that decide."""
    models: tuple[ModelSize, ...]
    """Sizes of the world models that are pre-trained and extracted from."""
    episodes: int
    """Episodes per task in the synthetic data."""
    transitions: tuple[int, ...]
    """Sizes of the data sets that the sampler draws from."""
    compiled: bool
    """Measure compiled programs too (compilation takes about half a minute each)."""
    rates: tuple[int, ...]
    """Decisions per second of the control loops."""
    block_seconds: float
    """Length of a block of a control loop."""
    swaps: int
    """Swaps in a row."""
    device_size: str
    """World model of what is measured on a GPU."""
    device_batch: int
    """Imagined rollouts per iteration on a GPU."""
    device_iterations: int
    """Iterations or updates of each way on a GPU."""
    device: str = "cpu"
    """Where that is measured."""


SIZES = (10**5, 10**6, 10**7, 10**8)
FULL = Settings(
    rounds=7,
    calls=3,
    decisions=400,
    policies=("tiny", "1M", "5M", "19M", "48M", "317M"),
    models=("tiny", "1M", "5M"),
    episodes=10,
    transitions=SIZES,
    compiled=True,
    rates=(50, 100, 250, 500),
    block_seconds=3.0,
    swaps=200,
    device_size="48M",
    device_batch=512,
    device_iterations=300,
)
QUICK = Settings(
    rounds=2,
    calls=1,
    decisions=20,
    policies=("tiny",),
    models=("tiny",),
    episodes=4,
    transitions=(10**4,),
    compiled=False,
    rates=(100,),
    block_seconds=0.3,
    swaps=5,
    device_size="tiny",
    device_batch=8,
    device_iterations=1,
)
"""Only to see that everything runs: its figures mean nothing."""
