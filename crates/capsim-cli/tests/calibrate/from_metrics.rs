//! Coefficients from a server's counters: a server of known ones is `capsim serve`.
use super::common::capsim;
use crate::serving::Serving;
use serde_json::Value;
use std::process::{Child, Command, Stdio};

const MODEL: &str = "qwen3-0.6b";
const DEVICE: &str = "rtx-4090";

/// Runs until it is dropped.
struct Load(Child);

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// So many clients with prompts and answers of these lengths, until the test ends.
fn load(url: &str, clients: u32, prompt: u32, answer: u32) -> Load {
    let number = |n: u32| n.to_string();
    let child = Command::new(env!("CARGO_BIN_EXE_capsim"))
        .args([
            "bench",
            "serve",
            "--base-url",
            url,
            "--num-prompts",
            "100000",
        ])
        .args(["--max-concurrency", &number(clients)])
        .args(["--random-input-len", &number(prompt)])
        .args(["--random-output-len", &number(answer)])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Load(child)
}

/// An engine profile with other host times, and its file.
fn slower(dir: &std::path::Path) -> (Value, String) {
    let mut profile =
        serde_json::to_value(capsim::device::builtin::engine("vllm-0.19-cuda").unwrap()).unwrap();
    profile["host"]["step"]["value"] = 0.02.into();
    profile["host"]["per_seq"]["value"] = 0.001.into();
    let path = dir.join("slower.json");
    std::fs::write(&path, profile.to_string()).unwrap();
    (profile, path.display().to_string())
}

#[test]
fn known_host_times_are_found_from_the_counters_of_a_server_under_load() {
    let dir = tempfile::tempdir().unwrap();
    let (truth, engine) = slower(dir.path());
    let server = Serving::start(&[
        "--model",
        MODEL,
        "--device",
        DEVICE,
        "--engine",
        &engine,
        "--no-async-scheduling",
    ]);
    // One client all the time, and seven more that come and go.
    let _one = load(server.url(), 1, 64, 200);
    let _more = load(server.url(), 7, 200, 40);
    let out = dir.path().join("found.json");
    let run = capsim(&[
        "calibrate",
        "--from-metrics",
        server.url(),
        "--minutes",
        "0.3",
        "--device",
        DEVICE,
        "--model",
        MODEL,
        "--engine",
        "vllm-0.19-cuda",
        "-o",
        out.to_str().unwrap(),
        "--",
        "vllm",
        "serve",
        MODEL,
        "--no-async-scheduling",
    ]);
    let err = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{err}");
    let found: Value = serde_json::from_str(&std::fs::read_to_string(&out).unwrap()).unwrap();
    // Eight sequences, almost always: the sum of both times is what shows.
    let step = |p: &Value| {
        let of = |name: &str| p["host"][name]["value"].as_f64().unwrap();
        of("step") + 8.0 * of("per_seq")
    };
    let ratio = step(&found) / step(&truth);
    assert!(
        (0.8..1.25).contains(&ratio),
        "{ratio}: {}",
        String::from_utf8_lossy(&run.stdout)
    );
    assert_eq!(found["host"]["step"]["provenance"]["origin"], "fitted");
}

#[test]
fn a_server_that_says_nothing_is_an_error_with_a_way_on() {
    let idle = Serving::start(&["--model", MODEL, "--device", DEVICE]);
    let cases: [(&[&str], &str); 4] = [
        (
            &["--from-metrics", "http://127.0.0.1:9", "--device", DEVICE],
            "/metrics",
        ),
        (
            &[
                "--from-metrics",
                idle.url(),
                "--device",
                DEVICE,
                "--minutes",
                "0",
            ],
            "--minutes",
        ),
        (
            &[
                "--from-metrics",
                idle.url(),
                "--device",
                DEVICE,
                "--minutes",
                "0.05",
            ],
            "under traffic",
        ),
        (&["--from-metrics", idle.url()], "--device"),
    ];
    for (args, says) in cases {
        let out = capsim(&[&["calibrate"], args].concat());
        let err = String::from_utf8_lossy(&out.stderr);
        assert!(
            out.status.code() == Some(2) && err.contains(says),
            "{args:?}: {err}"
        );
    }
}
