"""Sweeps on a Ray cluster of two nodes on this machine."""

import json
import os

import capsim
import pytest
from capsim import _handout, _ray
from conftest import run
from test_same_bytes import tree

ray = pytest.importorskip("ray")
from ray.cluster_utils import Cluster  # noqa: E402
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: E402

pytestmark = pytest.mark.timeout(240)

#: Forty points that take a little while each, a device profile of its own, and one point that is refused.
PLAN = {
    "name": "on Ray",
    "base": {"model": "qwen3-0.6b", "num-prompts": 40, "num-gpu-blocks-override": 512, "device": "mine.json"},
    "grid": {"max-num-seqs": [1, 2, 4, 8], "random-output-len": list(range(8, 89, 8))[:10]},
    "points": [{"num-gpu-blocks-override": 16, "max-concurrency": 2}],
}
NODE = {"num_cpus": 1, "object_store_memory": 80 * 1024 * 1024, "include_dashboard": False}


@pytest.fixture(scope="module")
def files():
    """A profile that is on no disk: the workers must get it from the driver."""
    device = capsim.DeviceProfile("gfx1151").to_dict()
    device["name"] = "a device of my own"
    return {"mine.json": json.dumps(device)}


@pytest.fixture
def cluster():
    c = Cluster(initialize_head=True, head_node_args=NODE)
    try:
        second = c.add_node(num_cpus=1, object_store_memory=80 * 1024 * 1024)
        c.wait_for_nodes(timeout=60)
        yield c, second
    finally:
        ray.shutdown()
        c.shutdown()


@pytest.fixture(scope="module")
def local(tmp_path_factory, files):
    folder = tmp_path_factory.mktemp("local")
    capsim.sweep(PLAN, folder, files=files)
    return tree(folder)


def test_two_nodes_write_the_bytes_of_one_machine(cluster, local, files, tmp_path, monkeypatch):
    c, _ = cluster
    # Each node does what it was handed first, however slow this machine starts its processes.
    monkeypatch.setattr(_handout, "LATE_S", 1000.0)
    shares = {}
    real = _ray.simulate
    monkeypatch.setattr(_ray, "simulate", lambda *a, **k: shares.update(real(*a, **k)))
    seen = []
    result = capsim.sweep(
        PLAN, tmp_path, files=files, engine="ray", address=c.address, progress=lambda done, all: seen.append((done, all))
    )
    assert tree(tmp_path) == local
    # Two chunks of two points wait at each node from the beginning.
    assert len(shares) == 2 and min(shares.values()) >= 4 and sum(shares.values()) == 41
    assert seen[-1] == (41, 41) and seen == sorted(seen)
    assert result.missing == [] and result.rows[-1]["refused"]
    # All is there: nothing is handed out.
    again = []
    capsim.sweep(PLAN, tmp_path, files=files, engine="ray", address=c.address, progress=lambda *a: again.append(a))
    assert again == []


def test_a_node_that_dies_loses_nothing(cluster, local, files, tmp_path):
    c, second = cluster
    killed = []

    def kill(done, all):
        if done >= 6 and not killed:
            killed.append(done)
            c.remove_node(second, allow_graceful=False)

    capsim.sweep(PLAN, tmp_path, files=files, engine="ray", address=c.address, progress=kill)
    assert killed and killed[0] < 41
    assert second not in c.list_all_nodes()
    assert tree(tmp_path) == local


def test_a_node_that_is_taken_holds_nothing_up(cluster, local, files, tmp_path, monkeypatch):
    c, second = cluster
    monkeypatch.setattr(_handout, "LATE_S", 2.0)
    ray.init(address=c.address, log_to_driver=False, logging_level="ERROR")
    there = NodeAffinitySchedulingStrategy(second.node_id, soft=False)

    @ray.remote(num_cpus=1, scheduling_strategy=there)
    class Occupant:
        def pid(self):
            return os.getpid()

    occupant = Occupant.remote()
    assert ray.get(occupant.pid.remote(), timeout=60) > 0
    job = capsim._capsim.Sweep(json.dumps(PLAN), "", str(tmp_path), None, [], files)
    shares = _ray.simulate(job, c.address)
    job.finish()
    assert tree(tmp_path) == local
    assert second.node_id not in shares and sum(shares.values()) == 41


def test_another_version_is_refused_before_work(cluster, files, tmp_path, monkeypatch):
    c, _ = cluster
    monkeypatch.setattr(_ray, "fingerprint", lambda: "0.0.1 0123456789ab")
    with pytest.raises(capsim.CapsimError, match=r"node [0-9a-f]+: capsim 0\.1\.0 [0-9a-f]{12} is installed there, 0\.0\.1 0123"):
        capsim.sweep(PLAN, tmp_path, files=files, engine="ray", address=c.address)
    assert not list((tmp_path / "points").iterdir())


def test_the_command_line(cluster, local, script, files, tmp_path):
    c, _ = cluster
    (tmp_path / "mine.json").write_text(files["mine.json"])
    plan = tmp_path / "plan.toml"
    lists = {k: json.dumps(v) for k, v in PLAN["grid"].items()}
    plan.write_text(
        'name = "on Ray"\n[base]\n' + "".join(f"{k} = {json.dumps(v)}\n" for k, v in PLAN["base"].items())
        + "[grid]\n" + "".join(f"{k} = {v}\n" for k, v in lists.items())
        + "[[points]]\nnum-gpu-blocks-override = 16\nmax-concurrency = 2\n"
    )  # fmt: skip
    out = run(script, "sweep", plan, "-o", tmp_path / "out", "--engine", "ray", "--address", c.address, cwd=tmp_path)
    assert "41 points in this run, 41 simulated" in out.stderr and "points by Ray node: " in out.stderr
    assert tree(tmp_path / "out") == local


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "auto"])
def test_no_cluster_is_an_error(address, files, tmp_path):
    with pytest.raises(capsim.CapsimError, match=f"engine ray: no cluster at {address}: "):
        capsim.sweep(PLAN, tmp_path, files=files, engine="ray", address=address)
    with pytest.raises(capsim.CapsimError, match="give engine='ray'"):
        capsim.sweep(PLAN, tmp_path, files=files, address=address)


def test_the_plain_program_says_where_ray_is(tmp_path):
    program = os.environ.get("CAPSIM_PROGRAM")
    if not program:
        pytest.skip("CAPSIM_PROGRAM does not name the program that Cargo built")
    (tmp_path / "p.toml").write_text("[base]\nnum-prompts = 1\n")
    said = run(program, "sweep", tmp_path / "p.toml", "--engine", "ray", code=2).stderr
    assert "pip install 'capsim[ray]'" in said
