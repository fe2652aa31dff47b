#!/usr/bin/env python3
"""What vLLM's API server costs: its CPU seconds in recorded loads, against engine steps, output tokens and requests.

Reads the recordings of real vLLM CPU servers (0.32.0: m16, m4, m1, m16nopc; 0.12.0: v12m16) below the folder that CAPSIM_SHARED
names: per load the API process's CPU seconds (API server on one core with the client, engine on another) and the deltas of
vLLM's counters. Tokenisation, measured on its own (docs/methodology.md), is taken off before. Least squares of the relative error; the
standard errors are those of the fit. No packages needed.
"""
import json
import math
import os
import pathlib


# Seconds of tokenisation per prompt token.
TOKENISATION = 4.3e-6


def solve(a, b):
    """The solution of a linear system, by elimination with pivots."""
    n = len(b)
    m = [row[:] + [v] for row, v in zip(a, b)]
    for i in range(n):
        p = max(range(i, n), key=lambda k: abs(m[k][i]))
        m[i], m[p] = m[p], m[i]
        for k in range(n):
            if k != i:
                f = m[k][i] / m[i][i]
                m[k] = [x - f * y for x, y in zip(m[k], m[i])]
    return [m[i][n] / m[i][i] for i in range(n)]


def fit(rows, y):
    """Coefficients, their standard errors, and the root mean square of the relative error."""
    n = len(rows[0])
    w = [[v / t for v in row] for row, t in zip(rows, y)]
    normal = [[sum(r[i] * r[j] for r in w) for j in range(n)] for i in range(n)]
    c = solve(normal, [sum(r[i] for r in w) for i in range(n)])
    e = [sum(a * b for a, b in zip(r, c)) - 1 for r in w]
    s2 = sum(v * v for v in e) / (len(y) - n)
    unit = lambda i: [float(i == k) for k in range(n)]
    return c, [math.sqrt(s2 * solve(normal, unit(i))[i]) for i in range(n)], math.sqrt(sum(v * v for v in e) / len(e))


def main():
    home = pathlib.Path(os.environ.get("CAPSIM_SHARED", "../shared")) / "data/cpu-live-server"
    for version, names in (("0.32.0", ("m16", "m4", "m1", "m16nopc")), ("0.12.0", ("v12m16",))):
        rows, y = [], []
        for name in names:
            for r in json.loads((home / f"{name}.json").read_text())["runs"]:
                m = r["metrics_delta"]
                rows.append([m["vllm:iteration_tokens_total_count"], m["vllm:generation_tokens_total"], r["bench"]["completed"]])
                y.append(r["cpu_seconds"]["api"] - TOKENISATION * m["vllm:prompt_tokens_total"])
        c, sd, rms = fit(rows, y)
        words = [f"{1e3 * a:.3f} ± {1e3 * b:.3f} ms per {what}" for a, b, what in zip(c, sd, ("step", "token", "request"))]
        print(f"vLLM {version}, {len(y)} loads: {', '.join(words)}; {100 * rms:.0f} % rms")


if __name__ == "__main__":
    main()
