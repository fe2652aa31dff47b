"""Flat calls, answers as numbers, rows, tables and pictures; commands as functions."""

import json
import subprocess
import sys
import urllib.request

import capsim
import pytest
from capsim import Scenario, Workload
from conftest import ROOT
from test_same_bytes import SMALL

FLAT = dict(max_num_seqs=4, num_gpu_blocks_override=512, num_prompts=12, random_input_len=64, random_output_len=16, max_concurrency=4)


def test_a_flat_call_is_the_scenario():
    p = capsim.predict("qwen3-0.6b", **FLAT)
    assert p.to_json() == capsim.predict(SMALL).to_json()
    # Fields win over the scenario's, those of the load too.
    more = capsim.predict(SMALL, max_concurrency=2)
    assert more.to_json() == capsim.predict("qwen3-0.6b", **{**FLAT, "max_concurrency": 2}).to_json()
    with pytest.raises(TypeError, match="'max_num_seq' is no field of a scenario .did you mean max_num_seqs"):
        capsim.predict("qwen3-0.6b", max_num_seq=4)
    with pytest.raises(TypeError, match="given twice"):
        capsim.predict("qwen3-0.6b", model="qwen3-8b")
    with pytest.raises(TypeError, match="not int"):
        capsim.predict(3)


def test_the_default_device_is_told_once():
    code = "import capsim; [capsim.predict('qwen3-0.6b', num_prompts=2, max_concurrency=1) for _ in range(2)]"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr
    assert said.count("no device was given, so this is gfx1151") == 1
    named = code.replace("num_prompts", "device='h100-sxm', num_prompts")
    assert subprocess.run([sys.executable, "-c", named], capture_output=True, text=True, check=True).stderr == ""


def test_a_metric_is_a_number():
    p = capsim.predict(SMALL)
    m = p.mean_tpot_ms
    assert f"{m:.2f}" == f"{m.value:.2f}" and f"{m:>12.1f}".strip() == f"{m.value:.1f}"
    assert f"{m}" == str(m) == f"{m.value:.3g} [{m.low:.3g} to {m.high:.3g}]"
    assert m > 0 and m < p.mean_e2el_ms and m <= m and not m >= p.mean_e2el_ms
    # Every metric of the answer is an attribute, and there is no other.
    names = {n for n in dir(capsim._answers.PredictedMetrics) if not n.startswith("_")}
    assert names == set(p.metrics) and all(getattr(p, n) == p.metrics[n] for n in names)
    with pytest.raises(AttributeError, match="no `mean_tfft_ms`; its metrics are duration_s"):
        p.mean_tfft_ms


def test_every_answer_has_words_rows_tables_and_a_picture(tmp_path):
    pd, pl, pa = pytest.importorskip("pandas"), pytest.importorskip("polars"), pytest.importorskip("pyarrow")
    pytest.importorskip("matplotlib").use("Agg")
    small = Scenario(model="qwen3-0.6b", workload=Workload(random_input_len=64, random_output_len=16, num_prompts=20))
    slo = "ttft.p95<400ms,tpot.p95<60ms"
    seen = []
    answers = [
        capsim.predict(SMALL),
        capsim.what_if(SMALL, max_num_seqs=[2, 4], progress=lambda done, all: seen.append((done, all))),
        capsim.capacity(small, slo, seeds=1, what_if=False, progress=lambda done, all: seen.append((done, all))),
        capsim.tune(small, knobs={"max_num_seqs": [2, 8]}, only=True),
        capsim.memory("qwen3-0.6b", concurrency=16, context=4096),
        capsim.compare(small, for_users=4, slo="ttft.p95<2s", device=["h100-sxm", "rtx-4090"], weights="bf16", num_prompts=16),
        capsim.validate(ROOT / "validation/gfx1151/qwen3-30b-a3b-vllm-0.12/runs.json", fit=["latency-10"])[0],
    ]
    assert seen[:2] == [(1, 2), (2, 2)] and len(seen) > 3 and all(d <= k for d, k in seen)
    for a in answers:
        rows = a.rows()
        assert rows and all(isinstance(v, (bool, int, float, str, type(None))) for r in rows for v in r.values()), a
        names = list(rows[0])
        assert all(list(r) == names for r in rows)
        frame = a.to_pandas()
        assert isinstance(frame, pd.DataFrame) and list(frame.columns) == names and len(frame) == len(rows)
        assert isinstance(a.to_polars(), pl.DataFrame) and a.to_polars().to_dicts()[0] == rows[0]
        assert a.to_arrow().num_rows == pa.table(a).num_rows == len(rows)
        assert "<table>" in a._repr_html_() and a.plot().get_xlabel()
    # All but recorded runs have words, those of the command line.
    assert all(a.summary() for a in answers[:6]) and answers[5].summary() == answers[5].answer
    best = answers[3].best
    assert best.settings == {k.replace("-", "_"): int(v) for k, v in best.changes}


def test_a_server_and_what_bench_measures_of_it():
    with capsim.serve("qwen3-0.6b", device="h100-sxm", max_num_seqs=4) as server:
        with urllib.request.urlopen(server.url + "/v1/models") as answer:
            assert "qwen3-0.6b" in answer.read().decode().lower()
        run = capsim.bench(server.url, model="qwen3-0.6b", num_prompts=4, max_concurrency=2, random_input_len=16, random_output_len=8)
    assert run["completed"] == 4 and run.rows()[0]["completed"] == 4
    assert server._process.returncode is not None
    with pytest.raises(capsim.CapsimError, match="qwen9"):
        capsim.serve("qwen9")
    with pytest.raises(capsim.CapsimError, match="127.0.0.1:1"):
        capsim.bench("http://127.0.0.1:1", model="qwen3-0.6b", num_prompts=1, ready_check_timeout_sec=0)


def test_explore_answers_for_the_scenario():
    with capsim.explore("qwen3-0.6b", device="h100-sxm", users=3, slo="ttft.p95<2s") as page:
        assert "users=3" in page.url and "device=h100-sxm" in page.url and page.url in page._repr_html_()
        address = page.url.replace("/?", "/api/predict?")
        with urllib.request.urlopen(address) as answer:
            said = json.loads(answer.read())
    assert said["prediction"]["metrics"]["output_throughput"]["value"] == pytest.approx(
        capsim.predict("qwen3-0.6b", device="h100-sxm", users=3).output_throughput.value
    )


def test_commands_as_functions(tmp_path):
    p = capsim.predict(SMALL)
    page = capsim.report(p, capsim.memory("qwen3-0.6b"), output=tmp_path / "page.html", title="Both of them")
    assert "Both of them" in (tmp_path / "page.html").read_text() and page == str(tmp_path / "page.html")
    assert "h100-sxm" in {d["id"] for d in capsim.devices()} and any("cpu" in str(d) for d in capsim.devices(here=True))
    assert {m["name"] for m in capsim.models("qwen3-8b")} >= {"qwen3-8b"}
    (tmp_path / "t.csv").write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n0,64,16\n1,64,16\n")
    assert capsim.trace(tmp_path / "t.csv")["requests"] == 2
    told = capsim.explain(ROOT / "validation/gfx1151/qwen3-30b-a3b-vllm-0.12/runs.json", fit="latency-10")
    assert told.to_dict()
    with pytest.raises(capsim.CapsimError, match="nowhere"):
        capsim.trace("nowhere.csv")
    device = capsim.calibrate(tmp_path / "device", backend="synthetic", quick=True, progress=False)
    assert device.id
