"""The package and the command line are one program: the same bytes, the same errors."""

import dataclasses
import json
import math
import pathlib

import capsim
import pytest
from capsim import Scenario, Workload
from conftest import ROOT, run

SMALL = Scenario(
    model="qwen3-0.6b",
    max_num_seqs=4,
    num_gpu_blocks_override=512,
    workload=Workload(num_prompts=12, random_input_len=64, random_output_len=16, max_concurrency=4),
)
FLAGS = (
    "--model=qwen3-0.6b --max-num-seqs=4 --num-gpu-blocks-override=512 --num-prompts=12 --random-input-len=64 "
    "--random-output-len=16 --max-concurrency=4"
).split()


def test_a_deployment(program):
    deployed = dataclasses.replace(SMALL, prefill_replicas=1, decode_replicas=2, decode="--max-num-seqs 2")
    cli = run(program, "predict", "--json", *FLAGS, "--prefill-replicas=1", "--decode-replicas=2", "--decode=--max-num-seqs 2").stdout
    p = capsim.predict(deployed)
    assert p.to_json() + "\n" == cli
    d = json.loads(cli)["points"][0]["deployment"]
    assert d["devices"] == 3
    assert [pool["role"] for pool in d["pools"]] == ["prefill", "decode"]
    assert d["pools"][1]["settings"]["max_num_seqs"] == 2
    assert Scenario.from_dict(deployed.to_dict()) == deployed


def test_predict(program):
    cli = run(program, "predict", "--json", *FLAGS).stdout
    p = capsim.predict(SMALL)
    assert p.to_json() + "\n" == cli
    point = json.loads(cli)["points"][0]
    # The typed object says the same.
    assert p.output_throughput.value == point["metrics"]["output_throughput"]["value"]
    assert p.mean_ttft_ms.low < p.mean_ttft_ms.value < p.mean_ttft_ms.high
    assert p.settings.max_num_seqs == 4 and p.completed == 12 and p.total_output_tokens == 12 * 16
    assert set(p.metrics) == set(point["metrics"])
    # Little's law, from the object alone: requests in the system = rate × time in it.
    rate, stay = p.request_throughput.value, p.mean_e2el_ms.value / 1e3
    assert rate * stay == pytest.approx(4, rel=0.05)
    # The command line that the scenario names is this one.
    assert run(program, *SMALL.command().split()[1:], "--json").stdout == cli
    off = dataclasses.replace(SMALL, enforce_eager=False, enable_prefix_caching=False)
    assert run(program, *off.command().split()[1:], "--json").stdout == capsim.predict(off).to_json() + "\n"


def test_a_pasted_line_and_an_infinite_rate(program):
    line = "vllm serve qwen3-0.6b --max-model-len 2048 --max-num-seqs 3"
    cli = run(program, "predict", "--json", "--request-rate", "inf", "--num-prompts", "5", "--", *line.split()).stdout
    s = Scenario(serve=line, workload=Workload(request_rate=math.inf, num_prompts=5))
    assert capsim.predict(s).to_json() + "\n" == cli


def test_several_values_make_a_table(program):
    cli = run(program, "predict", "--json", *FLAGS, "--enforce-eager", "--block-size=16,32").stdout
    s = dataclasses.replace(SMALL, block_size=[16, 32], enforce_eager=True)
    table = capsim.what_if(s)
    assert table.to_json() + "\n" == cli
    assert [p.varied for p in table] == [{"block_size": 16}, {"block_size": 32}]
    assert table.rows()[1]["block_size"] == 32 and len(table) == 2
    assert table[1].to_dict()["points"] == table.to_dict()["points"][1:]
    with pytest.raises(capsim.CapsimError, match="these are 2 scenarios, by block_size"):
        capsim.predict(s)


@pytest.mark.parametrize("threads", [1, 3])
def test_capacity_tune_and_memory(program, threads):
    s = dataclasses.replace(SMALL, workload=Workload(random_input_len=64, random_output_len=16, num_prompts=20))
    flags = "--model=qwen3-0.6b --max-num-seqs=4 --num-gpu-blocks-override=512 --random-input-len=64 --random-output-len=16 --num-prompts=20"
    slo = "ttft.p95<400ms,tpot.p95<60ms"
    got = capsim.capacity(s, slo, seeds=2, what_if=False, threads=threads)
    cli = run(program, "capacity", "--json", f"--slo={slo}", "--seeds=2", "--no-what-if", *flags.split())
    assert got.to_json() + "\n" == cli.stdout
    assert got.highest.met and got.highest.load == max(p.load for p in got.curve if p.met)

    tuned = capsim.tune(s, knobs={"max_num_seqs": [2, 8], "enforce-eager": [True]}, only=True, threads=threads)
    cli = run(program, "tune", "--json", "--knob=max-num-seqs=2,8", "--knob=enforce-eager=on", "--only", *flags.split())
    assert tuned.to_json() + "\n" == cli.stdout
    assert tuned.best.output_throughput == max(o.output_throughput for o in tuned.front)
    assert "vllm serve" in tuned.best.serve

    held = capsim.memory(Scenario(model="qwen3-0.6b"), concurrency=16, context=4096)
    cli = run(program, "memory", "--json", "--concurrency=16", "--context=4096", "--model=qwen3-0.6b")
    assert held.to_json() + "\n" == cli.stdout
    assert held.fits and held.num_gpu_blocks * held.block_size == held.kv_tokens


def test_validate_keeps_the_fitted_run_apart(program):
    runs = ROOT / "validation/gfx1151/qwen3-30b-a3b-vllm-0.12/runs.json"
    cli = run(program, "validate", runs, "--fit=latency-10", "--json").stdout
    got, profile = capsim.validate(runs, fit=["latency-10"])
    assert got.to_json() + "\n" == cli
    assert [r.id for r in got.runs if r.fitted] == ["latency-10"] and got.agrees
    assert profile.to_dict()["provenance"]["origin"] == "fitted"
    assert capsim.validate(runs)[1] is None


PLAN = """
name = "test"
serve = "vllm serve qwen3-0.6b --max-model-len 2048"
[base]
num-prompts = 12
num-gpu-blocks-override = 512
[grid]
max-num-seqs = [1, 4]
request-rate = [2.5, inf]
[[points]]
max-concurrency = 3
prompts = "identical"
[[points]]
num-gpu-blocks-override = 16
max-concurrency = 2
"""
SAME_PLAN = {
    "name": "test",
    "serve": "vllm serve qwen3-0.6b --max-model-len 2048",
    "base": {"num-prompts": 12, "num-gpu-blocks-override": 512},
    "grid": {"max-num-seqs": [1, 4], "request-rate": [2.5, math.inf]},
    "points": [{"max-concurrency": 3, "prompts": "identical"}, {"num-gpu-blocks-override": 16, "max-concurrency": 2}],
}


def tree(folder):
    """All files below a folder."""
    folder = pathlib.Path(folder)
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_sweep(program, tmp_path):
    (tmp_path / "plan.toml").write_text(PLAN)
    run(program, "sweep", tmp_path / "plan.toml", "-o", tmp_path / "cli")
    seen = []
    a = capsim.sweep(tmp_path / "plan.toml", tmp_path / "toml", threads=2, progress=lambda done, all: seen.append((done, all)))
    b = capsim.sweep(SAME_PLAN, tmp_path / "dict")
    assert tree(tmp_path / "cli") == tree(tmp_path / "toml") == tree(tmp_path / "dict")
    assert sorted(seen) == [(n, 6) for n in range(1, 7)]
    assert a.rows == b.rows == [json.loads(line) for line in (tmp_path / "cli/results.jsonl").read_text().splitlines()]
    # The last point has too little memory: a result, too.
    assert [bool(r) for r in a.table["refused"]] == [False] * 5 + [True] and a.missing == []
    # A shard alone misses the others' points; what is there is not simulated again.
    part = capsim.sweep(SAME_PLAN, tmp_path / "part", shard="1/2")
    assert part.missing == [1, 3, 5] and len(part.rows) == 3
    again = []
    capsim.sweep(SAME_PLAN, tmp_path / "part", progress=lambda done, all: again.append(all))
    assert again == [3] * 3 and tree(tmp_path / "part") == tree(tmp_path / "cli")


@pytest.mark.parametrize(
    "flags, scenario",
    [
        (["--model", "qwen9"], Scenario(model="qwen9")),
        (["--max-num-seqs", "0"], Scenario(max_num_seqs=0)),
        (["--max-num-seqs", "x"], Scenario(max_num_seqs="x")),
        (["--weights", "int3"], Scenario(weights="int3")),
        (["--device", "nowhere.json"], Scenario(device="nowhere.json")),
        (["--think-time", "3"], Scenario(workload=Workload(think_time=3))),
        (["--request-rate=1", "--users=2"], Scenario(workload=Workload(users=2, request_rate=1))),
        (["--num-gpu-blocks-override", "1"], Scenario(num_gpu_blocks_override=1)),
    ],
)
def test_errors_have_the_text_of_the_command_line(program, flags, scenario):
    said = run(program, "predict", "--num-prompts=2", *flags, code=2).stderr
    s = dataclasses.replace(scenario, workload=dataclasses.replace(scenario.workload, num_prompts=2))
    with pytest.raises(ValueError) as e:
        capsim.predict(s)
    assert type(e.value) is capsim.CapsimError
    # The command line adds how it is used, where help is.
    assert said.split("\n\n")[0].strip() == f"error: {e.value}"


def test_the_console_script_is_the_program(script, tmp_path):
    assert run(script, "--version").stdout.strip().startswith(f"capsim {capsim.__version__}")
    assert "Usage: capsim" in run(script, "--help").stdout
    assert "capsim predict --help" in run(script, "predict", "--nonsense", code=2).stderr
    # It starts other processes of itself.
    assert "cpu" in run(script, "devices").stdout.lower()
    # Exit codes arrive: 1 where it does not fit.
    run(script, "memory", "--concurrency=100000", "--context=4096", "--model=qwen3-0.6b", code=1)


def test_every_field_of_a_scenario_is_a_field_here():
    """The tables in Rust are the only list of them; python/capsim/_fields.py is generated."""
    from capsim import _capsim

    names = {f.name for c in (Scenario, Workload) for f in dataclasses.fields(c)} - {"workload", "serve"}
    assert names == {name for name, _ in _capsim.scenario_fields()}


def test_a_document_gives_the_same_bytes(program, tmp_path):
    document = tmp_path / "s.json"
    cli = run(program, "predict", "--json", *FLAGS, f"--save-scenario={document}").stdout
    assert run(program, "predict", "--json", document).stdout == cli
    assert json.loads(document.read_text()) == SMALL.to_dict()
    assert capsim.predict(Scenario.from_dict(SMALL.to_dict())).to_json() + "\n" == cli
