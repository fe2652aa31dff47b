#!/usr/bin/env python3
"""Write a checkpoint of random weights for a Qwen3-MoE `config.json`: a model that a real server loads, and that needs no
download. Needs torch and safetensors, which vLLM brings along.

    python3 random_weights.py config.json OUT

Every matrix has the variance 1 / columns, so that hidden states keep their size from layer to layer and the choice of experts
depends on the tokens, as in a trained model. One seed, one sequence of draws: the same bytes every time.
"""
import json
import pathlib
import shutil
import sys

import torch
from safetensors.torch import save_file


def main():
    source, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    c = json.loads(source.read_text())
    hidden, inner, head = c["hidden_size"], c["moe_intermediate_size"], c["head_dim"]
    chance = torch.Generator().manual_seed(0)
    tensors = {}

    def matrix(name, rows, columns, scale=None):
        values = torch.randn(rows, columns, generator=chance) * (scale or columns**-0.5)
        tensors[name + ".weight"] = values.to(torch.bfloat16)

    def ones(name, n):
        tensors[name + ".weight"] = torch.ones(n, dtype=torch.bfloat16)

    matrix("model.embed_tokens", c["vocab_size"], hidden, scale=1.0)
    for layer in range(c["num_hidden_layers"]):
        here = f"model.layers.{layer}."
        ones(here + "input_layernorm", hidden)
        ones(here + "post_attention_layernorm", hidden)
        ones(here + "self_attn.q_norm", head)
        ones(here + "self_attn.k_norm", head)
        matrix(here + "self_attn.q_proj", c["num_attention_heads"] * head, hidden)
        matrix(here + "self_attn.k_proj", c["num_key_value_heads"] * head, hidden)
        matrix(here + "self_attn.v_proj", c["num_key_value_heads"] * head, hidden)
        matrix(here + "self_attn.o_proj", hidden, c["num_attention_heads"] * head)
        matrix(here + "mlp.gate", c["num_experts"], hidden)
        for expert in range(c["num_experts"]):
            matrix(f"{here}mlp.experts.{expert}.gate_proj", inner, hidden)
            matrix(f"{here}mlp.experts.{expert}.up_proj", inner, hidden)
            matrix(f"{here}mlp.experts.{expert}.down_proj", hidden, inner)
    ones("model.norm", hidden)
    matrix("lm_head", c["vocab_size"], hidden)
    out.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, out / "config.json")
    save_file(tensors, out / "part.tmp", metadata={"format": "pt"})
    # Whole, or not there.
    (out / "part.tmp").rename(out / "model.safetensors")


if __name__ == "__main__":
    main()
