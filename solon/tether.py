"""Runs a command that dies with its parent: `python -I -S tether.py PARENT_PID COMMAND...`.

The process becomes the command. On Linux the kernel kills it the moment its parent is gone, whatever the parent died
of; elsewhere the command merely runs. The parent's id is given because it may be gone before the kernel was told.

Standard library only, and run by path: it starts in the time that Python needs to start.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
ORPHANED = 76
"""Exit code where the parent was gone from the beginning."""


def tethered(*command: str) -> tuple[str, ...]:
    """The command line that runs `command` as long as this process lives.

    The thread that starts it must live too: to the kernel a parent is a thread.
    """
    return (sys.executable, "-I", "-S", __file__, str(os.getpid()), *command)


def main(arguments: list[str]) -> int:
    """Becomes the command; returns only where it is too late."""
    parent, command = int(arguments[0]), arguments[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return ORPHANED
    os.execvp(command[0], command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
