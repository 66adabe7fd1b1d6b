# SPDX-License-Identifier: Apache-2.0
"""World model pre-training on offline data."""
