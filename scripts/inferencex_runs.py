#!/usr/bin/env python3
"""Recorded runs of DeepSeek-R1 under SGLang and TensorRT-LLM, from InferenceX's published rows, as files that `capsim validate --all` reads.

    scripts/inferencex_runs.py dsr1.json validation/inferencex

Rows that are not simulated (disaggregated prefill) or that gave a number (MTP's acceptance length) go to unusable.json, each with the reason.
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
# What InferenceX's scripts start TensorRT-LLM with (dsr1_fp8_h200_trt.sh and dsr1_fp8_h200_trt_mtp.sh of 8eec0d4).
TRT = dict(
    enable_chunked_prefill=False, gpu_memory_utilization=0.75, enable_prefix_caching=False, stream_interval=10,
)
# Its messages leave with every tenth step, so that mean ITL over mean TPOT is ten times the mean acceptance length: 0.33763 / 0.014195 / 10
# in the row of 1.1.0rc2 with 1k prompts and 16 clients, which is not predicted then.
TRT_ACCEPTED = ("length:2.38", 1024, 16, "2026-01-14")
TRT_DOUBT = "the flags are those of the scripts of 2026, the rows without MTP of 2025-11; priors are SGLang's, which were chosen with rows of the same load known"
DOUBT = "priors were chosen with these rows known: what a prefill without graphs costs the host and, on Instinct, how fast decode attention streams"
MTP_DOUBT = "; the mean acceptance length is that of another row of the device"
DEVICES = {"h200": "h200-sxm", "mi300x": "mi300x", "mi355x": "mi355x"}
SOURCE = "SemiAnalysisAI/InferenceX, results of {date} ({hardware}, {framework}, fp8, TP{tp}), collected 2026-11-30"


def reason(row):
    if row["disagg"]:
        return "prefill and decode apart are simulated for vLLM and SGLang; this is TensorRT-LLM under NVIDIA Dynamo"
    if row["framework"] == "trt":
        gave = row["spec_method"] == "mtp" and (row["isl"], row["conc"], row["date"]) == TRT_ACCEPTED[1:]
        return "the mean acceptance length that the other MTP rows are predicted with was taken from this row" if gave else None
    if row["spec_method"] == "mtp" and (row["isl"], row["conc"]) == ACCEPTED[row["hardware"]][1:]:
        return "the mean acceptance length that the other MTP rows of the device are predicted with was taken from this row"
    return None


def name(row):
    spec = "" if row["spec_method"] == "none" else f"-{row['spec_method']}"
    kind = f"{row['isl'] // 1024}k{row['osl'] // 1024}k-c{row['conc']}"
    return f"ix-{row['hardware']}-{row['framework']}{spec}-tp{row['decode_tp']}-{kind}-{row['date']}"


def trt_args(row):
    c, isl = row["conc"], row["isl"]
    length = isl + row["osl"] + 200
    more = dict(enable_expert_parallel=True) if row["decode_ep"] > 1 else {}
    more |= dict(enable_dp_attention=True) if row["decode_dp_attention"] else {}
    if row["spec_method"] == "none":
        tokens = max((c + isl + 64 + 63) // 64 * 64, 8192)
        return dict(TRT, max_num_batched_tokens=tokens, max_model_len=max(length, 8192), **more)
    tokens = (4 * c + isl + 64 + 63) // 64 * 64
    return dict(
        TRT, max_num_batched_tokens=tokens, max_model_len=length, max_num_seqs=c, **more, speculative_method="mtp", num_speculative_tokens=3, speculative_acceptance=TRT_ACCEPTED[0],
    )


def run(row):
    m, c = row["metrics"], row["conc"]
    trt = row["framework"] == "trt"
    devices = row["decode_tp"]
    hardware = row["hardware"]
    args = dict(FLAGS[hardware], tensor_parallel_size=devices, enable_prefix_caching=False, max_num_seqs=512)
    if row["spec_method"] == "mtp":
        args |= dict(MTP[hardware], speculative_method="mtp", speculative_eagle_topk=1)
        if hardware == "mi355x":
            args |= dict(max_num_seqs=c)
        args |= dict(speculative_acceptance=ACCEPTED[hardware][0])
    if trt:
        args = dict(trt_args(row), tensor_parallel_size=devices)
    return dict(
        id=name(row),
        source=SOURCE.format(date=row["date"], hardware=hardware.upper(), framework="TensorRT-LLM" if trt else "SGLang", tp=devices),
        doubt=(TRT_DOUBT if trt else DOUBT) + (MTP_DOUBT if row["spec_method"] == "mtp" else ""),
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
        files.setdefault((row["framework"], row["hardware"], row["spec_method"] == "mtp"), []).append(run(row))
    for (framework, hardware, mtp), runs in files.items():
        trt = framework == "trt"
        engine, title = ("trtllm", "TensorRT-LLM") if trt else ("sglang", "SGLang")
        with_mtp = " with MTP" if mtp else ""
        file = dict(
            schema="capsim.runs/1", name=f"DeepSeek-R1, {title}, {hardware.upper()}{with_mtp}", source="see each run", model="deepseek-r1",
            device=DEVICES[hardware], engine=f"{engine}-{hardware}", client=dict(percentiles="linear", streaming=True), runs=runs,
        )
        if kv := "fp8" if trt else FLAGS[hardware].get("kv_cache_dtype"):
            file["kv_cache"] = kv
        (folder / f"{engine}-{hardware}{'-mtp' if mtp else ''}.json").write_text(json.dumps(file, indent=1, ensure_ascii=False) + "\n")
    (folder / "unusable.json").write_text(json.dumps(dict(schema="capsim.unusable/1", experiments=unusable), indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
