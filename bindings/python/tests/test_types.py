"""Type checkers pass on the package and on the notebook, and find a typo; the notebook runs."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
from conftest import ROOT

NOTEBOOK = ROOT / "bindings/python/examples/first_steps.ipynb"
PACKAGE = ROOT / "bindings/python/python/capsim"
TYPO = 'import capsim\n\np = capsim.predict("qwen3-8b", users=5)\nprint(p.mean_ttft_ms.value, {0})\n'


def cells():
    """The notebook's code as one program."""
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert all(not c.get("outputs") for c in notebook["cells"]), "outputs are left out of the repository"
    return "\n".join("".join(c["source"]) + "\n" for c in notebook["cells"] if c["cell_type"] == "code")


def checkers():
    """Command lines of mypy and pyright; CAPSIM_PYRIGHT names the latter's program."""
    pytest.importorskip("mypy")
    yield "mypy", [sys.executable, "-m", "mypy", "--strict", "--config-file", str(ROOT / "bindings/python/pyproject.toml")]
    usual = ROOT / "target/npm/node_modules/.bin/pyright"
    pyright = os.environ.get("CAPSIM_PYRIGHT") or (str(usual) if usual.exists() else None)
    if pyright:
        yield "pyright", [pyright, "--pythonpath", sys.executable]
    elif os.environ.get("CAPSIM_REQUIRE_PYTHON") == "1":
        pytest.fail("pyright is not installed: npm install --prefix target/npm pyright")


def check(command, *paths):
    done = subprocess.run([*command, *map(str, paths)], capture_output=True, text=True, timeout=300, cwd=ROOT / "bindings/python")
    return done.returncode, done.stdout + done.stderr


def test_mypy_and_pyright_pass_and_find_a_typo(tmp_path: pathlib.Path):
    notebook, right, wrong = tmp_path / "notebook.py", tmp_path / "right.py", tmp_path / "wrong.py"
    notebook.write_text(cells(), encoding="utf-8")
    right.write_text(TYPO.format("p.p95_tpot_ms.low"))
    wrong.write_text(TYPO.format("p.p95_tpt_ms.low") + 'capsim.predict("qwen3-8b", user=5)\n')
    for name, command in checkers():
        code, said = check(command, PACKAGE, notebook, right)
        assert code == 0, f"{name}: {said}"
        code, said = check(command, wrong)
        assert code == 1 and "p95_tpt_ms" in said and '"user"' in said, f"{name}: {said}"


def test_the_notebook_runs(tmp_path):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs]
    assert any("image/png" in o.get("data", {}) for o in shown)
    assert any("mean_ttft_ms" in o.get("data", {}).get("text/html", "") for o in shown)
    assert any("4 requests answered" in o.get("text", "") for o in shown)
