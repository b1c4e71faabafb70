"""Runs a command that dies with the process that started it: `python leash.py PARENT COMMAND…` (Linux).

A program of its own, since setting the leash between fork and exec of a threaded parent is not safe.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Put this process on the leash, then become the command. Does not return."""
    parent, *command = arguments
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):  # it died before the leash was on
        sys.exit(1)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
