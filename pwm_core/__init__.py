# SPDX-License-Identifier: Apache-2.0
"""PWM Deploy's offline core: tasks, data, world model, policy extraction, evaluation."""

__version__ = "0.1.0"
