#!/usr/bin/env python3
"""Builds the Python package, installs it into a virtual environment under target/, and runs its tests there.

    python3 scripts/python_tests.py [arguments of pytest]

Wants Rust, CPython 3.9 or newer with venv, and a package index to install maturin, pytest, pyarrow, pandas, Polars, matplotlib, Ray,
mypy and nbclient from; pyright comes from npm (`npm install --prefix target/npm pyright`). With CAPSIM_REQUIRE_PYTHON=1 a missing one is a failure; without, it is said and nothing is tested.
"""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
BINDING = ROOT / "bindings" / "python"


def skip(why: str) -> "int":
    print(f"SKIP: {why}", file=sys.stderr)
    return 1 if os.environ.get("CAPSIM_REQUIRE_PYTHON") == "1" else 0


def main() -> int:
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
    environment = target / "python"
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists() and subprocess.run([sys.executable, "-m", "venv", str(environment)]).returncode != 0:
        return skip(f"{sys.executable} -m venv does not work")
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    tools = ["maturin>=1.9,<2", "pytest", "pytest-timeout", "pyarrow", "pandas", "polars", "matplotlib", "ray", "mypy", "typing_extensions",
             "nbclient", "ipykernel"]
    if subprocess.run([*pip, "install", *tools]).returncode != 0:
        return skip("the packages could not be installed")
    wheels = target / "wheels"
    for old in wheels.glob("capsim-*.whl"):
        old.unlink()
    env = {**os.environ, "CARGO_TARGET_DIR": str(target)}
    maturin = [str(python), "-m", "maturin", "build", "--release", "--quiet", "--locked", "--out", str(wheels)]
    subprocess.run([*maturin, "--manifest-path", str(BINDING / "Cargo.toml")], check=True, env=env)
    (wheel,) = wheels.glob("capsim-*.whl")
    subprocess.run([*pip, "install", "--force-reinstall", "--no-deps", str(wheel)], check=True)
    program = target / "release" / ("capsim.exe" if os.name == "nt" else "capsim")
    if program.exists():
        env["CAPSIM_PROGRAM"] = str(program)
    return subprocess.run([str(python), "-m", "pytest", "-q", *sys.argv[1:]], cwd=BINDING, env=env).returncode


if __name__ == "__main__":
    sys.exit(main())
