"""What is asked: models, profiles, loads and scenarios, under the names of the command line's flags."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import dataclass, fields
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from . import _capsim
from ._capsim import CapsimError

Number = Union[int, float]
#: A value, or several: each makes a scenario of its own, for `what_if`.
Ints = Union[int, Sequence[int]]
Floats = Union[Number, Sequence[Number]]
Texts = Union[str, Sequence[str]]
Path = Union[str, "os.PathLike[str]"]


class _Part:
    """A model's config or a profile: by name, from a file, or from a dictionary."""

    _suffix = ""

    def __init__(self, name: Path, text: Optional[str] = None) -> None:
        self._name = os.fspath(name)
        self._text = text

    def _files(self) -> Dict[str, str]:
        return {} if self._text is None else {self._name: self._text}

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((self._name, self._text))


class DeviceProfile(_Part):
    """A device: what `capsim calibrate` measured, or one that ships (`capsim.shipped()`)."""

    def __init__(self, name: Path, text: Optional[str] = None) -> None:
        """`name`: an id that ships, or the path of a profile or of its folder."""
        super().__init__(name, text)
        self._json = _capsim.device(self._name, self._files())

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], name: Optional[str] = None) -> "DeviceProfile":
        """A profile from a dictionary as `to_dict` gives it (`capsim schema device`); `name` appears in errors."""
        return cls(name or f"{data.get('id', 'device')}.json", json.dumps(data))

    def to_dict(self) -> Dict[str, Any]:
        """All of it, a copy: change it and give it to `from_dict`."""
        return json.loads(self._json)

    @property
    def id(self) -> str:
        return self.to_dict()["id"]

    def __repr__(self) -> str:
        return f"capsim.{type(self).__name__}({self._name!r})"


class EngineProfile(DeviceProfile):
    """What a serving engine achieves of a device: one that ships, a file, or the result of a fit."""

    def __init__(self, name: Path, text: Optional[str] = None) -> None:
        """`name`: an id that ships, or the path of a profile or of its folder."""
        _Part.__init__(self, name, text)
        self._json = _capsim.engine(self._name, self._files())

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], name: Optional[str] = None) -> "EngineProfile":
        """A profile from a dictionary as `to_dict` gives it (`capsim schema engine`); `name` appears in errors."""
        return cls(name or f"{data.get('id', 'engine')}.json", json.dumps(data))


class Model(_Part):
    """A model: a name that ships, the path of a Hugging Face `config.json`, or its content.

    `parameters`, `active_parameters` (per token), `weight_bytes`, `weight_bytes_per_token` (read for one token at batch 1),
    `kv_bytes_per_token`, `num_layers`, `hidden_size`, `vocab_size`, `max_position_embeddings` (tokens), `num_experts` and
    `experts_per_token` (None for a dense model) are attributes.
    """

    parameters: int
    active_parameters: int
    weight_bytes: float
    weight_bytes_per_token: float
    kv_bytes_per_token: float
    num_layers: int
    hidden_size: int
    vocab_size: int
    max_position_embeddings: int
    num_experts: Optional[int]
    experts_per_token: Optional[int]

    def __init__(
        self,
        name: Path,
        weights: Optional[str] = None,
        kv_cache_dtype: Optional[str] = None,
        text: Optional[str] = None,
    ) -> None:
        """`weights`: bf16, fp16, fp8, int8, awq, gptq, mxfp4, q4_k_m, q8_0; default: the model's own."""
        super().__init__(name, text)
        self.weights, self.kv_cache_dtype = weights, kv_cache_dtype
        vars(self).update(json.loads(_capsim.model(self._name, weights, kv_cache_dtype, self._files())))

    @classmethod
    def from_config(cls, config: Mapping[str, Any], name: str = "config.json", **formats: Optional[str]) -> "Model":
        """A model from the content of a Hugging Face `config.json`; `formats` as for `Model`."""
        return cls(name if name.endswith(".json") else f"{name}.json", text=json.dumps(config), **formats)

    def __repr__(self) -> str:
        return f"capsim.Model({self._name!r}, weights={self.weights!r}, kv_cache_dtype={self.kv_cache_dtype!r})"


@dataclass(frozen=True)
class Workload:
    """A load, under `vllm bench serve`'s names. Lengths in tokens, rates in requests per second. None: the command line's default."""

    num_prompts: Optional[int] = None
    """Requests measured."""
    max_concurrency: Optional[Ints] = None
    """Most requests that the client has open."""
    request_rate: Optional[Floats] = None
    """Requests per second; `float("inf")`: all at once."""
    burstiness: Optional[Number] = None
    """Shape of the gamma-distributed gaps: 1 is Poisson, below is burstier."""
    random_input_len: Optional[Ints] = None
    """Prompt tokens."""
    random_output_len: Optional[Ints] = None
    """Output tokens."""
    random_range_ratio: Optional[Number] = None
    """Lengths are uniform in len · (1 ± this)."""
    prompts: Optional[Texts] = None
    """What prompts have in common: distinct, identical, shared-prefix."""
    shared_prefix_len: Optional[int] = None
    temperature: Optional[Number] = None
    num_warmups: Optional[int] = None
    """Requests sent one by one before the measured ones."""
    send_skew_ms: Optional[Number] = None
    """Milliseconds between the first sends of successive clients."""
    vllm_bench: Optional[bool] = None
    """The very requests of `vllm bench serve --dataset-name random` for the same flags and seed."""
    seed: Optional[int] = None
    arrival: Optional[str] = None
    """Law of the send times: constant, poisson, gamma, weibull:CV, mmpp:RATE,RATE,SECONDS,SECONDS, rate-series:T:RATE,…"""
    ramp_up_strategy: Optional[str] = None
    ramp_up_start_rps: Optional[Number] = None
    ramp_up_end_rps: Optional[Number] = None
    users: Optional[Ints] = None
    """Users who read an answer, think, and ask again, instead of a rate."""
    think_time: Optional[Union[Number, str]] = None
    """Seconds from an answer to the same user's next request: a number, exponential:MEAN, lognormal:MEAN,CV."""
    turns: Optional[int] = None
    """Requests per conversation."""
    input_dist: Optional[str] = None
    """Law of prompt lengths: fixed:N, uniform:MIN,MAX, normal:MEAN,SD, lognormal:MEDIAN,SIGMA, empirical:FILE, …"""
    output_dist: Optional[str] = None
    trace_file: Optional[Path] = None
    """A recorded trace to replay: a file, or a folder of ServeGen clients."""
    trace_format: Optional[str] = None
    trace_columns: Optional[str] = None
    trace_block_size: Optional[int] = None
    trace_skip_empty: Optional[bool] = None
    trace_start: Optional[Number] = None
    """Seconds of recorded time to leave out at the beginning."""
    trace_duration: Optional[Number] = None
    """Seconds of recorded time to take."""
    trace_spread: Optional[bool] = None
    trace_rate: Optional[Number] = None
    """Requests per second of all ServeGen clients together."""
    trace_speedup: Optional[Floats] = None
    """How many times faster than recorded."""


@dataclass(frozen=True)
class Scenario:
    """What to serve, on what, how, and under which load. Settings have vLLM's names and defaults; None: not said.

    A list of values makes a scenario of each, for `what_if`.
    """

    model: Optional[Union[Path, Model]] = None
    device: Optional[Union[Path, DeviceProfile, Sequence[Union[Path, DeviceProfile]]]] = None
    engine: Optional[Union[Path, EngineProfile, Sequence[Union[Path, EngineProfile]]]] = None
    workload: Workload = Workload()
    serve: Union[str, Sequence[str]] = ""
    """A `vllm serve …` line, pasted as it is; its settings apply where no field says otherwise."""
    weights: Optional[Texts] = None
    """Weight format: bf16, fp16, fp8, int8, awq, gptq, mxfp4, q4_k_m, q8_0."""
    moe_tiles: Optional[Texts] = None
    """Way the engine runs its expert kernels: a name in the engine profile, as default or tuned."""
    routing: Optional[str] = None
    """Expert popularity: uniform, or zipf:S."""
    max_num_seqs: Optional[Ints] = None
    max_num_batched_tokens: Optional[Ints] = None
    max_model_len: Optional[Ints] = None
    """Tokens, prompt and output together."""
    gpu_memory_utilization: Optional[Floats] = None
    """Part of the device memory, 0 to 1."""
    block_size: Optional[Ints] = None
    """Tokens per KV block."""
    dtype: Optional[str] = None
    kv_cache_dtype: Optional[str] = None
    enforce_eager: Optional[bool] = None
    async_scheduling: Optional[bool] = None
    enable_prefix_caching: Optional[bool] = None
    enable_chunked_prefill: Optional[bool] = None
    scheduling_policy: Optional[str] = None
    long_prefill_token_threshold: Optional[int] = None
    num_gpu_blocks_override: Optional[Ints] = None
    tensor_parallel_size: Optional[Ints] = None
    data_parallel_size: Optional[Ints] = None
    data_parallel_external_lb: Optional[bool] = None
    enable_expert_parallel: Optional[bool] = None
    kv_cache_memory_bytes: Optional[int] = None

    def command(self, verb: str = "predict") -> str:
        """The same question as a command line, where it needs no profile or config given as a dictionary."""
        flags, line, files = said(self)
        if files:
            raise CapsimError("a profile or config given as a dictionary has no name on a command line")
        words = ["capsim", verb]
        for name, value in json.loads(flags):
            if value is True:
                words.append(f"--{name}")
            elif value is False:
                # Some switches can only be left out.
                words += [f"--no-{name}"] * (f"no-{name}" in _capsim.scenario_flags())
            else:
                words += [f"--{name}={value}"]
        return shlex.join([*words, *(["--", *line] if line else [])])


#: Flags as JSON, words of the serve line, texts that stand for files.
Said = Tuple[str, List[str], Dict[str, str]]

_ABSENT = ("workload", "serve", "model", "device", "engine")


def word(value: Any) -> Union[bool, str]:
    """A value as it would be typed."""
    if isinstance(value, bool):
        return value
    if isinstance(value, (list, tuple)) or (
        not isinstance(value, (str, bytes, os.PathLike)) and hasattr(value, "__iter__")
    ):
        parts = [str(word(v)) for v in value]
        if not parts:
            raise CapsimError("a list of values is empty")
        return ",".join(parts)
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)


def flags_of(values: Mapping[str, Any]) -> List[Tuple[str, Union[bool, str]]]:
    """Fields that were said as flags."""
    flags = []
    for name, value in values.items():
        if value is None:
            continue
        try:
            flags.append((name.replace("_", "-"), word(value)))
        except CapsimError as e:
            raise CapsimError(f"{name}: {e}") from None
    return flags


def _plain(what: Any) -> Dict[str, Any]:
    return {f.name: getattr(what, f.name) for f in fields(what) if f.name not in _ABSENT}


def _parts(values: Any, files: Dict[str, str]) -> Optional[List[str]]:
    """Names of profiles; the texts of those that are objects go into `files`."""
    if values is None:
        return None
    if isinstance(values, (str, os.PathLike, _Part)):
        values = [values]
    names = []
    for v in values:
        if not isinstance(v, _Part):
            names.append(os.fspath(v))
            continue
        name = v._name
        if v._text is not None:
            # Two profiles may bear one name.
            stem, n = name[: -len(".json")] if name.endswith(".json") else name, 1
            while files.get(name, v._text) != v._text:
                n += 1
                name = f"{stem}-{n}.json"
            files[name] = v._text
        names.append(name)
    return names


def said(scenario: Scenario, more: Mapping[str, Any] = {}) -> Said:
    """A scenario and flags of one command as the native part takes them."""
    if not isinstance(scenario, Scenario):
        raise TypeError(f"a capsim.Scenario is wanted, not {type(scenario).__name__}")
    files: Dict[str, str] = {}
    values = _plain(scenario)
    model = scenario.model
    if isinstance(model, Model):
        for name in ("weights", "kv_cache_dtype"):
            own = getattr(model, name)
            if own is not None and values[name] not in (None, own):
                raise CapsimError(f"{name}: the model says {own!r}, the scenario {values[name]!r}")
            values[name] = own if own is not None else values[name]
    for name in ("model", "device", "engine"):
        values[name] = _parts(getattr(scenario, name), files)
    serve = scenario.serve
    line = shlex.split(serve) if isinstance(serve, str) else list(serve)
    flags = [*flags_of({**values, **_plain(scenario.workload)}), *flags_of(more)]
    return json.dumps(flags), line, files
