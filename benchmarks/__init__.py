# SPDX-License-Identifier: Apache-2.0
"""Speed of the project's programs against a plain reference and the machine's matrix products."""
