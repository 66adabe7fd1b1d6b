# SPDX-License-Identifier: Apache-2.0
"""Policy extraction: first-order gradients through a frozen world model."""
