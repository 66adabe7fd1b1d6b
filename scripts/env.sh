# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Source this in bash: the virtual environment, ROS 2 and the built workspace of this clone, once.
#   source scripts/env.sh

_pwm_root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
if [ ! -f "$_pwm_root/install/ros/local_setup.bash" ]; then
    echo "not set up yet: run make setup" >&2
    unset _pwm_root
    return 1
fi
# The scripts of others do not expect `set -u`.
_pwm_options="$(set +o)"
set +u
# shellcheck source=/dev/null
source "$_pwm_root/.venv/bin/activate"
if [ -f "$_pwm_root/.venv/.set-up/wheels" ]; then
    export AMENT_PREFIX_PATH="$VIRTUAL_ENV" CMAKE_PREFIX_PATH="$VIRTUAL_ENV"
    unset PYTHONPATH
fi
# shellcheck source=/dev/null
source "$_pwm_root/install/ros/local_setup.bash"
eval "$_pwm_options"
unset _pwm_root _pwm_options
