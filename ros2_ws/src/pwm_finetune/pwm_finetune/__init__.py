# SPDX-License-Identifier: Apache-2.0
"""Online fine-tuning: the policy adapts to the robot it runs on, and never at its expense."""
