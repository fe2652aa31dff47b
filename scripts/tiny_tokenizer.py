#!/usr/bin/env python3
"""Write a small tokenizer that Hugging Face's libraries load: for trying clients against `capsim serve` without
downloading anything. Needs nothing but Python.

`words`: `w17 w900` is two tokens; for clients that draw token ids (vllm bench serve). `bytes`: every byte is a token; for
clients that draw English text (GuideLLM, AIPerf), all of which would be unknown words.

    python3 scripts/tiny_tokenizer.py words --out words
    capsim serve --tokenizer words
    vllm bench serve --tokenizer words ...
"""
import argparse
import json
import os

SPECIAL = ["<unk>", "<s>", "</s>", "<pad>", "<|im_start|>", "<|im_end|>"]
ROLES = ["system", "user", "assistant", "tool"]
CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }} <|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def byte_letters():
    """GPT-2's printable stand-in for each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    odd = [b for b in range(256) if b not in plain]
    return [chr(b) for b in plain] + [chr(256 + i) for i in range(len(odd))]


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("kind", choices=["words", "bytes"])
    ap.add_argument("--out", required=True, help="folder to write into")
    ap.add_argument("--vocab", type=int, default=4096, help="words")
    a = ap.parse_args()
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    if a.kind == "words":
        words = SPECIAL + ROLES
        words += [f"w{n}" for n in range(len(words), a.vocab)]
        model = {"type": "WordLevel", "unk_token": "<unk>"}
        split, join = {"type": "WhitespaceSplit"}, None
    else:
        words = SPECIAL + byte_letters()
        model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                 "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "merges": []}
        split, join = level, level
    model["vocab"] = {w: i for i, w in enumerate(words)}
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": i, "content": s, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
             "special": True}
            for i, s in enumerate(SPECIAL)
        ],
        "normalizer": None,
        "pre_tokenizer": split,
        "post_processor": None,
        "decoder": join,
        "model": model,
    }
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": "<unk>",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "pad_token": "<pad>",
        "model_max_length": 1 << 20,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT,
    }
    os.makedirs(a.out, exist_ok=True)
    for name, value in [("tokenizer.json", tokenizer), ("tokenizer_config.json", config)]:
        with open(os.path.join(a.out, name), "w", encoding="utf-8") as f:
            json.dump(value, f, indent=1)


if __name__ == "__main__":
    main()
