# SPDX-License-Identifier: Apache-2.0
from glob import glob

from setuptools import setup

NAME = "pwm_bringup"

setup(
    name=NAME,
    version="0.1.0",
    packages=[NAME],
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", glob("*.launch.py")),
        (f"share/{NAME}/config", glob("config/*.yaml")),
        (f"share/{NAME}/security", glob("security/*.xml")),
        (f"share/{NAME}/security/common", glob("security/common/*.xml")),
    ],
    install_requires=["setuptools"],
    zip_safe=True,
    maintainer="PWM Deploy maintainers",
    maintainer_email="maintainers@pwm-deploy.org",
    description="Launch files, parameter files and process start of PWM Deploy.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "recorder = pwm_bringup.recorder:main",
            "session = pwm_bringup.session:main",
        ]
    },
)
