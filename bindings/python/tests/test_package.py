"""Typed objects, tables without copies, threads, Ctrl-C."""

import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import capsim
import pytest
from capsim import Scenario, Workload
from conftest import ROOT
from test_same_bytes import PLAN, SMALL


def test_a_model():
    m = capsim.Model("qwen3-30b-a3b-instruct-2507")
    assert (m.num_experts, m.experts_per_token, m.num_layers) == (128, 8, 48)
    assert m.parameters == pytest.approx(30.5e9, rel=0.01)
    # With the embedding, as its makers count: 3.35e9, of which 151936 x 2048 are the table.
    assert m.active_parameters == pytest.approx(3.35e9, rel=0.01)
    # Two bytes per parameter; KV: two of 4 heads of 128 values of two bytes in each layer.
    assert m.weight_bytes == pytest.approx(2 * m.parameters, rel=1e-3)
    assert m.kv_bytes_per_token == 2 * 4 * 128 * 2 * 48
    assert capsim.Model("qwen3-8b", weights="awq").weight_bytes < 0.5 * capsim.Model("qwen3-8b").weight_bytes
    with pytest.raises(capsim.CapsimError, match="int3"):
        capsim.Model("qwen3-8b", weights="int3")
    with pytest.raises(capsim.CapsimError, match="the model says 'awq'"):
        capsim.predict(Scenario(model=capsim.Model("qwen3-8b", weights="awq"), weights="fp8"))


def test_a_model_and_a_device_from_dictionaries():
    import json

    config = json.loads((ROOT / "models/qwen3-0.6b/config.json").read_text())
    named, given = capsim.predict(SMALL), capsim.predict(dataclasses.replace(SMALL, model=capsim.Model.from_config(config)))
    assert given.metrics == named.metrics
    device = capsim.DeviceProfile("gfx1151").to_dict()
    same = capsim.DeviceProfile.from_dict(device)
    device["memory"]["total_bytes"]["value"] /= 2
    half = capsim.DeviceProfile.from_dict(device)
    s = dataclasses.replace(SMALL, num_gpu_blocks_override=None)
    blocks = [capsim.predict(dataclasses.replace(s, device=d)).settings.num_gpu_blocks for d in ("gfx1151", same, half)]
    assert blocks[0] == blocks[1] > blocks[2]
    # Two profiles of one id beside each other.
    assert [p.settings.num_gpu_blocks for p in capsim.what_if(dataclasses.replace(s, device=[same, half]))] == blocks[1:]
    del device["id"]
    with pytest.raises(capsim.CapsimError, match="device.json.*id"):
        capsim.DeviceProfile.from_dict(device)


def test_tables_agree_with_the_summary():
    p = capsim.predict(SMALL, requests=True, timeline=True)
    r = p.requests
    assert len(r) == p.completed == 12 and sum(r["output_tokens"]) == p.total_output_tokens
    assert sum(r["ttft_ms"]) / 12 == pytest.approx(p.mean_ttft_ms.value, rel=1e-9)
    assert sum(r["tpot_ms"]) / 12 == pytest.approx(p.mean_tpot_ms.value, rel=1e-9)
    assert set(r["reason"]) == {"length"} and r["id"] == sorted(r["id"])
    assert max(p.timeline["running"]) <= 4 and max(p.timeline["kv_usage"]) <= p.occupancy.kv_usage_max + 1e-12
    with pytest.raises(KeyError):
        r["nonsense"]
    coarse = capsim.predict(SMALL, timeline=0.1).timeline
    assert len(coarse) < len(p.timeline)
    with pytest.raises(capsim.CapsimError, match="timeline 0.000000001"):
        capsim.predict(SMALL, timeline=1e-9)


def test_arrow_pandas_and_polars_see_the_same_columns(tmp_path):
    pa, pl = pytest.importorskip("pyarrow"), pytest.importorskip("polars")
    import gc

    (tmp_path / "plan.toml").write_text(PLAN)
    t = capsim.sweep(tmp_path / "plan.toml").table
    arrow, polars, pandas = pa.table(t), pl.DataFrame(t), capsim.to_pandas(t)
    arrow.validate(full=True)
    assert pa.schema(t) == arrow.schema
    names, columns = t.column_names, {n: t[n] for n in t.column_names}
    assert names == arrow.column_names == polars.columns == list(pandas.columns)
    # What was lent outlives the lender.
    del t
    gc.collect()
    for n in names:
        assert columns[n] == arrow[n].to_pylist() == polars[n].to_list()
    # A missing value is missing: the refused point has no figures.
    assert columns["mean_ttft_ms"][5] is None and pandas["mean_ttft_ms"].isna().tolist() == [False] * 5 + [True]
    # And the same as the file that the sweep wrote.
    import pyarrow.parquet

    assert pyarrow.parquet.read_table(tmp_path / "plan.results/results.parquet").to_pydict() == columns


def test_arrow_columns_are_not_copied_and_are_freed():
    pa = pytest.importorskip("pyarrow")
    import gc

    t = capsim.predict(SMALL, requests=True).requests
    one, two = pa.table(t), pa.table(t)
    for n in t.column_names:
        a, b = one[n].chunk(0).buffers()[-1], two[n].chunk(0).buffers()[-1]
        assert a.address == b.address
    capsules = [t.__arrow_c_stream__() for _ in range(100)] + [t.__arrow_c_schema__() for _ in range(100)]
    del capsules, t, two
    gc.collect()
    one.validate(full=True)


def test_other_threads_run_meanwhile():
    s = dataclasses.replace(SMALL, workload=Workload(num_prompts=3000, max_concurrency=64, random_output_len=64))
    counted, ended = 0, threading.Event()

    def count():
        nonlocal counted
        while not ended.is_set():
            counted += 1
            time.sleep(0.001)

    t = threading.Thread(target=count)
    t.start()
    begin = time.monotonic()
    capsim.predict(s)
    took = time.monotonic() - begin
    ended.set()
    t.join()
    # With the lock held, nothing would have been counted.
    assert counted > 3 and took > 0.01


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_ends_a_long_call():
    code = """
        import capsim
        print("begins", flush=True)
        s = capsim.Scenario(model="qwen3-0.6b", workload=capsim.Workload(num_prompts=200000, max_concurrency=512))
        try:
            capsim.capacity(s, "ttft.p95<2s", seeds=100, threads=1)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
    """
    child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "begins\n"
    time.sleep(0.5)
    child.send_signal(signal.SIGINT)
    out, _ = child.communicate(timeout=60)
    assert out == "interrupted\n" and child.returncode == 0


def test_the_example_draws(tmp_path):
    pytest.importorskip("matplotlib")
    example = ROOT / "bindings/python/examples/what_to_serve.py"
    done = subprocess.run(
        [sys.executable, str(example), str(tmp_path)], capture_output=True, text=True, timeout=300,
        env={**os.environ, "MPLBACKEND": "Agg"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name in ("concurrency.png", "timeline.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG") and (tmp_path / name).stat().st_size > 10_000
    assert "users" in done.stdout
