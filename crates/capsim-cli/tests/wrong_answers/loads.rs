//! Loads: when a request is sent, which requests are lost, what an unsaid load is.
use assert_cmd::Command;
use capsim::cost::Routing;
use capsim::device::builtin;
use capsim::engine::observe::{Observer, RequestRecord};
use capsim::engine::settings::*;
use capsim::metrics::{Latency, Metric, PERCENTILES, Percentiles, Statistic};
use capsim::model::{Model, Precision};
use capsim::plan::{Slo, trial};
use capsim::predict::{Caveat, Scenario, predict, simulate_observed};
use capsim::units::SimTime;
use capsim::workload::{Length, RequestId, WorkloadSpec};
use std::collections::BTreeMap;

/// A dense model on a datacentre device under a closed loop.
pub fn scenario() -> Scenario {
    let name = "Qwen/Qwen3-8B";
    let config = capsim::model::builtin::find(name).unwrap().config();
    let device = builtin::device("h100-sxm").unwrap();
    Scenario {
        notes: Default::default(),
        speculation: Default::default(),
        deployment: None,
        model_name: name.into(),
        model: Model::new(&config, Precision::of(&config)),
        engine: builtin::engine("vllm-0.19-cuda").unwrap(),
        engines: None,
        device,
        release: None,
        serve: SettingValues::default().with(MAX_MODEL_LEN, 4096),
        moe_path: None,
        routing: Routing::Uniform,
        workload: WorkloadSpec::closed_loop(64, 8, 128, 32),
    }
}

/// Runs the command; its exit code, standard output and standard error.
pub fn capsim(args: &[&str]) -> (i32, String, String) {
    let out = Command::cargo_bin("capsim")
        .unwrap()
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .args(args)
        .timeout(std::time::Duration::from_secs(300))
        .output()
        .unwrap();
    let text = |b| String::from_utf8(b).unwrap();
    let err = text(out.stderr);
    assert!(!err.contains("panicked"), "{args:?}: {err}");
    (out.status.code().unwrap(), text(out.stdout), err)
}

/// Without line breaks, so that words are found wherever lines were broken.
pub fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Requests open at each moment, and when each was sent.
#[derive(Default)]
struct Open {
    sent: BTreeMap<u64, SimTime>,
    spans: Vec<(SimTime, SimTime)>,
}

impl Observer for Open {
    fn on_arrival(&mut self, id: RequestId, at: SimTime) {
        self.sent.insert(id.0, at);
    }
    fn on_request(&mut self, r: &RequestRecord) {
        assert_eq!(self.sent[&r.id.0], r.received);
        assert!(r.arrival <= r.received);
        self.spans.push((r.arrival, r.finish));
    }
}

impl Open {
    /// Most requests open at once; a place that becomes free can be taken at the same time.
    fn most(&self) -> i64 {
        let mut changes: Vec<(SimTime, i64)> = vec![];
        for (sent, end) in &self.spans {
            changes.extend([(*sent, 1), (*end, -1)]);
        }
        changes.sort_unstable();
        let (mut open, mut most) = (0, 0);
        for (_, change) in changes {
            open += change;
            most = most.max(open);
        }
        most
    }
}

/// `--request-rate R --max-concurrency N` above capacity: the client lets go of a request when a place is free, and its
/// clock starts then. Held requests carried their planned times: 66 requests were open for a limit of 32.
#[test]
fn a_client_with_a_limit_keeps_it_and_starts_its_clock_behind_it() {
    for (limit, rate, input, output) in
        [(8, 200.0, 128, 32), (32, 100.0, 1024, 32), (1, 30.0, 64, 8)]
    {
        let mut s = scenario();
        s.workload.max_concurrency = Some(limit);
        s.workload.request_rate = Some(rate);
        s.workload.num_prompts = 6 * limit + 30;
        (s.workload.input_len, s.workload.output_len) = (input, output);
        let mut open = Open::default();
        let run = simulate_observed(&s, &mut open).unwrap();
        let what = format!("limit {limit}, {rate} requests/s");
        assert!(
            open.most() <= i64::from(limit),
            "{what}: {} open",
            open.most()
        );
        let sum = &run.summary;
        let little = sum.request_throughput() * sum.e2el.mean();
        assert!(
            little <= f64::from(limit),
            "{what}: {little} by Little's law"
        );
        // Above capacity every place is taken nearly all the time.
        assert!(
            little > 0.8 * f64::from(limit),
            "{what}: {little} by Little's law"
        );
        // Several end in one step, and those sent in their places wait for a step, not since their planned times.
        let mut closed = s.clone();
        closed.workload.request_rate = None;
        let closed = simulate_observed(&closed, &mut ()).unwrap().summary;
        let (held, sent) = (sum.ttft.mean(), closed.ttft.mean());
        assert!(
            held <= 2.0 * sent,
            "{what}: TTFT {held} s, of clients without a rate {sent} s"
        );
    }
}

/// A load of which `share` per cent of the requests exceed the model's length of 4096.
fn with_long_requests(share: u32) -> Scenario {
    let mut s = scenario();
    s.workload.input_dist = Some(Length::Empirical {
        lengths: vec![128, 8000],
        weights: vec![f64::from(100 - share), f64::from(share)],
    });
    s.workload.num_prompts = 400;
    s
}

/// Requests longer than the model allows were left out of every mean, and the SLO was judged on the others.
#[test]
fn a_refused_request_misses_the_slo() {
    let s = with_long_requests(20);
    let slo = |text: &str| Slo::parse(text).unwrap();
    let generous = trial(&s, &slo("e2el.p95<1000s")).unwrap();
    let sum = &generous.run.summary;
    assert_eq!(sum.asked(), 400);
    assert!((50..110).contains(&sum.refused), "{} refused", sum.refused);
    for (text, met) in [
        ("e2el.p95<1000s", false),
        ("ttft.p50<1000s", true),
        ("ttft.p75<1000s", true),
        ("itl.p95<1000s", false),
        ("itl.p50<1000s", true),
        ("tpot.mean<1000s", false),
        ("ttft<1000s,goodput>95%", false),
        ("ttft<1000s,goodput>70%", true),
    ] {
        let slo = slo(text);
        assert_eq!(slo.met(&trial(&s, &slo).unwrap()), met, "{text}");
    }
    // The percentile is that of all requests asked for.
    let (p75, rule) = (Statistic::Percentile(75.0), Percentiles::Linear);
    let all = sum.latency_of_asked(Latency::E2el, p75, rule);
    let served = sum.metric(Metric::Latency(Latency::E2el, p75), rule);
    let longest = sum.metric(Metric::Latency(Latency::E2el, Statistic::Max), rule);
    assert!(served < all && all <= longest, "{served} {all} {longest}");
}

/// What is refused stands in the prediction as its first caveat, with both numbers.
#[test]
fn a_prediction_counts_what_it_refused() {
    let p = predict(&with_long_requests(20)).unwrap();
    let Some(Caveat::Refused(r)) = p.caveats.first() else {
        panic!("{:?}", p.caveats);
    };
    assert_eq!((r.requests, r.of), (p.run.summary.refused, 400));
    assert!(
        predict(&scenario())
            .unwrap()
            .caveats
            .iter()
            .all(|c| !matches!(c, Caveat::Refused(_)))
    );
}

/// A trace of `n` requests, of which the last `long` exceed 4096 tokens.
fn trace(dir: &std::path::Path, n: u32, long: u32) -> String {
    let line = |i: u32| {
        let input = if i < n - long { 200 } else { 6000 };
        format!(
            "{{\"timestamp\": {}, \"input_length\": {input}, \"output_length\": 16, \"hash_ids\": []}}\n",
            50 * i
        )
    };
    let path = dir.join(format!("{long}-of-{n}.jsonl"));
    std::fs::write(&path, (0..n).map(line).collect::<String>()).unwrap();
    path.to_str().unwrap().into()
}

/// Every text answer says it in its first line, before any figure; every JSON answer holds the two numbers; pages and tables show them.
#[test]
fn refused_requests_stand_first_in_every_answer() {
    let dir = tempfile::tempdir().unwrap();
    let file = trace(dir.path(), 60, 24);
    let base = [
        "--model",
        "qwen3-8b",
        "--device",
        "h100-sxm",
        "--max-model-len",
        "4096",
        "--trace-file",
        &file,
    ];
    let run = |first: &[&str], more: &[&str]| capsim(&[first, &base[..], more].concat());
    let says = |text: &str, what: &str| {
        assert!(text.starts_with("Refused"), "{what}: {text}");
        let head = flat(text.split("\n\n").next().unwrap());
        assert!(
            head.contains("24 of 60 requests refused (40.0 %)"),
            "{what}: {head}"
        );
        assert!(head.contains("4096"), "{what}: {head}");
    };
    says(&run(&["predict"], &[]).1, "predict");
    says(&run(&["predict"], &["--max-num-seqs", "4,8"]).1, "a table");
    let slo = ["--slo", "e2el.p95<100s", "--seeds", "1"];
    let (code, text, err) = run(&["capacity"], &slo);
    assert_eq!(code, 1, "{err}");
    says(&text, "capacity");
    assert!(text.contains("none: no load meets the SLO"), "{text}");
    let (code, text, err) = run(
        &["tune"],
        &[
            "--slo",
            "e2el.p95<100s",
            "--only",
            "--knob",
            "max-num-seqs=8",
        ],
    );
    assert_eq!(code, 1, "{err}");
    assert!(
        text.starts_with("Refused") && flat(&text).contains("24 of 60 requests refused"),
        "{text}"
    );
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let p = json(&run(&["predict"], &["--json"]).1);
    let point = &p["points"][0];
    assert_eq!(
        (&point["refused"], &point["num_requests"]),
        (&24.into(), &60.into())
    );
    let c = json(&run(&["capacity"], &[&slo[..], &["--json"]].concat()).1);
    assert_eq!(c["curve"][0]["refused"], 24);
    assert!(c["curve"][0]["values"][0].is_null(), "{c}");
    // The page of each of them.
    let page = |name: &str, answer: &serde_json::Value| {
        let (from, to) = (dir.path().join(name), dir.path().join("page.html"));
        std::fs::write(&from, format!("{answer:#}")).unwrap();
        let (code, _, err) =
            capsim(&["report", from.to_str().unwrap(), "-o", to.to_str().unwrap()]);
        assert_eq!(code, 0, "{err}");
        std::fs::read_to_string(to).unwrap()
    };
    for (name, answer) in [("p.json", &p), ("c.json", &c)] {
        let html = page(name, answer);
        let body = &html[html.find("<section").unwrap()..];
        let note = body.find("24 of 60 requests refused (40.0 %)").expect(name);
        assert!(note < body.find("<p class=\"note\">").unwrap(), "{name}");
    }
    let none = trace(dir.path(), 60, 0);
    let (_, text, _) = capsim(&[&["predict"], &base[..7], &[none.as_str()][..]].concat());
    assert!(!text.contains("efused"), "{text}");
}

/// A load near capacity had P99 TTFT 889 ms [0.51 … 1 548 081], lower ends that fell as the percentile rose, and throughput above the
/// load offered.
#[test]
fn intervals_are_in_order_and_within_what_can_be() {
    let mut wide = 0;
    for (rate, seqs) in [(2.0, 64), (12.0, 16), (16.0, 8), (18.0, 8), (20.0, 8)] {
        let mut s = scenario();
        s.serve.set(MAX_NUM_SEQS, seqs);
        s.workload = WorkloadSpec {
            range_ratio: 0.5,
            ..WorkloadSpec::open_loop(200, rate, 512, 64)
        };
        let p = predict(&s).unwrap();
        let what = format!("{rate} requests/s, {seqs} sequences");
        let sum = &p.run.summary;
        for (metric, i) in &p.intervals {
            let v = sum.metric(*metric, Percentiles::Linear);
            assert!(
                i.low <= v * (1.0 + 1e-9) && v <= i.high * (1.0 + 1e-9),
                "{what}, {metric}: {v} in {i:?}"
            );
            assert!(i.high / i.low < 3000.0, "{what}, {metric}: {i:?}");
            wide += usize::from(i.high > 2.0 * i.low);
        }
        for latency in Latency::REPORTED {
            let ends = PERCENTILES.map(|q| p.intervals[&Metric::percentile(latency, q)]);
            for w in ends.windows(2) {
                assert!(
                    w[0].low <= w[1].low && w[0].high <= w[1].high,
                    "{what}, {latency}: {ends:?}"
                );
            }
        }
        // What was sent in the time in which it was sent is all that could be served.
        let span = s.workload.planned_span().unwrap().secs();
        assert!(
            p.intervals[&Metric::RequestThroughput].high <= 200.0 / span,
            "{what}"
        );
        assert!(
            p.intervals[&Metric::OutputThroughput].high <= sum.output_tokens as f64 / span,
            "{what}"
        );
        assert!(p.intervals[&Metric::Duration].low >= span, "{what}");
    }
    // Else nothing near capacity was looked at.
    assert!(wide > 5, "{wide}");
}
