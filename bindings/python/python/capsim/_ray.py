"""The points of a sweep on a Ray cluster.

A point is a hash and the words of a `capsim predict` line. Every node that simulates it makes the same bytes, so a task may be lost, repeated
or done twice at once: nothing else has to be agreed upon. The files that the plan names (profiles, configs, traces) are put into
Ray's object store once, from which each node fetches them once; no node needs them on its disk.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import signal
import socket
import sys
import threading
import time
from collections import Counter
from typing import Any, Callable, Dict, List, NamedTuple, Optional

from . import _capsim
from ._capsim import CapsimError, Sweep
from ._handout import ANYWHERE, Handout

#: Times that a point is handed out and lost with its node or process, each on top of Ray's own retries, before the sweep gives up.
ATTEMPTS = 5
#: Seconds without any processor in the cluster after which a sweep gives up.
PATIENCE_S = 120.0
#: Seconds for an address to answer.
KNOCK_S = 10.0


@functools.lru_cache(maxsize=1)
def fingerprint() -> str:
    """The version, and a hash of what a small scenario comes to: equal where the same points make the same bytes."""
    fields = [["model", "qwen3-0.6b"], ["num_prompts", 8], ["max_num_seqs", 4], ["num_gpu_blocks_override", 256]]
    text, _, _, _ = _capsim.predict((json.dumps(fields), "[]", [], {}), False, False, None, None)
    return f"{_capsim.__version__} {hashlib.sha256(text.encode()).hexdigest()[:12]}"


class Done(NamedTuple):
    """What came back from a worker."""

    node: str
    results: List[str]
    refused: str


def work(expected: str, texts: Dict[str, str], tasks: List[str]) -> Done:
    """Simulates points in a worker, after a look at which capsim this is."""
    import ray

    node = ray.get_runtime_context().get_node_id()
    if fingerprint() != expected:
        return Done(node, [], f"capsim {fingerprint()} is installed there, {expected} here")
    try:
        return Done(node, [_capsim.evaluate(t, texts) for t in tasks], "")
    except CapsimError as e:
        return Done(node, [], str(e))


def _import() -> Any:
    # Nothing about this run leaves the machine.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as e:
        raise CapsimError(f"engine ray: {e}; pip install 'capsim[ray]'") from None
    return ray


def _answers(address: str) -> None:
    """An error at once where no cluster listens: Ray itself would try for minutes."""
    host, _, port = address[len("ray://") :].rpartition(":") if address.startswith("ray://") else address.rpartition(":")
    if not (host and port.isdigit()):
        return
    try:
        socket.create_connection((host, int(port)), timeout=KNOCK_S).close()
    except (OSError, OverflowError) as e:
        raise CapsimError(f"engine ray: no cluster at {address}: {e}") from None


def _connect(ray: Any, address: Optional[str]) -> bool:
    """Connects, unless a connection is there. Whether to disconnect afterwards."""
    if ray.is_initialized():
        return False
    _answers(address or os.environ.get("RAY_ADDRESS", ""))
    quiet: Dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None and not os.environ.get("RAY_ADDRESS"):
        quiet["include_dashboard"] = False
    try:
        ray.init(address=address, **quiet)
    except Exception as e:  # Ray raises ConnectionError, RuntimeError, ValueError and its own
        raise CapsimError(f"engine ray: no cluster at {address or 'RAY_ADDRESS'}: {e}") from None
    return True


def simulate(
    job: Sweep,
    address: Optional[str] = None,
    progress: Optional[Callable[[int, int], Any]] = None,
) -> Dict[str, int]:
    """Simulates all that a sweep has to do. How many points each node did, by Ray's node id."""
    if not job.todo:
        return {}
    ray = _import()
    ours = _connect(ray, address)
    try:
        return _simulate(ray, job, progress or (lambda done, all: None))
    finally:
        if ours:
            ray.shutdown()


def _simulate(ray: Any, job: Sweep, progress: Callable[[int, int], Any]) -> Dict[str, int]:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    expected = fingerprint()
    remote = ray.remote(num_cpus=1, max_retries=3)(work)
    texts = ray.put(job.texts)
    todo = list(job.todo)
    # Several points per task where there are many, but enough tasks that no node waits long for the last one.
    handout: Handout[Any] = Handout(todo, max(1, min(16, len(todo) // (8 * max(1, sum(_cpus(ray).values()))))))
    nodes: Counter[str] = Counter()
    seen = time.monotonic()
    try:
        while handout:
            cpus, now = _cpus(ray), time.monotonic()
            if cpus:
                seen = now
            elif now - seen > PATIENCE_S:
                raise CapsimError(f"engine ray: no processor in the cluster for {PATIENCE_S:.0f} s")
            while (given := handout.next(cpus, now)) is not None:
                chunk, node = given
                # Soft: where that node is gone, Ray takes another.
                where = "DEFAULT" if node == ANYWHERE else NodeAffinitySchedulingStrategy(node, soft=True)
                task = remote.options(scheduling_strategy=where).remote(expected, texts, [job.task(p) for p in chunk.points])
                handout.handed(task, chunk, node, now)
            ready, _ = ray.wait(list(handout.out), num_returns=1, timeout=1.0)
            for task in ready:
                try:
                    done = Done(*ray.get(task))
                except ray.exceptions.RayTaskError as e:
                    raise CapsimError(f"engine ray: a worker cannot work: {e.cause!r}; is capsim installed there?") from None
                except ray.exceptions.RayError as e:
                    # The node or the process is gone.
                    chunk = handout.lost(task)
                    if chunk.lost >= ATTEMPTS:
                        raise CapsimError(f"engine ray: point {chunk.points[0] + 1} was lost {ATTEMPTS} times: {e}") from None
                    continue
                if done.refused:
                    raise CapsimError(f"engine ray: node {done.node}: {done.refused}")
                chunk, others = handout.done(task)
                for other in others:
                    ray.cancel(other, force=True)
                for point, result in zip(chunk.points, done.results):
                    job.keep(point, result)
                nodes[done.node] += len(chunk.points)
                progress(sum(nodes.values()), len(todo))
    finally:
        for task in handout.out:
            ray.cancel(task, force=True)
    return dict(nodes)


def _cpus(ray: Any) -> Dict[str, int]:
    """Processors of the nodes that are alive and have one."""
    cpus = {n["NodeID"]: int(n["Resources"].get("CPU", 0)) for n in ray.nodes() if n["Alive"]}
    return {node: n for node, n in cpus.items() if n > 0}


def from_command_line(job: Sweep, address: Optional[str]) -> None:
    """`capsim sweep --engine ray`."""
    main_thread = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, signal.default_int_handler) if main_thread else None

    def progress(done: int, all: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{done} of {all} points", end="\n" if done == all else "", file=sys.stderr, flush=True)

    try:
        nodes = simulate(job, address, progress)
    finally:
        if main_thread:
            signal.signal(signal.SIGINT, before)
    if nodes:
        shares = ", ".join(f"{n} by {node[:8]}" for node, n in sorted(nodes.items()))
        print(f"points by Ray node: {shares}", file=sys.stderr)
