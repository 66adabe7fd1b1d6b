# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: one safetensors file with a JSON header, written whole or not at all; no pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from pwm_core.errors import PwmError
from pwm_core.files import write_atomically


class CheckpointError(PwmError):
    """The checkpoint is missing, damaged, or of other sizes than asked for."""


def save_checkpoint(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write ``tensors`` and the JSON-ready ``header`` atomically to ``path``."""
    contiguous = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    write_atomically(path, save(contiguous, {"pwm": json.dumps(header)}))


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return (tensors, header); ``CheckpointError`` names a missing or damaged file."""
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist")
    try:
        with safe_open(path, "pt") as file:
            header = json.loads((file.metadata() or {})["pwm"])
            return {name: file.get_tensor(name) for name in file.keys()}, header  # noqa: SIM118
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path} is no PWM checkpoint or is damaged: {error}") from error


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return ``tensors`` with ``prefix/`` before each name."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def part(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what :func:`prefixed` put under ``prefix``."""
    start = f"{prefix}/"
    return {name[len(start) :]: t for name, t in tensors.items() if name.startswith(start)}


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor], source: Path | str) -> None:
    """Load ``tensors`` into ``module``; ``CheckpointError`` names each tensor that does not fit."""
    wanted = {name: tuple(t.shape) for name, t in module.state_dict().items()}
    found = {name: tuple(t.shape) for name, t in tensors.items()}
    wrong = [
        f"{name} is {found.get(name, 'missing')}, expected {wanted.get(name, 'nothing')}"
        for name in sorted(wanted.keys() | found.keys())
        if wanted.get(name) != found.get(name)
    ]
    if wrong:
        raise CheckpointError(f"{source} does not fit: {'; '.join(wrong[:4])}")
    module.load_state_dict(dict(tensors))


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimizer's state as ``index.name`` tensors (Adam: step and two moments)."""
    state = optimizer.state_dict()["state"]
    return {f"{i}.{name}": value for i, slots in state.items() for name, value in slots.items()}


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Restore what :func:`optimizer_tensors` returned; the schedule stays the run's own."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )
