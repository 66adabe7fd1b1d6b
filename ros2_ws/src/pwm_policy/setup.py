# SPDX-License-Identifier: Apache-2.0
from setuptools import setup

NAME = "pwm_policy"

setup(
    name=NAME,
    version="0.1.0",
    packages=[NAME],
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
    ],
    install_requires=["setuptools"],
    zip_safe=True,
    maintainer="PWM Deploy maintainers",
    maintainer_email="maintainers@pwm-deploy.org",
    description="Runs policy bundles on a robot: fixed rate, checked, swappable. No torch.",
    license="Apache-2.0",
    entry_points={"console_scripts": ["policy_node = pwm_policy.node:main"]},
)
