#!/usr/bin/env python3
"""Turns a collection of public gfx1151 measurements (JSON, schema gfx1151-serving/1) into files of runs.

    python3 scripts/gfx1151_runs.py gfx1151-serving.json validation/gfx1151/public

One file per engine profile, model and weight format. Every experiment is either converted or listed in unusable.json
with the reason. What a source leaves open and we supposed is in the run's note.
"""
import json
import re
import sys
from collections import OrderedDict
from pathlib import Path

MODELS = [  # pattern on the model's name as published → built-in model
    (r"qwen3-coder-next", "qwen3-coder-next"),
    (r"qwen3-next", "qwen3-next-80b-a3b-instruct"),
    (r"qwen3-coder.?30b|qwen3-coder-30b", "qwen3-coder-30b-a3b-instruct"),
    (r"qwen3\.6[- ]35b", "qwen3.6-35b-a3b"),
    (r"qwen3\.5[:-]35b", "qwen3.5-35b-a3b"),
    (r"qwen3\.5-122b", "qwen3.5-122b-a10b"),
    (r"qwen3\.6-27b", "qwen3.6-27b"),
    (r"qwen3\.5-9b", "qwen3.5-9b"),
    (r"qwen3\.5-4b", "qwen3.5-4b"),
    (r"qwen3\.5-2b", "qwen3.5-2b"),
    (r"qwen3-30b-a3b-instruct", "qwen3-30b-a3b-instruct-2507"),
    (r"qwen3[- ]30b", "qwen3-30b-a3b"),
    (r"qwen3-0\.6b", "qwen3-0.6b"),
    (r"qwen3-1\.7b", "qwen3-1.7b"),
    (r"qwen3-4b", "qwen3-4b"),
    (r"qwen3-8b", "qwen3-8b"),
    (r"qwen2\.5-0\.5b", "qwen2.5-0.5b-instruct"),
    (r"qwen2\.5-1\.5b", "qwen2.5-1.5b-instruct"),
    (r"qwen2\.5-3b", "qwen2.5-3b-instruct"),
    (r"qwen2\.5(-coder)?[- ]7b", "qwen2.5-7b-instruct"),
    (r"qwen2\.5[- ]14b", "qwen2.5-14b-instruct"),
    (r"qwen2\.5[- ]32b", "qwen2.5-32b-instruct"),
    (r"llama-3\.2-1b", "llama-3.2-1b-instruct"),
    (r"llama-3\.2-3b", "llama-3.2-3b-instruct"),
    (r"llama-3\.1-8b", "llama-3.1-8b-instruct"),
    (r"llama 3\.1 70b", "llama-3.1-70b-instruct"),
    (r"llama[- ]2[- ]7b", "llama-2-7b-hf"),
    (r"tinyllama", "tinyllama-1.1b-chat-v1.0"),
    (r"phi-4-mini", "phi-4-mini-instruct"),
    (r"gpt-oss-120b", "gpt-oss-120b"),
    (r"gpt-oss-20b", "gpt-oss-20b"),
    (r"gemma-4-26b", "gemma-4-26b-a4b-it"),
    (r"gemma-4-31b", "gemma-4-31b-it"),
    (r"ministral-3-14b", "ministral-3-14b-instruct-2512"),
]

# Experiments that are not converted, by a pattern on the id, and why.
UNUSABLE = [
    (r"^bb-(?!qwen25)", "already in validation/gfx1151/qwen3-30b-a3b-vllm-0.12, transcribed from the source itself"),
    (r"^rocmvllm-908", "the only text run of AMD's own int4 expert kernels: nothing else could calibrate or test them"),
    (r"^rocmvllm-938", "prompts with an image, whose tokens are not stated"),
    (r"-mtp-", "speculative decoding, which is not simulated"),
    (r"dflash", "speculative decoding, which is not simulated"),
    (r"2xnp8", "two servers share the device"),
    (r"^yich.*fp8", "the only run of emulated FP8 kernels: nothing else could calibrate or test them"),
    (r"^yich.*mxfp4", "the only run of the patched MXFP4 kernels: nothing else could calibrate or test them"),
    (r"^sgl31137-qwen2.5-7b-awq", "the only run of SGLang's dense AWQ kernels: nothing else could calibrate or test them"),
    (r"^lhl-llamacpp-q4km-c1$", "contradicts itself: duration, TTFT, TPOT and tokens are those of the author's Q8_0 run to 0.7 %, "
     "although the file has 57 % of its bytes; one of the two files was served twice"),
    (r"^paudley.*piecewise", "before and after differ in several unnamed settings (the source's own caveat)"),
]


def model_of(name):
    low = name.lower()
    for pattern, model in MODELS:
        if re.search(pattern, low):
            return model
    return None


def value(e, key):
    m = e["metrics"].get(key)
    return None if m is None else m["value"]


def round_sig(v, digits=6):
    return float(f"{v:.{digits}g}")


def ms_per_token(rate):
    return round_sig(1000.0 / rate)


# What a source leaves open, and what it may have been instead of what we suppose.
UBATCH = dict(setting="ubatch-size", engine_args=[dict(micro_batch=2048)])


def open_settings(e, r, model):
    """Settings of a converted run that its source does not state, each with its alternatives."""
    g, w = e["group"], r["workload"]
    unknown = []
    long = w["input_len"] > 512
    if long and (g in ("lhl-gptoss120b-depth", "kyuz0-depth-curves", "amd-llamacpp-q4km")):
        unknown.append(UBATCH)
    if "prompt not stated" in r.get("note", "") or "prompt length not stated" in r.get("note", ""):
        unknown.append(dict(setting="prompt length", input_len=[4 * w["input_len"]]))
    elif "lengths not stated" in r.get("note", ""):
        unknown.append(dict(setting="prompt length", input_len=[32, 1024]))
    if "slots not stated" in r.get("note", "") and w["max_concurrency"] > 1:
        unknown.append(dict(setting="slots", engine_args=[dict(max_num_seqs=1)]))
    vllm = "vllm" in e["engine"]["name"].lower()
    if vllm and g in ("lemonade-vllm-single", "paudley-vllm-graphs", "lhl-llama2-7b", "kyuz0-vllm-issues") \
            and "enforce_eager" not in (r.get("engine_args") or {}):
        unknown.append(dict(setting="graphs or eager", engine_args=[dict(enforce_eager=True)]))
    return unknown


class Writer:
    def __init__(self):
        self.files = OrderedDict()

    def add(self, e, profile, model, weights, runs, kv=None, tiles=None, client=None):
        key = (profile, model, weights, kv, tiles)
        f = self.files.get(key)
        if f is None:
            name = f"{profile}--{model}--{weights}".replace("+", "_").replace("=", "-")
            if kv:
                name += f"--kv-{kv}"
            if tiles:
                name += f"--{tiles}"
            f = self.files[key] = OrderedDict(
                schema="capsim.runs/1",
                name=f"{model}, {weights}, {profile}" + (f", {tiles} tiles" if tiles else ""),
                source="see each run",
                model=model,
                weights=weights,
            )
            if kv:
                f["kv_cache"] = kv
            f["device"] = "gfx1151"
            f["engine"] = profile
            if tiles:
                f["moe_tiles"] = tiles
            f["client"] = {"percentiles": "linear"}
            f["runs"] = []
            f["__name"] = name
        s = e["source"]
        where = s.get("url") or f"{s.get('repo')}:{s.get('path')}@{s.get('commit', '')[:10]}"
        engine = e["engine"]
        told = f"{engine['name']} {engine.get('version', '')}, {engine.get('backend', '')}; quality {e['quality']}"
        for r in runs:
            r["experiment"] = e["id"]
            r["source"] = f"{where}, {e['date']}; {told}"
            r["note"] = "; ".join(x for x in [r.get("note", ""), e.get("notes", "")] if x)
            unknown = open_settings(e, r, model)
            if unknown:
                r["unknown"] = unknown
            order = ["id", "experiment", "source", "mode", "engine_args", "workload", "measured", "unknown", "note"]
            f["runs"].append(OrderedDict((k, r[k]) for k in order if k in r and r[k] not in (None, "")))


def bench(e, tests, args=None, at_depth=None):
    """llama-bench: pp N and tg N, each after `depth` cached tokens, no server; `at_depth`: settings of those with a depth."""
    runs = []
    for kind, n, depth, rate in tests:
        if rate is None:
            continue
        at = f"@d{depth}" if depth else ""
        a = dict(max_num_seqs=1, max_model_len=depth + n + 1024, enable_prefix_caching=depth > 0, **(args or {}))
        if at_depth and depth:
            a.update(at_depth)
        w = dict(num_prompts=1, max_concurrency=1)
        if kind == "pp":
            w.update(input_len=depth + n, output_len=1, warmup=1 if depth else 0)
            if depth:
                w.update(prompts="shared-prefix", shared_prefix_len=depth)
            measured = dict(mean_ttft_ms=round_sig(1000.0 * n / rate))
        else:
            w.update(input_len=max(depth, 1), output_len=n + 1, warmup=0)
            measured = dict(mean_tpot_ms=ms_per_token(rate))
        runs.append(
            dict(id=f"{e['id']}/{kind}{n}{at}", mode="bench", engine_args=a, workload=w, measured=measured,
                 note=f"{kind}{n}{at}: {rate} tok/s as published")
        )
    return runs


def slots(e):
    """llama-server's -np, -c, -b, -ub in capsim's words."""
    text = " ".join(e["engine_args"])
    get = lambda flag: (lambda m: int(m.group(1)) if m else None)(re.search(rf"(?:^|\s){flag} (\d+)", text))
    np, c, b, ub = get("-np"), get("-c"), get("-b"), get("-ub")
    args = {}
    if np:
        args["max_num_seqs"] = np
    if c:
        args["max_model_len"] = c // (np or 1)
    if b:
        args["max_num_batched_tokens"] = b
    if ub:
        args["micro_batch"] = ub
    args["enable_prefix_caching"] = False
    return args


def llama_profile(e):
    backend = (e["engine"].get("backend", "") + " " + e["engine"].get("version", "")).lower()
    quant = (e.get("quant") or "").lower()
    plain = "bf16" in quant or quant in ("f16",)
    # Builds of 2025-08 are the same author's; kernels changed since.
    if e["group"] == "lhl-qwen3-30b-forward-sweep" or (e["group"] == "lhl-llama2-7b" and not plain):
        return "llamacpp-vulkan-2025" if "vulkan" in backend else "llamacpp-hip-2025"
    if "amdvlk" in backend:
        return "llamacpp-amdvlk-float" if plain else "llamacpp-amdvlk"
    if "vulkan" in backend or "radv" in backend:
        return "llamacpp-vulkan-float" if plain else "llamacpp-vulkan"
    return "llamacpp-hip-float" if plain else "llamacpp-hip"


def gguf(e, model):
    q = (e.get("quant") or "").lower()
    moe_hybrid = any(k in model for k in ("3.5-", "3.6-", "next", "gemma-4"))
    if "bf16" in q:
        return "bf16"
    if q == "f16":
        return "fp16"
    if "mxfp4" in q:
        return "gguf-mxfp4"
    if "q8_k_xl" in q or q == "q8_0":
        return "q8_0"
    if "q6_k_xl" in q:
        return "gguf-dynamic-q6"
    if "q6_k" in q:
        return "gguf-q6_k"
    if "q4_0" in q or "iq4_nl" in q:
        return "gguf-q4_0"
    if "ud-q4" in q or "q4_k_xl" in q:
        return "gguf-dynamic-q4" if moe_hybrid else "q4_k_m"
    if "q4_k_m" in q:
        return "q4_k_m"
    return None


def kv_of(e):
    text = " ".join(e["engine_args"])
    m = re.search(r"-ctk (\S+)", text)
    if not m or m.group(1) == "f16":
        return None
    return {"q8_0": "q8_0", "q4_0": "q4_0", "turbo3": "q4_0"}[m.group(1)]


def convert_llamacpp(e, out):
    model = model_of(e["model"])
    weights, profile, w = gguf(e, model or ""), llama_profile(e), e["workload"]
    if model is None or weights is None:
        return f"model or weight format not described: {e['model']} {e.get('quant')}"
    g, kv, tiles = e["group"], kv_of(e), None
    if g.startswith("kyuz0-llama-bench"):
        tests = []
        for name, m in e["metrics"].items():
            t = re.fullmatch(r"(pp|tg)(\d+)(?:@d(\d+))?", name)
            tests.append((t.group(1), int(t.group(2)), int(t.group(3) or 0), m["value"]))
        # The toolboxes' benchmark/run_benchmarks.sh adds -ub 2048 (ROCm) or -ub 512 (Vulkan) to its runs at a depth, and only
        # there (as kept in Petrox/amd-strix-halo-toolboxes@1903ea03e7, which has the container names of these runs).
        at_depth = {"micro_batch": 512 if "vulkan" in e["engine"]["backend"] else 2048}
        runs = bench(e, sorted(tests, key=lambda t: (t[2], t[0], t[1])), at_depth=at_depth)
    elif g in ("kyuz0-depth-curves", "lhl-gptoss120b-depth"):
        keep = (0, 8192, 32768, 65536) if g.startswith("kyuz0") else (0, 4096, 16384, 32768)
        pp, tg = w["pp"], w["tg"]
        tests = []
        for i, d in enumerate(w["depths"]):
            if d in keep:
                tests.append(("pp", pp, d, e["metrics"][f"pp{pp}_by_depth"]["value"][i]))
                tests.append(("tg", tg, d, e["metrics"][f"tg{tg}_by_depth"]["value"][i]))
        runs = bench(e, tests)
    elif g == "lhl-qwen3-30b-forward-sweep":
        args = {"max_num_batched_tokens": 2048}
        if "b256" in e["id"]:
            args["micro_batch"] = 256
        tests = []
        for i, n in enumerate(w["tokens_per_forward"]):
            if n in (8, 32, 128, 512, 2048):
                tests.append(("pp", n, 0, e["metrics"]["pp_throughput_by_prompt_tokens"]["value"][i]))
        for i, n in enumerate(w["generation_lengths"]):
            if n in (128, 2048):
                tests.append(("tg", n, 0, e["metrics"]["tg_throughput_by_generated_tokens"]["value"][i]))
        runs = bench(e, tests, args)
    elif g == "hogeheer-same-build":
        tests = [("pp", n, 0, v) for n, v in zip(w["prompt_tokens"], e["metrics"]["pp_throughput"]["value"])]
        tests.append(("tg", 128, 0, value(e, "tg128")))
        runs = bench(e, tests, {"micro_batch": 2048})
    elif g.startswith("visorcraft"):
        runs = bench(e, [("pp", 512, 0, value(e, "pp512")), ("tg", 128, 0, value(e, "tg128"))])
    elif g == "amd-llamacpp-q4km":
        n = w["context"]
        runs = [dict(id=e["id"], mode="bench",
                     engine_args=dict(max_num_seqs=1, max_model_len=n + 1024 if n < 1024 else 8192 if "llama-2" not in model else 4096, enable_prefix_caching=False),
                     workload=dict(num_prompts=1, max_concurrency=1, input_len=n, output_len=128, warmup=0),
                     measured=dict(mean_ttft_ms=round_sig(1000.0 * n / value(e, "prefill_throughput")),
                                   mean_tpot_ms=ms_per_token(value(e, "decode_throughput"))),
                     note="output length not stated, 128 supposed")]
    elif g in ("lcpp27332-qwen3-30b-batch", "lcpp25356-codernext-batch"):
        b = w["concurrency"]
        args = dict(max_num_seqs=b, max_model_len=1024, enable_prefix_caching=False)
        if "densitygate" in e["id"]:
            tiles = "density-gate"
        runs = [dict(id=e["id"], mode="batched-bench", engine_args=args,
                     workload=dict(num_prompts=b, max_concurrency=b, input_len=512, output_len=128,
                                   prompts="distinct", warmup=0, send_skew_ms=0.0),
                     measured=dict(median_itl_ms=round_sig(1000.0 * b / value(e, "decode_aggregate"))),
                     note="step time = batch / aggregate rate of the decoding phase")]
    elif g.startswith("hogeheer-filled"):
        n = w["input_tokens"]
        runs = [dict(id=e["id"], mode="serve", engine_args=slots(e),
                     workload=dict(num_prompts=1, max_concurrency=1, input_len=n, output_len=128, warmup=0),
                     measured=dict(mean_ttft_ms=round_sig(1000.0 * n / value(e, "prefill_throughput")),
                                   mean_tpot_ms=ms_per_token(value(e, "decode_throughput"))))]
    elif g.startswith("hogeheer"):
        c = w["concurrency"]
        m = dict(output_token_throughput=value(e, "aggregate_throughput"),
                 mean_ttft_ms=round_sig(1000 * value(e, "ttft")))
        itl = value(e, "itl")
        if itl:
            m["mean_itl_ms"] = itl
        runs = [dict(id=e["id"], mode="serve", engine_args=slots(e),
                     workload=dict(num_prompts=c, max_concurrency=c, input_len=w["input_tokens"], output_len=w["output_tokens"],
                                   prompts="distinct", warmup=0, send_skew_ms=0.0),
                     measured=m)]
    elif g == "botagi-long-prompts":
        c = w["concurrency"]
        runs = [dict(id=e["id"], mode="serve", engine_args=slots(e),
                     workload=dict(num_prompts=max(16, 4 * c), max_concurrency=c, input_len=3400, output_len=128,
                                   prompts="distinct", warmup=c, send_skew_ms=0.0),
                     measured=dict(output_token_throughput=value(e, "aggregate_throughput"),
                                   median_ttft_ms=round_sig(1000 * value(e, "ttft_p50")),
                                   median_e2el_ms=round_sig(1000 * value(e, "response_p50"))))]
    elif g.startswith("botagi"):
        c = w["concurrency"]
        m = dict(output_token_throughput=value(e, "aggregate_throughput"))
        runs = [dict(id=e["id"], mode="serve", engine_args=slots(e),
                     workload=dict(num_prompts=max(12, 8 * c), max_concurrency=c, input_len=32, output_len=128,
                                   prompts="distinct", warmup=c, send_skew_ms=0.0),
                     measured=m, note="prompt: one salted sentence, 32 tokens supposed; 75 s window as a number of requests")]
    elif g.startswith("kyuz0-98"):
        c = w["concurrency"]
        ctx = int(re.search(r"context/slot (\d+)k", " ".join(e["engine_args"])).group(1)) * 1024
        runs = [dict(id=e["id"], mode="serve",
                     engine_args=dict(max_num_seqs=c, max_model_len=ctx, enable_prefix_caching=False),
                     workload=dict(num_prompts=c, max_concurrency=c, input_len=32, output_len=200, prompts="distinct",
                                   warmup=0, send_skew_ms=0.0),
                     measured=dict(output_token_throughput=value(e, "aggregate_throughput")),
                     note="prompt not stated, 32 tokens supposed; 3-bit KV counted as q4_0")]
    elif g == "lhl-llama2-7b":
        runs = sharegpt(e)
        for r in runs:
            r["engine_args"] = dict(max_num_seqs=16, max_model_len=4096, enable_prefix_caching=False)
    elif "issue19-llamacpp" in e["id"]:
        runs = [dict(id=e["id"], mode="serve", engine_args=dict(max_num_seqs=1, max_model_len=8192, enable_prefix_caching=False),
                     workload=dict(num_prompts=1, max_concurrency=1, input_len=128, output_len=128, warmup=0),
                     measured=dict(mean_tpot_ms=ms_per_token(value(e, "aggregate_decode_throughput"))),
                     note="lengths not stated, 128 and 128 supposed")]
    else:
        return "no rule converts this group"
    out.add(e, profile, model, weights, runs, kv=kv, tiles=tiles)
    return None


def sharegpt(e):
    """Mean lengths of a ShareGPT run stand for its lengths."""
    w = e["workload"]
    n = w["num_prompts"]
    m = {}
    for src, dst in [("ttft", "mean_ttft_ms"), ("ttft_median", "median_ttft_ms"), ("tpot", "mean_tpot_ms"),
                     ("tpot_median", "median_tpot_ms"), ("output_throughput", "output_token_throughput")]:
        v = value(e, src)
        if v:
            m[dst] = v
    return [dict(id=e["id"], mode="serve", engine_args=None,
                 workload=dict(num_prompts=n, max_concurrency=w["concurrency"], input_len=round(w["input_tokens_total"] / n),
                               output_len=round(w["output_tokens_total"] / n), length_sigma=1.0, prompts="distinct", warmup=0),
                 measured=m, note="ShareGPT lengths drawn log-normally around their recorded means, sigma 1 supposed")]


def convert_vllm(e, out):
    model, g, w, m = model_of(e["model"]), e["group"], e["workload"], e["metrics"]
    if model is None:
        return f"model not described: {e['model']}"
    quant = (e.get("quant") or "").lower()
    weights, profile, tiles = "bf16", "vllm-0.19-rocm", None
    if e["dtype"].startswith("float16"):
        weights = "fp16"
    moe = "a3b" in model or "a4b" in model or "a10b" in model or "gpt-oss" in model
    if "w8a8" in quant:
        weights, profile = "int8", "vllm-w8a8-rocm"
    elif "mxfp4" in quant:
        weights, profile = "mxfp4", "vllm-w4-rocm"
    elif "int4" in quant:
        profile = "vllm-w4-rocm"
        weights = "fp16+experts=int4-g128" if moe else "int4-g128"
    args = {}
    text = " ".join(e["engine_args"])
    for flag, key, conv in [("--max-model-len", "max_model_len", int), ("--gpu-memory-utilization", "gpu_memory_utilization", float),
                            ("--max-num-seqs", "max_num_seqs", int), ("--max-num-batched-tokens", "max_num_batched_tokens", int)]:
        t = re.search(rf"{flag} ([\d.]+)", text)
        if t:
            args[key] = conv(t.group(1))
    if "--enforce-eager" in text:
        args["enforce_eager"] = True
    if "--no-enable-prefix-caching" in text:
        args["enable_prefix_caching"] = False
    one = dict(num_prompts=w.get("num_prompts", 5), max_concurrency=1)
    if g == "bestbox-qwen25-14b":
        profile = "vllm-0.12-rocm"
        runs = [dict(id=e["id"], engine_args=args,
                     workload=dict(num_prompts=1, max_concurrency=1, input_len=40, output_len=w["output_tokens"], warmup=0),
                     measured=dict(mean_ttft_ms=value(e, "ttft"), mean_e2el_ms=1000 * value(e, "total_time")),
                     note="prompt of 30 to 50 tokens, 40 supposed")]
    elif g == "rocm-vllm-qwen3-30b-fp16":
        tiles = "tuned" if e["id"].endswith("tuned") else "default"
        runs = [dict(id=e["id"], engine_args=dict(max_num_seqs=1, max_model_len=4096),
                     workload=dict(num_prompts=10, max_concurrency=1, input_len=128, output_len=128),
                     measured=dict(mean_ttft_ms=value(e, "ttft"), mean_tpot_ms=value(e, "tpot")))]
    elif g == "vllm-dense-bf16":
        if "34177-base" in e["id"]:
            profile = "vllm-0.12-rocm"
        runs = [dict(id=e["id"], engine_args=args or dict(max_model_len=4096, max_num_seqs=1),
                     workload=dict(**one, input_len=w["input_tokens"], output_len=128),
                     measured=dict(median_tpot_ms=value(e, "tpot"), mean_tpot_ms=value(e, "tpot")),
                     note="median TPOT taken for the mean, too: one request at a time")]
        for r in runs:
            del r["measured"]["median_tpot_ms"]
    elif g in ("vllm-gptq-moe", "vllm-w8a8"):
        runs = [dict(id=e["id"], engine_args=args, workload=dict(**one, input_len=w["input_tokens"], output_len=128),
                     measured=dict(mean_ttft_ms=value(e, "ttft"), mean_tpot_ms=value(e, "tpot")))]
    elif g == "lemonade-vllm-single":
        runs = [dict(id=e["id"], engine_args=dict(max_model_len=4096),
                     workload=dict(num_prompts=5, max_concurrency=1, input_len=64, output_len=200, warmup=2),
                     measured=dict(output_token_throughput=value(e, "throughput")),
                     note="prompt not stated, 64 tokens supposed")]
    elif g == "kyuz0-vllm-throughput":
        # 146 523 tokens in all for 200 × 512 output tokens (the one raw file published): 221 input tokens on average.
        total = value(e, "total_token_throughput")
        runs = [dict(id=e["id"], engine_args=args,
                     workload=dict(num_prompts=200, max_concurrency=200, input_len=221, output_len=512, prompts="distinct",
                                   warmup=0, send_skew_ms=0.0),
                     measured=dict(total_token_throughput=total),
                     note="ShareGPT lengths replaced by their mean")]
    elif e["id"] == "kyuz0-issue72-c5":
        # The toolbox starts this model with --enforce-eager (scripts/models.py@23cb726435).
        runs = [dict(id=e["id"], engine_args=dict(max_num_seqs=64, max_model_len=4096, enforce_eager=True),
                     workload=dict(num_prompts=5, max_concurrency=5, request_rate=4.0, input_len=128, output_len=256, prompts="distinct"),
                     measured=dict(mean_ttft_ms=value(e, "ttft"), mean_tpot_ms=value(e, "tpot"),
                                   output_token_throughput=value(e, "output_throughput")))]
    elif g == "lhl-llama2-7b":
        if profile == "vllm-0.19-rocm":
            profile = "vllm-2025-rocm"
        runs = sharegpt(e)
        for r in runs:
            r["engine_args"] = dict(max_model_len=4096, gpu_memory_utilization=0.75, max_num_seqs=256)
    elif g == "paudley-vllm-graphs":
        runs = [dict(id=e["id"], engine_args=dict(max_model_len=4096, max_num_seqs=256),
                     workload=dict(num_prompts=32, max_concurrency=8, input_len=64, output_len=128, prompts="distinct", warmup=8),
                     measured=dict(output_token_throughput=value(e, "aggregate_throughput")),
                     note="prompt not stated, 64 tokens supposed")]
    elif value(e, "decode_throughput"):
        args.pop("max_model_len", None)
        measured = dict(mean_tpot_ms=ms_per_token(value(e, "decode_throughput")))
        args["max_num_seqs"] = 1
        args["max_model_len"] = 4096
        runs = [dict(id=e["id"], engine_args=args,
                     workload=dict(num_prompts=3, max_concurrency=1, input_len=128, output_len=128),
                     measured=measured, note="lengths not stated, 128 and 128 supposed")]
    else:
        return "no rule converts this group"
    out.add(e, profile, model, weights, runs, tiles=tiles)
    return None


def convert_sglang(e, out):
    model, g, w = model_of(e["model"]), e["group"], e["workload"]
    if model is None:
        return f"model not described: {e['model']}"
    profile, weights, tiles = "sglang-rocm", "bf16", None
    c = w["concurrency"]
    if g == "sglang-jvantuyl-35b":
        profile, q = "sglang-w4-rocm", "int4-g32"
        tiles = "tuned" if "moe-tiles" in e["id"] else "default"
        weights = f"bf16+experts={q}"
        if "dense" in e["id"]:
            weights += f"+attention={q}+mlp={q}"
        if "in_proj" in e["id"]:
            weights += f"+recurrent={q}"
        if "lm_head" in e["id"]:
            weights += f"+lm_head={q}"
    n_out = w.get("output_tokens", 128)
    measured = {}
    if value(e, "decode_throughput"):
        measured["mean_tpot_ms"] = ms_per_token(value(e, "decode_throughput"))
    else:
        measured["output_token_throughput"] = value(e, "aggregate_throughput")
    args = dict(max_num_seqs=32, max_model_len=2048)
    if "--disable-cuda-graph" in " ".join(e["engine_args"]):
        args["enforce_eager"] = True
    workload = dict(num_prompts=max(3, 4 * c), max_concurrency=c, input_len=32 if "jv" in e["id"] else 128, output_len=n_out,
                    warmup=c, send_skew_ms=0.0)
    identical = "identical" in str(w.get("prompts", ""))
    workload["prompts"] = "identical" if identical else "distinct"
    note = "prompt length not stated, %d tokens supposed" % workload["input_len"]
    if "output_tokens" not in w:
        note += "; output length not stated, 128 supposed"
    if identical:
        del workload["send_skew_ms"]
    runs = [dict(id=e["id"], engine_args=args, workload=workload, measured=measured, note=note)]
    out.add(e, profile, model, weights, runs, tiles=tiles)
    return None


def convert_ollama(e, out):
    model, w = model_of(e["model"]), e["workload"]
    weights = "fp16" if "f16" in e["quant"].lower() else "q4_k_m"
    c = w["concurrency"]
    serial = "serialises" in e["notes"]
    runs = [dict(id=e["id"], engine_args=dict(max_num_seqs=1 if serial else max(c, 1), max_model_len=4096, enable_prefix_caching=False),
                 workload=dict(num_prompts=4 * c, max_concurrency=c, input_len=32, output_len=w.get("output_tokens", 80), warmup=c,
                               prompts="distinct", send_skew_ms=0.0),
                 measured=dict(output_token_throughput=value(e, "aggregate_throughput")),
                 note="prompt length not stated, 32 tokens supposed" + ("" if serial else "; slots not stated, as many as clients supposed"))]
    out.add(e, "ollama", model, weights, runs)
    return None


def main():
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    data = json.loads(source.read_text())
    out, unusable = Writer(), []
    for e in data["experiments"]:
        reason = None
        if e["quality"] == "C" and not e["id"].startswith("bb-"):
            reason = "rounded or ambiguous in the source (quality C)"
        for pattern, why in UNUSABLE:
            if reason is None and re.search(pattern, e["id"]):
                reason = why
        if reason is None:
            name = e["engine"]["name"].lower()
            convert = (convert_ollama if "ollama" in name else convert_llamacpp if "llama.cpp" in name
                       else convert_sglang if "sglang" in name else convert_vllm)
            reason = convert(e, out)
        if reason:
            s = e["source"]
            unusable.append(dict(experiment=e["id"], reason=reason,
                                 source=s.get("url") or f"{s.get('repo')}:{s.get('path')}@{s.get('commit', '')[:10]}"))
    target.mkdir(parents=True, exist_ok=True)
    for old in target.glob("*.json"):
        old.unlink()
    for f in out.files.values():
        name = f.pop("__name")
        ids = {}
        for r in f["runs"]:
            assert r["id"] not in ids, r["id"]
            ids[r["id"]] = 1
        (target / f"{name}.json").write_text(json.dumps(f, indent=1, ensure_ascii=False) + "\n")
    (target / "unusable.json").write_text(
        json.dumps(dict(schema="capsim.unusable/1", experiments=unusable), indent=1, ensure_ascii=False) + "\n")
    runs = sum(len(f["runs"]) for f in out.files.values())
    experiments = len({r["experiment"] for f in out.files.values() for r in f["runs"]})
    print(f"{experiments} experiments → {runs} runs in {len(out.files)} files; {len(unusable)} not used")


if __name__ == "__main__":
    main()
