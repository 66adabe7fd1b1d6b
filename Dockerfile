# SPDX-License-Identifier: Apache-2.0
# The same make targets on an installed ROS 2 (Jazzy, Ubuntu 24.04, Python 3.12):
#   docker build -t pwm-deploy .
#   docker run --rm -it pwm-deploy make demo
#   docker run --rm -it --network host pwm-deploy ros2 launch pwm_bringup sim.launch.py task:=cartpole-swingup
FROM ros:jazzy-ros-base

SHELL ["/bin/bash", "-o", "pipefail", "-c"]

# EGL renders the videos without a screen; the rest builds the workspace.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        build-essential \
        git \
        libegl-mesa0 \
        libegl1 \
        python3-dev \
        python3-venv \
        ros-jazzy-rmw-fastrtps-cpp \
    && rm -rf /var/lib/apt/lists/*

# The image's own unprivileged user, in Ubuntu's images since 24.04.
RUN install -d -o ubuntu -g ubuntu /home/ubuntu/pwm-deploy
# hadolint ignore=DL3066
USER ubuntu
WORKDIR /home/ubuntu/pwm-deploy

# An index with CPU builds of torch keeps gigabytes of CUDA out: --build-arg TORCH_INDEX=...
ARG TORCH_INDEX=""
COPY --chown=ubuntu:ubuntu . .
RUN . /opt/ros/jazzy/setup.bash && TORCH_INDEX="${TORCH_INDEX}" make setup

ENTRYPOINT ["/home/ubuntu/pwm-deploy/scripts/docker_entrypoint.sh"]
CMD ["bash"]
