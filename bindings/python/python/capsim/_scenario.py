"""What is asked: models, profiles, loads and scenarios, under the names of the command line's flags."""

from __future__ import annotations

import difflib
import json
import math
import os
import shlex
import warnings
from dataclasses import dataclass, fields, replace
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from . import _capsim
from ._capsim import CapsimError
from ._fields import DeploymentFields, LoadFields, SettingFields

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
        data: Dict[str, Any] = json.loads(self._json)
        return data

    @property
    def id(self) -> str:
        return str(self.to_dict()["id"])

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


def keys(values: Union[None, str, Mapping[str, Any]]) -> Optional[str]:
    """Keys of a config as the command line has them: `KEY=VALUE`, separated by `;`."""
    if values is None or isinstance(values, str):
        return values
    return ";".join(f"{k}={json.dumps(v)}" for k, v in values.items())


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
        set: Union[None, str, Mapping[str, Any]] = None,
        assume_architecture: Optional[str] = None,
    ) -> None:
        """`weights`: bf16, fp16, fp8, int8, awq, gptq, mxfp4, q4_k_m, q8_0; default: the model's own.

        `set`: keys of the config with other values, `{"text_config.num_hidden_layers": 2}`; `assume_architecture`: the class whose
        layers are taken.
        """
        super().__init__(name, text)
        self.weights, self.kv_cache_dtype = weights, kv_cache_dtype
        self.set, self.assume_architecture = keys(set), assume_architecture
        own = _capsim.model(self._name, weights, kv_cache_dtype, self.set, assume_architecture, self._files())
        vars(self).update(json.loads(own))

    @classmethod
    def from_config(cls, config: Mapping[str, Any], name: str = "config.json", **formats: Optional[str]) -> "Model":
        """A model from the content of a Hugging Face `config.json`; `formats` as for `Model`."""
        return cls(name if name.endswith(".json") else f"{name}.json", text=json.dumps(config), **formats)

    def __repr__(self) -> str:
        return f"capsim.Model({self._name!r}, weights={self.weights!r}, kv_cache_dtype={self.kv_cache_dtype!r})"


@dataclass(frozen=True)
class Workload(LoadFields):
    """A load, under `vllm bench serve`'s names. Lengths in tokens, rates in requests per second. None: the default."""


@dataclass(frozen=True)
class Served:
    """What is served, on what, and by which engine."""

    model: Optional[Union[Path, Model]] = None
    device: Optional[Union[Path, DeviceProfile, Sequence[Union[Path, DeviceProfile]]]] = None
    engine: Optional[Union[Path, EngineProfile, Sequence[Union[Path, EngineProfile]]]] = None
    workload: Workload = Workload()
    serve: Union[str, Sequence[str]] = ""
    """A line that starts a server, as it is typed; its settings apply where no field says otherwise."""
    set: Union[None, str, Mapping[str, Any]] = None
    """Keys of the model's config with other values: `{"text_config.num_hidden_layers": 2}`, or `KEY=VALUE`, separated by `;`."""
    assume_architecture: Optional[str] = None
    """Class, or model_type, whose layers are taken, whatever the config names."""
    weights: Optional[Texts] = None
    """Weight format: bf16, fp16, fp8, int8, awq, gptq, mxfp4, q4_k_m, q8_0."""
    moe_tiles: Optional[Texts] = None
    """Kernels of the experts: a name in the engine profile, such as default or tuned."""
    routing: Optional[str] = None
    """Popularity of experts: uniform, or zipf:S."""
    server: Optional[str] = None
    """Engine that is started: vllm, sglang, llama-server."""
    engine_version: Optional[Texts] = None
    """Release of vLLM whose rules, defaults and memory terms apply."""
    host_bandwidth_gbs: Optional[float] = None
    """GB/s that the processor reads weights with that lie in the host's memory. None: the device profile's, else assumed."""
    host_tflops: Optional[float] = None
    """TFLOP/s that the processor computes them with. None: the device profile's, else assumed."""
    bus_gbs: Optional[float] = None
    """GB/s between the host's memory and the device. None: the device profile's, else assumed."""
    network_gbs: Optional[float] = None
    """GB/s that each device sends to other nodes with. None: the device profile's, else assumed."""


@dataclass(frozen=True)
class Scenario(SettingFields, DeploymentFields, Served):
    """What to serve, on what, how, and under which load. Settings have vLLM's names and defaults; None: not said.

    A list of values makes a scenario of each, for `what_if`.
    """

    def to_dict(self) -> Dict[str, Any]:
        """The scenario as a document, which every command of capsim takes (`capsim schema scenario`)."""
        document: Dict[str, Any] = json.loads(_capsim.scenario(said(self)))
        return document

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> "Scenario":
        """A scenario from a document that names its model and profiles."""
        values = dict(json.loads(_capsim.scenario_said(json.dumps(document))))
        load = {f.name: values.pop(f.name) for f in fields(Workload) if f.name in values}
        return cls(workload=Workload(**load), **values)

    def command(self, verb: str = "predict") -> str:
        """The same question as a command line, where it needs no profile or config given as a dictionary."""
        said_, _, line, files = said(self)
        if files:
            raise CapsimError("a profile or config given as a dictionary has no name on a command line")
        words = ["capsim", verb]
        for name, value in json.loads(said_):
            name = name.replace("_", "-")
            if isinstance(value, bool):
                words.append(f"--{name}" if value else f"--no-{name}")
            else:
                words += [f"--{name}={word(value)}"]
        return shlex.join([*words, *(["--", *line] if line else [])])


#: Fields of the scenario as JSON, flags of the question as JSON, words of the line, texts that stand for files.
Said = Tuple[str, str, List[str], Dict[str, str]]

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


def field(value: Any) -> Any:
    """A value as JSON has it; an infinite rate is a word there."""
    if isinstance(value, bool) or isinstance(value, (int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "__iter__") and not isinstance(value, bytes):
        values = [field(v) for v in value]
        if not values:
            raise CapsimError("a list of values is empty")
        return values
    return str(value)


def fields_of(values: Mapping[str, Any]) -> List[Tuple[str, Any]]:
    """Fields that were said."""
    said_ = []
    for name, value in values.items():
        if value is None:
            continue
        try:
            said_.append((name, field(value)))
        except CapsimError as e:
            raise CapsimError(f"{name}: {e}") from None
    return said_


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


#: What a question is about: a scenario, or the model of one.
Asked = Union[None, Path, Model, Scenario]


def scenario_of(asked: Asked, values: Mapping[str, Any]) -> Scenario:
    """A scenario from a model or another scenario, and fields as keyword arguments."""
    load = {f.name for f in fields(Workload)}
    known = load | {f.name for f in fields(Scenario)}
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, sorted(known), 1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise TypeError(f"{name!r} is no field of a scenario{hint}")
    if isinstance(asked, Scenario):
        scenario = asked
    elif asked is None:
        scenario = Scenario()
    elif isinstance(asked, (str, os.PathLike, Model)):
        if "model" in values:
            raise TypeError("model is given twice")
        scenario = Scenario(model=asked)
    else:
        raise TypeError(f"a capsim.Scenario or a model is wanted, not {type(asked).__name__}")
    own = {name: v for name, v in values.items() if name not in load}
    of_load = {name: v for name, v in values.items() if name in load}
    if of_load:
        own["workload"] = replace(own.get("workload", scenario.workload), **of_load)
    return replace(scenario, **own)


class DefaultDevice(UserWarning):
    """No device was given; the text says which one was taken. Told once in a process."""


_told: List[str] = []


def tell_device(scenario: Scenario) -> None:
    """Says which device is taken where none is given, the first time."""
    if scenario.device is None and not _told:
        _told.append(_capsim.default_device())
        warnings.warn(
            f"no device was given, so this is {_told[0]}; device='h100-sxm' takes another, capsim.devices() lists them",
            DefaultDevice,
            stacklevel=3,
        )


def said(scenario: Scenario, more: Mapping[str, Any] = {}) -> Said:
    """A scenario and the flags of a question as the native part takes them."""
    if not isinstance(scenario, Scenario):
        raise TypeError(f"a capsim.Scenario is wanted, not {type(scenario).__name__}")
    files: Dict[str, str] = {}
    values = _plain(scenario)
    values["set"] = keys(scenario.set)
    model = scenario.model
    if isinstance(model, Model):
        for name in ("weights", "kv_cache_dtype", "set", "assume_architecture"):
            own = getattr(model, name)
            if own is not None and values[name] not in (None, own):
                raise CapsimError(f"{name}: the model says {own!r}, the scenario {values[name]!r}")
            values[name] = own if own is not None else values[name]
    for name in ("model", "device", "engine"):
        values[name] = _parts(getattr(scenario, name), files)
    serve = scenario.serve
    line = shlex.split(serve) if isinstance(serve, str) else list(serve)
    given = fields_of({**values, **_plain(scenario.workload)})
    return json.dumps(given), json.dumps(flags_of(more)), line, files
