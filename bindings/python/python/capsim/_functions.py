"""The commands as functions."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

from . import _capsim
from ._answers import Capacity, Comparison, Memory, Prediction, Predictions, Tuned, Validation
from ._base import needed, read
from ._capsim import CapsimError, Sweep, Table
from ._fields import ScenarioFields
from ._scenario import Asked, EngineProfile, Path, flags_of, said, scenario_of, tell_device, word

if TYPE_CHECKING:
    from typing_extensions import Unpack


#: Called with the simulations done and those known so far; True writes them to standard error.
Progress = Union[None, bool, Callable[[int, int], Any]]


def _watched(progress: Progress) -> Optional[Callable[[int, int], Any]]:
    """What is called as simulations end."""
    if not isinstance(progress, bool):
        return progress
    if not progress:
        return None

    def tell(done: int, known: int) -> None:
        end = "\n" if done == known else ""
        print(f"\rcapsim: {done} of {known} simulations", end=end, file=sys.stderr, flush=True)

    return tell


def predict(
    scenario: Asked = None,
    *,
    requests: bool = False,
    timeline: Union[bool, float] = False,
    **fields: Unpack[ScenarioFields],
) -> Prediction:
    """Throughput and latency of one scenario, with 90 % intervals.

    `scenario`: a model's name, a `Model`, or a whole `Scenario`; `fields`: fields of `Scenario` and `Workload`, which win:

        capsim.predict("qwen3-8b", device="h100-sxm", users=50)

    `requests`: keep every request (`Prediction.requests`). `timeline`: keep the engine's state per step (True), or per this many
    seconds of simulated time (`Prediction.timeline`). Other threads of the interpreter go on meanwhile.

    Raises `CapsimError` with the text of the command line.
    """
    asked = scenario_of(scenario, fields)
    tell_device(asked)
    interval = None if timeline is False else 0.0 if timeline is True else float(timeline)
    text, _, rows, times = _capsim.predict(said(asked), True, requests, interval, None)
    answer = read(Predictions, text)
    point = answer.points[0]
    # The one prediction speaks for the whole answer.
    for name, value in (("_json", text), ("requests", rows), ("timeline", times)):
        object.__setattr__(point, name, value)
    return point


def what_if(scenario: Asked = None, *, progress: Progress = None, **fields: Unpack[ScenarioFields]) -> Predictions:
    """Every combination of a scenario's lists of values, as `max_num_seqs=[16, 32]`; `scenario` and `fields` as in `predict`.

    Without any setting or load: the table of `capsim predict`. `progress`: called with the scenarios done and all of them; True
    writes them to standard error.

    Raises `CapsimError` with the text of the command line.
    """
    asked = scenario_of(scenario, fields)
    tell_device(asked)
    text, texts, _, _ = _capsim.predict(said(asked), False, False, None, _watched(progress))
    answer = read(Predictions, text)
    for point, alone in zip(answer.points, texts):
        object.__setattr__(point, "_json", alone)
    return answer


def capacity(
    scenario: Asked = None,
    slo: str = "",
    *,
    by: Optional[str] = None,
    seeds: Optional[int] = None,
    met_in: Optional[int] = None,
    confidence: Optional[float] = None,
    for_rate: Optional[float] = None,
    for_users: Optional[int] = None,
    what_if: bool = True,
    threads: Optional[int] = None,
    progress: Progress = None,
    **fields: Unpack[ScenarioFields],
) -> Capacity:
    """The most users, requests per second or open requests that an SLO bears, what binds, and how many replicas.

    `scenario` and `fields` as in `predict`. `slo`: `ttft.p95<2s,tpot.p95<100ms`. `by`: users, rate, concurrency or speedup.
    `for_rate` (requests per second) and `for_users`: the load to serve in all. `threads`: default one per core; the answer does
    not depend on it. `progress`: called with the simulations done and those known so far; True writes them to standard error.

    Raises `CapsimError` with the text of the command line.
    """
    asked = scenario_of(scenario, fields)
    tell_device(asked)
    more = {
        "slo": slo or None, "by": by, "seeds": seeds, "met_in": met_in, "confidence": confidence, "for_rate": for_rate,
        "for_users": for_users, "no_what_if": None if what_if else True,
    }  # fmt: skip
    return read(Capacity, _capsim.capacity(said(asked, more), threads, _watched(progress)))


def compare(
    scenario: Asked = None,
    *,
    for_users: int,
    slo: str,
    price: Mapping[str, str] = {},
    electricity: Union[None, float, str] = None,
    threads: Optional[int] = None,
    progress: Progress = None,
    **fields: Unpack[ScenarioFields],
) -> Comparison:
    """Which device serves all users under an SLO, how many of it, with which power and cost.

    `scenario` and `fields` as in `predict`; lists of `device`, `weights` and `tensor_parallel_size` are compared, without them all
    devices that ship. `price`: by device id, `{"h100-sxm": "2.10/h", "rtx-5090": "2400,36mo"}` (rented per hour, or bought and used
    for 36 months). `electricity`: per kWh. `threads` and `progress` as in `capacity`.

    Raises `CapsimError` with the text of the command line.
    """
    asked = scenario_of(scenario, fields)
    more = {"for_users": for_users, "slo": slo, "electricity": electricity}
    prices = [f"{device}={text}" for device, text in price.items()]
    return read(Comparison, _capsim.compare(said(asked, more), prices, threads, _watched(progress)))


def tune(
    scenario: Asked = None,
    slo: Optional[str] = None,
    *,
    objective: Optional[str] = None,
    knobs: Mapping[str, Sequence[Any]] = {},
    only: bool = False,
    answers_may_change: bool = False,
    levels: Optional[Sequence[int]] = None,
    settings: Optional[int] = None,
    seeds: Optional[int] = None,
    threads: Optional[int] = None,
    progress: Progress = None,
    **fields: Unpack[ScenarioFields],
) -> Tuned:
    """The best settings under an SLO, as a `vllm serve` line, with the gain and each knob's part in it.

    `scenario` and `fields` as in `predict`. `objective`: throughput or latency. `knobs`: values to try besides today's, by knob
    (`capsim tune --help`); `only`: turn no others. `levels`: requests open at once to try each setting at. `settings`: most settings
    to try. `threads` and `progress` as in `capacity`.

    Raises `CapsimError` with the text of the command line.
    """
    asked = scenario_of(scenario, fields)
    tell_device(asked)
    more = {
        "slo": slo, "objective": objective, "only": only or None, "answers_may_change": answers_may_change or None,
        "levels": levels, "settings": settings, "seeds": seeds,
    }  # fmt: skip
    values, flags, line, files = said(asked, more)
    given = json.loads(flags)
    for name, tried in knobs.items():
        texts = ["on" if v is True else "off" if v is False else str(word(v)) for v in tried]
        given.append(("knob", f"{name.replace('_', '-')}={','.join(texts)}"))
    return read(Tuned, _capsim.tune((values, json.dumps(given), line, files), threads, _watched(progress)))


def memory(
    scenario: Asked = None,
    *,
    concurrency: Optional[int] = None,
    context: Optional[int] = None,
    contexts: Optional[Sequence[int]] = None,
    device_memory_gib: Optional[float] = None,
    host_ram_gib: Optional[float] = None,
    reserve_host_gib: Optional[float] = None,
    carve_out_gib: Optional[float] = None,
    gtt_gib: Optional[float] = None,
    **fields: Unpack[ScenarioFields],
) -> Memory:
    """Whether it fits: weights, KV blocks, context × concurrency, and the smallest change that makes it fit.

    `scenario` and `fields` as in `predict`. `concurrency` requests of `context` tokens held at the same time; `contexts`: rows of the
    table, in tokens. `device_memory_gib` and the others: another machine, in GiB.

    Raises `CapsimError` with the text of the command line.
    """
    asked = scenario_of(scenario, fields)
    tell_device(asked)
    more = {
        "concurrency": concurrency, "context": context, "contexts": contexts, "device_memory_gib": device_memory_gib,
        "host_ram_gib": host_ram_gib, "reserve_host_gib": reserve_host_gib, "carve_out_gib": carve_out_gib, "gtt_gib": gtt_gib,
    }  # fmt: skip
    return read(Memory, _capsim.memory(said(asked, more)))


def validate(
    runs: Path,
    *,
    fit: Sequence[str] = (),
    device: Optional[Path] = None,
    engine: Optional[Path] = None,
    tolerance: Optional[float] = None,
) -> Tuple[Validation, Optional[EngineProfile]]:
    """Recorded runs (docs/formats.md) beside their predictions, and the engine profile fitted to the runs that `fit` names.

    Fitted runs are shown apart and never counted as predicted. `tolerance`: largest relative error that counts as agreement.

    Raises `CapsimError` with the text of the command line.
    """
    flags = flags_of({"fit": list(fit) or None, "device": device, "engine": engine, "tolerance": tolerance})
    text, profile = _capsim.validate(os.fspath(runs), json.dumps(flags))
    fitted = None if profile is None else EngineProfile.from_dict(json.loads(profile))
    return read(Validation, text), fitted


class SweepResult(NamedTuple):
    """What a sweep left in its folder."""

    folder: str
    """`results.jsonl`, `.csv` and `.parquet` are there once no point is missing."""
    rows: List[Dict[str, Any]]
    """Everything about every point, as in `results.jsonl`."""
    table: Table
    """Figures, as in `results.csv`, for `pyarrow.table`, `polars.DataFrame`, `capsim.to_pandas`."""
    missing: List[int]
    """Indices of points without a result, where this was one shard of several."""


def sweep(
    plan: Union[Path, Mapping[str, Any]],
    folder: Optional[Path] = None,
    *,
    shard: Optional[str] = None,
    set: Mapping[str, Any] = {},
    files: Mapping[str, str] = {},
    engine: str = "local",
    address: Optional[str] = None,
    threads: Optional[int] = None,
    progress: Optional[Callable[[int, int], Any]] = None,
) -> SweepResult:
    """Many predictions from a plan, on all cores or on a Ray cluster; the same bytes whatever does the work.

    `plan`: the path of a TOML file (docs/guide/sweep.md), or a dictionary of the same structure. `folder`: where results go, by
    default the plan's name with `.results`; what is there already is not simulated again. `shard`: `"I/N"`. `set`: flags of every
    point. `files`: texts that stand for files which the plan names. `engine`: `"local"` or `"ray"` (`pip install 'capsim[ray]'`),
    with `address` as `ray.init` takes it. `progress(done, all)` is called as points are done.

    Raises `CapsimError` with the text of the command line.
    """
    if engine not in ("local", "ray"):
        raise CapsimError(f"engine {engine!r}: must be local or ray")
    if engine == "local" and address is not None:
        raise CapsimError("address is where Ray is: give engine='ray'")
    if isinstance(plan, Mapping):
        if folder is None:
            raise CapsimError("folder: say where the results go")
        text, name = json.dumps(_plan(plan)), ""
    else:
        name = os.fspath(plan)
        if folder is None:
            folder = os.path.splitext(name)[0] + ".results"
        try:
            with open(name, encoding="utf-8") as f:
                text = f.read()
        except (OSError, UnicodeDecodeError) as e:
            raise CapsimError(f"{name}: {getattr(e, 'strerror', None) or e}") from None
    assignments = [f"{k}={str(v).lower() if isinstance(v, bool) else word(v)}" for k, v in set.items()]
    job = Sweep(text, name, os.fspath(folder), shard, assignments, dict(files))
    if engine == "local":
        job.run(threads, progress)
    else:
        from ._ray import simulate

        simulate(job, address, progress=progress)
    rows, table, missing = job.finish()
    return SweepResult(os.fspath(folder), json.loads(rows), table, missing)


def _plan(value: Any) -> Any:
    """A plan without what JSON lacks: an infinite rate is a word there."""
    if isinstance(value, Mapping):
        return {str(k): _plan(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, range)):
        return [_plan(v) for v in value]
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return str(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value


def to_pandas(table: Table) -> Any:
    """A table as a `pandas.DataFrame`, through pyarrow, whose columns it shares where pandas' types allow."""
    return needed("pyarrow", "pandas").table(table).to_pandas()


def shipped() -> Dict[str, List[str]]:
    """Names of the models, devices and engines that ship."""
    return dict(zip(("models", "devices", "engines"), _capsim.shipped()))
