//! Whatever goes wrong, every request is accounted for.
use super::server::{Act, Server, drive};
use capsim::workload::WorkloadSpec;
use capsim_live::bench::scrape::ServerInfo;
use capsim_live::bench::{Api, ClientOptions, FailureKind, Measured, MetricsAs, Outcome};
use std::time::Duration;
use tokio::sync::watch;

fn kind(o: &Outcome) -> Option<FailureKind> {
    o.failure.as_ref().map(|f| f.kind)
}

#[test]
fn every_way_to_fail_is_told_apart_and_every_request_accounted_for() {
    let acts = [
        Act::Stream(2, 1),
        Act::Status(429),
        Act::Status(500),
        Act::Reset,
        Act::Cut,
        Act::Garbage,
        Act::Html,
        Act::ErrorInside,
        Act::NoUsage(2, 1),
        Act::Short,
        Act::Whole,
        Act::Closing(2, 1),
    ];
    for chat in [false, true] {
        let server = Server::start(&acts, chat);
        let spec = WorkloadSpec::closed_loop(acts.len() as u32, 3, 8, 5);
        let options = ClientOptions {
            api: if chat { Api::Chat } else { Api::Completions },
            ..server.options()
        };
        let m = server.measure(options, &spec);
        let kinds: Vec<_> = m.outcomes.iter().map(kind).collect();
        use FailureKind::*;
        assert_eq!(
            kinds[..8],
            [
                None,
                Some(Status(429)),
                Some(Status(500)),
                Some(BrokenStream),
                Some(BrokenStream),
                Some(Garbage),
                Some(Garbage),
                Some(ServerError)
            ],
            "chat: {chat}"
        );
        assert!(kinds[8..].iter().all(Option::is_none), "{kinds:?}");
        assert_eq!(m.completed() + m.failed(), acts.len() as u64);
        let tokens: Vec<u32> = m.outcomes.iter().map(Outcome::output_tokens).collect();
        assert_eq!(
            tokens[8..],
            [5, 4, 5, 5],
            "counted by chunks, short, whole, closed apart"
        );
        assert!(m.outcomes[9].wrong_count(true));
        assert!(!m.outcomes[10].streamed);
        assert_eq!(
            m.outcomes[11].chunks.len(),
            5,
            "the closing chunk is no token"
        );
        let remarks = m.remarks().join("\n");
        for words in [
            "status 429: ",
            "as scripted",
            "broken stream",
            "EngineCore died",
            "another number of tokens",
            "without usage",
            "not streamed",
        ] {
            assert!(remarks.contains(words), "`{words}` is not in {remarks}");
        }
    }
}

#[test]
fn a_dead_and_a_silent_server_are_no_reason_to_hang() {
    let mut server = Server::start(&[Act::Stall], false);
    let options = ClientOptions {
        timeout: Duration::from_millis(300),
        ..server.options()
    };
    let spec = WorkloadSpec::closed_loop(2, 2, 4, 4);
    let m = server.measure(options.clone(), &spec);
    assert!(
        m.outcomes
            .iter()
            .all(|o| kind(o) == Some(FailureKind::Timeout))
    );
    server.kill();
    std::thread::sleep(Duration::from_millis(100));
    let m = server.measure(options, &spec);
    assert!(
        m.outcomes
            .iter()
            .all(|o| kind(o) == Some(FailureKind::Connect)),
        "{:?}",
        m.remarks()
    );
}

#[test]
fn a_server_killed_in_the_middle_leaves_every_request_accounted_for() {
    let mut server = Server::start(&[Act::Stream(30, 30)], false);
    let spec = WorkloadSpec::closed_loop(40, 4, 4, 10);
    let url = server.options();
    let runner = std::thread::spawn(move || {
        let (_keep, stop) = watch::channel(false);
        drive(url, &spec, stop)
    });
    std::thread::sleep(Duration::from_millis(900));
    server.kill();
    let driven = runner.join().unwrap();
    assert_eq!(driven.outcomes.len(), 40);
    let ids: Vec<u64> = driven.outcomes.iter().map(|o| o.id).collect();
    assert_eq!(ids, (0..40).collect::<Vec<_>>());
    let failed = driven.outcomes.iter().filter(|o| !o.ok()).count();
    assert!(failed > 0, "killed before the end");
    assert!(driven.outcomes.iter().all(|o| matches!(
        kind(o),
        None | Some(FailureKind::BrokenStream | FailureKind::Connect)
    )));
}

#[test]
fn retries_count_from_the_first_try() {
    let server = Server::start(&[Act::Later(2)], false);
    let spec = WorkloadSpec::closed_loop(2, 1, 4, 4);
    let m = server.measure(server.options(), &spec);
    assert_eq!(m.failed(), 2, "no retries unless asked for");
    let server = Server::start(&[Act::Later(2)], false);
    let options = ClientOptions {
        retries: 2,
        ..server.options()
    };
    let m = server.measure(options, &spec);
    assert_eq!(m.completed(), 2, "{:?}", m.remarks());
    assert!(m.outcomes.iter().all(|o| o.retries == 2));
    assert!(
        m.latencies.ttft.min() >= 0.6,
        "the pauses of 200 and 400 ms count"
    );
}

#[test]
fn an_interrupted_run_keeps_what_it_has() {
    let server = Server::start(&[Act::Stream(10, 10)], false);
    let spec = WorkloadSpec::closed_loop(1000, 2, 4, 10);
    let (tell, stop) = watch::channel(false);
    let options = server.options();
    let runner = std::thread::spawn(move || drive(options, &spec, stop));
    std::thread::sleep(Duration::from_millis(700));
    tell.send(true).unwrap();
    let driven = runner.join().unwrap();
    let m = Measured::new(driven, MetricsAs::Vllm, None, true, ServerInfo::default());
    assert!(m.interrupted);
    assert!(m.completed() > 0);
    assert_eq!(m.completed() + m.failed() + m.never_sent(), 1000);
    assert!(m.failures().keys().all(|k| *k == FailureKind::Interrupted));
    assert!(m.remarks()[0].starts_with("PARTIAL"), "{:?}", m.remarks());
}
