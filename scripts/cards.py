#!/usr/bin/env python3
"""Writes docs/cards.md: which model runs on which card in which weight format, how fast, and for how many.

    cargo xtask cards                # or: scripts/cards.py [--check] [--capsim target/release/capsim]

--check changes nothing: it asks every 23rd row again, and exits with 1 where the page says otherwise.
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/cards.md"
MODELS = [
    "qwen3-8b",
    "llama-3.1-8b-instruct",
    "gpt-oss-20b",
    "qwen3.6-27b",
    "qwen3-30b-a3b-instruct-2507",
    "gemma-4-31b-it",
    "qwen3-32b",
    "llama-3.1-70b-instruct",
    "gpt-oss-120b",
]
CARDS = [
    "gfx1151",
    "rtx-3090",
    "rtx-4090",
    "rtx-5090",
    "rtx-pro-6000",
    "l4",
    "l40s",
    "a100-sxm",
    "h100-sxm",
    "h200-sxm",
    "b200-sxm",
    "mi300x",
]
# The model's own format where it is not of 16 bits; else these.
FORMATS = ["bf16", "fp8", "awq"]
SLO = "ttft.p95<2s,tpot.p95<100ms"
LOAD = ["--random-input-len", "1024", "--random-output-len", "256"]
HEAD = f"""# Cards and models

Can it run, how fast, for how many? One card each, vLLM's rules, prompts of 1024 tokens and answers of 256. *Alone* is what one user reads
in tokens per second, with its 90 % interval; *at once* is the highest number of requests open at the same time under which
`{SLO}` holds, with its interval. Where the memory does not hold the model's longest context, the longest that it holds is
served. `~` marks cards that are priced from their data sheet: no measurement of them is used. The prices of weights in 8 and 4 bits rest on
fewer measurements than those in 16, and their intervals are wider; *not known*: no engine profile has kernels for the format on the card.

Made by `cargo xtask cards` from the profiles that ship. Your own load: `capsim compare --for-users 50 --slo '{SLO}' --model …`
([which machine](guide/compare.md)); several cards: `--tensor-parallel-size`.
"""


def ask(capsim, verb, model, card, weights, *more):
    command = [str(capsim), verb, "--json", "--model", model, "--device", card, *LOAD, *more]
    if weights:
        command += ["--weights", weights]
    env = dict(os.environ, CAPSIM_SHARED="none")
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=300)
    if done.returncode == 2:
        return None, done.stderr
    return json.loads(done.stdout), done.stderr


def three(v):
    return f"{v:.3g}" if v < 1000 else f"{v:.0f}"


def row(capsim, key):
    """A row of the page; `None` where the memory does not hold the weights."""
    model, card, weights = key
    alone, why = ask(capsim, "predict", model, card, weights, "--max-concurrency", "1", "--num-prompts", "8")
    if alone is None:
        if "memory" in why or "GiB" in why:
            return None
        if "no engine profile" in why:
            return "not known", "not known"
        sys.exit(f"{key}: {why}")
    tpot = alone["points"][0]["metrics"]["mean_tpot_ms"]
    speed = f"{three(1e3 / tpot['value'])} ({three(1e3 / tpot['high'])}–{three(1e3 / tpot['low'])})"
    most, why = ask(capsim, "capacity", model, card, weights, "--slo", SLO, "--no-what-if", "--seeds", "1", "--threads", "1")
    if most is None:
        sys.exit(f"{key}: {why}")
    if most["highest"] is None:
        users = "none"
    else:
        high = "∞" if most["high"] is None else f"{most['high']:.0f}"
        users = f"{most['highest']['load']:.0f} ({most['low']:.0f}–{high})"
    return speed, users


def keys(capsim):
    all_ = []
    for model in MODELS:
        known = json.loads(subprocess.run([str(capsim), "models", "--json"], capture_output=True, text=True, check=True).stdout)
        entry = next(m for m in known["models"] if m["name"] == model)
        own = entry["weight_bytes"] / entry["parameters"] < 1.5
        for card in CARDS:
            all_ += [(model, card, f) for f in ([None] if own else FORMATS)]
    return all_


def rows(capsim, wanted):
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(wanted, pool.map(lambda k: row(capsim, k), wanted)))


def line(key, found, sheets):
    _, card, weights = key
    name = f"~{card}" if card in sheets else card
    return f"| {name} | {weights or 'own'} | {found[0]} | {found[1]} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--capsim", type=pathlib.Path, default=ROOT / "target/release/capsim")
    args = parser.parse_args()
    capsim = args.capsim.resolve()
    known = json.loads(subprocess.run([str(capsim), "models", "--json"], capture_output=True, text=True, check=True).stdout)
    sheets = {d["id"] for d in known["devices"] if d["rests_on"] == "datasheet"}
    wanted = keys(capsim)
    if args.check:
        wanted = wanted[::23]
    found = rows(capsim, wanted)
    if args.check:
        text = PAGE.read_text()
        sections = {s.split("\n")[0]: s for s in text.split("\n## ")[1:]}
        stale = [k for k in wanted if found[k] and line(k, found[k], sheets) not in sections.get(k[0], "")]
        print(f"docs/cards.md: {len(wanted)} rows asked again, {len(stale)} differ")
        sys.exit(f"out of date, run cargo xtask cards: {stale}" if stale else 0)
    text = HEAD
    for model in MODELS:
        text += f"\n## {model}\n\n| card | weights | alone, tok/s | at once |\n| --- | --- | --- | --- |\n"
        own = [k for k in wanted if k[0] == model]
        text += "".join(line(k, found[k], sheets) + "\n" for k in own if found[k])
        none = [c for c in CARDS if not any(found[k] for k in own if k[1] == c)]
        if none:
            text += f"\nToo large for one of these: {', '.join(none)}.\n"
    PAGE.write_text(text)
    print(f"docs/cards.md: {sum(1 for f in found.values() if f)} rows")


if __name__ == "__main__":
    main()
