"""Answers as typed, frozen objects, made from the JSON that the command line prints."""

from __future__ import annotations

import dataclasses
import json
import typing
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, Optional, Tuple, Type, TypeVar, Union

from ._capsim import Table
from ._fields import SettingsInForce

T = TypeVar("T")


def _decode(kind: Any, value: Any) -> Any:
    """A value of JSON as the type that an annotation names."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is Union:  # Optional[X]
        return None if value is None else _decode(args[0], value)
    if origin is list:
        return [_decode(args[0], v) for v in value]
    if origin is tuple:
        kinds = args[:1] * len(value) if args[-1] is Ellipsis else args
        return tuple(_decode(k, v) for k, v in zip(kinds, value))
    if origin is dict:
        return {k: _decode(args[1], v) for k, v in value.items()}
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        # Fields of the JSON that the class does not know stay in `to_dict`.
        hints = typing.get_type_hints(kind)
        return kind(**{f.name: _decode(hints[f.name], value[f.name]) for f in dataclasses.fields(kind) if f.name in value})
    return value


class Answer:
    """What all answers have: the JSON that `capsim … --json` prints for the same question."""

    _json: str

    def to_json(self) -> str:
        """The very text that the command line prints with `--json`, without the last line break."""
        return self._json

    def to_dict(self) -> Dict[str, Any]:
        """The same as a dictionary."""
        return json.loads(self._json)


def read(kind: Type[T], text: str) -> T:
    """An answer from its JSON."""
    answer: T = _decode(kind, json.loads(text))
    object.__setattr__(answer, "_json", text)
    return answer


@dataclass(frozen=True)
class Metric:
    """A predicted figure. The unit is in its name (`_ms`, `_s`); throughputs are per second."""

    value: Optional[float]
    """The estimate; None where there is none (TPOT of answers of one token)."""
    low: Optional[float] = None
    """Lower end of the 90 % interval."""
    high: Optional[float] = None
    """Upper end of the 90 % interval."""

    def __float__(self) -> float:
        return float("nan") if self.value is None else self.value


@dataclass(frozen=True)
class Settings(SettingsInForce):
    """Engine settings in force, under vLLM's names; None where the engine has no such setting."""

    version: str = ""
    """Release whose rules apply."""
    num_gpu_blocks: int = 0
    """KV blocks."""


@dataclass(frozen=True)
class Occupancy:
    """What the engine was doing, means weighted by time."""

    steps: int
    busy_s: float
    """Seconds with a step under way."""
    batch: float
    """Sequences per step."""
    waiting: float
    """Requests waiting."""
    kv_usage_mean: float
    """Part of the KV blocks in use, 0 to 1."""
    kv_usage_max: float
    prefix_hit_rate: Optional[float]
    preemptions: int
    distinct_experts: Optional[float] = None
    """Per layer and decode step; None for a dense model."""


@dataclass(frozen=True)
class Sensitivity:
    """A coefficient on which a prediction rests."""

    coefficient: str
    origin: str
    rel_sd: Optional[float] = None
    """Its relative standard deviation."""
    slope_of_output_throughput: Optional[float] = None
    """d ln(output throughput) / d ln(coefficient)."""


@dataclass(frozen=True)
class Prediction(Answer):
    """One scenario, predicted. Metrics are attributes too: `p.mean_ttft_ms.value`."""

    model: str
    device: str
    engine: str
    moe_tiles: str
    settings: Settings
    workload: Dict[str, Any]
    num_requests: int
    """Requests asked for: answered or refused."""
    refused: int
    """Requests refused, because prompt and output exceed max_model_len or the KV cache; no metric contains them."""
    completed: int
    """Requests served."""
    total_input_tokens: int
    total_output_tokens: int
    metrics: Dict[str, Metric]
    """`vllm bench serve`'s figures by name: `duration_s`, `request_throughput`, `output_throughput`, `total_token_throughput`,
    and `mean_`, `median_`, `p90_`, `p95_`, `p99_` of `ttft_ms`, `tpot_ms`, `itl_ms`, `e2el_ms`."""
    occupancy: Occupancy
    breakdown_s: Dict[str, float]
    """Seconds of all steps by what they were spent on."""
    binds: str
    """What limits the run."""
    caveats: List[str]
    rests_on: List[Sensitivity]
    varied: Dict[str, Any] = field(default_factory=dict)
    """Fields that differ between the predictions of a `what_if`, with their values here."""
    assumed: List[str] = field(default_factory=list)
    """What was assumed where nothing was said."""
    harmless: List[str] = field(default_factory=list)
    """Flags of a pasted line that change neither memory nor speed."""
    requests: Optional[Table] = field(default=None, repr=False, compare=False)
    """Every measured request, if asked for: times in seconds since the beginning, latencies in milliseconds."""
    timeline: Optional[Table] = field(default=None, repr=False, compare=False)
    """The engine's state over time, if asked for: times in seconds, `kv_usage` from 0 to 1."""

    def __getattr__(self, name: str) -> Metric:
        metrics = self.__dict__.get("metrics", {})
        if name in metrics:
            return metrics[name]
        raise AttributeError(f"a prediction has no `{name}`; its metrics are {', '.join(metrics)}")

    def __dir__(self) -> List[str]:
        return [*super().__dir__(), *self.metrics]

    def row(self) -> Dict[str, Any]:
        """One flat row: what varied, and every metric with its interval."""
        row: Dict[str, Any] = dict(self.varied)
        for name, m in self.metrics.items():
            row.update({name: m.value, f"{name}_low": m.low, f"{name}_high": m.high})
        row["binds"] = self.binds
        return row


@dataclass(frozen=True)
class Predictions(Answer):
    """Several scenarios, predicted: a sequence of `Prediction`."""

    points: List[Prediction]

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index: Any) -> Any:
        return self.points[index]

    def __iter__(self) -> Iterator[Prediction]:
        return iter(self.points)

    def rows(self) -> List[Dict[str, Any]]:
        """One dictionary per scenario, as `pandas.DataFrame` and `polars.DataFrame` take them."""
        return [p.row() for p in self.points]


@dataclass(frozen=True)
class _Served:
    """Figures of a setting at a load, means over its runs. Latencies in seconds, throughputs per second."""

    met: bool
    """Whether the SLO is met."""
    ttft: float
    tpot: float
    e2el: float
    output_throughput: float
    kv_max: float
    preemptions: float
    waits_for: str


@dataclass(frozen=True)
class LoadPoint(_Served):
    """Figures at one load, means over its runs. Latencies in seconds, throughputs per second."""

    load: float
    num_prompts: int
    refused: int
    """Of those of the first run, requests refused: each misses the SLO."""
    runs: int
    runs_met: int
    values: List[Optional[float]]
    """None: infinite, because it falls among refused requests."""
    request_throughput: float
    batch: float
    waiting: float
    step_part: str
    overloaded: bool


@dataclass(frozen=True)
class FloorTerm:
    """A condition of the SLO and the least that is possible: seconds, a share, or per second."""

    name: str
    limit: float
    alone: Optional[float]
    ideal: Optional[float]


@dataclass(frozen=True)
class Outlook:
    """A setting that was changed, and the highest load then: 0 if none meets the SLO, None if the SLO does not limit it."""

    what: str
    same_answers: bool
    load: Optional[float] = None


@dataclass(frozen=True)
class Nearest:
    """The load at which an SLO on throughput is met most nearly, and the values there under the unluckiest and the luckiest cost
    model of twenty."""

    point: LoadPoint
    unlucky: List[Optional[float]]
    lucky: List[Optional[float]]


@dataclass(frozen=True)
class Rising:
    """The answer to an SLO on throughput alone: the lowest load that meets it, or what comes nearest."""

    least: Optional[float] = None
    """None: no load meets it."""
    lucky: Optional[float] = None
    unlucky: Optional[float] = None
    nearest: Optional[Nearest] = None


@dataclass(frozen=True)
class Capacity(Answer):
    """The highest load that meets an SLO. See docs/guide/capacity.md."""

    axis: str
    """What was raised: users, rate (requests per second), concurrency or speedup."""
    slo: str
    low: float
    """The highest load under the unluckiest of twenty cost models."""
    runs_share: float
    confidence: float
    seeds: int
    needed: int
    deterministic: bool
    curve: List[LoadPoint]
    not_monotone: bool
    decisive: str
    floor: List[FloorTerm]
    short_of: List[str]
    outlooks: List[Outlook]
    rests_on: List[Tuple[str, float]]
    highest: Optional[LoadPoint] = None
    """None: no load meets the SLO."""
    broken: Optional[LoadPoint] = None
    """The lowest load found that does not meet it."""
    high: Optional[float] = None
    knee: Optional[float] = None
    elasticities: Optional[Dict[str, float]] = None
    present: Optional[LoadPoint] = None
    wanted: Optional[float] = None
    replicas: Optional[int] = None
    replicas_unlucky: Optional[int] = None
    rising: Optional[Rising] = None
    """Present where every condition is on throughput, and the load is users or requests at once."""
    notes: List[str] = field(default_factory=list)
    """What a reader must know of what the engine profile was not made from."""


@dataclass(frozen=True)
class Outcome(_Served):
    """A setting at a load, means over its runs. Latencies in seconds, throughputs in tokens per second."""

    changes: List[Tuple[str, str]]
    serve: str
    """The `vllm serve` line."""
    interactivity: float
    score: float
    requests: int
    refused: int
    """Requests of the first run that were refused: each misses the SLO."""
    concurrency: Optional[int] = None
    margin: Optional[float] = None


@dataclass(frozen=True)
class Effect:
    """What one knob does to the best setting: every other value with its score relative to the best's, and whether the SLO is met."""

    knob: str
    chosen: str
    others: List[Tuple[str, Optional[float], bool]]


@dataclass(frozen=True)
class Tuned(Answer):
    """The best settings. See docs/guide/tune.md."""

    objective: str
    combinations: float
    tried: int
    refused: int
    distinct: int
    simulations: int
    front: List[Outcome]
    effects: List[Effect]
    slo: Optional[str] = None
    present: Optional[Outcome] = None
    best: Optional[Outcome] = None
    """None: no setting meets the SLO."""
    nearest: Optional[Outcome] = None
    gain: Optional[Tuple[float, ...]] = None
    """Best score over today's; the same under an unlucky and a lucky cost model."""
    notes: List[str] = field(default_factory=list)
    """What a reader must know of knobs that were turned."""


@dataclass(frozen=True)
class Held:
    """Requests of one length: how many the KV cache holds, how many run. Sizes in bytes."""

    context: int
    blocks: int
    bytes: float
    held: int
    running: int


@dataclass(frozen=True)
class Way:
    """A change that makes it fit, and the KV tokens then."""

    change: str
    same_answers: bool
    kv_tokens: int


@dataclass(frozen=True)
class Memory(Answer):
    """What fits. Sizes in bytes. See docs/guide/memory.md."""

    fits: bool
    starts: bool
    total: float
    utilization: float
    requested: float
    weights: float
    activations: float
    non_torch: float
    kv_cache: float
    outside: float
    kv_per_token: float
    block_size: int
    kv_per_block: float
    num_gpu_blocks: int
    kv_tokens: int
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    max_concurrency: float
    table: List[Held]
    ways: List[Way]
    fcfs: bool
    problem: Optional[str] = None
    preempts_at: Optional[float] = None
    host: Optional[Dict[str, Any]] = None
    device_needed: Optional[float] = None
    unmodelled: List[str] = field(default_factory=list)
    """Flags of a pasted server line that may matter and are not modelled."""
    notes: List[str] = field(default_factory=list)
    """What a reader must know of what the engine profile and its rules were not made from."""


@dataclass(frozen=True)
class Compared:
    """A measured value beside its prediction. The unit is in the metric's name; `error` is relative."""

    metric: str
    measured: float
    predicted: Optional[float] = None
    error: Optional[float] = None
    low: Optional[float] = None
    high: Optional[float] = None
    inside: Optional[bool] = None
    tolerance: Optional[float] = None
    agrees: Optional[bool] = None


@dataclass(frozen=True)
class Candidate:
    """A run under one hypothesis about what was not recorded."""

    hypothesis: str
    misfit: Optional[float]
    metrics: List[Compared]
    counters: List[Dict[str, Any]]


@dataclass(frozen=True)
class ValidatedRun:
    """A recorded run; the first candidate is the one that the data prefer."""

    id: str
    fitted: bool
    """Whether the engine profile was fitted to it: then it is no prediction."""
    agrees: Optional[bool]
    candidates: List[Candidate]


@dataclass(frozen=True)
class Validation(Answer):
    """Recorded runs beside their predictions."""

    name: str
    runs: List[ValidatedRun]
    fitted_on: Optional[List[str]] = None

    @property
    def agrees(self) -> bool:
        """Whether every run that was predicted agrees."""
        return all(r.agrees for r in self.runs if not r.fitted)
