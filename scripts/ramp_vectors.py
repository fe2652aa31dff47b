"""Computes tests/data/numpy/ramp.json: python scripts/ramp_vectors.py > tests/data/numpy/ramp.json

Send times of `vllm bench serve --ramp-up-strategy` (vLLM 0.12.0, vllm/benchmarks/serve.py: get_request), from its formula and NumPy.
"""
import json

import numpy as np


def rate(strategy, start, end, i, n):
    p = i / max(n - 1, 1)
    return start + (end - start) * p if strategy == "linear" else start * (end / start) ** p


def times(seed, strategy, start, end, burstiness, n):
    np.random.seed(seed)
    gaps = []
    for i in range(n):
        r = rate(strategy, start, end, i, n)
        gaps.append(1 / r if burstiness == float("inf") else np.random.gamma(shape=burstiness, scale=1 / (r * burstiness)))
    return [float(t) for t in np.cumsum(gaps)]


cases = [
    (0, "linear", 1, 10, 1.0, 50),
    (1, "exponential", 1, 64, 1.0, 50),
    (2, "linear", 20, 2, 0.5, 40),
    (3, "exponential", 8, 1, 3.0, 40),
    (4, "linear", 1, 5, float("inf"), 20),
    (5, "exponential", 3, 9, 1.0, 1),
]
print(
    json.dumps(
        [
            {
                "seed": s,
                "strategy": k,
                "start": a,
                "end": b,
                "burstiness": "inf" if g == float("inf") else g,
                "values": times(s, k, a, b, g, n),
            }
            for s, k, a, b, g, n in cases
        ],
        indent=1,
    )
)
