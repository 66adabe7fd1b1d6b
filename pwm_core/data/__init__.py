# SPDX-License-Identifier: Apache-2.0
"""Offline data: the dataset directory, what fills it, and the sampler that reads it."""
