//! Trace formats: what a sample of each means, what is refused and where, round trips, prefix hits in the simulator.
use capsim::cost::LinearCost;
use capsim::engine::observe::{Observer, RequestRecord};
use capsim::engine::{EngineConfig, simulate};
use capsim::units::Span;
use capsim::workload::trace::{Client, Format, Options, Pool, Row, Trace};
use capsim::workload::{Source, TraceSpec, WorkloadSpec};
use proptest::prelude::*;

fn read(name: &str) -> String {
    let path = format!("{}/tests/data/traces/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

fn own() -> Options {
    Options {
        columns: Some("time=when\u{2c} ms,input=prompt_tokens,output=gen_tokens".into()),
        ..Options::default()
    }
}

fn parse(name: &str) -> Trace {
    Trace::parse(&read(name), name, &Options::default()).unwrap()
}

fn rows(t: &Trace) -> Vec<(u64, u32, u32)> {
    t.rows()
        .iter()
        .map(|r: &Row| (r.at.0, r.input, r.output))
        .collect()
}

fn error(text: &str, options: &Options) -> String {
    Trace::parse(text, "t.file", options)
        .unwrap_err()
        .to_string()
}

#[test]
fn every_format_is_recognised_and_read() {
    let t = parse("mooncake.jsonl");
    assert_eq!(t.block_size(), Some(512));
    assert_eq!(t.rows().len(), 7);
    assert_eq!(t.rows()[5].at, Span(6_001_500_000));
    assert_eq!(t.hash_ids(3), [0, 1, 2, 4, 5]);

    let t = parse("bailian.jsonl");
    assert_eq!(t.block_size(), Some(16));
    assert_eq!(
        rows(&t),
        [
            (0, 40, 522),
            (407_000_000, 33, 12),
            (13_906_000_000, 600, 80)
        ]
    );
    // Numbered by first appearance: 1089 is 0, 1092 is 3.
    assert_eq!(t.hash_ids(1), [0, 3, 4]);

    // Past midnight; two in the same instant.
    assert_eq!(
        rows(&parse("azure.csv")),
        [
            (0, 374, 44),
            (1_314_579_000, 396, 109),
            (2_541_877_000, 879, 55),
            (2_541_877_000, 91, 16)
        ]
    );
    assert_eq!(
        rows(&parse("burstgpt.csv")),
        [
            (0, 472, 18),
            (40_000_000_000, 1087, 230),
            (113_000_000_000, 417, 276)
        ]
    );
    assert_eq!(
        rows(&parse("vidur.csv")),
        [
            (0, 374, 44),
            (131_457_900, 396, 109),
            (1_254_187_700, 879, 55)
        ]
    );
}

#[test]
fn a_csv_of_ones_own_needs_its_columns_named() {
    let text = "id,t,in,out\n1,10,5,6\n2,12.5,7,8\n";
    let e = error(text, &Options::default());
    assert!(e.contains("line 1") && e.contains("--trace-columns"), "{e}");
    let with = |columns: &str| Options {
        columns: Some(columns.into()),
        ..Options::default()
    };
    let t = Trace::parse(text, "t", &with("time=t,input=in,output=out,unit=ms")).unwrap();
    assert_eq!(rows(&t), [(0, 5, 6), (2_500_000, 7, 8)]);
    for (columns, says) in [
        ("time=t,input=in", "time, input and output"),
        (
            "time=t,input=in,output=ouch",
            "no column `ouch`; there are id, t, in, out",
        ),
        ("time=t,input=in,output=out,unit=h", "unit `h`"),
        ("time", "`time` is not key=value"),
    ] {
        let e = error(text, &with(columns));
        assert!(e.contains(says), "{columns}: {e}");
    }
}

#[test]
fn errors_carry_the_line_and_say_what_is_wrong() {
    let auto = Options::default();
    let moon = |rest: &str| {
        format!(
            "{}\n{rest}\n",
            r#"{"timestamp": 5, "input_length": 3, "output_length": 4}"#
        )
    };
    let azure = |rest: &str| {
        format!("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.68,3,4\n{rest}\n")
    };
    for (text, line, says) in [
        (
            moon(r#"{"timestamp": 4, "input_length": 3, "output_length": 4}"#),
            2,
            "goes backwards",
        ),
        // A later turn of Dynamo's sessions (dynamo-data-gen 1.4.0, mooncake.rs).
        (
            moon(r#"{"session_id": "a", "delay": 250.0, "input_length": 3, "output_length": 4}"#),
            2,
            "250 ms (`delay`) after the answer before it",
        ),
        (
            moon(r#"{"input_length": 3, "output_length": 4}"#),
            2,
            "missing field `timestamp`",
        ),
        (
            moon(r#"{"timestamp": 6, "input_length": 0, "output_length": 4}"#),
            2,
            "input_length is 0",
        ),
        (
            moon(r#"{"timestamp": 6, "input_length": 3, "output_length": 0}"#),
            2,
            "--trace-skip-empty",
        ),
        (
            moon(r#"{"timestamp": 6, "input_length": 999999999, "output_length": 1}"#),
            2,
            "more than 16777216 tokens",
        ),
        (
            moon(r#"{"timestamp": 6, "input_length": -3, "output_length": 1}"#),
            2,
            "-3",
        ),
        (moon(r#"{"timestamp": 6, "input_len"#), 2, "cut off"),
        (
            moon(r#"{"timestamp": 6, "output_length": 1}"#),
            2,
            "input_length",
        ),
        (
            moon(r#"{"timestamp": 6, "input_length": 3, "output_length": 4, "hash_ids": [1, 2]}"#),
            2,
            "blocks of 512",
        ),
        (
            moon(r#"{"timestamp": 6, "input_length": 2000, "output_length": 4, "hash_ids": [1]}"#),
            2,
            "expected 4",
        ),
        (
            moon(r#"{"timestamp": 1e25, "input_length": 3, "output_length": 4}"#),
            2,
            "century",
        ),
        (
            r#"{"timestamp": -1, "input_length": 3, "output_length": 4}"#.into(),
            1,
            "negative",
        ),
        (azure("2023-11-16 18:15:40,3,4"), 3, "goes backwards"),
        (azure("2023-11-16 18:15:50,3"), 3, "cut off"),
        (azure("yesterday,3,4"), 3, "yesterday"),
        (azure("2023-11-16 18:15:50,3.5,4"), 3, "3.5"),
        (azure("2023-11-16 18:15:50,3,0"), 3, "GeneratedTokens is 0"),
        (
            "TIMESTAMP,ContextTokens\n".into(),
            1,
            "no column `GeneratedTokens`",
        ),
        ("what,is,this\n1,2,3\n".into(), 1, "no known format"),
        ("".into(), 1, "empty"),
    ] {
        let e = error(&text, &auto);
        assert!(
            e.starts_with(&format!("t.file: line {line}: ")),
            "{text}: {e}"
        );
        assert!(e.contains(says), "{text}: {e}");
    }
    // A header without rows.
    let e = error("arrived_at,num_prefill_tokens,num_decode_tokens\n", &auto);
    assert!(e.contains("holds no request"), "{e}");
    // Said to be one format, is another.
    let e = error(
        &read("azure.csv"),
        &Options {
            format: Some(Format::Mooncake),
            ..Options::default()
        },
    );
    assert!(e.contains("line 1"), "{e}");
}

#[test]
fn failed_requests_are_left_out_only_where_one_asks_for_it() {
    let text = read("burstgpt.csv").replace("GPT-4,1087,230", "GPT-4,1087,0");
    assert!(error(&text, &Options::default()).contains("line 3: Response tokens is 0"));
    let skip = Options {
        skip_empty: true,
        ..Options::default()
    };
    let t = Trace::parse(&text, "t", &skip).unwrap();
    assert_eq!(rows(&t), [(0, 472, 18), (113_000_000_000, 417, 276)]);
}

#[test]
fn equal_times_are_spread_up_to_the_next() {
    let mut t = parse("mooncake.jsonl");
    t.spread();
    let ms: Vec<f64> = t.rows().iter().map(|r| r.at.millis()).collect();
    assert_eq!(ms, [0.0, 1500.0, 3000.0, 4000.5, 5001.0, 6001.5, 9000.0]);
}

#[test]
fn mooncake_survives_a_round_trip() {
    for name in [
        "mooncake.jsonl",
        "azure.csv",
        "burstgpt.csv",
        "vidur.csv",
        "bailian.jsonl",
    ] {
        let t = parse(name);
        let text = t.mooncake().unwrap();
        let back = Trace::parse(&text, name, &Options::default()).unwrap();
        assert_eq!(rows(&back), rows(&t), "{name}");
        assert_eq!(back, t.reblocked(512).unwrap(), "{name}");
        assert_eq!(back.mooncake().unwrap(), text, "{name}");
    }
    let t = parse("mooncake.jsonl");
    assert_eq!(
        Trace::parse(&t.mooncake().unwrap(), "t", &Options::default()).unwrap(),
        t
    );
    assert!(t.reblocked(500).is_err());
}

#[test]
fn joined_blocks_are_equal_where_all_before_them_is() {
    // Blocks of 16: a b c d | e, a b c d | f, x b c d | e.
    let line = |at: u32, ids: &str| {
        format!(
            "{{\"chat_id\": 1, \"timestamp\": {at}, \"input_length\": 80, \"output_length\": 1, \"hash_ids\": [{ids}]}}\n"
        )
    };
    let text = line(0, "1,2,3,4,5") + &line(1, "1,2,3,4,6") + &line(2, "9,2,3,4,5");
    let t = Trace::parse(&text, "t", &Options::default()).unwrap();
    let j = t.reblocked(64).unwrap();
    assert_eq!(
        [j.hash_ids(0), j.hash_ids(1), j.hash_ids(2)],
        [[0, 1], [0, 2], [3, 4]]
    );
}

#[test]
fn figures_of_a_trace() {
    let s = parse("mooncake.jsonl").stats();
    assert_eq!((s.requests, s.distinct_times), (7, 4));
    assert_eq!(s.duration_s, 9.0);
    assert_eq!(s.request_rate, Some(6.0 / 9.0));
    // Ids: 3 + 1 + 3 + 5 + 1 + 3 + 2 = 18; seen before: 0, then [0], [0 1], [0 1 2], [], [0 1 2], [].
    assert_eq!(s.ideal_block_hit_rate, Some(9.0 / 18.0));
    // Gaps 0, 3, 0, 0, 3.0015, 2.9985 s.
    let gaps = [0.0, 3.0, 0.0, 0.0, 3.0015, 2.9985];
    let mean = 1.5;
    let var: f64 = gaps
        .iter()
        .map(|g: &f64| (g - mean) * (g - mean))
        .sum::<f64>()
        / 6.0;
    assert!((s.gap_cv.unwrap() - var.sqrt() / mean).abs() < 1e-12);
    assert_eq!(s.input[4], 2200.0);
}

#[derive(Default)]
struct Hits(Vec<RequestRecord>);
impl Observer for Hits {
    fn on_request(&mut self, r: &RequestRecord) {
        self.0.push(*r);
    }
}

/// Replays a trace so slowly that every answer is complete before the next request.
fn cached(trace: &Trace, block_size: u32) -> Vec<u64> {
    let config = EngineConfig {
        num_gpu_blocks: 60_000,
        block_size,
        max_model_len: 100_000,
        enable_prefix_caching: true,
        ..EngineConfig::default()
    };
    let mut spec = WorkloadSpec::closed_loop(u32::MAX, 1, 1, 1);
    spec.max_concurrency = Some(1);
    spec.trace = Some(TraceSpec::of("t", trace.clone()));
    let cost = LinearCost {
        base: Span::from_micros(1),
        per_token: Span::ZERO,
        per_seq: Span::ZERO,
    };
    let mut hits = Hits::default();
    let s = simulate(&config, &cost, &mut spec.source().unwrap(), &mut hits).unwrap();
    assert_eq!(s.completed as usize, trace.rows().len());
    hits.0.sort_by_key(|r| r.id);
    hits.0.iter().map(|r| r.cached_tokens.into()).collect()
}

#[test]
fn the_simulator_finds_the_ideal_hits_when_its_cache_is_large() {
    for name in ["mooncake.jsonl", "bailian.jsonl"] {
        let t = parse(name);
        for block in [16, 64] {
            let ideal = t.ideal_hits(block);
            let found = ideal.iter().sum::<u64>();
            assert!(block > 16 || found >= 16, "{name}: nothing to find");
            assert_eq!(cached(&t, block), ideal, "{name}, blocks of {block}");
        }
    }
    // By hand: row 3 shares 2 full blocks and 276 tokens of the third with row 0: [0 1 2], whose last block ends at 1300.
    let t = parse("mooncake.jsonl");
    assert_eq!(t.ideal_hits(16), [0, 496, 1024, 1296, 0, 1296, 0]);
}

#[test]
fn a_replay_keeps_times_lengths_and_order() {
    let t = parse("azure.csv");
    let spec = |speedup, start, duration, n| {
        let mut w = WorkloadSpec::closed_loop(n, 1, 1, 1);
        w.max_concurrency = None;
        w.trace = Some(TraceSpec {
            speedup,
            start,
            duration,
            ..TraceSpec::of("azure", t.clone())
        });
        w
    };
    let all = |w: &WorkloadSpec| -> Vec<(u64, u32, u32)> {
        let mut s = w.source().unwrap();
        std::iter::from_fn(|| s.pop())
            .map(|r| (r.arrival.0, r.prompt.len(), r.max_tokens))
            .collect()
    };
    assert_eq!(all(&spec(1.0, 0.0, None, 100)), rows(&t));
    let faster: Vec<_> = rows(&t).iter().map(|r| (r.0 / 10, r.1, r.2)).collect();
    assert_eq!(all(&spec(10.0, 0.0, None, 100)), faster);
    assert_eq!(all(&spec(1.0, 0.0, None, 2)), rows(&t)[..2]);
    assert_eq!(
        all(&spec(1.0, 1.0, Some(1.0), 100)),
        [(0, 396, 109)],
        "between 1 s and 2 s"
    );
    let e = spec(1.0, 99.0, None, 1).source().unwrap_err().to_string();
    assert!(e.contains("azure") && e.contains("2.542"), "{e}");
    let e = spec(0.0, 0.0, None, 1).source().unwrap_err().to_string();
    assert!(e.contains("speedup"), "{e}");
}

#[test]
fn a_trace_in_a_scenario_names_its_file_and_not_its_rows() {
    let mut w = WorkloadSpec::closed_loop(4, 1, 1, 1);
    w.trace = Some(TraceSpec::of("azure.csv", parse("azure.csv")));
    let text = serde_json::to_string(&w).unwrap();
    assert!(text.contains("azure.csv") && text.len() < 700, "{text}");
    let mut back: WorkloadSpec = serde_json::from_str(&text).unwrap();
    assert!(
        back.source()
            .unwrap_err()
            .to_string()
            .contains("was not read")
    );
    back.trace.as_mut().unwrap().data = w.trace.as_ref().unwrap().data.clone();
    assert_eq!(back, w);
}

fn pool() -> Pool {
    let client = |n: &str| {
        let (t, d) = (
            format!("chunk-{n}-trace.csv"),
            format!("chunk-{n}-dataset.json"),
        );
        Client::parse(
            (&t, &read(&format!("servegen/{t}"))),
            (&d, &read(&format!("servegen/{d}"))),
        )
        .unwrap()
    };
    Pool {
        clients: vec![client("0"), client("3")],
    }
}

#[test]
fn servegen_clients_send_at_their_rates_and_with_their_lengths() {
    let p = pool();
    // Client 0: 2/s for 600 s, idle, 4/s for 600 s in bursts (CV 2); client 3: 0.5/s throughout.
    let (mut first, mut idle, mut last) = (0u32, 0u32, 0u32);
    let n = 20;
    for seed in 0..n {
        let t = p.draw("f", 0.0, None, None, seed).unwrap();
        assert_eq!(t, p.draw("f", 0.0, None, None, seed).unwrap());
        assert!(t.rows().windows(2).all(|w| w[0].at <= w[1].at));
        for r in t.rows() {
            let of_3 = (r.input, r.output) == (7, 3);
            match r.at.secs() {
                s if s < 590.0 && !of_3 => {
                    first += 1;
                    assert!([100, 200, 300].contains(&r.input) && r.output == 10);
                }
                s if (600.0..1190.0).contains(&s) => {
                    idle += 1;
                    assert!(of_3, "{r:?}");
                }
                s if (1200.0..1790.0).contains(&s) && !of_3 => {
                    last += 1;
                    assert!(r.input == 5000 && [1, 20].contains(&r.output));
                }
                _ => {}
            }
        }
    }
    // Times count from the first request, seconds after the data's own zero: windows are looked at but for their edges.
    // Counts of a renewal process over T have variance about CV² · rate · T; five standard errors.
    for (got, rate, span, cv) in [
        (first, 2.0, 590.0, 1.0),
        (idle, 0.5, 590.0, 0.8),
        (last, 4.0, 590.0, 2.0),
    ] {
        let want = rate * span * n as f64;
        let se = cv * f64::sqrt(want);
        assert!(
            (f64::from(got) - want).abs() < 5.0 * se,
            "{got} against {want} ± {se}"
        );
    }
    // A rate for all together scales every client.
    let t = p.draw("f", 0.0, Some(600.0), Some(25.0), 1).unwrap();
    let want = 25.0 * 600.0;
    assert!((t.rows().len() as f64 - want).abs() < 5.0 * f64::sqrt(want));
}

#[test]
fn broken_servegen_files_are_refused_by_file_and_line() {
    let (trace, data) = (
        read("servegen/chunk-0-trace.csv"),
        read("servegen/chunk-0-dataset.json"),
    );
    let e = |t: &str, d: &str| {
        Client::parse(("t.csv", t), ("d.json", d))
            .unwrap_err()
            .to_string()
    };
    for (t, says) in [
        (
            trace.replace("Gamma,1.0", "Normal,1.0"),
            "t.csv: line 1: pattern `Normal`",
        ),
        (trace.replace("1200,", "600,"), "t.csv: line 3: start 600"),
        (
            trace.replace("1200,4.0", "1200,-4"),
            "t.csv: line 3: rate `-4`",
        ),
        (
            trace.replace(",0.25,1.0", ",0.25"),
            "t.csv: line 3: 5 fields",
        ),
        (String::new(), "t.csv: holds no window"),
    ] {
        let e = e(&t, &data);
        assert!(e.contains(says), "{e}");
    }
    for (d, says) in [
        (data.replace("200: 0.25", "200: 0.5"), "sum to 1.25"),
        (data.replace("{10: 1.0}", "[10]"), "braces"),
        (data.replace("\"1200\"", "\"noon\""), "`noon`"),
        (
            data.replace("\"output_tokens\": \"{10: 1.0}\"", "\"x\": \"\""),
            "has no output_tokens",
        ),
        ("{".into(), "d.json: line 1"),
        ("{}".into(), "holds no lengths"),
    ] {
        let e = e(&trace, &d);
        assert!(e.contains(says), "{e}");
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "a test may be told to run longer"
)]
fn cases() -> u32 {
    std::env::var("CAPSIM_FUZZ_CASES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(400)
}

const FILES: &[&str] = &[
    "mooncake.jsonl",
    "bailian.jsonl",
    "azure.csv",
    "burstgpt.csv",
    "vidur.csv",
    "own.csv",
    "servegen/chunk-0-trace.csv",
    "servegen/chunk-0-dataset.json",
];

/// Whatever a reader accepts must replay, sum up and be written; whatever it refuses must be named.
fn survives(text: &str) {
    let mut all: Vec<Options> = Format::ALL
        .iter()
        .map(|(_, f)| Options {
            format: Some(*f),
            ..Options::default()
        })
        .collect();
    all.push(Options::default());
    all.push(own());
    all.push(Options {
        columns: Some("time=arrived_at,input=num_prefill_tokens,output=num_decode_tokens".into()),
        skip_empty: true,
        ..Options::default()
    });
    for options in all {
        match Trace::parse(text, "file", &options) {
            Ok(mut t) => {
                assert!(t.rows().windows(2).all(|w| w[0].at <= w[1].at));
                t.spread();
                assert!(t.rows().windows(2).all(|w| w[0].at <= w[1].at));
                let _ = t.stats();
                let _ = t.mooncake();
                let mut w = WorkloadSpec::closed_loop(100, 1, 1, 1);
                w.trace = Some(TraceSpec::of("file", t));
                if let Ok(mut s) = w.source() {
                    while let Some(r) = s.pop() {
                        s.finished(r.id, r.arrival);
                    }
                }
            }
            Err(e) => assert!(e.to_string().len() > 12, "{e} says nothing"),
        }
    }
    let (trace, data) = (
        read("servegen/chunk-0-trace.csv"),
        read("servegen/chunk-0-dataset.json"),
    );
    for (t, d) in [(text, data.as_str()), (trace.as_str(), text)] {
        if let Ok(c) = Client::parse(("t", t), ("d", d)) {
            let p = Pool { clients: vec![c] };
            let _ = p.draw("f", 0.0, Some(1300.0), Some(0.5), 1);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: Some(Box::new(proptest::test_runner::FileFailurePersistence::WithSource("proptest-regressions"))), ..ProptestConfig::default() })]

    #[test]
    fn no_damaged_trace_makes_a_reader_panic(
        file in prop::sample::select(FILES),
        cut in 0usize..2_000,
        at in 0usize..2_000,
        drop in 0usize..4,
        junk in prop_oneof![
            ".{0,6}",
            prop::sample::select(vec!["-", "e30", "999999999999", "0", ",", "\n", "\"", "nan", "inf", "{}", "[]", "1e308", "-1"])
                .prop_map(str::to_string),
        ],
    ) {
        let mut text: Vec<char> = read(file).chars().collect();
        text.truncate(cut.max(40));
        let at = at % text.len();
        let to = (at + drop).min(text.len());
        text.splice(at..to, junk.chars());
        survives(&text.into_iter().collect::<String>());
    }

    #[test]
    fn no_number_makes_a_reader_panic(
        file in prop::sample::select(FILES),
        which in 0usize..200,
        with in prop_oneof![
            any::<i64>().prop_map(|v| v.to_string()),
            any::<f64>().prop_map(|v| v.to_string()),
            (0u32..70_000).prop_map(|v| v.to_string()),
        ],
    ) {
        // Replaces one run of digits by another number.
        let text = read(file);
        let mut runs: Vec<(usize, usize)> = vec![];
        for (i, c) in text.char_indices().filter(|(_, c)| c.is_ascii_digit()) {
            match runs.last_mut() {
                Some(r) if r.1 == i => r.1 = i + c.len_utf8(),
                _ => runs.push((i, i + c.len_utf8())),
            }
        }
        let (a, b) = runs[which % runs.len()];
        survives(&format!("{}{with}{}", &text[..a], &text[b..]));
    }
}

fn shared_kind(text: &str) -> capsim::workload::Trace {
    capsim::workload::Trace::parse(text, "t", &Options::default())
        .unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// Request logs of gateways, tables of other loggers, and clocks of other units: two requests 0.950 s apart each.
#[test]
fn logs_of_every_kind_become_the_same_trace() {
    let lite = r#"{"ts": "2026-06-23T06:05:03.147785+00:00", "model": "m", "input": [{"role": "user", "content": "x"}], "prompt_tokens": 17, "completion_tokens": 40}
{"ts": "2026-06-23T06:05:04.097456+00:00", "model": "m", "input": [], "prompt_tokens": 265, "completion_tokens": 24}"#;
    let array = r#"[{"startTime": "2026-06-23T08:05:04.097456+02:00", "usage": {"input": 265, "output": 24}},
        {"startTime": "2026-06-23T08:05:03.147785+02:00", "usage": {"input": 17, "output": 40}}]"#;
    let openai = "{\"created\": 1782194703147, \"usage\": {\"prompt_tokens\": 17, \"completion_tokens\": 40}}\n\
                  {\"created\": 1782194704097, \"usage\": {\"prompt_tokens\": 265, \"completion_tokens\": 24}}\n";
    let semicolons = "Timestamp;prompt_tokens;completion_tokens\n2026-06-23 06:05:03.147785;17;40\n2026-06-23 06:05:04.097456;265;24\n";
    let tabs = "start_time\tinput_tokens\toutput_tokens\r\n1782194703147\t17\t40\r\n1782194704097\t265\t24\r\n";
    let otlp = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[
        {"startTimeUnixNano":"1782194704097456000","attributes":[{"key":"gen_ai.usage.prompt_tokens","value":{"intValue":"265"}},{"key":"gen_ai.usage.completion_tokens","value":{"intValue":"24"}}]},
        {"startTimeUnixNano":"1782194703147785000","attributes":[{"key":"gen_ai.usage.prompt_tokens","value":{"intValue":"17"}},{"key":"gen_ai.usage.completion_tokens","value":{"intValue":"40"}}]},
        {"startTimeUnixNano":"1782194703000000000","attributes":[{"key":"http.method","value":{"stringValue":"GET"}}]}]}]}]}"#;
    for text in [lite, array, openai, semicolons, tabs, otlp] {
        let t = shared_kind(text);
        let rows: Vec<(u32, u32)> = t.rows().iter().map(|r| (r.input, r.output)).collect();
        assert_eq!(rows, [(17, 40), (265, 24)], "{text}");
        assert!(
            (t.duration().secs() - 0.95).abs() < 1e-3,
            "{} in {text}",
            t.duration().secs()
        );
    }
    // Without a number of tokens it is none, and says which name is missing.
    let e = capsim::workload::Trace::parse(
        r#"{"ts": 1, "prompt_tokens": 3}"#,
        "t",
        &Options::default(),
    )
    .unwrap_err();
    assert!(e.to_string().contains("completion_tokens"), "{e}");
}

/// Nanoseconds as text, and hash ids of another writer's blocks that end before the prompt does.
#[test]
fn a_trace_with_mooncakes_keys_may_have_another_clock_and_other_blocks() {
    let ids = |n: u32| (0..n).map(|i| i.to_string()).collect::<Vec<_>>().join(",");
    let row = |at: &str, input: u32, n: u32| {
        format!(
            "{{\"timestamp\": {at}, \"input_length\": {input}, \"output_length\": 9, \"hash_ids\": [{}]}}\n",
            ids(n)
        )
    };
    let t = shared_kind(
        &(row("\"1753694362340138614\"", 2288, 64) + &row("\"1753694362521840563\"", 834, 27)),
    );
    assert_eq!(t.duration().0, 181_701_949);
    assert_eq!(t.block_size(), Some(32));
    // One damaged row among sound ones stays an error.
    let damaged = row("0", 1024, 2) + &row("1", 1024, 40);
    let e = capsim::workload::Trace::parse(&damaged, "t", &Options::default())
        .unwrap_err()
        .to_string();
    assert!(
        e.contains("line 2") && e.contains("40 of them do not cover"),
        "{e}"
    );
}

/// Rows that are out of order are put in order where that is asked for, and refused otherwise.
#[test]
fn rows_are_sorted_only_when_asked() {
    let text = "arrived_at,num_prefill_tokens,num_decode_tokens\n0.5,1,1\n0.2,2,2\n0.9,3,3\n";
    let read = |sort| {
        capsim::workload::Trace::parse(
            text,
            "t",
            &Options {
                sort,
                ..Options::default()
            },
        )
    };
    assert!(
        read(false)
            .unwrap_err()
            .to_string()
            .contains("--trace-sort")
    );
    let inputs: Vec<u32> = read(true).unwrap().rows().iter().map(|r| r.input).collect();
    assert_eq!(inputs, [2, 1, 3]);
}
