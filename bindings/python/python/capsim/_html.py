"""Answers as notebooks show them."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any, List, Sequence

if TYPE_CHECKING:
    from ._answers import Metric
    from ._base import Answer

#: Most rows shown; `rows()` has all.
MOST = 30
#: Metrics of one prediction that are shown first.
FIRST = (
    "output_throughput", "request_throughput", "mean_ttft_ms", "p95_ttft_ms", "mean_tpot_ms", "p95_tpot_ms", "mean_e2el_ms",
    "p95_e2el_ms",
)  # fmt: skip


def cell(value: Any) -> str:
    """A value with three digits that matter."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1e5 else f"{value:.0f}"
    return html.escape(str(value))


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table; the first column is its rows' names."""
    top = "".join(f'<th scope="col">{html.escape(h)}</th>' for h in head)
    body = "".join(
        "<tr>" + "".join(f'<th scope="row">{cell(v)}</th>' if i == 0 else f"<td>{cell(v)}</td>" for i, v in enumerate(row)) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def metrics(all_: "dict[str, Metric]") -> str:
    """The figures of one prediction with their intervals."""
    rows: List[List[Any]] = [[n, all_[n].value, all_[n].low, all_[n].high] for n in FIRST if n in all_]
    return table(["metric", "value", "90 %: from", "to"], rows)


def of(answer: "Answer") -> str:
    """The answer in words, above its figures."""
    from ._answers import Prediction

    words = answer.summary()
    said = f"<p>{html.escape(words)}</p>" if words else ""
    if isinstance(answer, Prediction):
        return said + metrics(answer.metrics)
    rows = answer.rows()
    # What is the same in every row, or an interval's end, is not what the table is about.
    names = [n for n in dict.fromkeys(n for r in rows for n in r) if not n.endswith(("_low", "_high"))]
    varied = [n for n in names if len(rows) == 1 or len({repr(r.get(n)) for r in rows}) > 1][:12]
    more = f"<p>… {len(rows) - MOST} more rows</p>" if len(rows) > MOST else ""
    return said + table(varied, [[r.get(n) for n in varied] for r in rows[:MOST]]) + more
