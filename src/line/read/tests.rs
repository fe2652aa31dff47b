use super::*;
use crate::engine::settings::*;
use crate::workload::load::{MAX_CONCURRENCY, RANDOM_INPUT_LEN, REQUEST_RATE, VLLM_BENCH};

fn line(text: &str) -> Result<Line, LineError> {
    read(Source::Text(text), &|_| Err("no such file".into()))
}

fn good(text: &str) -> Line {
    line(text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

#[test]
fn vllm_flags_become_settings() {
    let l = good(
        "vllm serve Qwen/Qwen3-30B-A3B --max-num-seqs 16 --max_model_len=32K --dtype float16 --enforce-eager \
         --no-enable-prefix-caching --port 8000 --gpu-memory-util 0.9 --speculative-config '{\"method\": \"ngram\", \"draft\": 1}' \
         --attention-backend X -tp 2 -dp 4 -ep -q awq_marlin --kv-cache-memory 2G",
    );
    let s = &l.settings;
    assert_eq!(l.model.as_deref(), Some("Qwen/Qwen3-30B-A3B"));
    assert_eq!(
        (s.get(MAX_NUM_SEQS), s.get(MAX_MODEL_LEN)),
        (Some(16), Some(32768))
    );
    assert_eq!(
        (s.get(ENFORCE_EAGER), s.get(ENABLE_PREFIX_CACHING)),
        (Some(true), Some(false))
    );
    assert_eq!(
        (s.get(TENSOR_PARALLEL_SIZE), s.get(DATA_PARALLEL_SIZE)),
        (Some(2), Some(4))
    );
    assert_eq!(s.get(GPU_MEMORY_UTILIZATION), Some(0.9));
    assert_eq!(s.get(QUANTIZATION).as_deref(), Some("awq_marlin"));
    assert_eq!(s.get(KV_CACHE_MEMORY_BYTES), Some(2 << 30));
    assert_eq!(s.get(ENABLE_EXPERT_PARALLEL), Some(true));
    assert_eq!(l.harmless, ["--port"]);
    assert_eq!(
        l.changes,
        ["--speculative-config draft=1", "--attention-backend X"]
    );
    assert_eq!(l.value(&["--host", "--port"]), Some("8000"));
}

#[test]
fn a_switch_never_takes_the_model() {
    for text in [
        "vllm serve --enable-lora Qwen/Qwen3-8B",
        "vllm serve --enable-lora --max-loras 2 Qwen/Qwen3-8B --port 1",
        "vllm serve --enable-prefix-caching True Qwen/Qwen3-8B",
        "vllm serve --api-key k Qwen/Qwen3-8B",
        "vllm serve --some-new-flag Qwen/Qwen3-8B",
        "vllm serve -O3 Qwen/Qwen3-8B",
        "vllm serve --served-model-name a b Qwen/Qwen3-8B",
        "vllm serve /models/x --model Qwen/Qwen3-8B",
    ] {
        assert_eq!(good(text).model.as_deref(), Some("Qwen/Qwen3-8B"), "{text}");
    }
}

#[test]
fn what_is_not_simulated_is_sorted_by_what_it_changes() {
    let l = good(
        "HF_TOKEN=secret VLLM_USE_V1=0 VLLM_ATTENTION_BACKEND=FLASHINFER vllm serve m -O3 -pcp 1 --attention-backend X --api-key secret --swap-space 0 \
         --no-enable-lora --max-model-len auto --cpu-offload-gb 0 --unheard-of 3",
    );
    assert_eq!(
        l.changes,
        [
            "VLLM_USE_V1=0",
            "VLLM_ATTENTION_BACKEND=FLASHINFER",
            "--attention-backend X",
            "--unheard-of 3 (no flag that capsim knows)",
        ]
    );
    assert_eq!(
        l.notes,
        [
            "`--max-model-len auto`: vLLM takes the longest sequence that the memory holds; here it is the model's own"
        ]
    );
    assert_eq!(
        l.harmless,
        [
            "HF_TOKEN",
            "-O",
            "-pcp",
            "--api-key",
            "--swap-space",
            "--no-enable-lora",
        ]
    );
    assert_eq!(l.settings.get(MAX_MODEL_LEN), None);
}

#[test]
fn a_line_without_a_model_says_how_to_name_one() {
    for (text, hint) in [
        ("vllm serve --port 1", "it follows `vllm serve`, or --model"),
        (
            "python -m sglang.launch_server --tp 2",
            "it follows --model-path",
        ),
        (
            "llama-server -c 4096",
            "give -m FILE.gguf or -hf OWNER/NAME",
        ),
        (
            "--max-num-seqs 4",
            "put it in front of the flags, or give --model",
        ),
    ] {
        let l = good(text);
        assert_eq!(l.model, None, "{text}");
        assert_eq!(
            l.no_model().to_string(),
            format!("the line names no model: {hint}")
        );
    }
    let e = line("vllm serve $MODEL").unwrap_err().to_string();
    assert!(
        e.starts_with("`model`: `$MODEL` is not a model's name"),
        "{e}"
    );
}

#[test]
fn bad_values_name_their_flag() {
    let error = |text: &str| line(text).unwrap_err().to_string();
    assert_eq!(
        error("--max-num-seqs many"),
        "`--max-num-seqs`: `many` is not a whole number from 0 to 4294967295"
    );
    assert_eq!(
        error("--gpu-memory-utilization 1.5"),
        "`--gpu-memory-utilization`: `1.5` is not a fraction above 0 and at most 1"
    );
    assert_eq!(error("--max-num-seqs"), "`--max-num-seqs` needs a value");
    assert!(line("--max-model-len é").is_err());
    assert_eq!(
        error("llama-server -m x.gguf -np many"),
        "`-np`: `many` is not a number of slots, or -1"
    );
    assert!(error("llama-server -c").contains("`-c` needs a value"));
    assert!(line("python -m sglang.launch_server --mem-fraction-static 2").is_err());
    assert!(
        error("python -m sglang.launch_server --chunked-prefill-size 2x")
            .starts_with("`--chunked-prefill-size`: `2x`")
    );
}

#[test]
fn human_readable_integers_are_vllms() {
    assert_eq!(human_int("32k"), Some(32_000));
    assert_eq!(human_int("32K"), Some(32_768));
    assert_eq!(human_int("1m"), Some(1_000_000));
    assert_eq!(human_int("1.5k"), Some(1500));
    assert_eq!(human_int("-1"), None);
    assert_eq!(human_int("k"), None);
}

#[test]
fn what_divides_a_model_becomes_settings() {
    let l = good("VLLM_PP_LAYER_PARTITION=20,16 vllm serve m -pp 2 -tp 4 -dp 4 -dpl 2");
    let s = &l.settings;
    assert_eq!(s.get(PIPELINE_PARALLEL_SIZE), Some(2));
    assert_eq!(s.get(PP_LAYER_PARTITION).as_deref(), Some("20,16"));
    assert_eq!(
        (s.get(DATA_PARALLEL_SIZE), s.get(NNODES)),
        (Some(4), Some(2))
    );
    assert!(l.changes.is_empty() && l.harmless.is_empty());
    // All engines are here.
    assert_eq!(good("vllm serve m -dp 4 -dpl 4").settings.get(NNODES), None);
    assert_eq!(
        good("vllm serve m -tp 16 --nnodes 2").settings.get(NNODES),
        Some(2)
    );
    assert_eq!(
        good("sglang serve m --tp 16 --nnodes 2")
            .settings
            .get(NNODES),
        Some(2)
    );
    let e = line("vllm serve m -dp 4 -dpl 3").unwrap_err().to_string();
    assert!(
        e.starts_with("`-dpl`: `3` is not a number of engines"),
        "{e}"
    );
}

#[test]
fn flags_of_another_server_are_refused_by_name() {
    for (text, flag) in [
        ("vllm serve m -pcp 4", "-pcp 4"),
        ("vllm serve m --runner pooling", "--runner pooling"),
        ("sglang serve m --pp-size 2", "--pp-size 2"),
        (
            "sglang serve m --disaggregation-mode prefill",
            "--disaggregation-mode prefill",
        ),
        ("llama-server -m x.gguf -ts 1,1", "-ts 1,1"),
        ("LLAMA_ARG_RPC=a:1 llama-server -m x.gguf", "--rpc a:1"),
    ] {
        let said = line(text).unwrap_err().to_string();
        assert!(said.starts_with(&format!("`{flag}`")), "{text}: {said}");
    }
}

#[test]
fn sglang_flags_become_settings() {
    let l = good(
        "python -m sglang.launch_server --model-path Qwen/Qwen3-8B --context-length 8192 --max-running-requests 32 --tp 2 \
         --chunked-prefill-size 4096 --mem-fraction-static 0.85 --disable-radix-cache --disable-cuda-graph --disable-overlap-schedule \
         --max-total-tokens 100000 --port 30000 --attention-backend triton --schedule-policy lpm --page-size 1",
    );
    let s = &l.settings;
    assert_eq!(l.model.as_deref(), Some("Qwen/Qwen3-8B"));
    assert_eq!(
        (s.get(MAX_MODEL_LEN), s.get(MAX_NUM_SEQS)),
        (Some(8192), Some(32))
    );
    assert_eq!(
        (s.get(MAX_NUM_BATCHED_TOKENS), s.get(GPU_MEMORY_UTILIZATION)),
        (Some(4096), Some(0.85))
    );
    assert_eq!(
        (s.get(NUM_GPU_BLOCKS_OVERRIDE), s.get(TENSOR_PARALLEL_SIZE)),
        (Some(100_001), Some(2))
    );
    assert_eq!(
        (s.get(ENABLE_PREFIX_CACHING), s.get(ENFORCE_EAGER)),
        (Some(false), Some(true))
    );
    assert_eq!(s.get(ASYNC_SCHEDULING), Some(false));
    assert_eq!(l.harmless, ["--port", "--page-size"]);
    assert_eq!(
        l.changes,
        ["--attention-backend triton", "--schedule-policy lpm"]
    );
    let l = good("sglang serve m --tp 8 --ep 8 --dp 8 --enable-dp-attention");
    assert_eq!(l.settings.get(ENABLE_EXPERT_PARALLEL), Some(true));
    assert_eq!(l.settings.get(ENABLE_DP_ATTENTION), Some(true));
    assert_eq!(l.changes, [""; 0]);
    let l = good("sglang serve m --tp 8 --ep-size 4");
    assert_eq!(l.changes, ["--ep-size 4"]);
    let l = good("sglang serve --model m --chunked-prefill-size -1");
    assert_eq!(
        (l.model.as_deref(), l.changes.as_slice()),
        (Some("m"), &["--chunked-prefill-size -1".to_string()][..])
    );
}

#[test]
fn llama_flags_become_settings() {
    let l = good(
        "llama-server -m /models/Qwen3-30B-A3B-Q4_K_M.gguf -c 32768 -np 8 -b 1024 -ub 256 -ngl 99 -fa on --host 0.0.0.0 \
         --port 8080 -ctk q8_0 -ctv q8_0 --temp -1 -ot exps=CPU --no-cache-prompt",
    );
    let s = &l.settings;
    assert_eq!(l.model.as_deref(), Some("Qwen3-30B-A3B"));
    assert_eq!(s.get(QUANTIZATION).as_deref(), Some("q4_k_m"));
    // The context is all slots' together.
    assert_eq!(
        (s.get(MAX_NUM_SEQS), s.get(MAX_MODEL_LEN)),
        (Some(8), Some(4096))
    );
    assert_eq!(
        (s.get(MAX_NUM_BATCHED_TOKENS), s.get(MICRO_BATCH)),
        (Some(1024), Some(256))
    );
    assert_eq!(s.get(KV_CACHE_DTYPE).as_deref(), Some("q8_0"));
    assert_eq!(s.get(ENABLE_PREFIX_CACHING), Some(false));
    assert_eq!(l.harmless, ["-fa", "--host", "--port", "--temp"]);
    assert_eq!(s.get(N_GPU_LAYERS), Some(99));
    assert_eq!(s.get(OVERRIDE_TENSOR).as_deref(), Some("exps=CPU"));
    assert_eq!(l.changes, [""; 0]);
    assert_eq!(l.value(&["--port"]), Some("8080"));
    let l = good("llama-server -m x.gguf -np 2 -ngl 20 -ctv q8_0 -fa off -nkvo");
    assert_eq!(l.changes, ["-fa off", "-nkvo"]);
    assert_eq!(
        l.notes,
        ["`-ctv q8_0` beside keys in fp16: values are counted as the keys are"]
    );
}

#[test]
fn where_weights_lie_becomes_settings() {
    let l = good(
        "llama-server -m x.gguf -np 1 -ngl 20 -ncmoe 3 -ot a=CPU -ot b=CUDA0,c=CPU --no-op-offload",
    );
    let s = &l.settings;
    assert_eq!((s.get(N_GPU_LAYERS), s.get(N_CPU_MOE)), (Some(20), Some(3)));
    let patterns = s.get(OVERRIDE_TENSOR);
    assert_eq!(patterns.as_deref(), Some("a=CPU,b=CUDA0,c=CPU"));
    assert_eq!(s.get(OP_OFFLOAD), Some(false));
    let l = good("llama-server -m x.gguf -np 1 -ngl all -cmoe");
    assert_eq!(l.settings.get(CPU_MOE), Some(true));
    assert_eq!(l.settings.get(N_GPU_LAYERS), None);
    assert_eq!(l.changes, [""; 0]);
    let l = good("vllm serve m --cpu-offload-gb 7.5");
    assert_eq!(l.settings.get(CPU_OFFLOAD_GB), Some(7.5));
}

#[test]
fn what_is_left_unsaid_is_llama_servers_default() {
    let l = good("llama-server -hf unsloth/Qwen3-8B-GGUF -c 16384 -fa --jinja");
    assert_eq!(
        (l.model.as_deref(), l.settings.get(QUANTIZATION).as_deref()),
        (Some("Qwen3-8B"), Some("q4_k_m"))
    );
    assert_eq!(
        (l.settings.get(MAX_NUM_SEQS), l.settings.get(MAX_MODEL_LEN)),
        (Some(4), Some(16384))
    );
    assert!(l.changes.is_empty(), "{:?}", l.changes);
    assert_eq!(
        l.notes,
        ["one context for all 4 slots, llama-server's default without -np; here each has its own"]
    );
    let l = good("llama-server -m x.gguf -np 1 -c 0");
    assert_eq!(
        (l.settings.get(MAX_NUM_SEQS), l.settings.get(MAX_MODEL_LEN)),
        (Some(1), None)
    );
    assert!(l.changes.is_empty());
    let l = good(
        "LLAMA_ARG_CTX_SIZE=8192 LLAMA_ARG_N_PARALLEL=2 LLAMA_ARG_FLASH_ATTN=1 LLAMA_CACHE=/x llama-server --gpt-oss-20b-default -np 1",
    );
    assert_eq!(
        (l.settings.get(MAX_NUM_SEQS), l.settings.get(MAX_MODEL_LEN)),
        (Some(1), Some(8192))
    );
    assert_eq!(
        (l.model.as_deref(), l.settings.get(QUANTIZATION).as_deref()),
        (Some("gpt-oss-20b"), Some("gguf-mxfp4"))
    );
    assert!(l.changes.is_empty(), "{:?}", l.changes);
}

#[test]
fn a_load_client_gives_the_load() {
    let l = good(
        "vllm bench serve --backend vllm --model Qwen/Qwen3-8B --endpoint /v1/completions --dataset-name random --random-input-len 512 \
         --request-rate inf --max-concurrency 16 --percentile-metrics ttft,tpot --save-result --random-prefix-len 7",
    );
    assert_eq!(
        (l.engine, l.model.as_deref()),
        (None, Some("Qwen/Qwen3-8B"))
    );
    assert_eq!(
        (l.load.get(RANDOM_INPUT_LEN), l.load.get(MAX_CONCURRENCY)),
        (Some(512), Some(16))
    );
    assert_eq!(
        (l.load.get(REQUEST_RATE), l.load.get(VLLM_BENCH)),
        (Some(f64::INFINITY), Some(true))
    );
    assert_eq!(l.changes, ["--random-prefix-len 7"]);
    assert!(line("vllm bench serve --model m --request-rate fast").is_err());
}

#[test]
fn fewer_visible_devices_than_asked_for_are_said() {
    let l = good("CUDA_VISIBLE_DEVICES=0 vllm serve m -tp 2");
    assert_eq!(
        l.notes,
        [
            "the line lets the server see 1 devices of a node and asks for 2 there; the engine would not start (--nnodes says how many nodes \
             there are)"
        ]
    );
    assert!(
        good("CUDA_VISIBLE_DEVICES=0,1 vllm serve m -tp 2")
            .notes
            .is_empty()
    );
}

#[test]
fn gguf_files_are_read_for_vllm_too() {
    let l = good("vllm serve ./Qwen3-8B-Q8_0.gguf --tokenizer Qwen/Qwen3-8B --quantization gguf");
    assert_eq!(
        (l.model.as_deref(), l.settings.get(QUANTIZATION).as_deref()),
        (Some("Qwen3-8B"), Some("q8_0"))
    );
    let l = good("vllm serve unsloth/Qwen3-0.6B-GGUF:Q4_K_M");
    assert_eq!(
        (l.model.as_deref(), l.settings.get(QUANTIZATION).as_deref()),
        (Some("Qwen3-0.6B"), Some("q4_k_m"))
    );
}

#[test]
fn keys_of_the_config_that_a_line_overrides_are_read() {
    let keys = |flags: &str| line(&format!("vllm serve m {flags}")).unwrap();
    let l =
        keys(r#"--hf-overrides '{"num_hidden_layers": 2, "text_config": {"rope_theta": 1e6}}'"#);
    assert_eq!(
        l.keys,
        ["num_hidden_layers=2", "text_config.rope_theta=1000000.0"]
    );
    assert!(l.changes.is_empty(), "{:?}", l.changes);
    for flags in [
        "--language-model-only",
        r#"--limit-mm-per-prompt '{"image": 0, "video": 0}'"#,
    ] {
        assert_eq!(keys(flags).keys, ["vision_config=null"], "{flags}");
    }
    // What still lets images in, or is no object, is named as before.
    for flags in [
        r#"--limit-mm-per-prompt '{"image": 1}'"#,
        "--hf-overrides x",
    ] {
        let l = keys(flags);
        assert!(
            l.keys.is_empty() && l.changes.len() == 1,
            "{flags}: {:?}",
            l.changes
        );
    }
}

/// Settings of speculation by name, in the order of the table.
fn drafts(text: &str) -> String {
    let settings = good(text).settings;
    let all = settings
        .iter()
        .filter(|(f, _)| f.name.contains("speculative"));
    let words: Vec<String> = all.map(|(f, v)| format!("{}={v}", f.name)).collect();
    words.join(" ").replace("speculative_", "")
}

#[test]
fn what_drafts_is_read_in_every_engines_words() {
    for (text, wanted) in [
        (
            "vllm serve m --speculative-config '{\"method\": \"eagle3\", \"model\": \"org/EAGLE3-m\", \"num_speculative_tokens\": 3}'",
            "method=eagle3 num_tokens=3 model=org/EAGLE3-m",
        ),
        (
            "vllm serve m -sc.method deepseek_mtp --speculative-config.num_speculative_tokens=2",
            "method=deepseek_mtp num_tokens=2",
        ),
        (
            "vllm serve m --speculative-config '{\"method\":\"mtp\",\"num_speculative_tokens\":2,\
             \"rejection_sample_method\":\"synthetic\",\"synthetic_acceptance_rates\":[0.8,0.5]}'",
            "method=mtp num_tokens=2 acceptance=0.8,0.5",
        ),
        (
            "vllm serve m --speculative-config '{\"method\":\"mtp\",\"num_speculative_tokens\":2,\"synthetic_acceptance_length\":2.5}'",
            "method=mtp num_tokens=2 acceptance=1,0.5",
        ),
        (
            "vllm serve m --speculative-model [ngram] --num-speculative-tokens 5",
            "method=ngram num_tokens=5",
        ),
        (
            "python -m sglang.launch_server --model-path m --speculative-algorithm EAGLE --speculative-num-steps 3 \
             --speculative-eagle-topk 4 --speculative-num-draft-tokens 16 --speculative-draft-model-path d",
            "method=EAGLE num_tokens=3 model=d eagle_topk=4 num_draft_tokens=16",
        ),
        (
            "llama-server -m Qwen3-32B-Q4_K_M.gguf -md Qwen3-0.6B-Q8_0.gguf --draft-max 8 -ngld 99",
            "num_tokens=8 model=Qwen3-0.6B quantization=q8_0",
        ),
        (
            "llama-server -m m.gguf --spec-type ngram-simple --spec-draft-n-max 4",
            "method=ngram num_tokens=4",
        ),
    ] {
        assert_eq!(drafts(text), wanted, "{text}");
    }
    for (text, part) in [
        ("vllm serve m --speculative-config eagle", "a JSON object"),
        (
            "vllm serve m --speculative-config '{\"num_speculative_tokens\": 0}'",
            "a whole number from 1 on",
        ),
        (
            "vllm serve m --speculative-config '{\"num_speculative_tokens\": 2, \"synthetic_acceptance_length\": 4}'",
            "one more than num_speculative_tokens",
        ),
    ] {
        let e = line(text).unwrap_err().to_string();
        assert!(e.contains(part), "{text}: {e}");
    }
}
