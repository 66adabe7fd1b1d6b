# SPDX-License-Identifier: Apache-2.0
"""The error a user is meant to read."""


class PwmError(Exception):
    """Something the user can mend: the message names the thing, its value, and what to do.

    The command line prints the message alone and exits with status 2; a traceback is kept for
    errors that are ours.
    """
