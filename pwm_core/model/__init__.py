# SPDX-License-Identifier: Apache-2.0
"""The multi-task world model and the parts it is made of."""
