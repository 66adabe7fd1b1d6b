# SPDX-License-Identifier: Apache-2.0
"""The sections of the page: functions from what was read to HTML."""
