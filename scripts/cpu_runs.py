#!/usr/bin/env python3
"""Recorded runs of a real vLLM server on a CPU → files that `capsim validate` reads.

    python3 scripts/cpu_runs.py RECORDINGS OUT

RECORDINGS holds one JSON file per server configuration: `server` (version, arguments, model config, cache config) and `runs`
(load, repetition, client arguments, the detailed result of `vllm bench serve`, counter deltas). Of every run the means,
medians and throughputs are kept, and the counters that a simulator must reproduce exactly. Standard library only.
"""
import json
import pathlib
import shlex
import statistics
import sys


def flags(text):
    """Arguments → {name with underscores: value or True}."""
    words, out, i = shlex.split(text), {}, 0
    while i < len(words):
        name = words[i].removeprefix("--").replace("-", "_")
        value = i + 1 < len(words) and not words[i + 1].startswith("--")
        out[name] = words[i + 1] if value else True
        i += 2 if value else 1
    return out


def percentile(values, p):
    """NumPy's linear rule."""
    v = sorted(values)
    at = (len(v) - 1) * p / 100
    low = int(at)
    return v[low] + (v[min(low + 1, len(v) - 1)] - v[low]) * (at - low)


def measured(bench):
    itls = bench["itls"]
    ttft = bench["ttfts"]
    e2el = bench.get("latencies") or [t + sum(g) for t, g in zip(ttft, itls)]
    tpot = [(e - t) / (n - 1) for e, t, n in zip(e2el, ttft, bench["output_lens"]) if n > 1]
    pooled = [x for g in itls for x in g]
    out = {
        "duration_s": bench["duration"],
        "request_throughput": bench["request_throughput"],
        "output_token_throughput": bench["output_throughput"],
        "total_token_throughput": bench["total_token_throughput"],
    }
    for name, values in [("ttft", ttft), ("tpot", tpot), ("itl", pooled), ("e2el", e2el)]:
        out[f"mean_{name}_ms"] = 1e3 * statistics.fmean(values)
        out[f"median_{name}_ms"] = 1e3 * statistics.median(values)
        out[f"p99_{name}_ms"] = 1e3 * percentile(values, 99)
    return {k: round(v, 4) for k, v in out.items()}


def run(server, record):
    client, args = flags(record["client_args"]), flags(server["server_args"])
    cache = server["cache_config"]
    identical = client.get("dataset_name") == "custom"
    prefix = int(client.get("random_prefix_len", 0))
    # Custom prompts are read from a file of identical ones, 128 tokens each (the load's name says so).
    prompt, output = (int(x) for x in record["load"].rsplit("-", 1)[1].split("x"))
    workload = {"num_prompts": record["bench"]["num_prompts"]}
    if client.get("max_concurrency"):
        workload["max_concurrency"] = int(client["max_concurrency"])
    if client.get("request_rate"):
        workload["request_rate"] = float(client["request_rate"])
    workload |= {
        "seed": record["seed"],
        "input_len": prefix + prompt,
        "output_len": output,
        "prompts": "identical" if identical else "shared-prefix" if prefix else "distinct",
    }
    if prefix:
        workload["shared_prefix_len"] = prefix
    # The client starts its requests within two milliseconds of each other (`start_times` of the recordings).
    workload |= {"send_skew_ms": 0.1, "temperature": float(client["temperature"]), "warmup": 0}
    deltas = record["metrics_delta"]
    counters = {
        "steps": deltas.get("vllm:iteration_tokens_total_count"),
        "iteration_tokens": deltas.get("vllm:iteration_tokens_total_sum"),
        "prefix_hits": deltas.get("vllm:prefix_cache_hits_total", 0),
        "prefix_queries": deltas.get("vllm:prefix_cache_queries_total", 0),
    }
    return {
        "id": f"{server['name']}-{record['load']}-{record['rep']}",
        "mode": "serve",
        "engine_args": {
            "max_model_len": int(args["max_model_len"]),
            "dtype": args["dtype"],
            "block_size": int(cache["block_size"]),
            "num_gpu_blocks_override": int(cache["num_gpu_blocks"]),
            "max_num_seqs": int(args["max_num_seqs"]),
            "max_num_batched_tokens": int(args["max_num_batched_tokens"]),
            "enable_prefix_caching": cache["enable_prefix_caching"] == "True",
            "enforce_eager": True,
            # Host and device are one core here, so that nothing overlaps whatever the scheduler does.
            "async_scheduling": False,
        },
        "workload": workload,
        "measured": measured(record["bench"]),
        "counters": {k: int(v) for k, v in counters.items() if v is not None},
        "note": f"machine load {record['load1_before']:.1f}",
    }


def main():
    source, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    by_version, config = {}, None
    for path in sorted(source.glob("*.json")):
        data = json.loads(path.read_text())
        if "runs" not in data:
            continue
        server = data["server"]
        config = server["model_config"]
        version = server["engine"].split()[1]
        by_version.setdefault(version, []).extend(run(server, r) for r in data["runs"])
    for version, runs in by_version.items():
        minor = ".".join(version.split(".")[:2])
        file = {
            "schema": "capsim.runs/1",
            "name": f"Small Qwen3-MoE on two cores of a server processor, vLLM {version} (CPU)",
            "source": "recorded with `vllm bench serve` against vLLM's own CPU server, engine and client each on one core of "
            "a shared 2-vCPU AMD EPYC (family 26); random weights",
            "model": "../model",
            "device": "../device",
            "engine": f"vllm-{minor}-cpu",
            "client": {"percentiles": "linear", "streaming": True},
            "tolerance": {"mean": 0.1, "throughput": 0.1},
            "runs": runs,
        }
        folder = out / f"vllm-{version}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "runs.json").write_text(json.dumps(file, indent=1) + "\n")
        print(f"{folder / 'runs.json'}: {len(runs)} runs")
    (out / "model").mkdir(exist_ok=True)
    (out / "model" / "config.json").write_text(json.dumps(config, indent=1) + "\n")


if __name__ == "__main__":
    main()
