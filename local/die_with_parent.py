"""Runs a command that is killed when its parent process exits: `python die_with_parent.py PARENT COMMAND…` (Linux).

It is a program of its own, because code between fork and exec of a threaded parent is not safe.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Set the parent-death signal, then exec the command. Does not return."""
    parent, *command = arguments
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):  # the parent exited before the signal was set
        sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606 — becomes the command that it was given as a list


if __name__ == "__main__":
    main(sys.argv[1:])
