"""Answers as typed, frozen objects. Generated from their JSON Schemas: `cargo xtask generate`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Tuple

from ._base import (
    Answer,
    CapacityMethods,
    ComparisonMethods,
    MemoryMethods,
    MetricMethods,
    OutcomeMethods,
    PredictionMethods,
    PredictionsMethods,
    TunedMethods,
    ValidationMethods,
)
from ._capsim import Table
from ._fields import SettingsInForce


@dataclass(frozen=True)
class Metric(MetricMethods):
    """A predicted figure. The unit is in its name (`_ms`, `_s`); throughputs are per second."""

    value: Optional[float] = None
    """As simulated; None where the load has no such metric (TPOT of one-token answers)."""
    low: Optional[float] = None
    """Lower end of the 90 % interval, where one is computed."""
    high: Optional[float] = None
    """Upper end."""


class PredictedMetrics:
    """Every metric of a prediction, with its 90 % interval."""

    metrics: Dict[str, Metric]

    @property
    def duration_s(self) -> Metric:
        """From the first arrival to the last answer, in seconds."""
        return self.metrics["duration_s"]

    @property
    def request_throughput(self) -> Metric:
        """Requests, per second."""
        return self.metrics["request_throughput"]

    @property
    def output_throughput(self) -> Metric:
        """Output tokens, in tokens per second."""
        return self.metrics["output_throughput"]

    @property
    def total_token_throughput(self) -> Metric:
        """Prompt and output tokens, in tokens per second."""
        return self.metrics["total_token_throughput"]

    @property
    def mean_ttft_ms(self) -> Metric:
        """Mean TTFT, in milliseconds."""
        return self.metrics["mean_ttft_ms"]

    @property
    def median_ttft_ms(self) -> Metric:
        """Median TTFT, in milliseconds."""
        return self.metrics["median_ttft_ms"]

    @property
    def p90_ttft_ms(self) -> Metric:
        """Percentile 90 of the TTFT, in milliseconds."""
        return self.metrics["p90_ttft_ms"]

    @property
    def p95_ttft_ms(self) -> Metric:
        """Percentile 95 of the TTFT, in milliseconds."""
        return self.metrics["p95_ttft_ms"]

    @property
    def p99_ttft_ms(self) -> Metric:
        """Percentile 99 of the TTFT, in milliseconds."""
        return self.metrics["p99_ttft_ms"]

    @property
    def mean_tpot_ms(self) -> Metric:
        """Mean TPOT, in milliseconds."""
        return self.metrics["mean_tpot_ms"]

    @property
    def median_tpot_ms(self) -> Metric:
        """Median TPOT, in milliseconds."""
        return self.metrics["median_tpot_ms"]

    @property
    def p90_tpot_ms(self) -> Metric:
        """Percentile 90 of the TPOT, in milliseconds."""
        return self.metrics["p90_tpot_ms"]

    @property
    def p95_tpot_ms(self) -> Metric:
        """Percentile 95 of the TPOT, in milliseconds."""
        return self.metrics["p95_tpot_ms"]

    @property
    def p99_tpot_ms(self) -> Metric:
        """Percentile 99 of the TPOT, in milliseconds."""
        return self.metrics["p99_tpot_ms"]

    @property
    def mean_itl_ms(self) -> Metric:
        """Mean ITL, in milliseconds."""
        return self.metrics["mean_itl_ms"]

    @property
    def median_itl_ms(self) -> Metric:
        """Median ITL, in milliseconds."""
        return self.metrics["median_itl_ms"]

    @property
    def p90_itl_ms(self) -> Metric:
        """Percentile 90 of the ITL, in milliseconds."""
        return self.metrics["p90_itl_ms"]

    @property
    def p95_itl_ms(self) -> Metric:
        """Percentile 95 of the ITL, in milliseconds."""
        return self.metrics["p95_itl_ms"]

    @property
    def p99_itl_ms(self) -> Metric:
        """Percentile 99 of the ITL, in milliseconds."""
        return self.metrics["p99_itl_ms"]

    @property
    def mean_e2el_ms(self) -> Metric:
        """Mean E2EL, in milliseconds."""
        return self.metrics["mean_e2el_ms"]

    @property
    def median_e2el_ms(self) -> Metric:
        """Median E2EL, in milliseconds."""
        return self.metrics["median_e2el_ms"]

    @property
    def min_e2el_ms(self) -> Metric:
        """Least E2EL, in milliseconds."""
        return self.metrics["min_e2el_ms"]

    @property
    def p90_e2el_ms(self) -> Metric:
        """Percentile 90 of the E2EL, in milliseconds."""
        return self.metrics["p90_e2el_ms"]

    @property
    def p95_e2el_ms(self) -> Metric:
        """Percentile 95 of the E2EL, in milliseconds."""
        return self.metrics["p95_e2el_ms"]

    @property
    def p99_e2el_ms(self) -> Metric:
        """Percentile 99 of the E2EL, in milliseconds."""
        return self.metrics["p99_e2el_ms"]

    @property
    def max_e2el_ms(self) -> Metric:
        """Greatest E2EL, in milliseconds."""
        return self.metrics["max_e2el_ms"]


@dataclass(frozen=True)
class Settings(SettingsInForce):
    """Engine settings in force, under vLLM's names; None where the engine has no such setting."""

    version: str = ""
    """Release of the engine whose rules apply."""
    num_gpu_blocks: int = 0
    """KV blocks."""


@dataclass(frozen=True)
class Occupancy:
    """What the engine was busy with, averaged over its steps."""

    steps: int
    """Steps."""
    preemptions: int
    """Preemptions."""
    busy_s: Optional[float] = None
    """Seconds in which a step ran."""
    batch: Optional[float] = None
    """Sequences in a batch."""
    waiting: Optional[float] = None
    """Requests that wait."""
    kv_usage_mean: Optional[float] = None
    """Share of the KV blocks in use, mean over time."""
    kv_usage_max: Optional[float] = None
    """The same, at most."""
    prefix_hit_rate: Optional[float] = None
    """Share of prompt tokens that were cached."""
    distinct_experts: Optional[float] = None
    """Distinct experts per layer and step; None for dense models."""


@dataclass(frozen=True)
class Sensitivity:
    """A coefficient that the prediction rests on."""

    coefficient: str
    """Its name in the profile."""
    origin: str
    """Where it comes from."""
    rel_sd: Optional[float] = None
    """Its relative standard deviation."""
    slope_of_output_throughput: Optional[float] = None
    """d ln(output throughput) / d ln(coefficient)."""


@dataclass(frozen=True)
class Prediction(PredictedMetrics, PredictionMethods, Answer):
    """One scenario, predicted. Metrics are attributes too: `p.mean_ttft_ms.value`."""

    not_simulated: List[str]
    """Flags of a pasted line that may change memory or speed and are not simulated; the intervals are wider for them."""
    model: str
    """Model."""
    device: str
    """Device profile."""
    engine: str
    """Engine profile."""
    moe_tiles: str
    """Way the engine runs its expert kernels."""
    settings: Settings
    """Settings."""
    workload: Dict[str, Any]
    """Load."""
    num_requests: int
    """Requests asked for: answered or refused."""
    refused: int
    """Requests refused, because prompt and output exceed max_model_len or the KV cache; no metric contains them."""
    completed: int
    """Requests answered."""
    total_input_tokens: int
    """Prompt tokens of all requests."""
    total_output_tokens: int
    """Tokens of all answers."""
    metrics: Dict[str, Metric]
    """Every metric by name; names end in their unit, throughputs are per second."""
    occupancy: Occupancy
    """Occupancy."""
    breakdown_s: Dict[str, Optional[float]]
    """Seconds of all steps, by part."""
    binds: str
    """What requests wait for and what steps spend time on."""
    caveats: List[str]
    """What a reader must know."""
    rests_on: List[Sensitivity]
    """Coefficients, the most important first."""
    varied: Dict[str, Any] = field(default_factory=dict)
    """Fields that differ between the points of a table, with this point's values."""
    assumed: List[str] = field(default_factory=list)
    """What was assumed where nothing was said."""
    harmless: List[str] = field(default_factory=list)
    """Flags of a pasted line that change neither memory nor speed."""
    ttft_parts: Optional[Dict[str, Any]] = None
    """What the mean time to first token is made of."""
    energy: Optional[Dict[str, Any]] = None
    """Power and energy of all devices; None where nothing is known of the device's power."""
    nearest: Optional[Dict[str, Any]] = None
    """The recorded run nearest to this one."""
    requests: Optional[Table] = field(default=None, repr=False, compare=False)
    """Every measured request, if asked for: times in seconds since the beginning, latencies in milliseconds."""
    timeline: Optional[Table] = field(default=None, repr=False, compare=False)
    """The engine's state over time, if asked for: times in seconds, `kv_usage` from 0 to 1."""


@dataclass(frozen=True)
class Predictions(PredictionsMethods, Answer):
    """Several scenarios, predicted: a sequence of `Prediction`."""

    answer: str
    """The answer in words, as the command prints it first."""
    command: str
    """The command that asks the same."""
    points: List[Prediction]
    """One point per row of the table."""


@dataclass(frozen=True)
class LoadPoint:
    """Figures at one load, means over its runs. Latencies in seconds, throughputs per second."""

    load: float
    """The load, in units of the axis."""
    num_prompts: int
    """Requests measured per run."""
    refused: int
    """Of those of the first run, requests refused, because prompt and output exceed max_model_len or the KV cache: each misses
    the SLO. No figure but those in `values` contains them."""
    runs: int
    """Runs."""
    runs_met: int
    """Runs that met the SLO."""
    met: bool
    """Whether enough did."""
    values: List[Optional[float]]
    """Value of each condition, in the order of the SLO; None: infinite, because it falls among refused requests."""
    ttft: float
    """Mean time to first token."""
    tpot: float
    """Mean time per output token."""
    e2el: float
    """Mean end-to-end latency."""
    request_throughput: float
    """Requests per second."""
    output_throughput: float
    """Output tokens per second."""
    batch: float
    """Mean sequences in a step."""
    waiting: float
    """Mean requests waiting."""
    kv_max: float
    """Highest KV usage, 0 to 1."""
    preemptions: float
    """Preemptions per request."""
    waits_for: str
    """What requests wait for."""
    step_part: str
    """Largest part of the step time."""
    overloaded: bool
    """Requests come faster than they are served."""


@dataclass(frozen=True)
class FloorTerm:
    """One condition of the SLO, and the least that is possible."""

    name: str
    """`ttft.p95`."""
    limit: float
    """The limit, in seconds, as a share or per second."""
    alone: Optional[float] = None
    """At the lowest load; a condition on throughput: at the highest load that meets the rest, or that comes nearest."""
    ideal: Optional[float] = None
    """At the same load, if the engine wasted nothing of the device (`ideal`)."""


@dataclass(frozen=True)
class Outlook:
    """A setting that was changed, and what the capacity would be then."""

    what: str
    """The change."""
    same_answers: bool
    """Whether answers stay the same."""
    load: Optional[float] = None
    """The highest load then; 0 if none meets the SLO, None if the SLO does not limit it."""


@dataclass(frozen=True)
class Nearest:
    """The load at which an SLO on throughput is met most nearly."""

    point: LoadPoint
    """Figures at it."""
    unlucky: List[Optional[float]]
    """Value of each condition there under the unluckiest cost model of twenty (95 %)."""
    lucky: List[Optional[float]]
    """See `unlucky`: the luckiest."""


@dataclass(frozen=True)
class Rising:
    """The answer to an SLO that more load can only help, because all its conditions are on throughput."""

    least: Optional[float] = None
    """The lowest load that meets it; None: none does."""
    lucky: Optional[float] = None
    """The same under the luckiest of twenty cost models (95 %); None: none does."""
    unlucky: Optional[float] = None
    """The same under the unluckiest."""
    nearest: Optional[Nearest] = None
    """If no load meets it: what comes nearest."""


@dataclass(frozen=True)
class Capacity(CapacityMethods, Answer):
    """The highest load that meets an SLO. See docs/guide/capacity.md."""

    answer: str
    """The answer in words, as the command prints it first; empty where no command was asked."""
    axis: str
    """What was raised."""
    slo: str
    """The SLO as it was understood."""
    low: float
    """The same under the unluckiest of twenty cost models (95 %), and under the luckiest; 0: none meets the SLO."""
    rests_on: List[Tuple[str, float]]
    """Coefficients behind that interval: name and part of the variance, largest first."""
    runs_share: float
    """At least this share of such runs meets the SLO at the highest load, with the confidence asked for."""
    confidence: float
    """The confidence."""
    seeds: int
    """Runs per load, and how many must meet the SLO."""
    needed: int
    """See `seeds`."""
    deterministic: bool
    """Whether the load holds no chance, so that all runs would be the same."""
    curve: List[LoadPoint]
    """Latency against load, in increasing order."""
    not_monotone: bool
    """A lower load failed, or a higher one met the SLO."""
    decisive: str
    """The condition that breaks first, and by how many per cent it shrinks if a resource becomes one per cent faster."""
    floor: List[FloorTerm]
    """The least that is possible."""
    short_of: List[str]
    """Conditions that only throughput can meet, and that the highest load does not."""
    outlooks: List[Outlook]
    """Other settings, best first."""
    about: Optional[Dict[str, Any]] = None
    """What was asked; None where no command was."""
    highest: Optional[LoadPoint] = None
    """The highest load that meets it; None: none does."""
    broken: Optional[LoadPoint] = None
    """The lowest load found that does not; None: the SLO does not limit the load."""
    high: Optional[float] = None
    """See `low`; None: the SLO does not limit the load."""
    knee: Optional[float] = None
    """The load of the curve with the largest ratio of throughput to latency."""
    elasticities: Optional[Dict[str, float]] = None
    """See `decisive`."""
    rising: Optional[Rising] = None
    """Where every condition is one that more load helps, on a load of users or requests at once: from which load on. Then
    `highest` is the highest load tried that meets it, and nothing bounds the load."""
    present: Optional[LoadPoint] = None
    """The load there is."""
    wanted: Optional[float] = None
    """The load to be served, and the number of replicas for it: by the best estimate, and by the unlucky one."""
    replicas: Optional[int] = None
    """See `wanted`; None: impossible."""
    replicas_unlucky: Optional[int] = None
    """See `wanted`."""
    notes: List[str] = field(default_factory=list)
    """What a reader must know of what the engine profile was not made from."""


@dataclass(frozen=True)
class Outcome(OutcomeMethods):
    """A setting at a load: means over its runs. Latencies in seconds."""

    changes: List[Tuple[str, str]]
    """Knobs that differ from today's, with their values."""
    serve: str
    """The line that starts such a server; behind ` # ` the checkpoint that it needs."""
    met: bool
    """Whether every run met the SLO."""
    requests: int
    """Requests of the first run."""
    refused: int
    """Requests of it that were refused, because prompt and output exceed max_model_len or the KV cache: each misses the SLO, and
    no mean contains them."""
    devices: int
    """Devices that it takes."""
    output_throughput: float
    """Output tokens per second, of all devices together."""
    interactivity: float
    """Output tokens per second that one user sees: 1 / mean TPOT."""
    ttft: float
    """Mean time to first token."""
    tpot: float
    """Mean time per output token."""
    e2el: float
    """Mean end-to-end latency."""
    preemptions: float
    """Preemptions per request."""
    kv_max: float
    """Highest KV usage, 0 to 1."""
    waits_for: str
    """What requests wait for."""
    score: float
    """What is compared: larger is better."""
    concurrency: Optional[int] = None
    """Requests open at once, where that was varied."""
    margin: Optional[float] = None
    """How much of the tightest limit is used up; None without an SLO."""


@dataclass(frozen=True)
class Effect:
    """What one knob does to the best setting."""

    knob: str
    """The knob."""
    chosen: str
    """Its value in the best setting."""
    others: List[Tuple[str, Optional[float], bool]]
    """Every other value: score relative to the best's, and whether the SLO is met; None: the engine does not start, or takes more
    devices than there are."""


@dataclass(frozen=True)
class Tuned(TunedMethods, Answer):
    """The best settings. See docs/guide/tune.md."""

    answer: str
    """The answer in words, as the command prints it first; empty where no command was asked."""
    objective: str
    """What was better."""
    combinations: float
    """Combinations that there are."""
    tried: int
    """Settings tried."""
    refused: int
    """Of these, engines that would not start."""
    distinct: int
    """Of the rest, different engines: some combinations come to the same."""
    simulations: int
    """Simulations run."""
    rungs: List[Tuple[int, int]]
    """Settings alive at each rung, and requests per run there."""
    front: List[Outcome]
    """Settings none of which is beaten in both throughput and tokens per second per user, among those that meet the SLO."""
    effects: List[Effect]
    """What each knob does to the best setting, most first."""
    about: Optional[Dict[str, Any]] = None
    """What was asked; None where no command was."""
    slo: Optional[str] = None
    """The SLO as it was understood."""
    present: Optional[Outcome] = None
    """Today's setting; None: it does not start."""
    best: Optional[Outcome] = None
    """The best that meets the SLO."""
    nearest: Optional[Outcome] = None
    """If none meets it: the one that misses it least."""
    gain: Optional[Tuple[float, float, float]] = None
    """Best score over today's, and the smallest and largest under unlucky and lucky cost models."""
    notes: List[str] = field(default_factory=list)
    """What a reader must know of knobs that were turned."""


@dataclass(frozen=True)
class Held:
    """Requests of one length."""

    context: int
    """Tokens, prompt and output together."""
    blocks: int
    """KV blocks of one request."""
    bytes: float
    """Bytes of KV of one request."""
    held: int
    """Requests that the KV cache holds."""
    running: int
    """Requests that run: no more than max_num_seqs."""


@dataclass(frozen=True)
class Way:
    """A change that makes it fit."""

    change: str
    """The change, as flags where there are."""
    same_answers: bool
    """Whether answers stay the same."""
    kv_tokens: int
    """KV tokens then."""


@dataclass(frozen=True)
class Memory(MemoryMethods, Answer):
    """What fits. Sizes in bytes. See docs/guide/memory.md."""

    answer: str
    """The answer in words, as the command prints it first; empty where no command was asked."""
    fits: bool
    """Whether the engine starts, and holds what was demanded."""
    starts: bool
    """Whether the engine starts."""
    total: float
    """Device memory."""
    utilization: float
    """`--gpu-memory-utilization`."""
    requested: float
    """What the engine may use."""
    weights: float
    """Weights."""
    host_weights: float
    """Weights in the host's memory."""
    host_kv: float
    """Keys and values in the host's memory."""
    position_table: float
    """The table of the rotary embedding, which engines load with them."""
    encoder: float
    """The vision tower."""
    parameters: float
    """Parameters of the whole model, on all devices."""
    active_parameters: float
    """Those without the routed experts that a token does not visit."""
    activations: float
    """Peak activations of the profiling run, estimated."""
    non_torch: float
    """Runtime context and libraries, estimated."""
    kv_cache: float
    """KV cache."""
    outside: float
    """What the utilisation leaves on the device: graphs, which are captured once the KV cache is sized, and other processes."""
    kv_per_token: float
    """KV bytes of one token, all layers."""
    state_per_sequence: float
    """Bytes of the states that recurrent layers keep of a sequence, all layers; 0 without such layers."""
    block_size: int
    """Tokens per block."""
    kv_per_block: float
    """KV bytes of one block."""
    num_gpu_blocks: int
    """Blocks, the null block included."""
    kv_tokens: int
    """`GPU KV cache size` in vLLM's log: blocks × block size, where layers of one kind share the blocks."""
    max_model_len: int
    """`--max-model-len`; 0 if the engine does not get so far."""
    max_num_seqs: int
    """`--max-num-seqs`."""
    max_num_batched_tokens: int
    """`--max-num-batched-tokens`."""
    max_concurrency: float
    """`Maximum concurrency for N tokens per request` in vLLM's log."""
    table: List[Held]
    """Context × concurrency."""
    fcfs: bool
    """Whether it is the most recently admitted that is preempted (first come, first served), or the least urgent."""
    ways: List[Way]
    """Single changes that make it fit, those that change no answers first."""
    about: Optional[Dict[str, Any]] = None
    """What was asked; None where no command was."""
    problem: Optional[str] = None
    """Why not."""
    preempts_at: Optional[float] = None
    """With max_num_seqs requests running, the mean context at which the KV cache is full; None: never, requests end before."""
    host: Optional[Dict[str, Any]] = None
    """The host's part, on machines that share memory."""
    device_needed: Optional[float] = None
    """The least device memory on which it fits unchanged; None: even 16 TiB are too few."""
    unmodelled: List[str] = field(default_factory=list)
    """Flags of a pasted server line that may matter and are not modelled."""
    harmless: List[str] = field(default_factory=list)
    """Flags of a pasted line that change neither memory nor speed."""
    notes: List[str] = field(default_factory=list)
    """What a reader must know of what the engine profile and its rules were not made from."""


@dataclass(frozen=True)
class Range:
    """A number with the ends of its 90 % interval, where one is known."""

    value: Optional[float] = None
    """Best estimate; None: only a limit is known, which is `high`."""
    low: Optional[float] = None
    """Lower end."""
    high: Optional[float] = None
    """Upper end."""


@dataclass(frozen=True)
class Offer:
    """A way to serve all users."""

    device: str
    """Device profile."""
    name: str
    """The device's name."""
    origin: str
    """What the device profile rests on."""
    engine: str
    """Engine profile."""
    weights: str
    """Weight format."""
    tensor_parallel_size: int
    """Devices of one engine."""
    engines: int
    """Engines side by side, each with an equal part of the users."""
    devices: Range
    """Devices in all: best estimate, and what the luckiest and the unluckiest of twenty cost models say (95 %); `high` None:
    under the unluckiest no number of them suffices."""
    users_per_engine: int
    """Users of each engine."""
    values: List[float]
    """Value of each condition of the SLO, seconds or per second."""
    interactivity: float
    """Output tokens per second that one user reads: 1 / mean TPOT; 0 for answers of one token."""
    ttft: float
    """Mean time to first token in seconds."""
    output_throughput: float
    """Output tokens per second of all engines together."""
    on_front: bool
    """Whether no other offer is both cheaper (where nothing is priced: takes fewer devices) and faster to read."""
    serve: str
    """The line that starts one engine."""
    watts: Optional[Range] = None
    """Watts of all devices, hosts not counted; None: nothing is known of the device's power."""
    joules_per_token: Optional[Range] = None
    """Joules per output token."""
    price: Optional[Dict[str, Any]] = None
    """Price of one device as given; None: none was given."""
    cost_per_hour: Optional[Range] = None
    """Cost per hour of all devices."""
    cost_per_million_tokens: Optional[Range] = None
    """Cost per million output tokens at this load."""


@dataclass(frozen=True)
class Missed:
    """A device that does not serve the users."""

    device: str
    """Device profile."""
    why: str
    """Why: the model does not fit, or a condition that one user alone breaks."""


@dataclass(frozen=True)
class Comparison(ComparisonMethods, Answer):
    """Which device serves the users, with how many of it, at which cost. See docs/guide/compare.md."""

    answer: str
    """The answer in words, as the command prints it first; empty where no command was asked."""
    users: int
    """Users to serve."""
    slo: str
    """The SLO as it was understood."""
    offers: List[Offer]
    """The best offer of each device, and all on the front: priced ones first, the cheapest first, then those with the fewest
    devices."""
    missed: List[Missed]
    """Devices that do not serve them, whatever their number."""
    simulated: int
    """Combinations of device, weights and tensor-parallel size that were simulated."""
    about: Optional[Dict[str, Any]] = None
    """What was asked; None where no command was."""
    electricity: Optional[float] = None
    """Price of a kWh as given."""
    assumed: List[str] = field(default_factory=list)
    """What was assumed where nothing was said."""
    notes: List[str] = field(default_factory=list)
    """What a reader must know of the costs."""


@dataclass(frozen=True)
class Compared:
    """A metric of a run, judged where there is a tolerance."""

    metric: str
    """Its name, which ends in its unit; throughputs are per second."""
    measured: float
    """As recorded."""
    predicted: Optional[float] = None
    """As simulated."""
    error: Optional[float] = None
    """predicted / measured − 1, after allowing for rounding of the measured value."""
    low: Optional[float] = None
    """Lower end of the 90 % interval."""
    high: Optional[float] = None
    """Upper end."""
    inside: Optional[bool] = None
    """Whether the measured value lies in the interval."""
    tolerance: Optional[float] = None
    """Largest |error| that counts as agreement; None: not judged."""
    agrees: Optional[bool] = None
    """Whether it agrees; None: not judged."""


@dataclass(frozen=True)
class Candidate:
    """A run under one hypothesis."""

    hypothesis: str
    """What was supposed."""
    engine_args: Dict[str, Any]
    """Settings supposed."""
    counters: List[Dict[str, Any]]
    """Counters."""
    metrics: List[Compared]
    """Metrics."""
    misfit: Optional[float] = None
    """Root mean square of the log errors of the judged metrics."""


@dataclass(frozen=True)
class ValidatedRun:
    """A run."""

    id: str
    """Its id."""
    fitted: bool
    """Whether the engine profile was fitted to it."""
    candidates: List[Candidate]
    """Hypotheses, the one that the data prefer first."""
    agrees: Optional[bool] = None
    """Whether it agrees; None for a fitted run."""


@dataclass(frozen=True)
class Validation(ValidationMethods, Answer):
    """Recorded runs beside their predictions."""

    name: str
    """Name of the file of runs."""
    runs: List[ValidatedRun]
    """Runs."""
    fitted_on: Optional[List[str]] = None
    """Runs that the engine profile was fitted to."""
