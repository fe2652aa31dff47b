#!/usr/bin/env python3
"""SGLang's FP8 kernels at DeepSeek-R1's shapes, from AIConfigurator's operator database, as kernel times of a device profile.

    pip download --no-deps aiconfigurator-core==0.12.0 && unzip aiconfigurator_core-*.whl      # Apache-2.0
    scripts/sglang_kernels.py aiconfigurator_core/systems/data/h200_sxm 0.5.14 DEVICE.json     # needs pyarrow

Matrices lie between measured sizes: bilinear in time over both widths, straight pieces over rows. Experts: seconds for each distinct
expert from the balanced routing of 4 and 16 tokens; the rest is the mean over the routings measured. SGLang runs the shared expert of
DeepSeek-V3 inside the same kernel, as one more expert of every token (`models/deepseek_common`, `--disable-shared-experts-fusion`).
"""
import bisect
import json
import pathlib
import statistics
import sys

import pyarrow.parquet as pq

ROWS = [1, 2, 4, 8, 16, 32, 64, 96, 128, 192, 256, 512, 768, 1024, 1536, 2048, 3072, 4096, 8192, 16384, 32768]
HIDDEN, EXPERTS, TOP_K, INNER = 7168, 256, 8, 2048
PACKAGE = "aiconfigurator-core 0.12.0 (PyPI), {system}/sglang {release} (Apache-2.0)"


def shapes(tp):
    """DeepSeek-V3's matrices on one of so many devices (out, in)."""
    heads = 128 // tp
    return {
        "qkv_a_proj": (1536 + 576, HIDDEN), "q_b_proj": (192 * heads, 1536), "kv_b_proj": (256 * heads, 512), "o_proj": (HIDDEN, 128 * heads),
        "gate_up_proj": (2 * 18432 // tp, HIDDEN), "down_proj": (HIDDEN, 18432 // tp),
    }


def between(axis, at):
    """The measured places on both sides, and the share of the right one."""
    i = min(max(bisect.bisect_right(axis, at), 1), len(axis) - 1)
    low, high = axis[i - 1], axis[i]
    return low, high, (at - low) / (high - low)


def matrix(times, n, k):
    ns, ks = sorted({n for n, _, _ in times}), sorted({k for _, k, _ in times if k <= 16384})
    (n0, n1, u), (k0, k1, v) = between([x for x in ns if x <= 16384], n), between(ks, k)

    def at(m):
        t = lambda a, b: times[a, b, m]
        left = t(n0, k0) * (1 - v) + t(n0, k1) * v
        right = t(n1, k0) * (1 - v) + t(n1, k1) * v
        return left * (1 - u) + right * u

    rows = [m for m in ROWS if all((a, b, m) in times for a in (n0, n1) for b in (k0, k1))]
    pieces, last = [], None
    measured = [at(m) for m in rows]
    for i, m in enumerate(rows):
        # A smaller batch is no slower than a larger one: what falls is the noise of a kernel of microseconds.
        seconds = min(measured[i:])
        per_row = 0.0 if last is None else (seconds - last[1]) / (m - last[0])
        pieces.append(dict(to=m, seconds=float(f"{seconds:.4g}"), per_row=float(f"{per_row:.4g}")))
        last = (m, seconds)
    return pieces


def distinct(label, tokens):
    """Experts touched, as `distinct_of` of the importer (crates/capsim-study/src/import/aiconfigurator.rs) counts them."""
    slots = tokens * TOP_K
    most = min(slots, EXPERTS)
    if label == "balanced":
        return most
    power = 1 - float(label.removeprefix("power_law_"))
    high = max(0.8 * tokens, 1 + 1e-9)
    shares = [((high**power - 1) * (i + 0.5) / EXPERTS + 1) ** (1 / power) for i in range(EXPERTS)]
    total = sum(shares)
    touched = sum(s / total * slots >= 0.5 for s in shares)
    return min(max(touched, min(TOP_K, most)), most)


def experts(rows, tp):
    mine = {}
    for r in rows:
        if (r["moe_dtype"], r["hidden_size"], r["inter_size"], r["num_experts"], r["topk"], r["moe_tp_size"], r["moe_ep_size"]) == (
            "fp8_block", HIDDEN, INNER, EXPERTS, TOP_K, tp, 1,
        ):
            mine.setdefault(r["num_tokens"], {})[r["distribution"]] = r["latency"] * 1e-3
    each = (mine[16]["balanced"] - mine[4]["balanced"]) / (128 - 32)
    points, last = [], 0.0
    for tokens, by_label in sorted(mine.items()):
        base = statistics.mean(t - each * distinct(label, tokens) for label, t in by_label.items()) + each
        least = min(by_label.values()) * 0.9
        last = max(last, base)
        points.append(dict(tokens=float(tokens), base=float(f"{max(base, 1e-7):.4g}"), per_expert=float(f"{each:.4g}"), least=float(f"{least:.4g}")))
    return dict(
        covers=["experts", "moe_route", "moe_act_and_mul", "moe_sum", "shared_gate_up_proj", "shared_act_and_mul", "shared_down_proj", "shared_add"],
        hidden=HIDDEN, intermediate=INNER // tp, num_experts=EXPERTS, top_k=TOP_K, points=points,
    )


def text(value, indent=0):
    """JSON as the profiles are written: what holds only values stands on one line."""
    plain = lambda v: not isinstance(v, (dict, list))
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    if plain(value) or all(map(plain, inner)) and not (isinstance(value, dict) and indent < 3):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    pad = "\n" + " " * (indent + 1)
    if isinstance(value, list):
        return "[" + ",".join(pad + text(v, indent + 1) for v in value) + "\n" + " " * indent + "]"
    items = (f"{pad}{json.dumps(k)}: {text(v, indent + 1)}" for k, v in sorted(value.items()))
    return "{" + ",".join(items) + "\n" + " " * indent + "}"


def main(folder, release, device):
    folder, device = pathlib.Path(folder), pathlib.Path(device)
    load = lambda family, name: pq.read_table(folder / family / "sglang" / release / f"{name}.parquet").to_pylist()
    gemm = {}
    for r in load("gemm", "gemm_perf"):
        if r["gemm_dtype"] == "fp8_block":
            gemm[r["n"], r["k"], r["m"]] = r["latency"] * 1e-3
    moe = load("moe", "moe_perf")
    rows, seen = [], set()
    for tp in (4, 8):
        for name, (n, k) in shapes(tp).items():
            if (n, k) not in seen:
                seen.add((n, k))
                rows.append(dict(covers=[name], shape=dict(matrix=dict(out_features=n, in_features=k)), pieces=matrix(gemm, n, k)))
    source = PACKAGE.format(system=folder.name, release=release)
    note = (
        "matrices bilinear between measured sizes, straight pieces over rows; experts a line over distinct ones, seconds for each from balanced "
        "routing, the rest the mean over routings, with the shared expert inside (scripts/sglang_kernels.py)"
    )
    times = dict(
        engine=f"sglang {release}", format="fp8-block", rows=rows, experts=[experts(moe, tp) for tp in (4, 8)], rel_sd=0.1,
        provenance=dict(origin="published", source=source, note=note),
    )
    # Spliced in, so that the rest of the file stays as it is.
    before = device.read_text()
    if any(k["format"] == "fp8-block" for k in json.loads(before)["kernels"]):
        sys.exit(f"{device}: has kernels of FP8 already")
    head, tail = before.split('\n ],\n "launch"')
    device.write_text(head + ",\n  " + text(times, 2) + '\n ],\n "launch"' + tail)


if __name__ == "__main__":
    main(*sys.argv[1:])
