#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ROS 2, the virtual environment and the workspace for whatever runs in the container.
set -e
# shellcheck source=/dev/null
source "/opt/ros/$ROS_DISTRO/setup.bash"
# shellcheck source=scripts/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
exec "$@"
