# SPDX-License-Identifier: Apache-2.0
"""Claims and open questions of PWM as experiments that anyone can repeat (``pwm study``)."""
