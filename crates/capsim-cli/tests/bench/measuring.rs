//! What is sent and measured where nothing goes wrong.
use super::server::{Act, Server};
use capsim::workload::{PromptKind, WorkloadSpec};
use capsim_live::bench::{Api, ClientOptions, Latencies, MetricsAs};

#[test]
fn a_known_schedule_is_measured_as_it_is() {
    let server = Server::start(&[Act::Stream(120, 20)], false);
    let spec = WorkloadSpec {
        warmup: 1,
        ..WorkloadSpec::closed_loop(4, 2, 16, 10)
    };
    let m = server.measure(server.options(), &spec);
    assert_eq!((m.completed(), m.failed(), m.outcomes.len()), (4, 0, 5));
    assert_eq!((m.summary.input_tokens, m.summary.output_tokens), (64, 40));
    assert_eq!(m.remarks(), Vec::<String>::new());
    // A sleep never ends early; on a busy machine it ends late.
    let l = &m.latencies;
    assert!(l.ttft.min() >= 0.118, "{}", l.ttft.min());
    assert!(l.e2el.min() >= 0.118 + 9.0 * 0.018, "{}", l.e2el.min());
    assert_eq!((l.ttft.count(), l.itl.count(), l.tpot.count()), (4, 36, 4));
    for o in m.measured() {
        let t = o.timing().unwrap();
        let gaps: u64 = o.gaps().map(|g| g.0).sum();
        assert_eq!(
            t.ttft().0 + gaps,
            t.e2el().0,
            "nothing is lost between the instants"
        );
        assert!(o.intended <= o.released && o.released <= o.sent && o.sent < t.first_token);
    }
    // Two rounds of two clients: no client asks again before its answer is there.
    assert!(m.summary.duration >= 2.0 * (0.118 + 9.0 * 0.018));
    // Only the measured part counts.
    assert_eq!(m.watched.deltas["vllm:generation_tokens_total"], 40.0);
    assert!(!m.watched.deltas.keys().any(|k| k.contains("created")));
    assert!(
        m.watched
            .series
            .iter()
            .all(|s| s.running == 3.0 && s.kv == 0.25)
    );
    assert!(!m.watched.series.is_empty());
}

#[test]
fn chunks_of_several_tokens_are_noticed() {
    let server = Server::start(&[Act::Chunks(5, 5, 4)], false);
    let m = server.measure(server.options(), &WorkloadSpec::closed_loop(2, 1, 4, 16));
    assert_eq!(m.summary.output_tokens, 32);
    assert!(
        m.outcomes
            .iter()
            .all(|o| o.chunks.len() == 4 && o.multi_token_chunks())
    );
    assert!(
        m.remarks()[0].contains("4.00 per chunk"),
        "{:?}",
        m.remarks()
    );
}

#[test]
fn the_role_chunk_is_a_token_only_for_vllm_0_12() {
    let server = Server::start(&[Act::Stream(80, 2)], true);
    let options = ClientOptions {
        api: Api::Chat,
        ..server.options()
    };
    let driven = server.drive(options, &WorkloadSpec::closed_loop(2, 1, 6, 8));
    let of = |rule| Latencies::of(&driven.outcomes, rule);
    let (new, old) = (of(MetricsAs::Vllm), of(MetricsAs::Vllm012));
    assert_eq!((new.itl.count(), old.itl.count()), (14, 16));
    assert!(new.ttft.min() >= 0.078);
    assert!(old.ttft.mean() < new.ttft.mean() - 0.03);
    let seen = server.stub.seen.lock().unwrap();
    let content = seen[0]["messages"][0]["content"].as_str().unwrap();
    assert_eq!(content.split(' ').count(), 6);
    assert!(seen[0].get("max_tokens").is_none());
}

#[test]
fn a_limit_on_concurrency_is_seen_as_a_wait_at_the_client_and_hides_nothing() {
    // Ten requests all but at once, one at a time: the k-th waits k answers long, and its own latency does not grow.
    let server = Server::start(&[Act::Stream(40, 1)], false);
    let spec = WorkloadSpec {
        max_concurrency: Some(1),
        ..WorkloadSpec::open_loop(10, 1000.0, 4, 2)
    };
    let m = server.measure(server.options(), &spec);
    assert_eq!(m.completed(), 10);
    let held: Vec<f64> = m.outcomes.iter().map(|o| o.held().secs()).collect();
    assert!(held[9] > 9.0 * 0.038, "{held:?}");
    assert!(held.windows(2).all(|w| w[0] < w[1]), "{held:?}");
    assert!(m.outcomes.windows(2).all(|w| w[0].chunks[1] <= w[1].sent));
}

#[test]
fn open_loop_arrivals_do_not_wait_for_a_slow_server() {
    let server = Server::start(&[Act::Stream(400, 1)], false);
    let spec = WorkloadSpec {
        vllm_bench: true,
        ..WorkloadSpec::open_loop(20, 100.0, 4, 2)
    };
    let m = server.measure(server.options(), &spec);
    let wanted = capsim::workload::vllm_bench::arrivals(20, Some(100.0), 1.0, 0);
    for (o, at) in m.outcomes.iter().zip(wanted) {
        assert!((o.intended.secs() - at).abs() < 1e-6);
        assert!(o.sent >= o.intended);
        assert_eq!(o.held().0 / 1_000_000_000, 0);
    }
    let last_sent = m.outcomes.iter().map(|o| o.sent).max();
    let first_answer = m.outcomes.iter().map(|o| o.chunks[0]).min();
    assert!(
        last_sent < first_answer,
        "all were sent before any was answered"
    );
}

#[test]
fn what_is_sent_is_what_the_workload_says() {
    let server = Server::start(&[Act::Stream(1, 1)], false);
    let spec = WorkloadSpec {
        prompts: PromptKind::SharedPrefix,
        shared_prefix_len: 12,
        ..WorkloadSpec::closed_loop(3, 1, 20, 3)
    };
    let options = ClientOptions {
        extra_body: serde_json::from_str(r#"{"top_p": 0.5}"#).unwrap(),
        ..server.options()
    };
    server.drive(options, &spec);
    let seen = server.stub.seen.lock().unwrap();
    let ids = |i: usize| seen[i]["prompt"].as_array().unwrap().clone();
    assert_eq!(ids(0).len(), 20);
    assert_eq!(ids(0)[..12], ids(2)[..12]);
    assert_ne!(ids(0)[12..], ids(2)[12..]);
    let b = &seen[0];
    assert_eq!(
        [
            &b["model"],
            &b["max_tokens"],
            &b["temperature"],
            &b["ignore_eos"],
            &b["stream"],
            &b["top_p"]
        ],
        [
            &serde_json::json!("stub"),
            &serde_json::json!(3),
            &serde_json::json!(0.0),
            &serde_json::json!(true),
            &serde_json::json!(true),
            &serde_json::json!(0.5)
        ]
    );
    assert_eq!(b["stream_options"]["include_usage"], true);
}
