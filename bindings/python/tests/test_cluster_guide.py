"""The command lines of docs/guide/cluster.md, with the schedulers' variables set as Slurm and Kubernetes set them."""

import os
import pathlib
import re
import subprocess

import pytest
from conftest import ROOT, run
from test_same_bytes import PLAN, tree

GUIDE = (ROOT / "docs/guide/cluster.md").read_text()
SLURM = re.search(r"^srun (capsim sweep .*)$", GUIDE, re.M)[1]
KUBERNETES = re.search(r"args: \['(capsim sweep .*)'\]$", GUIDE, re.M)[1]
SHARDS = 16


def slurm(i):
    return {"SLURM_ARRAY_TASK_ID": str(i + 1), "SLURM_ARRAY_TASK_COUNT": str(SHARDS), "SLURM_CPUS_PER_TASK": "2"}


@pytest.mark.parametrize("line, variables", [(SLURM, slurm), (KUBERNETES, lambda i: {"JOB_COMPLETION_INDEX": str(i)})])
def test_the_lines_of_the_guide_make_the_folder_of_one_machine(line, variables, program, tmp_path):
    (tmp_path / "plan.toml").write_text(PLAN)
    run(program, "sweep", tmp_path / "plan.toml", "-o", tmp_path / "whole")
    line = line.replace("/plan/", "").replace("/results/", "")
    path = os.pathsep.join([str(pathlib.Path(program).parent), os.environ["PATH"]])
    # The last one first, one of them twice, as retries may have it.
    for i in [*reversed(range(SHARDS)), 3]:
        env = {**os.environ, **variables(i), "PATH": path}
        subprocess.run(["sh", "-c", line], cwd=tmp_path, env=env, check=True, capture_output=True, timeout=120)
    merged = run(program, "sweep", "merge", "out", cwd=tmp_path).stdout
    assert "6 points, 1 of them cannot be served" in merged
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
