# SPDX-License-Identifier: Apache-2.0
"""``python -m pwm_core`` is ``pwm``, for launchers like ``torchrun`` that start a module."""

import sys

from pwm_core.cli import main

sys.exit(main())
