"""Pictures of answers, with matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple

from ._answers import Capacity, Comparison, Memory, Prediction, Predictions, Tuned, Validation
from ._base import needed

if TYPE_CHECKING:
    from ._answers import Metric
    from ._base import Answer


def error(metrics: List[Metric]) -> List[List[float]]:
    """Lengths of the bars below and above the values."""
    low = [max(0.0, float(m) - (m.low if m.low is not None else float(m))) for m in metrics]
    return [low, [max(0.0, (m.high if m.high is not None else float(m)) - float(m)) for m in metrics]]


def prediction(p: Prediction, ax: Any) -> None:
    """Where the time of steps goes."""
    parts: Dict[str, float] = {k.replace("_", " "): v for k, v in p.breakdown_s.items() if v}
    whole = sum(parts.values())
    names = sorted(parts, key=lambda n: parts[n])
    ax.barh(names, [100 * parts[n] / whole for n in names])
    ax.set(xlabel="share of the step time (%)", title=f"{p.model} on {p.device}")


def axis(table: Predictions) -> Optional[str]:
    """The first varied field whose values are numbers."""


    def numeric(v: Any) -> bool:
        return isinstance(v, (int, float)) and not isinstance(v, bool)

    names = [n for p in table for n in p.varied]
    return next((n for n in dict.fromkeys(names) if all(numeric(p.varied.get(n)) for p in table)), None)


def predictions(table: Predictions, ax: Any) -> None:
    """Throughput of the output over the field that varies by numbers, a line for each value of the others; bars are 90 % intervals."""
    along = axis(table)
    lines: Dict[str, List[Tuple[float, Metric]]] = {}
    for i, p in enumerate(table):
        name = ", ".join(f"{k} {v}" for k, v in p.varied.items() if k != along)
        lines.setdefault(name, []).append((p.varied[along] if along else i, p.output_throughput))
    for name, points in lines.items():
        y = [m for _, m in points]
        ax.errorbar(
            [x for x, _ in points], [float(m) for m in y], yerr=error(y), marker="o", capsize=3, label=name or None
        )  # fmt: skip
    if any(lines):
        ax.legend()
    if along and all(p.varied[along] > 0 for p in table):
        ax.set_xscale("log", base=2)
    ax.set(xlabel=along or "scenario", ylabel="output tokens/s")


def capacity(c: Capacity, ax: Any) -> None:
    """The first figure of the SLO against load, with its limit and the highest load that meets it."""
    term = c.slo.split(",")[0]
    points = [(p.load, p.values[0]) for p in c.curve if p.values and p.values[0] is not None]
    ax.plot([x for x, _ in points], [y for _, y in points], marker="o")
    limit = next((f.limit for f in c.floor if term.startswith(f.name)), None)
    if limit is not None:
        ax.axhline(limit, linestyle="--", color="black", label=term)
    if c.highest is not None:
        ax.axvline(c.highest.load, linestyle=":", color="black", label=f"highest: {c.highest.load:g}")
    ax.legend()
    ax.set(xlabel=c.axis, ylabel=term.split("<")[0].split(">")[0], xscale="log", yscale="log")


def tuned(t: Tuned, ax: Any) -> None:
    """Throughput against interactivity: the front, today's setting and the best."""
    ax.plot([o.interactivity for o in t.front], [o.output_throughput for o in t.front], marker="o", label="front")
    for outcome, label in ((t.present, "today"), (t.best, "best")):
        if outcome is not None:
            ax.plot([outcome.interactivity], [outcome.output_throughput], marker="*", markersize=12, linestyle="", label=label)
    ax.legend()
    ax.set(xlabel="tokens/s that one user sees", ylabel="output tokens/s")


def memory(m: Memory, ax: Any) -> None:
    """How many requests are held at the same time, by their context."""
    rows = m.rows()
    ax.plot([r["context"] for r in rows], [r["held"] for r in rows], marker="o")
    ax.set(xlabel="tokens of context", ylabel="requests held at the same time", xscale="log", yscale="log")


def comparison(c: Comparison, ax: Any) -> None:
    """Cost per hour, or devices where nothing is priced, against what one user reads."""
    priced = any(o.cost_per_hour is not None for o in c.offers)
    for o in c.offers:
        x = o.cost_per_hour if priced else o.devices
        if x is not None and x.value is not None:
            ax.plot([x.value], [o.interactivity], marker="o", linestyle="", label=f"{o.device} {o.weights}")
    if c.offers:
        ax.legend()
    ax.set(xlabel="cost per hour" if priced else "devices", ylabel="tokens/s that one user sees")


def validation(v: Validation, ax: Any) -> None:
    """Predicted over measured; on the line they are the same."""
    rows = [r for r in v.rows() if r.get("measured") and r.get("predicted") and not r["fitted"]]
    ax.plot([r["measured"] for r in rows], [r["predicted"] for r in rows], marker="o", linestyle="")
    if rows:
        both = [r[k] for r in rows for k in ("measured", "predicted")]
        ax.plot([min(both), max(both)], [min(both), max(both)], linestyle="--", color="black")
    ax.set(xlabel="measured", ylabel="predicted", xscale="log", yscale="log")


def plot(answer: Answer, ax: Any) -> Any:
    """Draws an answer."""
    if ax is None:
        _, ax = needed("matplotlib.pyplot", "plot").subplots()
    if isinstance(answer, Prediction):
        prediction(answer, ax)
    elif isinstance(answer, Predictions):
        predictions(answer, ax)
    elif isinstance(answer, Capacity):
        capacity(answer, ax)
    elif isinstance(answer, Tuned):
        tuned(answer, ax)
    elif isinstance(answer, Memory):
        memory(answer, ax)
    elif isinstance(answer, Comparison):
        comparison(answer, ax)
    elif isinstance(answer, Validation):
        validation(answer, ax)
    else:
        raise TypeError(f"a {type(answer).__name__} has no picture")
    return ax
