"""Which node gets which points of a sweep next. Knows nothing of Ray: what stands for a task that is out is the caller's."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Dict, Generic, Hashable, List, Mapping, Optional, Sequence, Set, Tuple, TypeVar

#: Chunks that a node may hold per processor: one to work on, one to go on with.
PER_CPU = 2
#: Seconds after which a chunk that is still out is handed to an idle processor, too.
LATE_S = 30.0
#: The account of what is handed out while no node has a processor: a cluster that grows on demand wants to see demand.
ANYWHERE = ""

T = TypeVar("T", bound=Hashable)


@dataclass(eq=False)
class Chunk:
    """Points that are handed out together."""

    points: List[int]
    lost: int = 0
    """How often the only task that had it was lost."""
    since: float = 0.0
    """When it was handed out last."""
    nodes: Set[str] = field(default_factory=set)
    """Who was given it since it was last in the queue."""


class Handout(Generic[T]):
    """One account per node. A node that is slow to begin keeps what it was given first: every node does some of the work."""

    def __init__(self, points: Sequence[int], size: int) -> None:
        self.waiting = deque(Chunk(list(points[i : i + size])) for i in range(0, len(points), size))
        self.out: Dict[T, Tuple[Chunk, str]] = {}
        self._held: Counter[str] = Counter()

    def __bool__(self) -> bool:
        """Whether anything is left to do."""
        return bool(self.waiting or self.out)

    def next(self, cpus: Mapping[str, int], now: float) -> Optional[Tuple[Chunk, str]]:
        """A chunk, and the node to hand it to; None while no node has room. `cpus`: processors of the nodes that are alive."""
        if self.waiting:
            accounts = cpus or {ANYWHERE: 1}
            node = min(accounts, key=lambda n: self._held[n] / accounts[n])
            return (self.waiting.popleft(), node) if self._held[node] < PER_CPU * accounts[node] else None
        # A node that is busy with other work must not hold up the end. Twice the same work does no harm to a processor that idles.
        idle = [n for n in cpus if self._held[n] < cpus[n]]
        for chunk, _ in self.out.values() if idle else ():
            if now - chunk.since >= LATE_S:
                for node in idle:
                    if node not in chunk.nodes:
                        return chunk, node
        return None

    def handed(self, task: T, chunk: Chunk, node: str, now: float) -> None:
        """A chunk is on its way to a node."""
        chunk.since = now
        chunk.nodes.add(node)
        self.out[task] = (chunk, node)
        self._held[node] += 1

    def done(self, task: T) -> Tuple[Chunk, List[T]]:
        """The first answer counts: the chunk, and the other tasks with it, which are no longer needed."""
        chunk = self._back(task)
        others = [t for t, (c, _) in self.out.items() if c is chunk]
        for other in others:
            self._back(other)
        return chunk, others

    def lost(self, task: T) -> Chunk:
        """The task's node or process is gone: its chunk goes to the end of the queue, unless another task has it, too."""
        chunk = self._back(task)
        if all(c is not chunk for c, _ in self.out.values()):
            chunk.lost += 1
            chunk.nodes.clear()
            self.waiting.append(chunk)
        return chunk

    def _back(self, task: T) -> Chunk:
        chunk, node = self.out.pop(task)
        self._held[node] -= 1
        return chunk
