# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pwm_core.data.behaviours import BehaviourError, StoredPolicy
from pwm_core.data.behaviours.policy import load_policy, require_fit
from pwm_core.errors import PwmError
from pwm_core.layout import ActionLayout
from pwm_core.tasks import get_task
from pwm_core.verbs.collect import Collect


def test_a_bundle_acts_in_the_cores_range(make_bundle: Callable[..., Path]) -> None:
    """The graph is ``tanh(observation @ gain)``; cart-pole's actuator units are [-1, 1] too."""
    gain = [0.5, 0, 0, 0, 0]
    policy = load_policy(make_bundle("half", gain))
    observation = np.array([[1, 0, 0, 0, 0], [-1, 0, 0, 0, 0]], np.float32)
    np.testing.assert_allclose(policy.act(observation), np.tanh([[0.5], [-0.5]]), atol=1e-6)


def test_a_bundle_collects_what_it_does(make_bundle: Callable[..., Path]) -> None:
    task = get_task("cartpole-balance")
    behaviour = StoredPolicy.open(make_bundle("half", [0.5, 0, 0, 0, 0]), 0.0)
    (episode,) = behaviour.collect(task, 1, 2)
    np.testing.assert_allclose(
        episode.action[:, 0], np.tanh(0.5 * episode.observation[:-1, 0]), atol=1e-6
    )
    noisy = StoredPolicy.open(behaviour.path, 0.4)
    assert noisy.name == f"policy-{behaviour.digest}-0.4"
    (disturbed,) = noisy.collect(task, 1, 2)
    deviation = disturbed.action[:, 0] - np.tanh(0.5 * disturbed.observation[:-1, 0])
    assert deviation.std() > 0.2


def test_a_policy_file_acts_as_the_policy_does(tiny_policy: Path) -> None:
    behaviour = StoredPolicy.open(tiny_policy, 0.0)
    (episode,) = behaviour.collect(get_task(behaviour.task), 1, 2)
    act = load_policy(tiny_policy).act
    np.testing.assert_allclose(act(episode.observation[:-1]), episode.action, atol=1e-5)


def test_another_file_has_another_name(make_bundle: Callable[..., Path]) -> None:
    one = StoredPolicy.open(make_bundle("one", [0.5, 0, 0, 0, 0]), 0.0)
    two = StoredPolicy.open(make_bundle("two", [0.6, 0, 0, 0, 0]), 0.0)
    assert one.name != two.name


def test_other_layouts_are_named(make_bundle: Callable[..., Path]) -> None:
    path = make_bundle("half", [0.5, 0, 0, 0, 0])
    task = get_task("cartpole-balance")
    weaker = ActionLayout((dataclasses.replace(task.action.channels[0], gear=5.0),))
    with pytest.raises(BehaviourError, match=r"gear is 10\.0, expected 5\.0"):
        require_fit(path, load_policy(path), dataclasses.replace(task, action=weaker))
    with pytest.raises(BehaviourError, match="made for cartpole-balance, not mw-reach"):
        require_fit(path, load_policy(path), get_task("mw-reach"))


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BehaviourError, match=r"expected a file that ends in \.onnx or \.safetens"):
        load_policy(tmp_path / "policy.pt")
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    with pytest.raises(PwmError, match=r"broken\.onnx"):
        load_policy(tmp_path / "broken.onnx")


def test_a_policy_of_a_task_that_is_not_collected_is_refused(
    make_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    path = make_bundle("half", [0.5, 0, 0, 0, 0])
    command = Collect(tasks=("cartpole-swingup",), policy=(path,), out=tmp_path / "data")
    with pytest.raises(BehaviourError, match="for cartpole-balance, which is not among"):
        command.run()
    assert not (tmp_path / "data").exists()
