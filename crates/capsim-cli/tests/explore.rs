//! `capsim explore` over its socket: the same state gives the same bytes, what is wrong is said where it is, strangers get nothing.
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use crate::exploring::Exploring;

/// A page's server, and its address.
struct Explorer(Exploring, String);

fn capsim(args: &[&str]) -> Command {
    let mut c = Command::new(assert_cmd::cargo::cargo_bin!("capsim"));
    c.arg("explore").args(args);
    c
}

impl Explorer {
    fn new(args: &[&str]) -> Self {
        let page = Exploring::start(args);
        let address = page.url().split('/').nth(2).unwrap().to_string();
        Self(page, address)
    }

    /// An answer, head and body.
    fn ask(&self, path: &str, headers: &str) -> (String, String) {
        let mut socket = TcpStream::connect(&self.1).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        write!(
            socket,
            "GET {path} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n"
        )
        .unwrap();
        let mut all = String::new();
        socket.read_to_string(&mut all).unwrap();
        let (head, body) = all.split_once("\r\n\r\n").unwrap();
        (head.into(), body.into())
    }

    fn get(&self, path: &str) -> (u16, Value) {
        let (head, body) = self.ask(path, "Host: 127.0.0.1\r\n");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(&body).unwrap_or(Value::Null))
    }
}

const SMALL: &str = "model=qwen3-0.6b&num-prompts=24&max-concurrency=4&input-len=64&output-len=16";

#[test]
fn the_same_state_gives_the_same_bytes_and_what_predict_says() {
    let e = Explorer::new(&["--model", "qwen3-0.6b"]);
    for what in ["predict", "settled", "curve"] {
        let path = format!("/api/{what}?{SMALL}");
        let (head, one) = e.ask(&path, "Host: localhost\r\n");
        assert!(head.contains(" 200 "), "{head}");
        // The order of a state's flags does not matter, nor does a default that is spelt out as nothing.
        let mut turned: Vec<&str> = SMALL.split('&').collect();
        turned.reverse();
        let path = format!("/api/{what}?{}&max-num-seqs=", turned.join("&"));
        assert_eq!(e.ask(&path, "Host: localhost\r\n").1, one);
    }
    let (_, first) = e.get(&format!("/api/predict?{SMALL}"));
    let (_, settled) = e.get(&format!("/api/settled?{SMALL}"));
    let command = first["command"].as_str().unwrap();
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    let out = Command::new(assert_cmd::cargo::cargo_bin!("capsim"))
        .args(&words)
        .arg("--json")
        .output()
        .unwrap();
    let said: Value = serde_json::from_slice(&out.stdout).unwrap();
    let point = &said["points"][0];
    assert_eq!(settled["prediction"]["metrics"], point["metrics"]);
    assert_eq!(settled["prediction"]["caveats"], point["caveats"]);
    for metric in ["output_throughput", "p99_ttft_ms"] {
        let m = &first["prediction"]["metrics"][metric];
        assert_eq!(m["value"], point["metrics"][metric]["value"]);
        assert!(m["low"].is_null() && !point["metrics"][metric]["low"].is_null());
    }
    assert_eq!(first["effective"]["max-concurrency"], 4);
    assert!(first["serve"].as_str().unwrap().starts_with("vllm serve"));
}

#[test]
fn what_is_wrong_is_said_where_it_is() {
    let e = Explorer::new(&["--model", "qwen3-0.6b"]);
    for (query, flag, part) in [
        ("max-num-seqs=0", Some("max-num-seqs"), "between 1 and 1024"),
        ("max-num-seqs=x", Some("max-num-seqs"), "not a number"),
        ("model=nothing", Some("model"), "must be one of"),
        ("model=/etc/passwd", Some("model"), "must be one of"),
        ("trace-file=/etc/passwd", None, "no knob"),
        ("seed=1&seed=2", None, "no knob"),
        ("model=qwen3-0.6b&model=qwen3-0.6b", None, "twice"),
        (
            "max-num-batched-tokens=64&max-num-seqs=128",
            Some("max-num-batched-tokens"),
            "less than max_num_seqs",
        ),
        (
            "max-model-len=131072&model=qwen3-0.6b",
            Some("max-model-len"),
            "max_position_embeddings",
        ),
        (
            "input-len=60000&model=qwen3-0.6b",
            Some("random-input-len"),
            "no request was served",
        ),
        (
            "num-prompts=20000&output-len=16384&max-model-len=32768",
            Some("num-prompts"),
            "too many",
        ),
        ("weights=%FF", Some("weights"), "must be one of"),
    ] {
        let (status, v) = e.get(&format!("/api/predict?{query}"));
        assert!(status == 422 || status == 400, "{query}: {status} {v}");
        let error = &v["errors"][0];
        assert_eq!(error["flag"].as_str(), flag, "{query}: {v}");
        assert!(
            error["message"].as_str().unwrap().contains(part),
            "{query}: {v}"
        );
    }
    // Predictions hold the percentiles that capacity's conditions usually name, and no others.
    let curve = |p: f64| format!("/api/curve?slo=ttft.p{p}%3C2s&{SMALL}");
    for p in capsim::metrics::PERCENTILES {
        assert_eq!(e.get(&curve(p)).0, 200, "p{p}");
    }
    let (status, v) = e.get(&curve(97.0));
    assert_eq!(
        (status, v["errors"][0]["flag"].as_str()),
        (422, Some("slo"))
    );
    assert_eq!(e.get("/api/nothing").0, 404);
}

#[test]
fn strangers_get_nothing() {
    let e = Explorer::new(&[
        "--model",
        "qwen3-0.6b",
        "--max-num-seqs",
        "8",
        "--seed",
        "3",
    ]);
    let status = |path: &str, headers: &str| -> String {
        let head = e.ask(path, headers).0;
        head.split(' ').nth(1).unwrap().to_string()
    };
    // By a name that was made to lead here, or from a page that is not ours.
    assert_eq!(status("/", "Host: evil.example\r\n"), "421");
    assert_eq!(status("/", ""), "421");
    let own = "Host: 127.0.0.1\r\n";
    let path = format!("/api/predict?{SMALL}");
    assert_eq!(
        status(&path, &format!("{own}Sec-Fetch-Site: cross-site\r\n")),
        "403"
    );
    assert_eq!(
        status(&path, &format!("{own}Sec-Fetch-Site: same-origin\r\n")),
        "200"
    );
    // The bare address leads to where the command line put the knobs; what has none is shown.
    let (head, _) = e.ask("/", own);
    assert!(
        head.contains(" 307 ") && head.contains("/?model=qwen3-0.6b&max-num-seqs=8"),
        "{head}"
    );
    assert!(e.0.url().ends_with("/?model=qwen3-0.6b&max-num-seqs=8"));
    let (head, page) = e.ask("/?", own);
    assert!(page.contains("Also in force: <code>--seed 3</code>"));
    let head = head.to_lowercase();
    assert!(head.contains("content-security-policy: default-src 'none'; script-src 'self'"));
    assert!(head.contains("x-content-type-options: nosniff"));
    for file in ["/style.css", "/explore.js"] {
        assert_eq!(status(file, own), "200");
    }
    assert!(!page.contains("http"), "something from elsewhere");
}

#[test]
fn whoever_leaves_ends_the_work_and_a_taken_port_is_said() {
    let e = Explorer::new(&["--model", "qwen3-0.6b"]);
    // Some minutes of work each, for more clients than there are cores; all of them leave.
    let long = "num-prompts=20000&output-len=2048&max-concurrency=1";
    for _ in 0..24 {
        let mut socket = TcpStream::connect(&e.1).unwrap();
        write!(
            socket,
            "GET /api/settled?model=qwen3-0.6b&{long} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        )
        .unwrap();
    }
    assert_eq!(e.get(&format!("/api/predict?{SMALL}")).0, 200);
    let port = e.1.rsplit_once(':').unwrap().1;
    let out = capsim(&["--port", port]).output().unwrap();
    assert_eq!(out.status.code(), Some(2));
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(said.contains(port) && said.contains("--port"), "{said}");
    for (args, part) in [
        (&["--max-num-seqs", "9999"][..], "--max-num-seqs"),
        (&["--max-num-seqs", "1,2"], "one value"),
        (&["--trace-file", "nowhere"], "nowhere"),
        (&["--slo", "ttft"], "--slo"),
    ] {
        let out = capsim(args).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{said}");
        assert!(said.contains(part), "{said}");
    }
}
