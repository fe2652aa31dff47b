"""How fast will this model serve on this device, which settings are best, and can I believe the answer?

    >>> import capsim
    >>> p = capsim.predict("qwen3-8b", device="h100-sxm", users=50)
    >>> print(p.summary())
    >>> p.mean_tpot_ms.value, p.mean_tpot_ms.low, p.mean_tpot_ms.high

Flags of the command line are fields here, `--max-num-seqs` is `max_num_seqs`; answers are typed objects whose `to_json()` is what the
command line prints for the same question. Errors are `CapsimError`, a `ValueError`, with the command line's text. Long calls release
the interpreter's lock and end at Ctrl-C. See docs/guide/python.md.
"""

from ._answers import (
    Candidate,
    Capacity,
    Compared,
    Comparison,
    Effect,
    FloorTerm,
    Held,
    LoadPoint,
    Memory,
    Metric,
    Missed,
    Nearest,
    Occupancy,
    Offer,
    Outcome,
    Outlook,
    Prediction,
    Predictions,
    Range,
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
from ._commands import (
    CommandAnswer,
    Server,
    bench,
    calibrate,
    devices,
    explain,
    explore,
    import_,
    models,
    report,
    serve,
    trace,
)
from ._functions import (
    SweepResult,
    capacity,
    compare,
    memory,
    predict,
    shipped,
    sweep,
    to_pandas,
    tune,
    validate,
    what_if,
)
from ._scenario import DefaultDevice, DeviceProfile, EngineProfile, Model, Scenario, Workload

__all__ = [
    "Answer", "Candidate", "Capacity", "CapsimError", "CommandAnswer", "Compared", "Comparison", "DefaultDevice",
    "DeviceProfile", "Effect", "EngineProfile", "FloorTerm", "Held", "LoadPoint", "Memory", "Metric", "Missed", "Model",
    "Nearest", "Occupancy", "Offer", "Outcome", "Outlook", "Prediction", "Predictions", "Range", "Rising", "Scenario",
    "Sensitivity", "Server", "Settings", "SweepResult", "Table", "Tuned", "ValidatedRun", "Validation", "Way", "Workload",
    "__version__", "bench", "calibrate", "capacity", "compare", "devices", "explain", "explore", "import_", "memory", "models",
    "predict", "report", "serve", "shipped", "sweep", "to_pandas", "trace", "tune", "validate", "what_if",
]  # fmt: skip
