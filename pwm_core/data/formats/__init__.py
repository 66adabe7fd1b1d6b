# SPDX-License-Identifier: Apache-2.0
"""Other formats of offline data, a module each."""
