# SPDX-License-Identifier: Apache-2.0
"""The core's command line verbs, one dataclass each; ``pwm_core.cli`` is their interface."""
