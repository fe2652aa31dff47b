"""What the generated answers are made of: their JSON, and the methods that are more than fields."""

from __future__ import annotations

import dataclasses
import json
import typing
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Optional, Type, TypeVar, Union

if TYPE_CHECKING:
    from ._answers import Metric, Prediction, ValidatedRun

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


class MetricMethods:
    """A metric is a number."""

    if TYPE_CHECKING:
        value: Optional[float]

    def __float__(self) -> float:
        return float("nan") if self.value is None else self.value


class PredictionMethods:
    """Metrics as attributes, and one flat row."""

    if TYPE_CHECKING:
        varied: Dict[str, Any]
        metrics: Dict[str, Metric]
        binds: str

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


class PredictionsMethods:
    """A sequence."""

    if TYPE_CHECKING:
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


class ValidationMethods:
    """The verdict on all runs."""

    if TYPE_CHECKING:
        runs: List[ValidatedRun]

    @property
    def agrees(self) -> bool:
        """Whether every run that was predicted agrees."""
        return all(r.agrees for r in self.runs if not r.fitted)
