"""Runs a command that dies with the process that started it: `python die_with_parent.py PARENT COMMAND…` (Linux).

A program of its own, since setting the death signal between fork and exec of a threaded parent is not safe.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Ask for a signal when the parent exits, then become the command. Does not return."""
    parent, *command = arguments
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):  # it died before the signal was set
        sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606 — becomes the command that it was given as a list


if __name__ == "__main__":
    main(sys.argv[1:])
