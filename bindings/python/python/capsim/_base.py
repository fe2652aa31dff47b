"""What the generated answers are made of: their JSON, and the methods that are more than fields."""

from __future__ import annotations

import dataclasses
import importlib
import json
import re
import typing
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Optional, SupportsFloat, SupportsIndex, Tuple, Type, TypeVar, Union, overload

if TYPE_CHECKING:
    from ._answers import Held, LoadPoint, Metric, Offer, Outcome, Prediction, ValidatedRun

T = TypeVar("T")


def _decode(kind: Any, value: Any) -> Any:
    """A value of JSON as the type that an annotation names."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is Union:  # Optional[X]
        return None if value is None else _decode(args[0], value)
    if origin is list:
        return [_decode(args[0], v) for v in value]
    if origin is tuple:
        return tuple(_decode(k, v) for k, v in zip(args, value))
    if origin is dict:
        return {k: _decode(args[1], v) for k, v in value.items()}
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        # Fields of the JSON that the class does not know stay in `to_dict`.
        hints = typing.get_type_hints(kind)
        return kind(**{f.name: _decode(hints[f.name], value[f.name]) for f in dataclasses.fields(kind) if f.name in value})
    return value


class Answer:
    """What all answers have: the JSON of the command line, the answer in words, rows, tables of other libraries, a picture."""

    _json: str

    def to_json(self) -> str:
        """The very text that the command line prints with `--json`, without the last line break."""
        return self._json

    def to_dict(self) -> Dict[str, Any]:
        """The same as a dictionary."""
        answer: Dict[str, Any] = json.loads(self._json)
        return answer

    def summary(self) -> str:
        """The answer in words, as the command line prints it first; empty where it has none."""
        return str(self.to_dict().get("answer", ""))

    def rows(self) -> List[Dict[str, Any]]:
        """The answer as flat rows: numbers, texts, True and False under the fields' names; None for what does not exist."""
        return [flat(self)]

    def to_pandas(self) -> Any:
        """The rows as a `pandas.DataFrame`."""
        return needed("pandas").DataFrame(self.rows())

    def to_polars(self) -> Any:
        """The rows as a `polars.DataFrame`."""
        return needed("polars").DataFrame(self.rows(), infer_schema_length=None)

    def to_arrow(self) -> Any:
        """The rows as a `pyarrow.Table`."""
        return needed("pyarrow", "pandas").Table.from_pylist(self.rows())

    def __arrow_c_stream__(self, requested_schema: Optional[object] = None) -> object:
        """The Arrow PyCapsule interface, through pyarrow."""
        return self.to_arrow().__arrow_c_stream__(requested_schema)

    def plot(self, ax: Any = None) -> Any:
        """A picture of the answer on matplotlib's axes `ax`, by default on new ones, which are returned."""
        from . import _plot

        return _plot.plot(self, ax)

    def _repr_html_(self) -> str:
        from . import _html

        return _html.of(self)


def needed(module: str, extra: Optional[str] = None) -> Any:
    """A module that not every user has."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ImportError(f"this needs {module}: pip install 'capsim[{extra or module}]'") from None


def flat(value: Any, before: str = "") -> Dict[str, Any]:
    """The scalar fields of a dataclass, and those of the dataclasses in it under both names."""
    row: Dict[str, Any] = {}
    for f in dataclasses.fields(value):
        name, v = before + f.name, getattr(value, f.name)
        if isinstance(v, (bool, int, float, str)) or v is None:
            row[name] = v
        elif dataclasses.is_dataclass(v):
            row.update(flat(v, name + "_"))
        elif isinstance(v, dict):
            row.update({f"{name}_{k}": w for k, w in v.items() if isinstance(w, (bool, int, float, str)) or w is None})
    return row


def even(rows: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
    """Rows with the same names: what a row lacks is None. A part that is None as a whole has the names that it has in other rows."""
    names = list(dict.fromkeys(n for r in rows for n in r))
    parts = {n for n in names if all(r.get(n) is None for r in rows) and any(o.startswith(f"{n}_") for o in names)}
    return [{n: r.get(n) for n in names if n not in parts} for r in rows]


def read(kind: Type[T], text: str) -> T:
    """An answer from its JSON."""
    answer: T = _decode(kind, json.loads(text))
    object.__setattr__(answer, "_json", text)
    return answer


class MetricMethods:
    """A metric is a number: `float(m)`, `f"{m:.1f}"`, `m > 100`; as a text it has its interval."""

    if TYPE_CHECKING:
        value: Optional[float]
        low: Optional[float]
        high: Optional[float]

    def __float__(self) -> float:
        return float("nan") if self.value is None else self.value

    def __format__(self, spec: str) -> str:
        """The value in that format; without one, value and 90 % interval: `106 [68.5 to 164]`."""
        return format(float(self), spec) if spec else str(self)

    def __str__(self) -> str:
        if self.value is None:
            return "none"
        between = "" if self.low is None or self.high is None else f" [{self.low:.3g} to {self.high:.3g}]"
        return f"{self.value:.3g}{between}"

    def __lt__(self, other: SupportsFloat) -> bool:
        return float(self) < float(other)

    def __le__(self, other: SupportsFloat) -> bool:
        return float(self) <= float(other)

    def __gt__(self, other: SupportsFloat) -> bool:
        return float(self) > float(other)

    def __ge__(self, other: SupportsFloat) -> bool:
        return float(self) >= float(other)


class PredictionMethods:
    """One flat row."""

    if TYPE_CHECKING:
        varied: Dict[str, Any]
        metrics: Dict[str, Metric]
        binds: str
    else:

        def __getattr__(self, name):
            metrics = self.__dict__.get("metrics", {})
            raise AttributeError(f"a prediction has no `{name}`; its metrics are {', '.join(metrics)}")

    def row(self) -> Dict[str, Any]:
        """What varied, every metric with its interval, and the bottleneck."""
        row: Dict[str, Any] = dict(self.varied)
        for name, m in self.metrics.items():
            row.update({name: m.value, f"{name}_low": m.low, f"{name}_high": m.high})
        row["binds"] = self.binds
        return row

    def rows(self) -> List[Dict[str, Any]]:
        """The one row."""
        return [self.row()]


class PredictionsMethods:
    """A sequence."""

    if TYPE_CHECKING:
        points: List[Prediction]

    def __len__(self) -> int:
        return len(self.points)

    @overload
    def __getitem__(self, index: SupportsIndex) -> Prediction: ...
    @overload
    def __getitem__(self, index: slice) -> List[Prediction]: ...
    def __getitem__(self, index: Union[SupportsIndex, slice]) -> Union[Prediction, List[Prediction]]:
        return self.points[index]

    def __iter__(self) -> Iterator[Prediction]:
        return iter(self.points)

    def rows(self) -> List[Dict[str, Any]]:
        """One dictionary per scenario, as `pandas.DataFrame` and `polars.DataFrame` take them."""
        return even([p.row() for p in self.points])


class CapacityMethods:
    """A row for each load that was tried."""

    if TYPE_CHECKING:
        curve: List[LoadPoint]
        slo: str

    def rows(self) -> List[Dict[str, Any]]:
        """The curve: latencies in seconds, throughputs per second, the SLO's figures by their names."""
        names = [re.split("[<>]", term)[0] for term in self.slo.split(",")]
        return even([{**flat(p), **dict(zip(names, p.values))} for p in self.curve])


class OutcomeMethods:
    """A setting with its figures."""

    if TYPE_CHECKING:
        changes: List[Tuple[str, str]]

    @property
    def settings(self) -> Dict[str, Union[bool, int, float, str]]:
        """What differs from today's settings, under the names of `Scenario`'s fields; numbers as numbers."""
        return {name.replace("-", "_"): number(value) for name, value in self.changes}


class TunedMethods:
    """A row for each setting of the front."""

    if TYPE_CHECKING:
        front: List[Outcome]

    def rows(self) -> List[Dict[str, Any]]:
        """Settings that no other one beats in both throughput and interactivity."""
        return even([{**o.settings, **flat(o)} for o in self.front])


class MemoryMethods:
    """A row for each context length."""

    if TYPE_CHECKING:
        table: List[Held]

    def rows(self) -> List[Dict[str, Any]]:
        """How many requests of each context length are held at the same time."""
        return even([flat(h) for h in self.table])


class ComparisonMethods:
    """A row for each offer."""

    if TYPE_CHECKING:
        offers: List[Offer]

    def rows(self) -> List[Dict[str, Any]]:
        """Devices with their number, power and cost, best first."""
        return even([flat(o) for o in self.offers])


class ValidationMethods:
    """The verdict on all runs."""

    if TYPE_CHECKING:
        runs: List[ValidatedRun]

    @property
    def agrees(self) -> bool:
        """Whether every run that was predicted agrees."""
        return all(r.agrees for r in self.runs if not r.fitted)

    def rows(self) -> List[Dict[str, Any]]:
        """A row for each metric of each run."""
        return even([{"run": r.id, "fitted": r.fitted, **flat(m)} for r in self.runs for m in r.candidates[0].metrics])


def number(text: str) -> Union[bool, int, float, str]:
    """A text as the number or the switch that it stands for."""
    if text in ("on", "true"):
        return True
    if text in ("off", "false"):
        return False
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text
