"""The `capsim` command."""

import os
import signal
import sys
import sysconfig

from . import _capsim


def _program() -> "str | None":
    """What to start when capsim needs another process of itself (`devices` and `calibrate` open drivers in one)."""
    name = "capsim.exe" if os.name == "nt" else "capsim"
    for path in (sys.argv[0], os.path.join(sysconfig.get_path("scripts"), name)):
        if os.path.basename(path) == name and os.access(path, os.X_OK):
            return os.path.abspath(path)
    return None


def main() -> int:
    """Runs the command line; its exit code."""
    # Ctrl-C ends the program as it ends any other; `bench` and `serve` have handlers of their own.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return _capsim.main(["capsim", *sys.argv[1:]], _program())


if __name__ == "__main__":
    sys.exit(main())
