"""Random engines and requests for record_scheduler.py: `scenario(family, seed)` gives (description, engine, requests).

Python's own generator, seeded with family and seed, so the same pair gives the same scenario on every machine.
"""
import random


def engine(**given):
    default = dict(
        block_size=16,
        num_gpu_blocks=10000,
        max_num_seqs=8,
        max_num_batched_tokens=512,
        max_model_len=4096,
        enable_chunked_prefill=True,
        enable_prefix_caching=True,
        long_prefill_token_threshold=0,
        policy="fcfs",
        async_scheduling=False,
    )
    return {**default, **given}


def segments(*parts):
    return [dict(stream=stream, start=start, len=length) for stream, start, length in parts if length > 0]


class Load:
    """Requests in order of arrival."""

    def __init__(self, rng, config, pause=2):
        self.rng, self.config, self.pause = rng, config, pause
        self.step, self.requests = 0, []

    def add(self, prompt, max_tokens, **more):
        rng, i = self.rng, len(self.requests)
        if i:
            self.step += rng.choice([0, 0, 0, 1, rng.randint(0, 2 * self.pause)])
        r = dict(id=i, arrival_step=self.step, arrival_time=round(self.step + (i + 1) / 10000, 4), prompt=prompt)
        r["max_tokens"] = max_tokens
        r.update((k, v) for k, v in more.items() if v is not None)
        # In the format's order of keys.
        order = ["id", "arrival_step", "arrival_time", "prompt", "max_tokens", "stop_at", "priority", "abort_step"]
        self.requests.append({k: r[k] for k in order if k in r})

    def own(self, low, high):
        return segments((f"u{len(self.requests)}", 0, self.rng.randint(low, high)))

    def shared(self, names, low, high, own_low, own_high, multiple=1):
        """A prefix of one of the common streams, then own tokens."""
        rng = self.rng
        common = rng.randint(low, high) // multiple * multiple
        return segments((rng.choice(names), 0, common), (f"u{len(self.requests)}", 0, rng.randint(own_low, own_high)))

    def stop(self, max_tokens, p):
        return self.rng.randrange(max_tokens) if self.rng.random() < p else None

    def abort(self, p, most):
        return self.step + self.rng.randint(0, most) if self.rng.random() < p else None


def length(prompt):
    return sum(s["len"] for s in prompt)


def basic(rng):
    load = Load(rng, engine(max_num_seqs=rng.choice([1, 2, 3, 5]), max_num_batched_tokens=2048), 4)
    for _ in range(14):
        load.add(load.own(1, 120), rng.randint(1, 30))
    return "ample KV and token budget; max_num_seqs decides", load


def many_seqs(rng):
    load = Load(rng, engine(max_num_seqs=rng.choice([32, 64]), num_gpu_blocks=20000), 1)
    for _ in range(70):
        load.add(load.own(1, 80), rng.randint(1, 24))
    return "large max_num_seqs, burst of short requests", load


def budget_small(rng):
    load = Load(rng, engine(max_num_seqs=rng.choice([4, 8, 16]), max_num_batched_tokens=rng.choice([16, 17, 32, 64])), 3)
    for _ in range(16):
        load.add(load.own(1, 250), rng.randint(1, 25))
    return "prompts longer than the token budget: chunked prefill mixed with decodes", load


def budget_large(rng):
    load = Load(rng, engine(max_num_seqs=32, num_gpu_blocks=20000, max_num_batched_tokens=rng.choice([8192, 16384])), 2)
    for _ in range(24):
        load.add(load.own(200, 4000), rng.randint(1, 30))
    return "8k/16k token budget, long prompts", load


def chunked_off(rng):
    config = engine(
        enable_chunked_prefill=False,
        enable_prefix_caching=rng.random() < 0.5,
        max_model_len=1024,
        max_num_batched_tokens=rng.choice([1024, 1100, 1500]),
        max_num_seqs=rng.choice([3, 8, 16]),
    )
    load = Load(rng, config, 2)
    for _ in range(20):
        load.add(load.shared(["p0", "p1"], 0, 300, 1, 500), rng.randint(1, 20), stop_at=load.stop(1, 0.1))
    return "enable_chunked_prefill=false: a prompt that does not fit the remaining budget waits whole", load


def tight(rng, **more):
    """A pool that runs full; one request of full length fits."""
    blocks = rng.choice([12, 18, 24, 40])
    block_size = more.pop("block_size", 16)
    config = dict(
        block_size=block_size,
        num_gpu_blocks=blocks,
        max_num_seqs=rng.choice([4, 8, 12]),
        max_num_batched_tokens=rng.choice([32, 64, 512]),
        max_model_len=(blocks - 1) * block_size,
    )
    return engine(**{**config, **more})


def pressed(rng, config, count=18, priorities=0, stops=0.3, aborts=0.0, common=0.5, ties=False):
    load = Load(rng, config, 3)
    most = max(1, min(160, config["max_model_len"] // rng.choice([2, 3, 3])))
    for _ in range(count):
        if rng.random() < common:
            prompt = load.shared(["shared0", "shared1"], 0, most // 3, 1, most)
        else:
            prompt = load.own(1, most)
        tokens = rng.randint(1, max(2, min(110, config["max_model_len"] - length(prompt) - 1)))
        load.add(
            prompt,
            tokens,
            stop_at=load.stop(tokens, stops),
            priority=rng.randrange(priorities) if priorities else None,
            abort_step=load.abort(aborts, 60),
        )
    if ties:
        for r in load.requests:
            r["arrival_time"] = float(r["arrival_step"] // 8)
    return load


PRESSURE = "KV pressure: preemption and resumption"


def preempt(rng):
    return PRESSURE, pressed(rng, tight(rng, enable_prefix_caching=False))


def preempt_cache(rng):
    return PRESSURE, pressed(rng, tight(rng))


def chunked_off_preempt(rng):
    config = tight(rng, enable_chunked_prefill=False, enable_prefix_caching=rng.random() < 0.5)
    config["max_num_batched_tokens"] = config["max_model_len"] + rng.choice([0, 40, 200])
    return "no chunked prefill and KV pressure", pressed(rng, config)


def priority(rng):
    config = engine(policy="priority", max_num_seqs=rng.choice([2, 3, 5]), max_num_batched_tokens=rng.choice([64, 128, 512]))
    load = pressed(rng, config, 24, priorities=3, ties=rng.random() < 0.5)
    return "policy=priority without KV pressure", load


def priority_preempt(rng):
    return PRESSURE, pressed(rng, tight(rng, policy="priority", enable_prefix_caching=False), priorities=3)


def priority_preempt_cache(rng):
    return PRESSURE, pressed(rng, tight(rng, policy="priority"), priorities=3)


def asynchronous(rng):
    config = engine(async_scheduling=True, max_num_seqs=rng.choice([1, 4, 8]), max_num_batched_tokens=rng.choice([32, 64, 512]))
    load = Load(rng, config, 4)
    for _ in range(20):
        tokens = rng.randint(1, 30)
        load.add(load.shared(["p0", "p1"], 0, 100, 1, 150), tokens, stop_at=load.stop(tokens, 0.4))
    return "async scheduling: a step is scheduled before the previous output is known", load


def async_preempt(rng):
    return PRESSURE, pressed(rng, tight(rng, async_scheduling=True, enable_prefix_caching=rng.random() < 0.7))


def async_priority_preempt(rng):
    config = tight(rng, async_scheduling=True, policy="priority", enable_prefix_caching=rng.random() < 0.7)
    return PRESSURE, pressed(rng, config, priorities=3, aborts=0.1, ties=rng.random() < 0.3)


def long_prefill_threshold(rng):
    config = engine(
        long_prefill_token_threshold=rng.choice([1, 7, 16, 32, 100]),
        max_num_seqs=rng.choice([1, 4, 16]),
        max_num_batched_tokens=rng.choice([64, 256, 512]),
        async_scheduling=rng.random() < 0.3,
    )
    load = Load(rng, config, rng.choice([2, 15]))
    for _ in range(14):
        load.add(load.shared(["p0"], 0, 80, 1, 200), rng.randint(1, 20))
    return "long_prefill_token_threshold caps the chunk of any one request", load


def prefix(rng, multiple):
    block_size = rng.choice([16, 32])
    budget = rng.choice([64, 128, 2048])
    load = Load(rng, engine(block_size=block_size, max_num_seqs=16, max_num_batched_tokens=budget), 2)
    for _ in range(24):
        load.add(load.shared(["p0", "p1", "p2"], 0, 200, 0 if multiple else 1, 60, block_size if multiple else 1) or load.own(1, 9), rng.randint(1, 20))
    return load


def prefix_aligned(rng):
    return "shared prefixes, multiple of the block size", prefix(rng, True)


def prefix_unaligned(rng):
    return "shared prefixes, any length", prefix(rng, False)


def prefix_tree(rng):
    config = engine(num_gpu_blocks=rng.choice([120, 2000]), max_num_seqs=12, max_num_batched_tokens=rng.choice([128, 512]), max_model_len=1900)
    load = Load(rng, config, 2)
    for _ in range(30):
        a, b, c = rng.randint(5, 100), rng.randint(0, 80), rng.randint(0, 60)
        left, right = rng.choice("lr"), rng.choice("lr")
        load.add(segments(("root", 0, a), (f"{left}{a % 3}", 0, b), (f"{left}{right}", 0, c), (f"u{len(load.requests)}", 0, 1)), rng.randint(1, 15))
    return "branching prefixes that split inside blocks", load


def identical(rng):
    block_size = rng.choice([1, 4, 16])
    load = Load(rng, engine(block_size=block_size, max_num_seqs=rng.choice([6, 16]), max_num_batched_tokens=rng.choice([33, 96, 2048]), async_scheduling=rng.random() < 0.3), 2)
    for _ in range(18):
        blocks = rng.randint(1, 4)
        load.add(segments(("same", 0, max(1, blocks * block_size + rng.choice([-1, 0, 0, 1])))), rng.randint(1, 12))
    return "identical prompts, several in one step; lengths at and around block multiples", load


def multi_turn(rng):
    config = engine(num_gpu_blocks=rng.choice([60, 2000]), max_num_seqs=rng.choice([2, 4, 8]), max_num_batched_tokens=rng.choice([64, 128, 512]), max_model_len=940, async_scheduling=rng.random() < 0.3)
    load, talks = Load(rng, config, 12), {}
    for _ in range(22):
        talk = rng.randrange(5)
        i = len(load.requests)
        so_far = talks.get(talk, [("sys", 0, 40)])
        prompt = [*so_far, (f"u{i}", 0, rng.randint(1, 40))]
        tokens = rng.randint(2, 30)
        stop = load.stop(tokens, 0.4)
        load.add(segments(*prompt), tokens, stop_at=stop)
        talks[talk] = [*prompt, (f"out:{i}", 0, tokens if stop is None else stop + 1)]
        if sum(p[2] for p in talks[talk]) > 700:
            del talks[talk]
    return "conversations: the next prompt repeats the earlier prompts and answers", load


def lru(rng):
    blocks = rng.choice([40, 64])
    config = engine(num_gpu_blocks=blocks, max_num_seqs=rng.choice([2, 4]), max_num_batched_tokens=rng.choice([64, 256]), max_model_len=(blocks - 1) * 16)
    load = Load(rng, config, 4)
    for _ in range(45):
        load.add(load.shared([f"p{k}" for k in range(9)], 16, 120, 1, 20), rng.randint(1, 8))
    return "more distinct prefixes than the pool holds: eviction order decides the hits", load


def max_model_len(rng):
    config = engine(max_model_len=rng.choice([64, 128, 200]), max_num_seqs=6, max_num_batched_tokens=rng.choice([64, 256]), async_scheduling=rng.random() < 0.5)
    load = Load(rng, config, 3)
    for _ in range(16):
        tokens = rng.randint(1, 150)
        load.add(load.own(1, config["max_model_len"] - 1), tokens, stop_at=load.stop(tokens, 0.2))
    return "requests that stop at max_model_len before max_tokens", load


def stop_abort(rng):
    config = engine(max_num_seqs=rng.choice([2, 4, 6]), max_num_batched_tokens=rng.choice([64, 128]), async_scheduling=rng.random() < 0.5, policy=rng.choice(["fcfs", "priority"]))
    load = Load(rng, config, 3)
    for _ in range(20):
        tokens = rng.randint(1, 40)
        load.add(load.own(1, 150), tokens, stop_at=load.stop(tokens, 0.7), abort_step=load.abort(0.4, 20))
    return "end-of-sequence stops and client aborts, queued and running", load


def edge(rng):
    """Everything as small as it can be."""
    block_size = rng.choice([1, 2, 3, 16])
    blocks = rng.randint(3, 9)
    config = engine(
        block_size=block_size,
        num_gpu_blocks=blocks,
        max_num_seqs=rng.randint(1, 3),
        max_num_batched_tokens=rng.randint(3, 9),
        max_model_len=max(3, (blocks - 1) * block_size),
        async_scheduling=rng.random() < 0.5,
        policy=rng.choice(["fcfs", "priority"]),
        enable_prefix_caching=rng.random() < 0.6,
    )
    return "a handful of blocks, a handful of tokens", pressed(rng, config, 8, priorities=2, aborts=0.2, common=0.7)


def clock(rng):
    config = engine(num_gpu_blocks=rng.choice([60, 100, 300]), max_num_seqs=rng.choice([4, 16, 32]), max_num_batched_tokens=rng.choice([64, 256, 512]), max_model_len=900)
    config["clock"] = dict(base_us=rng.randint(1000, 9000), per_token_us=rng.randint(5, 60), per_seq_us=rng.randint(0, 300))
    load, now = Load(rng, config, 2), 0
    for i in range(40):
        now += rng.choice([0, rng.randint(1, 9000), rng.randint(1, 60000), 500000])
        load.add(load.shared(["sys0", "sys1"], 1, 128, 1, 120), rng.randint(1, 50))
        r = load.requests[-1]
        del r["arrival_step"]
        r["arrival_time"] = round(now + (i + 1) / 10000, 4)
        r["arrival_us"] = now
    return "virtual time: arrivals in microseconds, linear step cost", load


def scale(rng):
    config = engine(num_gpu_blocks=rng.choice([300, 620]), max_num_seqs=128, max_num_batched_tokens=1024, async_scheduling=rng.random() < 0.5)
    load = Load(rng, config, 1)
    for _ in range(160):
        tokens = rng.randint(1, 60)
        load.add(load.shared([f"p{k}" for k in range(6)], 0, 200, 1, 120), tokens, stop_at=load.stop(tokens, 0.3))
    return "hundreds of requests against a pool that runs full", load


def mix(rng):
    block_size = rng.choice([16, 16, 32, 64])
    blocks = rng.choice([30, 73, 94, 1000])
    config = engine(
        block_size=block_size,
        num_gpu_blocks=blocks,
        max_num_seqs=rng.choice([2, 5, 9, 16]),
        max_num_batched_tokens=rng.choice([17, 33, 40, 100, 300]),
        max_model_len=min(4096, (blocks - 1) * block_size),
        enable_prefix_caching=rng.random() < 0.7,
        long_prefill_token_threshold=rng.choice([0, 0, 0, 14, 47]),
        policy=rng.choice(["fcfs", "priority"]),
        async_scheduling=rng.random() < 0.5,
    )
    return "random mix of everything", pressed(rng, config, 28, priorities=3, aborts=0.1)


def wild(rng):
    """Small blocks, a pool that hardly suffices, every feature at once."""
    block_size = rng.choice([1, 2, 3, 4, 8, 16])
    longest = rng.randint(20, 150)
    blocks = -(-longest // block_size) + 2 + rng.choice([0, 0, 1, 3, 10, 40])
    seqs = rng.randint(1, 14)
    chunked = rng.random() < 0.75
    low = seqs if chunked else max(seqs, longest)
    config = engine(
        block_size=block_size,
        num_gpu_blocks=blocks,
        max_num_seqs=seqs,
        max_num_batched_tokens=low + rng.choice([0, 1, 3, 20, 100]),
        max_model_len=longest,
        enable_chunked_prefill=chunked,
        enable_prefix_caching=rng.random() < 0.7,
        long_prefill_token_threshold=rng.choice([0, 0, rng.randint(1, 40)]),
        policy=rng.choice(["fcfs", "priority", "priority"]),
        async_scheduling=rng.random() < 0.6,
    )
    load = pressed(rng, config, rng.randint(6, 30), priorities=rng.choice([1, 2, 3]), aborts=rng.choice([0, 0.2]), ties=rng.random() < 0.3)
    return "every feature at once, everything scarce", load


# Seeds of the family `rules`.
RULES = 7


def by_hand(config, *requests):
    """Requests as (arrival step, prompt tokens, max_tokens, priority)."""
    load = Load(random.Random(0), config)
    for step, prompt, max_tokens, rank in requests:
        load.add(segments((f"u{len(load.requests)}", 0, prompt)), max_tokens, priority=rank)
        load.requests[-1].update(arrival_step=step, arrival_time=round(step + len(load.requests) / 10000, 4))
    return load


def rules(seed):
    """One small load for each rule that a release changed, or that random loads hardly ever reach."""
    tiny = dict(block_size=4, max_num_batched_tokens=64, max_num_seqs=8)
    by_priority = dict(num_gpu_blocks=4, max_model_len=12, policy="priority", enable_prefix_caching=False, **tiny)
    return [
        # 0 is preempted while its last token is on its way: it stands before 1 in the list but not in the batch.
        lambda: (
            "priority: a victim that was passed over in this step stands before the current request",
            by_hand(engine(async_scheduling=True, **by_priority), (0, 3, 2, 2), (1, 4, 3, 0), (1, 2, 4, 0)),
        ),
        lambda: (
            "priority: a victim that is in the batch already",
            by_hand(engine(**by_priority), (0, 2, 5, 2), (1, 4, 3, 0), (1, 2, 4, 0)),
        ),
        lambda: (
            "priority: a request preempts itself with others behind it",
            by_hand(engine(**by_priority), (0, 1, 4, 0), (1, 3, 3, 2), (2, 2, 4, 0)),
        ),
        lambda: (
            "long_prefill_token_threshold and a lone request, then two",
            by_hand(engine(long_prefill_token_threshold=8), (0, 50, 3, None), (20, 40, 3, None), (21, 30, 3, None)),
        ),
        lambda: (
            "a prompt of which the next chunk fits, but not all of it",
            by_hand(engine(num_gpu_blocks=9, max_model_len=32, **{**tiny, "max_num_batched_tokens": 8}), (0, 12, 8, None), (0, 24, 4, None)),
        ),
        lambda: (
            "the head of the queue waits for blocks: lookups and admissions",
            by_hand(engine(num_gpu_blocks=9, max_model_len=32, **tiny), (0, 20, 9, None), (0, 16, 4, None)),
        ),
        lambda: (
            "released blocks, registered and not",
            by_hand(engine(num_gpu_blocks=20, max_model_len=32, **tiny), (0, 10, 2, None), (0, 7, 3, None), (6, 18, 4, None)),
        ),
    ][seed]()


def drafts(rng):
    """Speculative decoding: drafters of every kind, under loads of other families."""
    family = rng.choice([basic, budget_small, long_prefill_threshold, max_model_len, preempt, preempt_cache, prefix_unaligned, stop_abort, mix])
    description, load = family(rng)
    kind = rng.choice(["hidden_states", "hidden_states", "draft_model", "ngram"])
    tokens = rng.randint(1, 5)
    load.config["speculation"] = dict(
        tokens=tokens,
        lookahead=0 if kind == "ngram" else tokens,
        hidden_states=kind == "hidden_states",
        draft_model=kind == "draft_model",
        draft_slots=1 if kind == "draft_model" else 0,
        accepted=[rng.randint(0, tokens) for _ in range(rng.choice([1, 7, 13]))],
    )
    load.config["async_scheduling"] = kind != "ngram" and rng.random() < 0.5
    return f"{tokens} drafts ({kind}): {description}", load


FAMILIES = {
    "async": asynchronous,
    **{
        f.__name__: f
        for f in [
            async_preempt, async_priority_preempt, basic, budget_large, budget_small, chunked_off, chunked_off_preempt, clock,
            drafts, edge, identical, long_prefill_threshold, lru, many_seqs, max_model_len, mix, multi_turn, preempt, preempt_cache,
            prefix_aligned, prefix_tree, prefix_unaligned, priority, priority_preempt, priority_preempt_cache, rules, scale, stop_abort, wild,
        ]
    },
}


def scenario(family, seed):
    """(description, engine, requests)"""
    given = seed if family == "rules" else random.Random(f"{family} {seed}")
    description, load = FAMILIES[family](given)
    return description, load.config, load.requests
