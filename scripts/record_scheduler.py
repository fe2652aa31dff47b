#!/usr/bin/env python3
"""Records the decisions of vLLM's own V1 scheduler, for the engine simulator to be checked against.

    record_scheduler.py check FILE…                     record the engine and requests of FILE again; compare bytes
    record_scheduler.py record --out DIR [--seeds A-B] [--family NAME]…     record new random scenarios
    record_scheduler.py again --out DIR FILE…           the engine and requests of FILE, decided by this vLLM

Needs an importable vLLM, 0.12.0 … 0.33.0, any build: only Python files are used, no GPU, no model, no kernel. A release
whose files lie in a folder of their own is chosen with PYTHONPATH (see docs/engine.md). What runs is the release's own
`EngineCore.step` / `step_with_batch_queue`, `Scheduler` / `AsyncScheduler`, `KVCacheManager` and `BlockPool`, none of them
changed; ours is only the executor, which computes nothing and returns one token for each request whose known tokens are
all computed. The file format is that of tests/data/vllm-scheduler-*/README.md. Same seed, same bytes.
"""
import argparse
import dataclasses
import hashlib
import inspect
import json
import os
import queue
import sys
from collections import deque
from concurrent.futures import Future
from contextlib import nullcontext
from pathlib import Path

os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")

import torch  # noqa: E402
from vllm.config import CacheConfig, SchedulerConfig, VllmConfig  # noqa: E402
from vllm.sampling_params import SamplingParams  # noqa: E402
from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash  # noqa: E402
from vllm.v1.core.sched.async_scheduler import AsyncScheduler  # noqa: E402
from vllm.v1.core.sched.scheduler import Scheduler  # noqa: E402
from vllm.v1.engine.core import EngineCore  # noqa: E402
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec  # noqa: E402
from vllm.v1.outputs import DraftTokenIds, ModelRunnerOutput  # noqa: E402
from vllm.v1.request import Request  # noqa: E402
from vllm.v1.structured_output import StructuredOutputManager  # noqa: E402
from vllm.version import __version__ as vllm_version  # noqa: E402

import scheduler_scenarios  # noqa: E402

try:  # moved in 0.12
    from vllm.utils.hashing import sha256
except ImportError:
    from vllm.utils import sha256

RELEASE = vllm_version.split("+")[0]
# Two requests that preempt each other for ever have no end to record.
MOST_ITERATIONS = 6000
# In the sums of `result.prefix_cache`.
COUNTERS = ["requests", "queries", "hits", "preempted_requests", "preempted_queries", "preempted_hits"]


class Endless(Exception):
    """The scenario has no end."""


def accepts(function, **candidates):
    """Those of `candidates` that this release's `function` knows."""
    known = inspect.signature(function).parameters
    return {k: v for k, v in candidates.items() if k in known}


class Tokens:
    """Token numbers: equal if and only if stream name and position are equal."""

    def __init__(self):
        self.numbers = {}

    def __call__(self, stream, position):
        return self.numbers.setdefault((stream, position), len(self.numbers))


class InFlight(Future):
    """The output of a batch that is never ready before its result is waited for: the executor is the bottleneck."""

    def __init__(self, value):
        super().__init__()
        self.set_result(value)

    def done(self):
        return False

    def add_done_callback(self, fn):
        """The engine only wants to log failures here."""


class Padded(Exception):
    """A decode was padded to a draft's length at its admission, which is not simulated."""


MASK = (1 << 64) - 1


def mix(z):
    """The finaliser of SplitMix64, as in src/engine/content.rs."""
    z = (z + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


class Drafts:
    """What a scheduler asks of a speculative config."""

    num_speculative_tokens_per_batch_size = None
    method = "eagle3"

    def __init__(self, given):
        self.num_speculative_tokens = given["tokens"]
        self.max_num_new_slots_for_drafting = given["draft_slots"]
        self.hidden, self.model = given["hidden_states"], given["draft_model"]

    def use_eagle(self):
        return self.hidden

    use_eagle_block_drop = use_eagle

    def uses_draft_model(self):
        return self.model

    def use_dspark(self):
        return False

    use_dflash = use_multi_module_mtp = uses_dynamic_speculative_decoding = use_dspark


class Executor:
    """Computes nothing. One token for each request whose known tokens are all computed, and as many drafts as the scenario says."""

    def __init__(self, recorder):
        self.recorder = recorder
        self.output = None
        self.drafts = None
        self.verifications = {}

    def accepted(self, rid, drafts):
        """How many of a request's drafts are right: `Acceptance::Recorded` with key 0."""
        record = self.recorder.engine["speculation"]["accepted"]
        nth = self.verifications.get(rid, 0)
        self.verifications[rid] = nth + 1
        return min(record[(mix(mix(int(rid))) + nth) % (1 << 64) % len(record)], drafts)

    def take_draft_token_ids(self):
        drafts, self.drafts = self.drafts, None
        return drafts

    def verify(self, scheduler_output):
        """Tokens of each request: drafts that are right, and one more."""
        spec, is_async = self.recorder.engine["speculation"], self.recorder.engine["async_scheduling"]
        ids, tokens = [], []
        for rid in scheduler_output.num_scheduled_tokens:
            request = self.recorder.scheduler.requests[rid]
            ids.append(rid)
            if request.is_prefill_chunk:
                tokens.append([])
                continue
            drafts = scheduler_output.scheduled_spec_decode_tokens.get(rid, [])
            if drafts and rid in self.recorder.admitted:
                raise Padded
            n = 1 + (self.accepted(rid, len(drafts)) if drafts else 0)
            done = self.recorder.sampled[rid]
            tokens.append([self.recorder.tokens(f"out:{int(rid)}", done + i) for i in range(n)])
            self.recorder.sampled[rid] += n
        if not is_async and ids:
            self.drafts = DraftTokenIds(ids, [[7] * spec["tokens"] for _ in ids])
        return ids, tokens

    def execute_model(self, scheduler_output, non_block=False):
        drafted = "speculation" in self.recorder.engine
        ids, tokens = self.verify(scheduler_output) if drafted else ([], [])
        for rid, scheduled in () if drafted else scheduler_output.num_scheduled_tokens.items():
            request = self.recorder.scheduler.requests[rid]
            # The scheduler has counted this batch as computed already. A preempted request computes again what it
            # knew, and samples nothing before its end.
            known = request.num_prompt_tokens + self.recorder.sampled[rid]
            ids.append(rid)
            if request.num_computed_tokens == known:
                tokens.append([self.recorder.tokens(f"out:{int(rid)}", self.recorder.sampled[rid])])
                self.recorder.sampled[rid] += 1
            else:
                tokens.append([])
        given = {"req_ids": ids, "req_id_to_index": {r: i for i, r in enumerate(ids)}, "sampled_token_ids": tokens}
        for field in dataclasses.fields(ModelRunnerOutput):
            if field.name not in given and field.default is field.default_factory is dataclasses.MISSING:
                given[field.name] = {} if field.name == "prompt_logprobs_dict" else None
        output = ModelRunnerOutput(**given)
        if not ids:
            future = Future()
            future.set_result(output)
            return future
        self.output = output
        return InFlight(None)

    def sample_tokens(self, grammar_output, non_block=False):
        return InFlight(self.output) if non_block else self.output


class TextModel:
    """What a scheduler asks of a model: whether it has this or that speciality, and a decoder-only text model has none."""

    architectures = ["LlamaForCausalLM"]
    runner_type = "generate"
    skip_tokenizer_init = True

    def __init__(self, max_model_len):
        self.max_model_len = max_model_len

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return None if name.endswith("config") else False


def vllm_config(engine):
    scheduler_config = SchedulerConfig(
        **accepts(
            SchedulerConfig,
            max_num_seqs=engine["max_num_seqs"],
            max_num_batched_tokens=engine["max_num_batched_tokens"],
            max_model_len=engine["max_model_len"],
            enable_chunked_prefill=engine["enable_chunked_prefill"],
            long_prefill_token_threshold=engine["long_prefill_token_threshold"],
            policy=engine["policy"],
            async_scheduling=engine["async_scheduling"],
            is_encoder_decoder=False,
        )
    )
    cache_config = CacheConfig(
        **accepts(
            CacheConfig,
            block_size=engine["block_size"],
            enable_prefix_caching=engine["enable_prefix_caching"],
        )
    )
    config = VllmConfig(scheduler_config=scheduler_config, cache_config=cache_config)
    config.cache_config.num_gpu_blocks = engine["num_gpu_blocks"]
    config.model_config = TextModel(engine["max_model_len"])
    # Platforms adjust what they are given; the scenario's values count.
    for key in ["max_num_seqs", "max_num_batched_tokens", "enable_chunked_prefill", "async_scheduling"]:
        setattr(config.scheduler_config, key, engine[key])
    for key in ["block_size", "enable_prefix_caching"]:
        setattr(config.cache_config, key, engine[key])
    if "speculation" in engine:
        config.speculative_config = Drafts(engine["speculation"])
    return config


def engine_core(recorder, engine):
    """An EngineCore without the parts that load a model."""
    config = vllm_config(engine)
    spec = FullAttentionSpec(
        **accepts(
            FullAttentionSpec,
            block_size=engine["block_size"],
            num_kv_heads=1,
            head_size=1,
            dtype=torch.float32,
            use_mla=False,
        )
    )
    kv = KVCacheConfig(
        num_blocks=engine["num_gpu_blocks"],
        kv_cache_tensors=[],
        kv_cache_groups=[KVCacheGroupSpec(["layer"], spec)],
    )
    cls = AsyncScheduler if engine["async_scheduling"] else Scheduler
    scheduler = cls(
        **accepts(
            Scheduler.__init__,
            vllm_config=config,
            kv_cache_config=kv,
            structured_output_manager=StructuredOutputManager(config),
            block_size=engine["block_size"],
            hash_block_size=engine["block_size"],
            log_stats=True,
        )
    )
    core = object.__new__(EngineCore)
    core.vllm_config = config
    core.scheduler = scheduler
    core.model_executor = Executor(recorder)
    core.log_stats = True
    core.async_scheduling = engine["async_scheduling"]
    core.batch_queue_size = 2 if engine["async_scheduling"] else 1
    core.batch_queue = deque(maxlen=2) if engine["async_scheduling"] else None
    core.aborts_queue = queue.Queue()
    core.is_pooling_model = False
    core.use_spec_decode = core.check_for_draft_tokens = "speculation" in engine
    core.is_ec_producer = core.is_mm_encoder_only = False
    core.is_ec_consumer = True
    core._weight_version = "default"
    core._iteration_index = 0
    # Only for the log.
    core.log_error_detail = core.log_iteration_details = lambda *_: nullcontext()
    core.capture_iteration_details = lambda *_: nullcontext()
    core._attach_iteration_details = core._attach_weight_version = lambda *_: None
    return core


class Recorder:
    """Drives one scenario."""

    def __init__(self, engine, requests):
        self.engine, self.requests = engine, requests
        self.tokens = Tokens()
        self.sampled = {}
        self.core = engine_core(self, engine)
        self.scheduler = self.core.scheduler
        self.pool = self.scheduler.kv_cache_manager.block_pool
        self.hasher = None
        if engine["enable_prefix_caching"]:
            init_none_hash(sha256)
            self.hasher = get_request_block_hasher(engine["block_size"], sha256)
        self.all = {}
        self.held = {}
        self.seen_before = set()
        self.admitted = set()
        self.counters = dict.fromkeys(COUNTERS, 0)
        self.outcomes = [
            dict(id=i, first_sched=None, first_token=None, finish=None, reason=None, cached=None, preemptions=0, outputs=0)
            for i in range(len(requests))
        ]
        self.t = 0
        self.batch_of = {}
        self.line = {}
        # Instance attributes before the classes' methods: looked at, then handed on.
        self.schedule, self.scheduler.schedule = self.scheduler.schedule, self.on_schedule
        self.update, self.scheduler.update_from_output = self.scheduler.update_from_output, self.on_update
        self.preempt, self.scheduler._preempt_request = self.scheduler._preempt_request, self.on_preempt

    def counts(self):
        waiting = len(self.scheduler.waiting) + len(getattr(self.scheduler, "skipped_waiting", ()))
        return [len(self.scheduler.running), waiting, self.pool.get_num_free_blocks()]

    def on_preempt(self, request, *args, **kwargs):
        self.line.setdefault("pre", []).append(int(request.request_id))
        self.held[request.request_id] = 0
        return self.preempt(request, *args, **kwargs)

    def on_schedule(self, *args, **kwargs):
        output = self.schedule(*args, **kwargs)
        line, batch, new, resumed = self.line, [], [], []
        added = {}
        for rid, n in output.num_scheduled_tokens.items():
            request = self.scheduler.requests[rid]
            before = request.num_computed_tokens - n
            batch.append([int(rid), n, before])
            table = self.scheduler.kv_cache_manager.get_block_ids(rid)[0]
            held = self.held.get(rid)
            if held is None:
                new.append(int(rid))
                self.outcomes[int(rid)].update(first_sched=self.t, cached=before)
            elif held == 0:
                resumed.append(int(rid))
            added[rid] = list(table[held or 0 :])
            self.held[rid] = len(table)
        self.admitted = {f"{i:06}" for i in new + resumed}
        line["s"] = batch
        if new:
            line["new"] = new
        if resumed:
            line["res"] = resumed
        order = [f"{i:06}" for i in new]
        order += [r for r in added if int(r) not in new and int(r) not in resumed] + [f"{i:06}" for i in resumed]
        blocks = {str(int(r)): added[r] for r in order if added[r]}
        if blocks:
            line["blocks"] = blocks
        cached = self.pool.cached_block_hash_to_block
        line["a"] = [*self.counts(), len(getattr(cached, "_cache", cached))]
        self.batch_of[id(output)] = self.t if batch else None
        return output

    def on_update(self, scheduler_output, model_output):
        if scheduler_output.num_scheduled_tokens:
            self.line["upd"] = self.batch_of.pop(id(scheduler_output))
        outputs = self.update(scheduler_output, model_output)
        finished = []
        for group in outputs.values():
            if group.scheduler_stats is not None:
                self.count(group.scheduler_stats.prefix_cache_stats)
            for one in group.outputs:
                outcome = self.outcomes[int(one.request_id)]
                if one.new_token_ids and outcome["first_token"] is None:
                    outcome["first_token"] = self.t
                if one.finish_reason is not None:
                    finished.append([int(one.request_id), str(one.finish_reason)])
                    outcome.update(finish=self.t, reason=str(one.finish_reason))
        if finished:
            self.line["fin"] = finished
        return outputs

    def count(self, stats):
        for key in COUNTERS if stats is not None else ():
            self.counters[key] += getattr(stats, key)

    def add(self, r):
        rid = f"{r['id']:06}"
        prompt = [self.tokens(s["stream"], p) for s in r["prompt"] for p in range(s["start"], s["start"] + s["len"])]
        stop = None if r.get("stop_at") is None else self.tokens(f"out:{r['id']}", r["stop_at"])
        params = SamplingParams(max_tokens=r["max_tokens"], temperature=0.0, stop_token_ids=[] if stop is None else [stop])
        self.all[rid] = request = Request(
            **accepts(
                Request.__init__,
                request_id=rid,
                prompt_token_ids=prompt,
                sampling_params=params,
                pooling_params=None,
                eos_token_id=None,
                arrival_time=r["arrival_time"],
                priority=r.get("priority", 0),
                block_hasher=self.hasher,
            )
        )
        self.sampled[rid] = 0
        self.core.add_request(request)

    def abort(self, i):
        rid = f"{i:06}"
        if rid in self.scheduler.requests:
            self.core.abort_requests([rid])
            self.outcomes[i].update(finish=self.t, reason="abort")

    def run(self):
        clock = self.engine.get("clock")
        is_async = self.engine["async_scheduling"]
        arrivals = deque(self.requests)
        aborts = deque(sorted((r["abort_step"], r["id"]) for r in self.requests if "abort_step" in r))
        core, steps, now, iterations = self.core, [], 0, 0
        while True:
            iterations += 1
            if iterations > MOST_ITERATIONS:
                raise Endless
            while arrivals and (arrivals[0]["arrival_us"] <= now if clock else arrivals[0]["arrival_step"] <= self.t):
                self.add(arrivals.popleft())
            while aborts and aborts[0][0] <= self.t:
                self.abort(aborts.popleft()[1])
            busy = self.scheduler.has_unfinished_requests() or any(s.num_scheduled_tokens for _, s, *_ in core.batch_queue or ())
            if not busy and not arrivals:
                break
            if not busy and clock:
                now = arrivals[0]["arrival_us"]
                continue
            self.line = {}
            if self.scheduler.has_requests() or core.batch_queue:
                if is_async:
                    core.step_with_batch_queue()
                else:
                    _, executed = core.step()
                    if "speculation" in self.engine:
                        core.post_step(executed)
            line, processed = self.line, "upd" in self.line
            happened = line.get("s") or line.get("pre") or (is_async and processed)
            if clock:
                end = now + clock["base_us"] + clock["per_token_us"] * sum(n for _, n, _ in line["s"])
                end += clock["per_seq_us"] * len(line["s"])
                line["ts"], line["te"], now = now, end, end
            if happened:
                line["t"], line["b"] = self.t, self.counts()
                line.setdefault("s", [])
                line["upd"] = line.get("upd") if is_async else None
                order = ["t", "ts", "s", "new", "res", "pre", "blocks", "a", "upd", "fin", "b", "te"]
                steps.append({k: line[k] for k in order if k in line and (k != "upd" or is_async)})
            if happened or not clock:
                self.t += 1
        return steps, self.result(steps)

    def result(self, steps):
        self.count(self.scheduler.kv_cache_manager.prefix_cache_stats)
        for o in self.outcomes:
            request = self.all[f"{o['id']:06}"]
            o["outputs"] = len(request.output_token_ids)
            o["preemptions"] = request.num_preemptions
        free = [b.block_id for b in self.pool.free_block_queue.get_all_free_blocks()]
        result = dict(
            last_step=steps[-1]["t"] if steps else None,
            requests=self.outcomes,
            prefix_cache=self.counters,
            free_queue_sha256=hashlib.sha256(",".join(map(str, free)).encode()).hexdigest(),
        )
        if len(free) <= 400:
            result["free_queue"] = free
        return result


def record(name, description, engine, requests):
    """One scenario, decided: the file's text."""
    steps, result = Recorder(engine, requests).run()

    def compact(value):
        return json.dumps(value, separators=(",", ":"))

    def lines(values):
        return "[\n" + ",\n".join(map(compact, values)) + "\n]"

    head = [("format", 1), ("name", name), ("description", description), ("vllm_version", RELEASE), ("engine", engine)]
    parts = [f'"{k}":{compact(v)}' for k, v in head]
    parts += [f'"requests":{lines(requests)}', f'"steps":{lines(steps)}', f'"result":{compact(result)}']
    return "{\n" + ",\n".join(parts) + "\n}\n"


def again(path):
    given = json.loads(path.read_text())
    return record(given["name"], given["description"], given["engine"], given["requests"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ["check", "again", "record"]:
        command = commands.add_parser(name)
        if name != "record":
            command.add_argument("files", nargs="+", type=Path)
        if name != "check":
            command.add_argument("--out", type=Path, required=True)
    command.add_argument("--seeds", default="0-9", help="first and last seed of every family")
    command.add_argument("--family", action="append", choices=list(scheduler_scenarios.FAMILIES), help="default: all")
    args = parser.parse_args()
    differ = 0
    if args.command == "check":
        for path in args.files:
            same = again(path) == path.read_text()
            differ += not same
            if not same:
                print(f"{path}: {RELEASE} decides otherwise")
        print(f"reproduced {len(args.files) - differ} of {len(args.files)} byte for byte")
        sys.exit(differ > 0)
    args.out.mkdir(parents=True, exist_ok=True)
    if args.command == "again":
        for path in args.files:
            (args.out / path.name).write_text(again(path))
        return
    first, last = map(int, args.seeds.split("-"))
    written = endless = 0
    for family in args.family or scheduler_scenarios.FAMILIES:
        for seed in range(first, last + 1):
            name = f"{family}_{seed}"
            if family == "rules" and seed >= scheduler_scenarios.RULES:
                continue
            try:
                text = record(name, *scheduler_scenarios.scenario(family, seed))
            except (Endless, Padded):
                endless += 1
                continue
            (args.out / f"{name}.json").write_text(text)
            written += 1
    print(f"vLLM {RELEASE}: {written} scenarios in {args.out}; {endless} have no end, or are padded")


if __name__ == "__main__":
    main()
