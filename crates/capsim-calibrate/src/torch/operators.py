"""The operators that are measured: torch's own, and an engine's where it can be imported.

`find(name, tools, defines)` gives a function from buffers (flat, uint8) and numbers to a call without arguments. What an engine does
once when it loads weights (packing, choosing an implementation) is done when the call is made, not when it runs. The last number of
each kernel says whether the answer is to be left in the output buffer; while times are taken the result is dropped, as in an engine,
whose allocator uses its memory again.
"""
import platform

HEAD = 128
# Tokens of a block of the KV cache: vLLM's default on GPUs, and on processors (vllm/v1/attention/backends/cpu_attn.py@0.32 asks for
# multiples of 32 for its vector kernels).
BLOCK = 16
CPU_BLOCK = 128


def unsupported(why):
    from capsim_worker import Unsupported

    return Unsupported(why)


class Tools:
    """What is there to work with."""

    def __init__(self, torch, device):
        self.torch, self.device = torch, device
        self.F = torch.nn.functional
        self.formats = [torch.float32, torch.float16, torch.bfloat16]
        self.missing = {}
        self.vllm = self.importing("vllm._custom_ops") if self.installed("vllm") else None
        self.flash = self.flash_attention()

    def installed(self, name):
        import importlib.util

        if importlib.util.find_spec(name) is None:
            self.missing[name] = "not installed"
            return False
        return True

    def importing(self, name):
        import importlib

        try:
            return importlib.import_module(name)
        except BaseException as e:
            self.missing[name.split(".")[0]] = f"{type(e).__name__}: {e}"[:200]
            return None

    def flash_attention(self):
        """FlashAttention over a paged cache: vLLM's copy, else the package."""
        if self.device.kind != "cuda":
            return None
        for module in ["vllm.vllm_flash_attn", "flash_attn"]:
            if self.installed(module.split(".")[0]) and (found := self.importing(module)):
                if f := getattr(found, "flash_attn_varlen_func", None):
                    return f
        return None

    def op(self, name):
        """An operator of vLLM's own library, if it is there."""
        return getattr(self.torch.ops._C, name, None) if self.vllm else None

    def features(self):
        cpu = self.device.kind == "cpu"
        have = {
            "torch": True,
            "cuda-graphs": self.device.graphs(),
            "vllm-onednn": cpu and self.op("onednn_mm") is not None,
            "vllm-amx": cpu and self.amx() and self.op("weight_packed_linear") is not None,
            "vllm-cpu-attention": cpu and self.op("cpu_attention_with_kv_cache") is not None,
            "vllm-cpu-moe": cpu and self.op("cpu_fused_moe") is not None,
            "vllm-fused-moe": self.device.kind in ("cuda", "xpu") and self.vllm is not None,
            "vllm-norms": self.op("rms_norm") is not None,
            "flash-attention": self.flash is not None,
        }
        return [name for name, there in have.items() if there]

    def amx(self):
        probe = getattr(self.torch.cpu, "_is_amx_tile_supported", None)
        return bool(probe and probe())


def leave(out, result, keep):
    """Runs `result`, and leaves what it gives in `out` if that is wanted."""
    if not keep:
        return result
    return lambda: out.copy_(result())


# Dense products.


def linear(t, defines):
    kind = t.formats[defines["FORMAT"]]

    def bind(w, x, y, m, n, k, keep):
        w, x, y = (b.view(kind) for b in (w, x, y))
        w, x, y = w.view(n, k), x.view(m, k), y[: m * n].view(m, n)
        return leave(y, lambda: t.F.linear(x, w), keep)

    return bind


def linear_onednn(t, defines):
    """vLLM's product on processors: oneDNN with packed weights (vllm/model_executor/layers/utils.py@0.32)."""
    kind = t.formats[defines["FORMAT"]]
    if t.op("onednn_mm") is None:
        raise unsupported("vLLM's oneDNN product")

    def bind(w, x, y, m, n, k, keep):
        w, x, y = w.view(kind).view(n, k), x.view(kind).view(m, k), y.view(kind)[: m * n].view(m, n)
        handler = t.vllm.create_onednn_mm(w.t(), 32)
        return leave(y, lambda: t.vllm.onednn_mm(handler, x, None), keep)

    return bind


def linear_amx(t, defines):
    """vLLM's product on processors with AMX, for shapes that it packs for it."""
    kind = t.formats[defines["FORMAT"]]
    if not t.amx() or t.op("weight_packed_linear") is None:
        raise unsupported("vLLM's product for AMX")

    def bind(w, x, y, m, n, k, keep):
        w, x, y = w.view(kind).view(n, k), x.view(kind).view(m, k), y.view(kind)[: m * n].view(m, n)
        packed = t.torch.ops._C.convert_weight_packed(w)
        return leave(y, lambda: t.torch.ops._C.weight_packed_linear(x, packed, None, True), keep)

    return bind


def linear_fp8(t, defines):
    """`torch._scaled_mm` with one scale a tensor. Weights and activations are rounded to E4M3 when the call is made."""
    kind = t.formats[defines["FORMAT"]]
    if not hasattr(t.torch, "_scaled_mm"):
        raise unsupported("torch._scaled_mm")
    one = t.torch.ones((), dtype=t.torch.float32, device=t.device.at)

    def bind(w, x, y, m, n, k, keep):
        w8 = w.view(kind).view(n, k).to(t.torch.float8_e4m3fn)
        x8 = x.view(kind).view(m, k).to(t.torch.float8_e4m3fn)
        y = y.view(kind)[: m * n].view(m, n)
        return leave(y, lambda: t.torch._scaled_mm(x8, w8.t(), one, one, out_dtype=kind), keep)

    return bind


# Experts.


def chosen(t, ids, shares, tokens, topk):
    return ids.view(t.torch.int32).view(tokens, topk), shares.view(t.torch.float32).view(tokens, topk)


def experts_loop(t, defines):
    """torch alone: the tokens of each expert gathered, two products, added where they belong."""
    kind, torch = t.formats[defines["FORMAT"]], t.torch

    def bind(w13, w2, x, ids, shares, y, tokens, d, f, experts, topk, keep):
        w13, w2 = w13.view(kind).view(experts, 2 * f, d), w2.view(kind).view(experts, d, f)
        x, y = x.view(kind).view(tokens, d), y.view(kind).view(tokens, d)
        ids, shares = chosen(t, ids, shares, tokens, topk)

        def run():
            out = torch.zeros_like(y)
            for e in torch.unique(ids).tolist():
                row, place = torch.where(ids == e)
                both = t.F.linear(x[row], w13[e])
                h = t.F.silu(both[:, :f]) * both[:, f:]
                out.index_add_(0, row, (t.F.linear(h, w2[e]) * shares[row, place, None]).to(kind))
            return out

        return leave(y, run, keep)

    return bind


def experts_grouped(t, defines):
    """torch's grouped product: rows in the order of their experts, one call for all."""
    kind, torch = t.formats[defines["FORMAT"]], t.torch
    if not hasattr(torch, "_grouped_mm"):
        raise unsupported("torch._grouped_mm")

    def bind(w13, w2, x, ids, shares, y, tokens, d, f, experts, topk, keep):
        w13, w2 = w13.view(kind).view(experts, 2 * f, d), w2.view(kind).view(experts, d, f)
        x, y = x.view(kind).view(tokens, d), y.view(kind).view(tokens, d)
        ids, shares = chosen(t, ids, shares, tokens, topk)
        a, b = w13.transpose(1, 2), w2.transpose(1, 2)

        def run():
            order = torch.argsort(ids.flatten(), stable=True)
            ends = torch.bincount(ids.flatten(), minlength=experts).cumsum(0).to(torch.int32)
            row = order // topk
            both = torch._grouped_mm(x[row], a, offs=ends)
            h = t.F.silu(both[:, :f]) * both[:, f:]
            out = torch._grouped_mm(h, b, offs=ends) * shares.flatten()[order, None]
            return torch.zeros(tokens, d, dtype=torch.float32, device=x.device).index_add_(0, row, out.float()).to(kind)

        return leave(y, run, keep)

    return bind


def experts_vllm(t, defines):
    """vLLM's fused experts in Triton (vllm/model_executor/layers/fused_moe/fused_moe.py@0.32)."""
    kind = t.formats[defines["FORMAT"]]
    module = t.importing("vllm.model_executor.layers.fused_moe.fused_moe")
    if t.device.kind not in ("cuda", "xpu") or module is None:
        raise unsupported("vLLM's fused experts")

    def bind(w13, w2, x, ids, shares, y, tokens, d, f, experts, topk, keep):
        w13, w2 = w13.view(kind).view(experts, 2 * f, d), w2.view(kind).view(experts, d, f)
        x, y = x.view(kind).view(tokens, d), y.view(kind).view(tokens, d)
        ids, shares = chosen(t, ids, shares, tokens, topk)
        return leave(y, lambda: module.fused_experts(x, w13, w2, shares, ids), keep)

    return bind


def experts_cpu(t, defines):
    """vLLM's grouped experts on processors (vllm/model_executor/layers/fused_moe/experts/cpu_moe.py@0.32)."""
    kind = t.formats[defines["FORMAT"]]
    if t.device.kind != "cpu" or t.op("cpu_fused_moe") is None:
        raise unsupported("vLLM's experts on processors")
    isa = "amx" if t.amx() and kind == t.torch.bfloat16 else "vec"

    def bind(w13, w2, x, ids, shares, y, tokens, d, f, experts, topk, keep):
        w13, w2 = w13.view(kind).view(experts, 2 * f, d), w2.view(kind).view(experts, d, f)
        x, y = x.view(kind).view(tokens, d), y.view(kind).view(tokens, d)
        ids, shares = chosen(t, ids, shares, tokens, topk)
        w13 = t.vllm.cpu_prepack_moe_weight(w13, isa)
        w2 = t.vllm.cpu_prepack_moe_weight(w2, isa)

        def run():
            out = t.torch.empty_like(y)
            t.vllm.cpu_fused_moe(out, x, w13, w2, None, None, shares, ids, "silu", isa, False)
            return out

        return leave(y, run, keep)

    return bind


# Attention. Keys and values come as [2, tokens, kv heads, 128]; each kernel lays them out as it wants them.


def keys_values(t, kv, tokens, kv_heads):
    return kv.view(t.torch.bfloat16)[: 2 * tokens * kv_heads * HEAD].view(2, tokens, kv_heads, HEAD)


def decode_sdpa(t, defines):
    """torch's attention over contiguous keys: no blocks."""
    heads, kv_heads = defines["HEADS"], defines["KV_HEADS"]

    def bind(q, kv, out, batch, context, keep):
        k, v = keys_values(t, kv, batch * context, kv_heads).view(2, batch, context, kv_heads, HEAD).transpose(2, 3)
        q = q.view(t.torch.bfloat16).view(batch, heads, 1, HEAD)
        out = out.view(t.torch.bfloat16).view(batch, heads, 1, HEAD)
        return leave(out, lambda: t.F.scaled_dot_product_attention(q, k, v, enable_gqa=True), keep)

    return bind


def paged(t, kv, batch, context, kv_heads):
    """[2, blocks, BLOCK, kv heads, 128] in shuffled order, and the table of blocks."""
    torch = t.torch
    rows = -(-context // BLOCK)
    both = keys_values(t, kv, batch * context, kv_heads).view(2, batch, context, kv_heads, HEAD)
    cache = torch.zeros(2, batch * rows, BLOCK, kv_heads, HEAD, dtype=torch.bfloat16, device=t.device.at)
    order = torch.randperm(batch * rows, generator=torch.Generator().manual_seed(1)).to(t.device.at)
    padded = torch.zeros(2, batch, rows * BLOCK, kv_heads, HEAD, dtype=torch.bfloat16, device=t.device.at)
    padded[:, :, :context] = both
    cache[:, order] = padded.view(2, batch * rows, BLOCK, kv_heads, HEAD)
    return cache, order.view(batch, rows).to(torch.int32)


def flash(t, defines):
    """FlashAttention over blocks of 16: `new` tokens of each sequence, the last of `context`."""
    heads, kv_heads = defines["HEADS"], defines["KV_HEADS"]
    if t.flash is None:
        raise unsupported("FlashAttention")
    torch = t.torch

    def bind(q, kv, out, batch, context, new, keep):
        cache, table = paged(t, kv, batch, context, kv_heads)
        q = q.view(torch.bfloat16).view(batch * new, heads, HEAD)
        out = out.view(torch.bfloat16).view(batch * new, heads, HEAD)
        starts = torch.arange(0, batch * new + 1, new, dtype=torch.int32, device=t.device.at)
        lens = torch.full((batch,), context, dtype=torch.int32, device=t.device.at)
        more = {"seqused_k": lens} if "vllm" in t.flash.__module__ else {
            "cu_seqlens_k": torch.arange(0, batch * context + 1, context, dtype=torch.int32, device=t.device.at)
        }
        run = lambda: t.flash(
            q, cache[0], cache[1], cu_seqlens_q=starts, max_seqlen_q=new, max_seqlen_k=context, causal=True, block_table=table, **more
        )
        return leave(out, run, keep)

    return bind


def cpu_attention(t, defines):
    """vLLM's attention on processors (vllm/v1/attention/backends/cpu_attn.py@0.32)."""
    heads, kv_heads = defines["HEADS"], defines["KV_HEADS"]
    if t.device.kind != "cpu" or t.op("cpu_attention_with_kv_cache") is None:
        raise unsupported("vLLM's attention on processors")
    torch = t.torch
    # The choice of `_get_attn_isa` there.
    isa = "amx" if t.amx() else "neon" if platform.machine() in ("aarch64", "arm64") else "vec"

    def bind(q, kv, out, batch, context, new, keep):
        k, v = keys_values(t, kv, batch * context, kv_heads)
        rows = -(-context // CPU_BLOCK)
        cache = torch.zeros(batch * rows, kv_heads, 2 * CPU_BLOCK, HEAD, dtype=torch.bfloat16)
        keys, values = cache.chunk(2, dim=2)
        order = torch.randperm(batch * rows, generator=torch.Generator().manual_seed(1))
        table = order.view(batch, rows).to(torch.int32)
        place = torch.arange(context)
        slots = (order.view(batch, rows)[:, place // CPU_BLOCK] * CPU_BLOCK + place % CPU_BLOCK).flatten()
        t.vllm.cpu_attn_reshape_and_cache(k, v, keys, values, slots, isa)
        starts = torch.arange(0, batch * new + 1, new, dtype=torch.int32)
        lens = torch.full((batch,), context, dtype=torch.int32)
        q = q.view(torch.bfloat16).view(batch * new, heads, HEAD)
        out = out.view(torch.bfloat16).view(batch * new, heads, HEAD)
        plan = t.vllm.cpu_attn_get_scheduler_metadata(
            num_reqs=batch, num_heads=heads, num_kv_heads=kv_heads, head_dim=HEAD, seq_lens=lens, dtype=torch.bfloat16,
            query_start_loc=starts, causal=True, sliding_window_size=-1, isa=isa, enable_kv_split=True,
        )

        # It writes into its argument, as in the engine: nothing is to be left beside.
        def run():
            t.vllm.cpu_attention_with_kv_cache(
                query=q, key_cache=keys, value_cache=values, output=out, query_start_loc=starts, seq_lens=lens, scale=HEAD**-0.5,
                causal=True, alibi_slopes=None, sliding_window=-1, block_table=table, softcap=0.0, scheduler_metadata=plan, s_aux=None,
            )

        return run

    return bind


def prefill_sdpa(t, defines):
    heads, kv_heads = defines["HEADS"], defines["KV_HEADS"]
    torch = t.torch

    def bind(q, kv, out, batch, context, new, keep):
        k, v = keys_values(t, kv, context, kv_heads).view(2, 1, context, kv_heads, HEAD).transpose(2, 3)
        q = q.view(torch.bfloat16).view(1, new, heads, HEAD).transpose(1, 2)
        out = out.view(torch.bfloat16).view(1, new, heads, HEAD).transpose(1, 2)
        mask = None
        if context > new:
            mask = torch.ones(new, context, dtype=torch.bool, device=t.device.at).tril(context - new)
        run = lambda: t.F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=True)
        return leave(out, run, keep)

    return bind


# What lies between the products.


def rows_of(t, buffer, rows, width):
    return buffer.view(t.torch.bfloat16)[: rows * width].view(rows, width)


def add(t, defines):
    def bind(x, other, out, rows, width, keep):
        x, other, out = (rows_of(t, b, rows, width) for b in (x, other, out))
        return leave(out, lambda: x + other, keep)

    return bind


def silu_mul(t, defines):
    own = t.op("silu_and_mul") if defines["ENGINE"] else None
    if defines["ENGINE"] and own is None:
        raise unsupported("vLLM's silu_and_mul")

    def bind(x, other, out, rows, width, keep):
        x, out = rows_of(t, x, rows, 2 * width), rows_of(t, out, rows, width)
        if own:
            return lambda: own(out, x)
        return leave(out, lambda: t.F.silu(x[:, :width]) * x[:, width:], keep)

    return bind


def rmsnorm(t, defines):
    own = t.op("rms_norm") if defines["ENGINE"] else None
    if defines["ENGINE"] and own is None:
        raise unsupported("vLLM's rms_norm")

    def bind(x, weight, out, rows, width, keep):
        x, out = rows_of(t, x, rows, width), rows_of(t, out, rows, width)
        weight = rows_of(t, weight, 1, width)[0]
        if own:
            return lambda: own(out, x, weight, 1e-6)
        return leave(out, lambda: t.F.rms_norm(x, (width,), weight, 1e-6), keep)

    return bind


def rope(t, defines):
    """The halves of each head turned, as models with `rotate_half` do."""

    def bind(x, angles, out, rows, width, keep):
        x = rows_of(t, x, rows, width).view(rows, width // HEAD, HEAD)
        out = rows_of(t, out, rows, width).view(rows, width // HEAD, HEAD)
        cos, sin = rows_of(t, angles, rows, HEAD).view(rows, 1, HEAD).chunk(2, -1)

        def run():
            a, b = x.chunk(2, -1)
            return t.torch.cat((a * cos - b * sin, b * cos + a * sin), -1)

        return leave(out, run, keep)

    return bind


def router(t, defines):
    experts, topk = defines["EXPERTS"], defines["TOPK"]
    torch = t.torch

    def bind(x, shares, ids, rows, keep):
        x = x.view(torch.float32).view(rows, experts)
        shares, ids = shares.view(torch.float32)[: rows * topk], ids.view(torch.int32)[: rows * topk]

        def run():
            w, i = torch.topk(torch.softmax(x, -1), topk, -1)
            return w / w.sum(-1, keepdim=True), i.to(torch.int32)

        def left():
            w, i = run()
            shares.copy_(w.flatten())
            ids.copy_(i.flatten())

        return left if keep else run

    return bind


def kv_write(t, defines):
    torch = t.torch

    def bind(x, slots, cache, rows, width, count, keep):
        k, v = x.view(torch.bfloat16)[: 2 * rows * width].view(2, rows, width)
        keys, values = cache.view(torch.bfloat16)[: 2 * count * width].view(2, count, width)
        slots = slots.view(torch.int32)[:rows].long()

        def run():
            keys.index_copy_(0, slots, k)
            values.index_copy_(0, slots, v)

        return run

    return bind


def argmax(t, defines):
    torch = t.torch

    def bind(x, out, rows, n, keep):
        x, out = x.view(torch.float32)[: rows * n].view(rows, n), out.view(torch.int32)[:rows]
        return leave(out, lambda: torch.argmax(x, -1).to(torch.int32), keep)

    return bind


# Memory and launches.


def read_rows(t, defines):
    """Sums of rows of 1024 numbers: by a reduction, or as a product with ones."""
    torch = t.torch
    ones = torch.ones(1024, device=t.device.at)

    def bind(x, out, rows, keep):
        x, out = x.view(torch.float32).view(rows, 1024), out.view(torch.float32)[:rows]
        if defines["PRODUCT"]:
            return lambda: torch.mv(x, ones, out=out)
        return lambda: torch.sum(x, 1, out=out)

    return bind


def tick(t, defines):
    def bind(out, keep):
        out = out.view(t.torch.int32)
        return lambda: out.fill_(7)

    return bind


KERNELS = {
    "linear": linear, "linear_onednn": linear_onednn, "linear_amx": linear_amx, "linear_fp8": linear_fp8,
    "experts_loop": experts_loop, "experts_grouped": experts_grouped, "experts_vllm": experts_vllm, "experts_cpu": experts_cpu,
    "decode_sdpa": decode_sdpa, "prefill_sdpa": prefill_sdpa, "flash": flash, "cpu_attention": cpu_attention,
    "add": add, "silu_mul": silu_mul, "rmsnorm": rmsnorm, "rope": rope, "router": router, "kv_write": kv_write, "argmax": argmax,
    "read_rows": read_rows, "tick": tick,
}


def find(name, tools, defines):
    if name not in KERNELS:
        raise unsupported(f"the kernel {name}")
    return KERNELS[name](tools, defines)
