# SPDX-License-Identifier: Apache-2.0
from setuptools import setup

NAME = "pwm_diagnostics"

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
    description="How the nodes say on /diagnostics how they are.",
    license="Apache-2.0",
)
