"""Who gets which points next, without Ray: a cluster played in simulated seconds."""

import random

import pytest
from capsim._handout import ANYWHERE, LATE_S, PER_CPU, Handout


class Cluster:
    """Nodes that take a while to begin, work at their own speed, come and go."""

    def __init__(self, points, size):
        self.handout = Handout(points, size)
        self.nodes = {}  # name → processors, seconds per chunk, when it begins
        self.queues = {}  # name → tasks in order, each with its end or None
        self.did, self.answers, self.given, self.now = {}, [], {}, 0.0

    def join(self, name, cpus=1, seconds=1.0, after=0.0):
        self.nodes[name] = (cpus, seconds, self.now + after)
        self.queues[name] = {}

    def leave(self, name):
        del self.nodes[name]
        for task in self.queues.pop(name):
            self.handout.lost(task)

    def step(self, seconds=0.5):
        cpus = {n: c for n, (c, _, _) in self.nodes.items()}
        while (given := self.handout.next(cpus, self.now)) is not None:
            chunk, node = given
            task = object()
            self.handout.handed(task, chunk, node, self.now)
            assert len(self.queues[node]) < PER_CPU * cpus[node]
            self.queues[node][task] = None
            self.given[node] = self.given.get(node, 0) + 1
        self.now += seconds
        for name, (cpus_, each, begins) in self.nodes.items():
            queue = self.queues[name]
            for task in list(queue)[:cpus_] if self.now >= begins else []:
                queue[task] = queue[task] or self.now + each
            for task in [t for t, end in queue.items() if end and end <= self.now]:
                if task not in queue:
                    continue
                chunk, others = self.handout.done(task)
                for other in [task, *others]:
                    for q in self.queues.values():
                        q.pop(other, None)
                self.answers += chunk.points
                self.did[name] = self.did.get(name, 0) + len(chunk.points)

    def run(self, until=10_000.0):
        while self.handout:
            assert self.now < until, f"stalled with {self.did}"
            self.step()


def test_a_node_that_is_slow_to_begin_does_its_part():
    # The case of short points: the first node could do all of them before the second one's worker is up.
    c = Cluster(range(41), 2)
    c.join("quick", seconds=0.1)
    c.join("late", after=LATE_S - 2)
    c.run()
    assert sorted(c.answers) == list(range(41))
    assert c.did["late"] == 4 and c.did["quick"] == 37


def test_small_nodes_beside_a_large_one_are_not_forgotten():
    c = Cluster(range(30), 1)
    for i in range(9):
        c.join(f"small {i}")
    c.join("large", cpus=64)
    c.run()
    assert len(c.did) == 10 and sum(c.did.values()) == 30


def test_a_node_that_is_never_free_holds_nothing_up_for_long():
    c = Cluster(range(41), 2)
    c.join("free")
    c.join("taken", after=float("inf"))
    c.run(until=LATE_S + 30)
    assert sorted(c.answers) == list(range(41)) and set(c.did) == {"free"}
    # What it had was handed out once more, not again and again.
    assert c.given == {"free": 21, "taken": 2}


def test_of_two_copies_the_first_answer_counts_and_a_lost_one_is_no_loss():
    handout = Handout([7], 1)
    chunk, node = handout.next({"a": 1, "b": 1}, 0.0)
    handout.handed("first", chunk, node, 0.0)
    assert handout.next({"a": 1, "b": 1}, LATE_S - 0.1) is None
    again, other = handout.next({"a": 1, "b": 1}, LATE_S)
    assert again is chunk and {node, other} == {"a", "b"}
    handout.handed("second", again, other, LATE_S)
    # There is no other node to give it to.
    assert handout.next({"a": 1, "b": 1}, 10 * LATE_S) is None
    handout.lost("first")
    assert chunk.lost == 0 and not handout.waiting and handout
    assert handout.done("second") == (chunk, []) and not handout


def test_without_a_processor_a_little_is_asked_for_and_the_first_node_gets_the_rest():
    handout = Handout(range(9), 1)
    for task in range(PER_CPU):
        chunk, node = handout.next({}, 0.0)
        assert node == ANYWHERE
        handout.handed(task, chunk, node, 0.0)
    assert handout.next({}, 1e9) is None
    assert handout.next({"new": 1}, 0.0)[1] == "new"


@pytest.mark.parametrize("seed", range(200))
def test_nodes_come_and_go_and_every_point_is_answered_once(seed):
    random_ = random.Random(seed)
    points, size = random_.randrange(1, 200), random_.randrange(1, 17)
    c = Cluster(range(points), size)
    c.join("rock", cpus=random_.randrange(1, 5))
    for i in range(60):
        if random_.random() < 0.3:
            c.join(f"n{i}", random_.randrange(1, 5), random_.choice([0.1, 1.0, 40.0]), random_.choice([0.0, 5.0, 1e9]))
        elif random_.random() < 0.3 and len(c.nodes) > 1:
            c.leave(random_.choice([n for n in c.nodes if n != "rock"]))
        if c.handout:
            c.step(random_.choice([0.1, 1.0, 10.0]))
    c.run()
    assert sorted(c.answers) == list(range(points))
    assert not any(c.queues.values())
