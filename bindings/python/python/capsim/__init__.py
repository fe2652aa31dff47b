"""How fast will this model serve on this device, which settings are best, and can I believe the answer?

    >>> import capsim
    >>> p = capsim.predict(capsim.Scenario(model="qwen3-8b", workload=capsim.Workload(max_concurrency=8)))
    >>> p.mean_tpot_ms.value, p.mean_tpot_ms.low, p.mean_tpot_ms.high

Flags of the command line are fields here, `--max-num-seqs` is `max_num_seqs`; answers are typed objects whose `to_json()` is what the
command line prints for the same question. Errors are `CapsimError`, a `ValueError`, with the command line's text. Long calls release
the interpreter's lock and end at Ctrl-C. See docs/guide/python.md.
"""

from ._answers import (
    Candidate,
    Capacity,
    Compared,
    Effect,
    FloorTerm,
    Held,
    LoadPoint,
    Memory,
    Metric,
    Nearest,
    Occupancy,
    Outcome,
    Outlook,
    Prediction,
    Predictions,
    Rising,
    Sensitivity,
    Settings,
    Tuned,
    ValidatedRun,
    Validation,
    Way,
)
from ._base import Answer
from ._capsim import CapsimError, Table, __version__
from ._functions import (
    SweepResult,
    capacity,
    memory,
    predict,
    shipped,
    sweep,
    to_pandas,
    tune,
    validate,
    what_if,
)
from ._scenario import DeviceProfile, EngineProfile, Model, Scenario, Workload

__all__ = [
    "Answer", "Candidate", "Capacity", "CapsimError", "Compared", "DeviceProfile", "Effect", "EngineProfile", "FloorTerm", "Held",
    "LoadPoint", "Memory", "Metric", "Model", "Nearest", "Occupancy", "Outcome", "Outlook", "Prediction", "Predictions", "Rising", "Scenario",
    "Sensitivity", "Settings", "SweepResult", "Table", "Tuned", "ValidatedRun", "Validation", "Way", "Workload", "__version__",
    "capacity", "memory", "predict", "shipped", "sweep", "to_pandas", "tune", "validate", "what_if",
]  # fmt: skip
