# SPDX-License-Identifier: Apache-2.0
"""Policies judged in the real simulator, beside what they must beat."""
