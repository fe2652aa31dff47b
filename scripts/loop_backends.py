#!/usr/bin/env python3
"""Both backends that measure a processor, side by side, on what scripts/whole_loop.py recorded.

    python3 scripts/loop_backends.py --out validation/cpu-vllm/2026-11-30-0.32.0 --python VENV/bin/python   # measures with PyTorch first
    python3 scripts/loop_backends.py --out validation/cpu-vllm/2026-11-30-0.32.0                            # predicts anew

The folder's `device/` is from `capsim calibrate --backend cpu`; with --python this script measures the same core with `--backend torch`
(the server's own PyTorch and kernels) into `device-torch/`. Then it predicts every recording with each of both, with nothing fitted, with
one run of one request at a time fitted, and with the runs that the loop fits, and writes backends.md and backends.json. A run that was fitted to is
never counted. Needs the capsim that whole_loop.py builds, and for --python taskset and a quiet machine.
"""
import argparse
import json
import pathlib
import re
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONFIG = ROOT / "validation" / "cpu-vllm" / "model" / "config.json"
CAPSIM = ROOT / "target" / "release" / "capsim"
BACKENDS = {"cpu": "device", "torch": "device-torch"}
# What an engine profile for processors is called after the release, by the kernels that measured the processor.
PROFILES = {"cpu": "cpu", "torch": "cpu-library"}
# One request at a time, and eight.
ONE, TWO = "m16-c1-128x128-0", "m16-c8-128x128-0"
METRICS = {"mean_tpot_ms": "TPOT", "output_token_throughput": "tokens/s", "mean_e2el_ms": "E2EL", "median_ttft_ms": "TTFT median"}


def settings(name):
    """The server's flags, from a recording's name: m16-…, or m16b256-… with other batches."""
    seqs, batched = re.match(r"m(\d+)(?:b(\d+))?-", name).groups()
    return ["--max-num-seqs", seqs, "--max-num-batched-tokens", batched or "2048"]


def validate(out, device, names, more):
    files = ",".join(str(out / "recordings" / f"{n}.json") for n in names)
    words = [CAPSIM, "validate", "--bench", files, "--model", CONFIG, "--device", out / device, *more, "--tolerance", "0.1", "--json"]
    words += ["--", "vllm", "serve", "tiny", *settings(names[0])]
    # The engine and its host are one core: nothing overlaps, whatever the scheduler does.
    words += ["--dtype", "bfloat16", "--enforce-eager", "--no-async-scheduling"]
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True)
    if done.returncode not in (0, 1) or not done.stdout:
        sys.exit(f"capsim validate ended with {done.returncode}:\n{done.stderr}")
    return json.loads(done.stdout)["recordings"]


def predictions(out, device, names, engine):
    """Errors by run and metric, one server configuration at a time."""
    errors = {}
    for flags in sorted({tuple(settings(n)) for n in names}):
        some = [n for n in names if tuple(settings(n)) == flags]
        for r in validate(out, device, some, ["--engine", engine]):
            errors[r["name"]] = {m["metric"]: m["error"] for m in r["metrics"] if m["metric"] in METRICS and m["error"] is not None}
    return errors


def compare(out, engine, fits):
    names = sorted(p.stem for p in (out / "recordings").glob("*.json"))
    rows = []
    for backend, device in BACKENDS.items():
        if not (out / device / "device.json").exists():
            continue
        for fit in fits:
            start = profile = f"{engine}-{PROFILES[backend]}"
            if fit:
                profile = out / f"engine-{backend}-{len(fit)}.json"
                validate(out, device, fit, ["--engine", start, "--fit", ",".join(fit), "--write-profile", profile])
            held_out = [n for n in names if n not in fit]
            errors = predictions(out, device, held_out, profile)
            if fit:
                profile.unlink()
            rows.append({"backend": backend, "fitted_on": fit, "errors": errors})
    return rows


def summary(rows):
    lines = ["| backend | tuned on | " + " | ".join(METRICS.values()) + " | runs |", "| --- | --- |" + " --- |" * (len(METRICS) + 1)]
    for row in rows:
        cells = []
        for metric in METRICS:
            errors = [e[metric] for e in row["errors"].values() if metric in e]
            middle = statistics.median(abs(e) for e in errors)
            cells.append(f"{middle:.1%} ({statistics.median(errors):+.1%})")
        tuned = {0: "nothing", 1: "1 run"}.get(len(row["fitted_on"]), f"{len(row['fitted_on'])} runs")
        lines.append(f"| {row['backend']} | {tuned} | " + " | ".join(cells) + f" | {len(row['errors'])} |")
    return "\n".join(lines)


def calibrate(out, python, core):
    """Measures the core with the server's own PyTorch."""
    words = ["taskset", "-c", core, CAPSIM, "calibrate", "--backend", "torch", "--python", python, "--threads", 1, "-o", out / BACKENDS["torch"]]
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"capsim calibrate ended with {done.returncode}:\n{done.stderr}")


def write(out):
    """Predicts with both backends, and writes backends.md and backends.json."""
    facts = json.loads((out / "measured.json").read_text())
    engine = "vllm-" + ".".join(facts["vllm"].split(".")[:2])
    rows = compare(out, engine, [[], [ONE], [ONE, TWO]])
    (out / "backends.json").write_text(json.dumps({"schema": "capsim.loop-backends/1", "engine": engine, "rows": rows}, indent=1) + "\n")
    text = [
        f"# Two ways to measure the processor, vLLM {facts['vllm']}",
        "",
        "`scripts/loop_backends.py` on the recordings beside this file. Median absolute error over the runs that were not tuned on, and in brackets the "
        "median error with its sign. `cpu`: capsim's own kernels; `torch`: the server's PyTorch and vLLM's kernels. "
        f"Tuned on: `{ONE}`, and `{TWO}` where it says 2 runs.",
        "",
        summary(rows),
        "",
    ]
    (out / "backends.md").write_text("\n".join(text))
    print(summary(rows))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--out", type=pathlib.Path, required=True, help="folder that whole_loop.py wrote")
    ap.add_argument("--python", type=pathlib.Path, help="Python of the server: measure with it first")
    ap.add_argument("--engine-core", default="0")
    a = ap.parse_args()
    out = a.out.resolve()
    if a.python:
        calibrate(out, a.python, a.engine_core)
    write(out)


if __name__ == "__main__":
    main()
