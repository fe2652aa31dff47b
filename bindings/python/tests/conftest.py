"""What the tests share: the command line of the wheel, and the repository beside it."""

import os
import pathlib
import subprocess
import sys
import sysconfig

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[3]

# Nothing of a test leaves the machine.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"


@pytest.fixture(scope="session")
def script():
    """The console script that the wheel installed."""
    path = pathlib.Path(sysconfig.get_path("scripts")) / ("capsim.exe" if sys.platform == "win32" else "capsim")
    assert path.exists(), f"{path}: the wheel is not installed"
    return str(path)


@pytest.fixture(scope="session")
def program(script):
    """The program that Cargo built, where CAPSIM_PROGRAM names it; else the console script."""
    return os.environ.get("CAPSIM_PROGRAM") or script


def run(program, *args, code=0, **more):
    """Runs a command line and expects an exit code."""
    done = subprocess.run([program, *map(str, args)], capture_output=True, text=True, timeout=300, **more)
    assert done.returncode == code, f"{args}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done
