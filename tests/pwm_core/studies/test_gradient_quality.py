# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import torch

from pwm_core.data.dataset import Dataset
from pwm_core.extraction.config import ExtractionConfig, ExtractionOptions
from pwm_core.extraction.runner import Extraction
from pwm_core.model.store import TrainedWorldModel
from pwm_core.studies.extracting import frozen, rollouts
from pwm_core.studies.gradient_quality import first_order, own_quality, score_function


def test_both_kinds_of_gradient_estimate_the_same(
    trained: TrainedWorldModel, dataset: Dataset, tmp_path: Path
) -> None:
    config = ExtractionConfig(
        batch=256, horizon=1, actor_hidden=(8,), critic_hidden=(8,), evaluate="model"
    )
    extraction = Extraction(
        trained, dataset, "cartpole-swingup", tmp_path, config, ExtractionOptions("cpu")
    )
    model, learner = frozen(extraction), extraction.learner
    samples = list(rollouts(extraction, learner, 200))
    assert len({z.numpy().tobytes() for z, _ in samples}) == 200
    first, score = first_order(model, learner, samples), score_function(model, learner, samples)
    assert torch.cosine_similarity(first.mean(0), score.mean(0), dim=0) > 0.9
    assert own_quality(score)[0] > own_quality(first)[0]
