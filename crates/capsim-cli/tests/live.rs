//! `capsim bench` and `capsim validate --url` against `capsim serve`: what is sent is the load described, and counters that involve no
//! time are predicted exactly.
use crate::serving::Serving;
use capsim::workload::{Source as _, WorkloadSpec};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

fn capsim(args: &[&str]) -> std::process::Output {
    assert_cmd::Command::cargo_bin("capsim")
        .unwrap()
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .args(args)
        .timeout(Duration::from_secs(180))
        .output()
        .unwrap()
}

const MODEL: &str = "tests/data/bench/tiny-moe-mid.config.json";

fn serving(more: &[&str]) -> Serving {
    let own = [
        "--model",
        MODEL,
        "--max-num-seqs",
        "4",
        "--max-model-len",
        "4096",
    ];
    Serving::start(&[&own[..], more].concat())
}

fn paired(args: &[&str]) -> serde_json::Value {
    let mut all = vec![
        "validate",
        "--model",
        MODEL,
        "--max-num-seqs",
        "4",
        "--json",
    ];
    all.extend(args);
    let out = capsim(&all);
    assert_eq!(
        out.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    serde_json::from_slice(&out.stdout).unwrap()
}

fn component(v: &serde_json::Value, name: &str) -> (f64, f64) {
    let all = v["recordings"][0]["components"].as_array().unwrap();
    let c = all
        .iter()
        .find(|c| c["name"] == name)
        .unwrap_or_else(|| panic!("{name} in {v}"));
    (
        c["measured"].as_f64().unwrap(),
        c["predicted"].as_f64().unwrap(),
    )
}

#[test]
fn what_capsim_serves_is_what_capsim_predicts() {
    let server = serving(&[]);
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    let (saved, runs, svg) = (at("live.json"), at("runs.json"), at("p.svg"));
    let load = [
        "--num-prompts",
        "12",
        "--max-concurrency",
        "6",
        "--input-len",
        "96",
        "--output-len",
        "24",
        "--num-warmups",
        "1",
    ];
    let mut live = vec![
        "--url",
        server.url(),
        "--save-bench",
        &saved,
        "--write-runs",
        &runs,
    ];
    live.extend(load);
    let v = paired(&live);
    // Decode and prefill are the engine's own clock: they agree however late client and server are.
    for part in ["decode", "prefill"] {
        let (measured, predicted) = component(&v, part);
        assert!(
            (predicted / measured - 1.0).abs() < 0.25,
            "{part}: {measured} {predicted}"
        );
    }
    assert_eq!(component(&v, "preemptions"), (0.0, 0.0));
    assert_eq!(component(&v, "prefix-cache hits"), (0.0, 0.0));
    assert_eq!(v["recordings"][0]["requests"].as_array().unwrap().len(), 12);
    let runs = capsim_study::validate::runs::RunsFile::parse(
        &std::fs::read_to_string(&runs).unwrap(),
        "runs",
    )
    .unwrap();
    assert_eq!(
        (
            runs.runs[0].workload.num_prompts,
            runs.runs[0].workload.max_concurrency
        ),
        (12, Some(6))
    );
    // The stored file says the same as the live run.
    let again = paired(&["--bench", &saved, "--svg", &svg]);
    assert_eq!(
        v["recordings"][0]["metrics"],
        again["recordings"][0]["metrics"]
    );
    for kind in [
        "ttft-request-by-request",
        "e2e-latency-request-by-request",
        "requests-running",
        "kv-cache",
    ] {
        let picture =
            std::fs::read_to_string(dir.path().join(format!("p-live-{kind}.svg"))).unwrap();
        assert!(
            picture.starts_with("<svg")
                && picture.ends_with("</svg>\n")
                && !picture.contains("NaN")
        );
    }
    // Shared prefixes: exact counts, no timing involved. One client: 96-token prompts, 64 shared, blocks of 16.
    let shared = paired(&[
        "--url",
        server.url(),
        "--num-prompts",
        "5",
        "--max-concurrency",
        "1",
        "--input-len",
        "96",
        "--output-len",
        "4",
        "--num-warmups",
        "0",
        "--prompts",
        "shared-prefix",
        "--shared-prefix-len",
        "64",
        "--seed",
        "77",
    ]);
    assert_eq!(component(&shared, "prefix-cache hits"), (256.0, 256.0));
    assert_eq!(component(&shared, "engine steps"), (20.0, 20.0));
}

/// Sends a load and gives the result file.
fn bench(url: &str, path: &Path, flags: &[&str]) -> Value {
    let mut args = vec!["bench", "serve", "--url", url, "--result-filename"];
    args.push(path.to_str().unwrap());
    args.extend(flags);
    let out = capsim(&args);
    assert_eq!(
        out.status.code(),
        Some(0),
        "{flags:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Every load that `predict` can simulate is sent as it would be simulated: same times, same lengths; and what was recorded is
/// predicted, with the number of tokens that were asked for.
#[test]
fn loads_of_every_shape_are_sent_and_predicted() {
    let server = serving(&["--speedup", "50"]);
    let dir = tempfile::tempdir().unwrap();
    let trace = "tests/data/traces/mooncake.jsonl";
    let shapes: [(&str, &[&str]); 7] = [
        (
            "constant",
            &["--arrival", "constant", "--request-rate", "40"],
        ),
        (
            "weibull",
            &["--arrival", "weibull:2", "--request-rate", "40"],
        ),
        ("mmpp", &["--arrival", "mmpp:20,80,0.1,0.2"]),
        ("series", &["--arrival", "rate-series:0:10,0.5:60/repeat"]),
        (
            "ramp",
            &[
                "--ramp-up-strategy",
                "linear",
                "--ramp-up-start-rps",
                "20",
                "--ramp-up-end-rps",
                "60",
            ],
        ),
        (
            "lengths",
            &[
                "--request-rate",
                "40",
                "--input-dist",
                "uniform:10,60",
                "--output-dist",
                "uniform:2,9",
            ],
        ),
        ("trace", &["--trace-file", trace, "--trace-speedup", "40"]),
    ];
    let mut files = vec![];
    for (name, flags) in shapes {
        let path = dir.path().join(format!("{name}.json"));
        let mut all = vec![
            "--input-len",
            "24",
            "--output-len",
            "4",
            "--num-prompts",
            "16",
            "--seed",
            "3",
        ];
        if name == "lengths" {
            all = all[4..].to_vec();
        }
        if name == "trace" {
            all = all[6..].to_vec();
        }
        all.extend(flags);
        let v = bench(server.url(), &path, &all);
        let n = v["completed"].as_u64().unwrap();
        assert_eq!(n, if name == "trace" { 7 } else { 16 }, "{name}");
        let rows = v["capsim"]["requests"].as_array().unwrap();
        if name == "trace" {
            // The file's own times and lengths.
            assert_eq!(rows[1]["input_len"], 512);
            assert_eq!(rows[1]["output_len"], 3);
            assert!((rows[2]["intended"].as_f64().unwrap() - 3.0 / 40.0).abs() < 1e-9);
        } else {
            // The load that the file states, drawn once more here.
            let spec: WorkloadSpec =
                serde_json::from_value(v["capsim"]["workload"].clone()).unwrap();
            let mut source = spec.source().unwrap();
            for row in rows {
                let r = source.pop().unwrap();
                assert_eq!(row["nominal_input_len"], r.prompt.len(), "{name}");
                assert_eq!(row["output_len"], r.max_tokens, "{name}");
                let late = row["intended"].as_f64().unwrap() - r.arrival.secs();
                assert!(late.abs() < 1e-6, "{name}: {late}");
                assert!(row["sent"].as_f64() >= row["intended"].as_f64());
            }
            assert!(source.pop().is_none());
        }
        files.push(path.to_str().unwrap().to_string());
    }
    let v = paired(&["--bench", &files.join(",")]);
    for r in v["recordings"].as_array().unwrap() {
        let n = if r["name"] == "trace" { 7 } else { 16 };
        assert_eq!(r["requests"].as_array().unwrap().len(), n, "{}", r["name"]);
        // Replayed at the times at which they were sent, not all at once or as a closed loop: the server's own queue was as short.
        assert!(!r["components"].as_array().unwrap().is_empty());
    }
}

#[test]
fn contradictions_between_shapes_are_refused_before_anything_is_sent() {
    for (flags, says) in [
        (&["--users", "2", "--request-rate", "3"][..], "--users"),
        (&["--arrival", "mmpp:1,2"], "--arrival"),
        (&["--arrival", "constant"], "--request-rate"),
        (&["--users", "2,3"], "give one value"),
        (&["--trace-start", "3"], "--trace-file"),
        (
            &[
                "--vllm-bench",
                "--arrival",
                "weibull:2",
                "--request-rate",
                "1",
            ],
            "--vllm-bench",
        ),
    ] {
        // No server listens there, and none is asked.
        let mut args = vec!["bench", "serve", "--url", "http://127.0.0.1:9"];
        args.extend(flags);
        let out = capsim(&args);
        let err = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{flags:?}: {err}");
        assert!(err.contains(says), "{flags:?}: {err}");
    }
}

/// Users who think keep one request open each, and their conversations quote what the server said: block for block, the prefix
/// cache finds exactly what the simulation says.
#[test]
fn conversations_quote_the_servers_own_answers() {
    let dir = tempfile::tempdir().unwrap();
    let words = tokenizer(dir.path());
    let words = words.to_str().unwrap();
    for more in [&[][..], &["--tokenizer", words]] {
        let mut server = vec!["--speedup", "50"];
        server.extend(more);
        let server = serving(&server);
        let mut load = vec![
            "--url",
            server.url(),
            "--users",
            "2",
            "--turns",
            "3",
            "--num-prompts",
            "12",
        ];
        load.extend([
            "--think-time",
            "exponential:0.02",
            "--input-len",
            "40",
            "--output-len",
            "24",
        ]);
        load.extend(more);
        let saved = dir.path().join("talks.json");
        load.extend(["--save-bench", saved.to_str().unwrap()]);
        let v = paired(&load);
        let (measured, predicted) = component(&v, "prefix-cache hits");
        // What was said before the user's 40 new tokens, but for its last token, which was not computed yet; blocks of 16.
        let file: Value = serde_json::from_str(&std::fs::read_to_string(saved).unwrap()).unwrap();
        let rows = file["capsim"]["requests"].as_array().unwrap();
        let said = |r: &Value| r["input_len"].as_u64().unwrap() - 40;
        let expected: u64 = rows
            .iter()
            .map(|r| said(r).saturating_sub(1) / 16 * 16)
            .sum();
        assert!(rows.iter().filter(|r| said(r) > 0).count() >= 6);
        assert_eq!(measured, expected as f64, "{more:?}");
        assert_eq!(measured, predicted, "{more:?}");
    }
}

/// A tokenizer of words, made as Hugging Face's files are.
fn tokenizer(dir: &Path) -> std::path::PathBuf {
    let vocab: serde_json::Map<String, Value> = ["<unk>", "<s>"]
        .into_iter()
        .map(String::from)
        .chain((2..4096).map(|n| format!("w{n}")))
        .enumerate()
        .map(|(i, w)| (w, i.into()))
        .collect();
    let special = |id, content| {
        serde_json::json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true})
    };
    let file = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [special(0, "<unk>"), special(1, "<s>")],
        "normalizer": null, "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"},
    });
    let path = dir.join("tokenizer.json");
    std::fs::write(&path, file.to_string()).unwrap();
    path
}

#[test]
fn text_prompts_have_the_length_that_the_server_counts() {
    let dir = tempfile::tempdir().unwrap();
    let words = tokenizer(dir.path());
    let words = words.to_str().unwrap();
    let server = serving(&["--speedup", "50", "--tokenizer", words]);
    let flags = [
        "--num-prompts",
        "6",
        "--max-concurrency",
        "2",
        "--input-len",
        "80",
        "--output-len",
        "3",
        "--tokenizer",
        words,
    ];
    let shared = ["--prompts", "shared-prefix", "--shared-prefix-len", "64"];
    let v = bench(
        server.url(),
        &dir.path().join("r.json"),
        &[&flags[..], &shared].concat(),
    );
    for r in v["capsim"]["requests"].as_array().unwrap() {
        assert_eq!(r["input_len"], 80);
        assert_eq!(r["usage"]["prompt"], 80);
        assert_eq!(r["output_len"], 3);
    }
    // Text that begins alike is found: every request but those of the first step, four blocks each.
    let hits = v["capsim"]["metrics_delta"]["vllm:prefix_cache_hits_total"]
        .as_f64()
        .unwrap();
    assert!(hits >= 4.0 * 64.0 && hits % 64.0 == 0.0, "{hits}");
    // A chat adds its template, and both numbers are told.
    let chat = bench(
        server.url(),
        &dir.path().join("c.json"),
        &[
            &flags[..],
            &["--endpoint", "/v1/chat/completions", "--seed", "5"],
        ]
        .concat(),
    );
    for r in chat["capsim"]["requests"].as_array().unwrap() {
        assert_eq!(r["nominal_input_len"], 80);
        assert!(r["input_len"].as_u64().unwrap() > 80);
    }
}

/// Answers `GET /v1/models` and one-token completions, behind TLS with a certificate that signed itself.
struct Tls {
    address: std::net::SocketAddr,
    certificate: String,
    _runtime: tokio::runtime::Runtime,
}

struct TlsListener(tokio::net::TcpListener, tokio_rustls::TlsAcceptor);

impl axum::serve::Listener for TlsListener {
    type Io = tokio_rustls::server::TlsStream<tokio::net::TcpStream>;
    type Addr = std::net::SocketAddr;
    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (tcp, from) = self.0.accept().await.unwrap();
            // A client that does not trust the certificate hangs up.
            if let Ok(stream) = self.1.accept(tcp).await {
                return (stream, from);
            }
        }
    }
    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

impl Tls {
    fn start() -> Self {
        use axum::routing::{get, post};
        use tokio_rustls::rustls;
        let _ = rustls::crypto::ring::default_provider().install_default();
        let own = rcgen::generate_simple_self_signed(["localhost".to_string()]).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::Pkcs8(own.signing_key.serialize_der().into());
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
        let answer = "data: {\"choices\": [{\"index\": 0, \"text\": \" a\", \"finish_reason\": \"length\"}]}\n\n\
                      data: {\"choices\": [], \"usage\": {\"prompt_tokens\": 8, \"completion_tokens\": 1}}\n\ndata: [DONE]\n\n";
        let app = axum::Router::new()
            .route("/v1/models", get(|| async { r#"{"data": [{"id": "m"}]}"# }))
            .route(
                "/v1/completions",
                post(move || async move { ([("content-type", "text/event-stream")], answer) }),
            );
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move { axum::serve(TlsListener(listener, acceptor), app).await });
        Self {
            address,
            certificate: own.cert.pem(),
            _runtime: runtime,
        }
    }
}

#[test]
fn a_certificate_is_checked_unless_told_otherwise() {
    let server = Tls::start();
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_string()
    };
    let own = file("own.pem", &server.certificate);
    let other = rcgen::generate_simple_self_signed(["localhost".to_string()]).unwrap();
    let (other, garbage) = (
        file("other.pem", &other.cert.pem()),
        file("garbage.pem", "no certificate"),
    );
    let (by_name, by_number) = (
        format!("https://localhost:{}", server.address.port()),
        format!("https://{}", server.address),
    );
    let try_it = |url: &str, more: &[&str]| {
        let mut args = vec![
            "bench",
            "serve",
            "--url",
            url,
            "--num-prompts",
            "2",
            "--input-len",
            "8",
            "--output-len",
            "1",
        ];
        args.extend(["--ready-check-timeout-sec", "0"]);
        args.extend(more);
        let out = capsim(&args);
        (
            out.status.code(),
            String::from_utf8_lossy(&out.stderr).into_owned(),
        )
    };
    for (url, more) in [
        (&by_name, &["--ca-cert", &own][..]),
        (&by_name, &["--insecure"]),
        (&by_number, &["--insecure"]),
    ] {
        let (code, err) = try_it(url, more);
        assert_eq!(code, Some(0), "{url} {more:?}: {err}");
    }
    for (url, more, says) in [
        (&by_name, &[][..], "certificate"),
        (&by_name, &["--ca-cert", &other], "certificate"),
        // The certificate is for a name.
        (&by_number, &["--ca-cert", &own], "certificate"),
        (&by_name, &["--ca-cert", &garbage], "--ca-cert"),
        (&by_name, &["--ca-cert", "/nowhere.pem"], "/nowhere.pem"),
    ] {
        let (code, err) = try_it(url, more);
        assert_eq!(code, Some(2), "{url} {more:?}: {err}");
        assert!(err.contains(says), "{url} {more:?}: {err}");
    }
}
