#!/usr/bin/env python3
"""Recorded runs of DeepSeek-R1 under SGLang, from InferenceX's published rows, as files that `capsim validate --all` reads.

    scripts/inferencex_runs.py dsr1.json validation/inferencex

Rows that are not simulated (TensorRT-LLM, speculative decoding, disaggregated prefill) go to unusable.json, each with the reason.
"""
import json
import pathlib
import sys

# What InferenceX's scripts start the servers with (benchmarks/single_node/fixed_seq_len/dsr1_fp8_<hardware>.sh).
FLAGS = {
    "h200": dict(max_num_batched_tokens=32768, gpu_memory_utilization=0.82),
    "mi300x": dict(max_num_batched_tokens=131072, gpu_memory_utilization=0.8, kv_cache_dtype="fp8"),
    "mi355x": dict(max_num_batched_tokens=196608, gpu_memory_utilization=0.8, kv_cache_dtype="fp8"),
}
# With MTP (dsr1_fp8_<hardware>_mtp.sh of 843c6254): drafts in a chain, and what the engine says nothing else of.
MTP = {"h200": dict(num_speculative_tokens=2), "mi355x": dict(num_speculative_tokens=3)}
# Mean acceptance lengths, which the rows do not say, taken from one row of each device, which is not predicted then. On MI355X every step
# makes a message, so that median ITL over median TPOT is the length (4 clients). On H200 messages hold ten tokens and more
# (--stream-interval 10): the length is fitted to TPOT (16 clients), and takes up what steps cost beyond the model.
ACCEPTED = {"h200": ("length:1.5", 1024, 16), "mi355x": ("length:2.27", 1024, 4)}
DOUBT = "priors were chosen with these rows known: what a prefill without graphs costs the host and, on Instinct, how fast decode attention streams"
MTP_DOUBT = "; the mean acceptance length is that of another row of the device"
DEVICES = {"h200": "h200-sxm", "mi300x": "mi300x", "mi355x": "mi355x"}
SOURCE = "SemiAnalysisAI/InferenceX, results of {date} ({hardware}, {framework}, fp8, TP{tp}), collected 2026-11-30"


def reason(row):
    if row["disagg"]:
        return "prefill and decode apart are simulated for vLLM and SGLang; this is TensorRT-LLM under NVIDIA Dynamo"
    if row["framework"] != "sglang":
        return "TensorRT-LLM's scheduler is not simulated"
    if row["spec_method"] == "mtp" and (row["isl"], row["conc"]) == ACCEPTED[row["hardware"]][1:]:
        return "the mean acceptance length that the other MTP rows of the device are predicted with was taken from this row"
    return None


def name(row):
    spec = "" if row["spec_method"] == "none" else f"-{row['spec_method']}"
    kind = f"{row['isl'] // 1024}k{row['osl'] // 1024}k-c{row['conc']}"
    return f"ix-{row['hardware']}-{row['framework']}{spec}-tp{row['decode_tp']}-{kind}-{row['date']}"


def run(row):
    m, c = row["metrics"], row["conc"]
    devices = row["decode_tp"]
    hardware = row["hardware"]
    args = dict(FLAGS[hardware], tensor_parallel_size=devices, enable_prefix_caching=False, max_num_seqs=512)
    if row["spec_method"] == "mtp":
        args |= dict(MTP[hardware], speculative_method="mtp", speculative_eagle_topk=1)
        if hardware == "mi355x":
            args |= dict(max_num_seqs=c)
        args |= dict(speculative_acceptance=ACCEPTED[hardware][0])
    return dict(
        id=name(row),
        source=SOURCE.format(date=row["date"], hardware=hardware.upper(), framework="SGLang", tp=devices),
        doubt=DOUBT + (MTP_DOUBT if row["spec_method"] == "mtp" else ""),
        mode="serve",
        engine_args={k: v for k, v in args.items() if k != "kv_cache_dtype"},
        workload=dict(
            num_prompts=10 * c, max_concurrency=c, input_len=round(0.9 * row["isl"]), output_len=round(0.9 * row["osl"]),
            range_ratio=0.111, prompts="distinct", warmup=1, send_skew_ms=0,
        ),
        measured=dict(
            median_ttft_ms=round(1e3 * m["median_ttft"], 3), median_tpot_ms=round(1e3 * m["median_tpot"], 4),
            total_token_throughput=round(devices * m["tput_per_gpu"], 2),
        ),
    )


def main(source, folder):
    rows = json.loads(pathlib.Path(source).read_text())["rows"]
    folder = pathlib.Path(folder)
    files, unusable, seen = {}, [], set()
    for row in rows:
        if name(row) in seen and row["disagg"]:
            continue
        seen.add(name(row))
        if why := reason(row):
            unusable.append(dict(experiment=name(row), reason=why, source=SOURCE.format(
                date=row["date"], hardware=row["hardware"].upper(), framework=row["framework"], tp=row["decode_tp"])))
            continue
        files.setdefault((row["hardware"], row["spec_method"] == "mtp"), []).append(run(row))
    for (hardware, mtp), runs in files.items():
        with_mtp = " with MTP" if mtp else ""
        file = dict(
            schema="capsim.runs/1", name=f"DeepSeek-R1, SGLang, {hardware.upper()}{with_mtp}", source="see each run", model="deepseek-r1",
            device=DEVICES[hardware], engine=f"sglang-{hardware}", client=dict(percentiles="linear", streaming=True), runs=runs,
        )
        if kv := FLAGS[hardware].get("kv_cache_dtype"):
            file["kv_cache"] = kv
        (folder / f"sglang-{hardware}{'-mtp' if mtp else ''}.json").write_text(json.dumps(file, indent=1, ensure_ascii=False) + "\n")
    (folder / "unusable.json").write_text(json.dumps(dict(schema="capsim.unusable/1", experiments=unusable), indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
