# %% [markdown]
# # Which settings for my users?
# Qwen3-8B on a Radeon 8060S (Strix Halo) and on an RTX 4090. Cells begin with `# %%`: open it as a notebook in Jupyter (jupytext)
# or VS Code, or run it as a program: `python what_to_serve.py [FOLDER]`.

# %%
import pathlib
import sys

import matplotlib.pyplot as plt

import capsim
from capsim import Scenario, Workload

folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".")

# %% [markdown]
# ## Does it fit?

# %%
for weights in ("bf16", "awq"):
    m = capsim.Model("qwen3-8b", weights=weights)
    fits = capsim.memory(Scenario(model=m), concurrency=64, context=8192)
    print(f"{weights}: weights {m.weight_bytes / 2**30:.1f} GiB, KV cache {fits.kv_tokens} tokens, 64 × 8192 tokens fit: {fits.fits}")

# %% [markdown]
# ## Throughput against latency
# Every list is a dimension. The bars are 90 % intervals.

# %%
devices = ["gfx1151", "rtx-4090"]
load = Workload(max_concurrency=[1, 2, 4, 8, 16, 32], random_input_len=512, random_output_len=128)
table = capsim.what_if(Scenario(model="qwen3-8b", device=devices, workload=load))

fig, ax = plt.subplots(figsize=(6, 4))
for device in devices:
    points = [p for p in table if p.varied["device"] == device]
    x = [p.mean_tpot_ms.value for p in points]
    y = [p.output_throughput for p in points]
    ax.errorbar(
        x, [m.value for m in y], yerr=[[m.value - m.low for m in y], [m.high - m.value for m in y]],
        marker="o", capsize=3, label=device,
    )  # fmt: skip
ax.set(
    xlabel="mean TPOT (ms)", ylabel="output tokens/s", xscale="log", yscale="log", title="Qwen3-8B, 1 to 32 requests at a time"
)  # fmt: skip
ax.legend()
fig.tight_layout()
fig.savefig(folder / "concurrency.png", dpi=120)

# %% [markdown]
# ## How many users?
# They read an answer for 20 s on average and ask again.

# %%
chat = Scenario(
    model="qwen3-8b",
    weights="awq",
    workload=Workload(users=1, think_time="exponential:20", random_input_len=512, random_output_len=128, num_prompts=100),
)
most = capsim.capacity(chat, "ttft.p95<5s,tpot.p95<150ms", by="users", seeds=2, what_if=False)
print(f"{most.highest.load:.0f} users meet {most.slo}; decisive: {most.decisive}; waits for {most.highest.waits_for}")

# %% [markdown]
# ## What happens over time
# 32 requests at once; the state of the engine step by step.

# %%
burst = Scenario(model="qwen3-8b", max_num_seqs=16, workload=Workload(request_rate=float("inf"), num_prompts=32, num_warmups=0))
p = capsim.predict(burst, timeline=True, requests=True)
t = p.timeline
fig, (top, bottom) = plt.subplots(2, 1, sharex=True, figsize=(6, 4))
top.step(t["time"], t["running"], label="running")
top.step(t["time"], t["waiting"], label="waiting")
top.set(ylabel="requests", title="32 requests at once, max_num_seqs 16")
top.legend()
bottom.plot(t["time"], [100 * u for u in t["kv_usage"]])
bottom.set(xlabel="seconds", ylabel="KV cache used (%)")
fig.tight_layout()
fig.savefig(folder / "timeline.png", dpi=120)
print(f"slowest first token: {max(p.requests['ttft_ms']) / 1e3:.1f} s; binds: {p.binds}")
