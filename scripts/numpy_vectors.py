"""Computes tests/data/numpy/vectors.json with NumPy itself: python scripts/numpy_vectors.py > tests/data/numpy/vectors.json"""
import json

import numpy as np


def gammas(seed, shape, scale, n):
    np.random.seed(seed)
    return [float(np.random.gamma(shape=shape, scale=scale)) for _ in range(n)]


def integers(seed, ranges):
    rng = np.random.default_rng(seed)
    return [rng.integers(low, high, size=n).tolist() for low, high, n in ranges]


def arrivals(seed, rate, burstiness, n):
    np.random.seed(seed)
    t = np.cumsum([np.random.gamma(shape=burstiness, scale=1.0 / (rate * burstiness)) for _ in range(n)])
    return (t * (n / rate / t[-1])).tolist()


cases = {
    "numpy": np.__version__,
    "gamma": [
        {"seed": s, "shape": k, "scale": c, "values": gammas(s, k, c, 40)}
        for s, k, c in [(0, 1.0, 0.2), (1, 0.5, 2.0), (42, 0.05, 1.0), (7, 3.0, 0.1), (123456789, 100.0, 0.01)]
    ],
    "integers": [
        {"seed": s, "ranges": r, "values": integers(s, r)}
        for s, r in [
            (0, [[0, 10, 50]]),
            (1, [[512, 1537, 33], [128, 385, 33]]),
            (2**40 + 5, [[5, 6, 4], [0, 4294967295, 20], [0, 3, 31]]),
        ]
    ],
    "arrivals": [
        {"seed": s, "rate": r, "burstiness": b, "values": arrivals(s, r, b, 60)}
        for s, r, b in [(0, 5.0, 1.0), (3, 0.7, 0.5), (9, 20.0, 2.5)]
    ],
}
print(json.dumps(cases, indent=1))
