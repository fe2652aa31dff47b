//! What fits, and what is said of flags that decide it.
use super::loads::{capsim, flat, scenario};
use capsim::engine::settings::*;
use capsim::predict::SettingsError;
use capsim::predict::memory::MemoryError;
use serde_json::Value;

const HERE: [&str; 6] = [
    "--model",
    "qwen3-8b",
    "--device",
    "h100-sxm",
    "--max-model-len",
    "4096",
];

fn memory(more: &[&str]) -> (i32, String, Value) {
    let run = |json: &[&str]| capsim(&[&["memory"], &HERE[..], json, more].concat());
    let (code, text, err) = run(&[]);
    let (same, json, _) = run(&["--json"]);
    assert_eq!(code, same, "{err}");
    (code, flat(&text), serde_json::from_str(&json).unwrap())
}

/// `capsim memory --num-gpu-blocks-override 100000` said that it fits, with KV at 153 % of the device.
#[test]
fn kv_blocks_beyond_the_device_do_not_fit() {
    let fit = memory(&[]).2["num_gpu_blocks"].as_u64().unwrap();
    for (flag, value) in [
        ("--num-gpu-blocks-override", 4 * fit),
        ("--num-gpu-blocks-override", 100_000),
        ("--num-gpu-blocks-override", 1 << 31),
        ("--kv-cache-memory-bytes", 1 << 40),
    ] {
        let value = value.to_string();
        let (code, text, json) = memory(&[flag, &value]);
        assert_eq!(code, 1, "{flag} {value}: {text}");
        assert!(
            text.contains("Fits no: the KV cache does not fit"),
            "{text}"
        );
        assert!(text.contains(&format!("without {flag}")), "{text}");
        assert_eq!(
            (&json["fits"], &json["starts"]),
            (&false.into(), &false.into())
        );
        // And nothing predicts what does not start.
        for command in ["predict", "capacity"] {
            let mut words = vec![command];
            words.extend(HERE);
            words.extend([flag, &value]);
            if command == "capacity" {
                words.extend(["--slo", "ttft.p95<1s"]);
            }
            let (code, _, err) = capsim(&words);
            assert_eq!(code, 2, "{words:?}: {err}");
            let name = flag.trim_start_matches('-').replace('-', "_");
            assert!(
                err.contains("does not fit") && err.contains(&name),
                "{words:?}: {err}"
            );
        }
    }
    // What it names as the most does fit.
    let mut s = scenario();
    s.serve.set(NUM_GPU_BLOCKS_OVERRIDE, 100_000);
    let Err(SettingsError::Memory(MemoryError::KvTooLarge(e))) = s.settings() else {
        panic!("{:?}", s.settings());
    };
    let largest = e.largest;
    s.serve.set(NUM_GPU_BLOCKS_OVERRIDE, largest as u32);
    assert!(s.settings().is_ok());
    s.serve.set(NUM_GPU_BLOCKS_OVERRIDE, largest as u32 + 1);
    assert!(s.settings().is_err());
    assert!(largest > fit);
}

/// The context of llama-server's slots is allocated at its start.
#[test]
fn the_context_of_a_llama_server_must_fit() {
    let line = [
        "--",
        "llama-server",
        "-hf",
        "unsloth/Qwen3-14B-GGUF:Q4_K_M",
        "-np",
        "32",
        "-c",
        "1310720",
    ];
    let (code, text, err) = capsim(&[&["memory", "--device", "gfx1151"], &line[..]].concat());
    assert_eq!(code, 1, "{err}");
    assert!(flat(&text).contains("the KV cache does not fit"), "{text}");
}

/// Flags of a pasted line that change what fits and are not modelled were dropped without a word.
#[test]
fn memory_names_the_flags_that_it_ignores() {
    let line = ["--", "vllm", "serve", "Qwen/Qwen3-8B", "--max-loras", "2"];
    let words = |json: &[&'static str]| {
        [
            &["memory", "--device", "h100-sxm", "--max-model-len", "4096"],
            json,
            &line,
        ]
        .concat()
    };
    let (_, text, err) = capsim(&words(&[]));
    assert!(
        flat(&text).contains("Left out `--max-loras 2`: may change the memory that is needed"),
        "{text}{err}"
    );
    let (_, json, _) = capsim(&words(&["--json"]));
    let json: Value = serde_json::from_str(&json).unwrap();
    assert!(
        json["unmodelled"][0]
            .as_str()
            .unwrap()
            .starts_with("--max-loras"),
        "{json}"
    );
}
