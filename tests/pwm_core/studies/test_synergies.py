# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np

from pwm_core.studies.synergies import Synergies
from pwm_core.tasks import get_task


def test_few_signals_excite_all_actions_of_an_episode() -> None:
    task = get_task("cheetah-run")
    signals = 2
    episodes = Synergies(signals).collect(task, 11, 3)
    assert len(episodes) == 11
    within = [e for e in episodes[0].action if np.abs(e).max() < 1]  # where nothing was clipped
    assert np.linalg.matrix_rank(np.array(within), tol=1e-3) == signals
    assert (np.concatenate([e.action for e in episodes]).std(0) > 0.3).all()
    assert len({e.action.tobytes() for e in episodes}) == 11


def test_episodes_depend_on_the_seed_alone() -> None:
    task = get_task("cartpole-swingup")
    one, same, other = (Synergies().collect(task, 2, seed)[1] for seed in (3, 3, 4))
    assert np.array_equal(one.observation, same.observation)
    assert not np.array_equal(one.action, other.action)
