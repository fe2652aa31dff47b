#!/usr/bin/env python3
"""Write the flag lists of the engines: src/line/flags/{vllm,vllm_bench,sglang,llama_server}.txt.

    pip download --no-deps -d wheels vllm==0.33.0      # any number of releases; unpack each:
    unzip -d vllm/0.33.0 wheels/vllm-0.33.0-*.whl 'vllm/engine/*' 'vllm/entrypoints/*' 'vllm/config*' 'vllm/benchmarks/*' 'vllm/v1/*'
    unzip -d sglang/0.5.23 wheels/sglang-0.5.23-*.whl 'sglang/srt/server_args*' 'sglang/srt/arg_groups/*'
    scripts/flag_lists.py vllm vllm/*        scripts/flag_lists.py vllm_bench vllm/*        scripts/flag_lists.py sglang sglang/*
    scripts/flag_lists.py llama_server llama-cpp-sys-2-0.1.161=llama.cpp/tools/server/README.md   # the crate of that name holds llama.cpp

The folder's name is the release. Sources are read with `ast`; nothing is imported, so no GPU and no dependency is needed.
Which flags are harmless is written below (HARMLESS), with regular expressions over the long names; every other flag may change memory or speed.
"""
import ast
import re
import sys
from pathlib import Path

OUT = Path(__file__).resolve().parent.parent / "src/line/flags"

# Flags that change neither memory nor speed of the engine: where it listens, who may ask, what is logged, how prompts and answers are
# written, where files come from. Anchored at both ends.
HARMLESS = {
    "vllm": r"""
        host port uds grpc grpc-port root-path config middleware api-key ssl-.* enable-ssl-refresh allow-credentials allowed-.* ws-.* h11-.*
        headless disable-fastapi-docs enable-offline-docs enable-request-id-headers disable-uvicorn-access-log
        disable-access-log-for-endpoints uvicorn-log-level enable-x-request-id sse-keep-alive-interval
        served-model-name response-role chat-template chat-template-.* default-chat-template-kwargs trust-request-.* reasoning-effort-map
        enable-auto-tool-choice tool-.* exclude-tools-.* reasoning-parser.* enable-reasoning return-tokens-as-token-ids
        disable-log-requests enable-log-requests disable-log-stats disable-log-stats-global max-log-len enable-log-outputs enable-log-deltas
        log-error-stack enable-prompt-tokens-details enable-per-request-metrics enable-server-load-tracking enable-force-include-usage
        enable-tokenizer-info-endpoint fingerprint-.* tokens-only enable-scale-out cohere-.* anthropic-.* data-parallel-supervisor-port
        dp-supervisor-.* show-hidden-metrics-for-version otlp-traces-endpoint aggregate-engine-logging kv-cache-metrics kv-cache-metrics-sample
        enable-logging-iteration-details cudagraph-metrics enable-mfu-metrics enable-metrics
        trust-remote-code revision code-revision tokenizer tokenizer-mode tokenizer-revision hf-token hf-config-path config-format seed
        allowed-local-media-path allowed-media-domains max-logprobs logprobs-mode generation-config override-generation-config
        io-processor-plugin model-class-overrides
        load-format download-dir ignore-patterns use-tqdm-on-load model-loader-extra-config pt-load-map-location safetensors-.*
        guided-decoding-.* structured-outputs-config
        master-addr master-port data-parallel-address data-parallel-rpc-port data-parallel-backend data-parallel-rank data-parallel-start-rank
        distributed-timeout-seconds cpu-distributed-timeout-seconds ray-workers-use-nsight
        max-parallel-loading-workers device device-ids numa-bind.* skip-tokenizer-init tokenizer-pool-.* eplb-log-balancedness
        swap-space use-v2-block-manager shutdown-timeout multi-step-stream-outputs expand-tools-.* prefix-caching-hash-algo
        log-config-file log-level logging-config enable-flash-late-interaction fail-on-environ-validation jit-monitor-.* watchdog-config
        custom-histogram-buckets per-request-spec-decode-metrics kv-events-config
    """,
    "vllm_bench": r"""
        backend base-url host port endpoint header label model tokenizer tokenizer-mode served-model-name trust-remote-code
        use-beam-search logprobs save-.* append-result metadata result-.* percentile-metrics metric-percentiles disable-tqdm profile
        insecure ready-check-timeout-sec extra-body lora-modules lora-assignment request-id-prefix plot-.* timeline-.* top-p top-k min-p
        temperature frequency-penalty presence-penalty repetition-penalty dataset-path hf-.* no-stream skip-chat-template disable-shuffle
        seed ignore-eos profile-.* steps num-warmups
    """,
    "sglang": r"""
        host port nccl-port dist-init-addr dist-timeout api-key admin-api-key ssl-.* enable-ssl-refresh served-model-name trust-remote-code tokenizer-path tokenizer-mode
        tokenizer-revision tokenizer-backend skip-tokenizer-init load-format model-loader-extra-config revision download-dir base-gpu-id gpu-id-step device
        random-seed log-.* show-time-cost enable-metrics.* enable-mfu-metrics tokenizer-metrics-.* bucket-.* prompt-tokens-buckets generation-tokens-buckets
        collect-tokens-histogram gc-warning-threshold-secs gc-threshold decode-log-interval enable-request-time-stats-logging kv-events-config enable-trace otlp-traces-endpoint trace-.*
        export-metrics-.* export-metrics-to-file.* file-storage-path chat-template.* completion-template hf-chat-template-name tool-call-parser reasoning-parser tool-server sampling-defaults
        default-chat-template-kwargs enable-cache-report watchdog-timeout soft-watchdog-timeout skip-server-warmup warmups crash-dump-folder debug-tensor-dump-.* fastapi-root-path root-path
        constrained-json-.* grammar-backend enable-custom-logit-processor weight-loader-.* weight-version config forward-pass-metrics-.*
        preferred-sampling-params stream-output incremental-streaming-output file-storage-pth additional-ports extra-metric-labels trust-request-.*
        return-input-ids return-output-ids stream-response-default-include-usage http2-.* oltp-traces-endpoint otlp-service-name allowed-media-domains
        gated-launch-port engine-info-bootstrap-port nccl-init-addr disable-outlines-disk-cache disable-disk-cache delete-ckpt-after-loading
        uvicorn-access-log-.* numa-node allow-auto-truncate enable-nan-detection disable-nan-detection model-checksum grpc-port
    """,
    "llama_server": r"""
        help usage version cache-list completion-bash list-devices host port reuse-port path api-prefix api-key api-key-file ssl-.* alias tags metrics no-metrics slots no-slots props
        slot-save-path jinja no-jinja chat-template.* skip-chat-parsing no-skip-chat-parsing prefill-assistant no-prefill-assistant reasoning.*
        webui.* no-webui.* ui.* no-ui.* log-.* no-log-.* verbose verbosity perf no-perf offline hf-token timeout threads-http media-path
        check-tensors warmup no-warmup escape no-escape mmap no-mmap mlock load-mode direct-io no-direct-io cont-batching cache-prompt
        mmproj-auto no-mmproj no-mmproj-auto mmproj-offload context-shift no-context-shift
        seed samplers sampler-seq sampling-seq ignore-eos temp temperature top-k top-p min-p top-nsigma top-n-sigma xtc-.* typical typical-p repeat-.*
        presence-penalty frequency-penalty dry-.* adaptive-.* dynatemp-.* mirostat.* logit-bias grammar grammar-file json-schema json-schema-file
        predict n-predict keep special no-special reverse-prompt backend-sampling no-backend-sampling
        threads threads-batch (?!cpu-moe)cpu-.* prio prio-batch poll poll-batch numa models-.* no-models-.* tools agent no-agent cors-.* no-cors-credentials sse-ping-interval tools-runtime mcp-servers-.* video-.* license
        sleep-idle-seconds spm-infill no-host system-prompt-file slots-endpoint-disable
    """,
}

# Written by hand in vLLM before they were generated, or added outside the functions that are read.
EXTRA = {
    "vllm": [(["--optimization-level", "-O"], "1", "0.6.6.post1", None)],
    "sglang": [],
    # Gone from the README, still in lines that people have.
    "llama_server": [
        (names, arity, "-", "-") for names, arity in (
            (["--mmap"], "0"), (["--no-mmap"], "0"), (["--mlock"], "0"), (["--direct-io", "-dio"], "0"), (["--no-direct-io", "-ndio"], "0"),
            (["--log-append"], "0"), (["--ctx-size-draft", "-cd"], "1"), (["--grp-attn-n", "-gan"], "1"), (["--grp-attn-w", "-gaw"], "1"),
            (["--system-prompt-file", "-spf"], "1"), (["--slots-endpoint-disable"], "0"), (["--no-flash-attn"], "0"),
        )
    ],
}


def version(text):
    return [int(n) for n in re.findall(r"\d+", text)]


class Types:
    """Annotations of dataclass fields and module aliases of one release, by name."""

    def __init__(self, files):
        self.classes, self.bases, self.alias = {}, {}, {}
        for path in files:
            try:
                tree = ast.parse(path.read_text())
            except (SyntaxError, UnicodeDecodeError):
                continue
            for node in tree.body:
                if isinstance(node, ast.ClassDef):
                    self.classes[node.name] = {
                        s.target.id: s for s in node.body if isinstance(s, ast.AnnAssign) and isinstance(s.target, ast.Name)
                    }
                    self.bases[node.name] = [ast.unparse(b) for b in node.bases]
                elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                    self.alias[node.targets[0].id] = ast.unparse(node.value)
                elif isinstance(node, (ast.AnnAssign, ast.Assign)) and isinstance(getattr(node, "target", None), ast.Name) and node.value:
                    self.alias[node.target.id] = ast.unparse(node.value)

    def fields(self, cls):
        """Own and inherited fields; the base's come first, as in a dataclass."""
        found = {}
        for base in self.bases.get(cls, []):
            if base in self.classes:
                found.update(self.fields(base))
        found.update(self.classes.get(cls, {}))
        return found

    def resolve(self, text, depth=0):
        """An annotation with the module's aliases put in."""
        if depth > 4:
            return text
        word = re.compile(r"(?<![\w.\"'])([A-Z]\w+)")
        return word.sub(lambda m: self.resolve(self.alias[m[1]], depth + 1) if m[1] in self.alias and m[1] != text else m[1], text)

    def arity(self, annotation):
        """What vLLM's get_kwargs makes of a type."""
        text = self.resolve(annotation)
        bare = re.sub(r"Literal\[[^\]]*\]|Callable\[.*?\]", "Literal", text)
        top = {t.strip() for t in re.sub(r"(Optional|Union)\[(.*)\]$", r"\2|None", bare).replace(",", "|").split("|")}
        if top == {"bool", "str", "None"}:
            return "?"
        if re.search(r"\bbool\b", re.sub(r"[dD]ict\[.*\]", "", bare)):
            return "!"
        if "Literal" in bare and not re.search(r"[lL]ist\[|[tT]uple\[|[sS]et\[", bare):
            return "1"
        if m := re.search(r"[tT]uple\[(.*?)\]", bare):
            return "+" if "..." in m[1] else str(m[1].count(",") + 1)
        if re.search(r"\b([lL]ist|[sS]et)\b", re.sub(r"[dD]ict\[.*\]", "", bare)):
            return "+"
        return "1"


def constant(node):
    return node.value if isinstance(node, ast.Constant) else None


def arity_of_call(call, types, kwargs):
    """Arity that an `add_argument` call says; `kwargs` maps a variable to the class whose fields it holds."""
    said = {k.arg: k.value for k in call.keywords if k.arg}
    arity = "1"
    for k in call.keywords:
        if k.arg:
            continue
        inner = [v for key, v in zip(k.value.keys, k.value.values) if key is None] if isinstance(k.value, ast.Dict) else [k.value]
        if isinstance(k.value, ast.Dict):
            said.update({constant(key): v for key, v in zip(k.value.keys, k.value.values) if key is not None})
        for value in inner:
            if isinstance(value, ast.Subscript) and isinstance(value.value, ast.Name) and value.value.id in kwargs:
                field = types.fields(kwargs[value.value.id]).get(constant(value.slice))
                if field is not None:
                    arity = types.arity(ast.unparse(field.annotation))
    action = ast.unparse(said["action"]) if "action" in said else ""
    if "BooleanOptionalAction" in action:
        return "!"
    if re.search(r"store_true|store_false|store_const|version|help|StoreTrue|StoreConst|DeprecatedAction", action) and not action.endswith("StoreAction"):
        return "0"
    if "StoreBoolean" in action:
        return "?"
    if "nargs" in said:
        n = constant(said["nargs"])
        return str(n) if n is not None else "1"
    if "const" in said and "type" not in said:
        return "?"
    return arity


def calls(tree, types):
    """(names, arity) of every add_argument call of a function or module."""
    kwargs = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and ast.unparse(node.value.func) in ("get_kwargs", "cls._get_kwargs"):
            if node.value.args and isinstance(node.targets[0], ast.Name):
                kwargs[node.targets[0].id] = ast.unparse(node.value.args[0])
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "add_argument":
            names = [constant(a) for a in node.args if isinstance(constant(a), str)]
            names = [n for n in names if n.startswith("-")]
            if names:
                yield names, arity_of_call(node, types, kwargs)


def dataclass_flags(types, cls, edits):
    """Flags of a dataclass whose every field is one (vLLM's FrontendArgs); `edits` is the code that changes some of them."""
    single = set(re.findall(r'del \w+\["(\w+)"\]\["nargs"\]', edits)) | set(re.findall(r"del \w+\['(\w+)'\]\['nargs'\]", edits))
    single |= set(re.findall(r"""\w+\[["'](\w+)["']\]\[["']action["']\] = ["']append["']""", edits))
    for name, field in types.fields(cls).items():
        arity = "1" if name in single else types.arity(ast.unparse(field.annotation))
        yield ["--" + name.replace("_", "-")], arity


def read_vllm(root):
    base = root / "vllm"
    files = [p for p in base.rglob("*.py")]
    types = Types(files)
    engine = ast.parse((base / "engine/arg_utils.py").read_text())
    for node in ast.walk(engine):
        if isinstance(node, ast.FunctionDef) and node.name in ("add_cli_args", "add_cli_args_for_vlm"):
            yield from calls(node, types)
    front = next(p for p in (base / "entrypoints/openai/cli_args.py", base / "entrypoints/common/cli_args.py", base / "entrypoints/launchers/cli_args.py", *sorted(base.rglob("cli_args.py"))) if p.exists())
    source = front.read_text()
    yield from calls(ast.parse(source), types)
    if "FrontendArgs" in types.classes:
        yield from dataclass_flags(types, "FrontendArgs", source)
    serve = base / "entrypoints/cli/serve.py"
    if serve.exists():
        yield from calls(ast.parse(serve.read_text()), types)


def read_vllm_bench(root):
    base = root / "vllm/benchmarks"
    if not (base / "serve.py").exists():
        return
    types = Types([])
    for path in [base / "serve.py", *sorted(base.rglob("datasets.py"))]:
        yield from calls(ast.parse(path.read_text()), types)


def sglang_fields(types):
    """Flags of dataclasses or structs that annotate a field with `A[type, "help"]` or `A[type, Arg(...)]`."""
    for fields in types.classes.values():
        for name, field in fields.items():
            note = field.annotation
            if not (isinstance(note, ast.Subscript) and ast.unparse(note.value) in ("A", "Annotated") and isinstance(note.slice, ast.Tuple)):
                continue
            kind, *rest = note.slice.elts
            arg = next((r for r in rest if isinstance(r, ast.Call) and ast.unparse(r.func) == "Arg"), None)
            if arg is None and not any(isinstance(r, (ast.Constant, ast.JoinedStr, ast.BinOp)) for r in rest):
                continue
            said = {k.arg: k.value for k in arg.keywords} if arg else {}
            if "no_cli" in said:
                continue
            names = [constant(said["cli_name"]) if "cli_name" in said else "--" + name.replace("_", "-")]
            if "aliases" in said:
                names += [constant(a) for a in getattr(said["aliases"], "elts", [])]
            text = types.resolve(ast.unparse(kind))
            action = ast.unparse(said["action"]) if "action" in said else ""
            bare = re.sub(r"Literal\[[^\]]*\]", "Literal", text)
            if re.search(r"store_true|store_false|StoreTrue|StoreConst|DeprecatedAction", action):
                arity = "0"
            elif "BooleanOptional" in action:
                arity = "!"
            elif "nargs" in said:
                arity = str(constant(said["nargs"]) or "1")
            elif "const" in said:
                arity = "?"
            elif re.search(r"\b[Ll]ist\b", bare) and "type_parser" not in said:
                arity = "+"
            elif re.fullmatch(r"(Optional\[)?bool\]?( \| None)?", bare) and "type_parser" not in said:
                arity = "0"
            else:
                arity = "1"
            yield [n for n in names if n], arity


def read_sglang(root):
    base = root / "sglang/srt"
    types = Types([*base.rglob("*.py")])
    for path in [base / "server_args.py", *sorted(base.glob("arg_groups/*.py"))]:
        yield from calls(ast.parse(path.read_text()), types)
    yield from sglang_fields(types)


def read_llama(path):
    """Rows of the README's tables: | `-c, --ctx-size N` | ... (env: LLAMA_ARG_CTX_SIZE) |"""
    for row in path.read_text().split("<!-- HELP_END -->")[0].splitlines():
        m = re.match(r"\|\s*`(-.*?)`\s*\|(.*)\|\s*$", row)
        if not m:
            continue
        left = m[1].replace("\\|", "|")
        names = re.findall(r"(?:^|, )(-{1,2}[a-zA-Z][\w-]*)", left)
        value = left[left.rfind(names[-1]) + len(names[-1]):].strip()
        arity = "0" if not value else "?" if re.fullmatch(r"\[[^\]]*\]", value) else "2" if value == "START END" else "1"
        env = re.search(r"\(env: (\w+)\)", m[2])
        # `-kvo, --kv-offload, -nkvo, --no-kv-offload`: two flags, on and off.
        longs = [i for i, n in enumerate(names) if n.startswith("--")]
        cut = next((a + 1 for a, b in zip(longs, longs[1:]) if names[b].startswith("--no-") and not names[a].startswith("--no-")), len(names))
        for part in (names[:cut], names[cut:]):
            if part:
                yield part, arity, env[1] if env and part[0] == names[0] else None


def collect(engine, roots):
    """Flag → [names, arity, first release, last release, environment variable], the newest release's arity."""
    reader = {"vllm": read_vllm, "vllm_bench": read_vllm_bench, "sglang": read_sglang, "llama_server": read_llama}[engine]
    found, releases = {}, []
    for release, root in sorted(roots, key=lambda r: version(r[0])):
        flags = list(reader(root))
        if not flags:
            continue
        releases.append(release)
        print(engine, release, len(flags), file=sys.stderr)
        for names, arity, *env in flags:
            long = next((n for n in names if n.startswith("--")), names[0])
            known = found.get(long) or next((f for f in found.values() if set(f["names"]) & set(names)), None)
            if known is None:
                known = found[long] = {"names": [], "arity": arity, "first": release}
            if not (known["arity"] == "!" and arity == "0"):
                known["arity"] = arity
            known["names"] += [n for n in names if n not in known["names"]]
            known["last"] = release
            known["env"] = env[0] if env else None
    for names, arity, first, last in EXTRA.get(engine, []):
        if not any(set(names) & set(f["names"]) for f in found.values()):
            found[names[0]] = {"names": names, "arity": arity, "first": first, "last": last or releases[-1], "env": None}
    return found, releases


def main():
    engine, *sources = sys.argv[1:]
    roots = [(s.split("=", 1)[0], Path(s.split("=", 1)[1])) if "=" in s else (Path(s).name, Path(s)) for s in sources]
    found, releases = collect(engine, roots)
    harmless = re.compile("|".join(HARMLESS[engine].split()))
    what = {
        "vllm": "`vllm serve`, from the PyPI wheels of vllm", "vllm_bench": "`vllm bench serve`, from the PyPI wheels of vllm",
        "sglang": "`python -m sglang.launch_server`, from the PyPI wheels of sglang",
        "llama_server": "`llama-server`, from tools/server/README.md of llama.cpp",
    }[engine]
    lines = [
        f"# Flags of {what}: {', '.join(releases)}.",
        "# Written by scripts/flag_lists.py; do not edit. Columns: names, values (0, 1, 2: as many; ! a switch that `--no-…` turns off;",
        "# ? one or none; + one or more; * any number), h (harmless) or c (may change memory or speed), first and last release that has it",
        "# (`.`: the newest; `-`: not recorded)" + (", environment variable." if engine == "llama_server" else "."),
    ]
    for flag in found.values():
        flag["names"].sort(key=lambda n: not n.startswith("--"))
        long = [n[2:] for n in flag["names"] if n.startswith("--")] or [flag["names"][0].lstrip("-")]
        kind = "h" if any(harmless.fullmatch(n) for n in long) else "c"
        last = "." if flag["last"] == releases[-1] else flag["last"]
        env = [flag["env"]] if flag.get("env") else []
        first = flag["first"] if len(releases) > 1 else "-"
        lines.append(" ".join([",".join(flag["names"]), flag["arity"], kind, first, last, *env]))
    lines[4:] = sorted(lines[4:])
    (OUT / f"{engine}.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
