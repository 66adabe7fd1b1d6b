# SPDX-License-Identifier: Apache-2.0
"""Runs policy bundles on a robot."""
