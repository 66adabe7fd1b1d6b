# SPDX-License-Identifier: Apache-2.0
"""Which import package lies in which folder; everything else is in pyproject.toml."""

from setuptools import find_packages, setup

RENAMED = {"pwm_export": "export", "pwm_bringup": "launch/pwm_bringup"}

packages = find_packages(include=["pwm_core", "pwm_core.*"])
for name, folder in RENAMED.items():
    packages += [name, *(f"{name}.{sub}" for sub in find_packages(folder))]

setup(packages=packages, package_dir=RENAMED)
