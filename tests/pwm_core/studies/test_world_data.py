# SPDX-License-Identifier: Apache-2.0
"""World models of studies: trained once, and never another one in their place."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pwm_core.data.dataset import Dataset
from pwm_core.errors import PwmError
from pwm_core.model.config import WorldModelConfig
from pwm_core.studies.world_data import WORLD_MODEL, only, pretrain, recipe

CONFIG = recipe(WorldModelConfig(latent=16, encoder_width=16, width=16), 2, 0)


def test_a_world_model_is_trained_once(tiny_data: Path, tmp_path: Path) -> None:
    first = pretrain(Dataset(tiny_data), tmp_path / "own", CONFIG)
    written = (tmp_path / "own" / WORLD_MODEL).stat().st_mtime_ns
    again = pretrain(Dataset(tiny_data), tmp_path / "own", CONFIG)
    assert (tmp_path / "own" / WORLD_MODEL).stat().st_mtime_ns == written
    weights = first.model.state_dict()
    for name, tensor in again.model.state_dict().items():
        assert torch.equal(tensor, weights[name])


def test_a_world_model_from_elsewhere_is_refused(
    tiny_data: Path, tiny_world_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "own").mkdir()
    shutil.copy(tiny_world_model, tmp_path / "own" / WORLD_MODEL)
    with pytest.raises(PwmError, match=f"{WORLD_MODEL} was trained otherwise than this study does"):
        pretrain(Dataset(tiny_data), tmp_path / "own", CONFIG)


def test_one_of_another_recipe_or_of_other_tasks_is_refused(
    tiny_data: Path, tmp_path: Path
) -> None:
    data = Dataset(tiny_data)
    pretrain(data, tmp_path / "own", CONFIG)
    with pytest.raises(PwmError, match="was trained otherwise"):
        pretrain(data, tmp_path / "own", replace(CONFIG, seed=1))
    one = only(data, data.episodes[data.episodes.task_index(["cartpole-swingup"]) >= 0])
    with pytest.raises(PwmError, match="was trained otherwise"):
        pretrain(one, tmp_path / "own", CONFIG)
