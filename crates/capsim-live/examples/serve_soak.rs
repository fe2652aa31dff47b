//! Many streams against a stand-in server on this machine: how late its tokens are, and how much memory it takes.
//!
//! `cargo run --release -p capsim-live --example serve_soak -- [STREAMS] [SECONDS]`; the client runs in a process of its own, so that the
//! memory shown is the server's. The delay is the server's own account (`capsim:added_delay_seconds`): from the moment at
//! which the simulated engine has a token to its hand-over to the connection.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a soak test lives in real time"
)]
use capsim::cost::LinearCost;
use capsim::device::EngineId;
use capsim::engine::{EngineConfig, Group};
use capsim::units::Span;
use capsim_live::openai::prometheus::Scrape;
use capsim_live::serve::{Options, Server};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn main() {
    let mut args = std::env::args().skip(1);
    let first = args.next().unwrap_or_else(|| "1000".into());
    if first == "client" {
        let address = args.next().expect("address");
        let streams = args.next().expect("streams").parse().expect("a number");
        let tokens = args.next().expect("tokens").parse().expect("a number");
        runtime(1).block_on(client(address, streams, tokens));
        return;
    }
    let streams: u32 = first.parse().expect("streams");
    let seconds: u32 = args.next().map_or(60, |s| s.parse().expect("seconds"));
    runtime(2).block_on(soak(streams, seconds));
}

fn runtime(threads: usize) -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .expect("threads")
}

async fn soak(streams: u32, seconds: u32) {
    // 100 ms per step: what a thousand sequences take on a fast device.
    let step = Span::from_millis(100);
    let tokens = seconds * 10;
    let config = EngineConfig {
        num_gpu_blocks: streams * (tokens + 64) / 16 + 1000,
        max_num_seqs: streams,
        max_num_batched_tokens: 16_384.max(streams),
        max_model_len: tokens + 64,
        ..EngineConfig::default()
    };
    let cost = LinearCost {
        base: step,
        ..LinearCost::default()
    };
    let server = Server::start(Options::default(), EngineId::Vllm, config, Group::ONE, cost)
        .await
        .expect("server");
    let address = server.address().to_string();
    let mut child = std::process::Command::new(std::env::current_exe().expect("own name"))
        .args([
            "client",
            &address,
            &streams.to_string(),
            &tokens.to_string(),
        ])
        .spawn()
        .expect("client");
    let start = Instant::now();
    let mut next = 10;
    let status = loop {
        if let Some(status) = child.try_wait().expect("client") {
            break status;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        if start.elapsed().as_secs() >= next {
            report(&address, start).await;
            next += 10;
        }
    };
    report(&address, start).await;
    println!("client: {status}");
    server.shutdown(Duration::from_secs(1)).await;
}

/// Resident memory of this process in MiB, where the system tells.
fn rss() -> f64 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|s| {
            let line = s.lines().find(|l| l.starts_with("VmRSS"))?.to_string();
            line.split_whitespace().nth(1)?.parse::<f64>().ok()
        })
        .map_or(f64::NAN, |kib| kib / 1024.0)
}

/// Processor seconds of this process so far, where the system tells (in hundredths, as Linux counts).
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<f64> = stat
        .rsplit(')')
        .next()
        .unwrap_or("")
        .split_whitespace()
        .map(|f| f.parse().unwrap_or(f64::NAN))
        .collect();
    match fields.get(11..13) {
        Some(&[user, system]) => (user + system) / 100.0,
        _ => f64::NAN,
    }
}

async fn report(address: &str, start: Instant) {
    let mut s = TcpStream::connect(address).await.expect("connect");
    s.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .expect("write");
    let mut text = String::new();
    s.read_to_string(&mut text).await.expect("read");
    let scrape = Scrape::parse(text.split_once("\r\n\r\n").map_or("", |(_, b)| b));
    let total = |n: &str| scrape.total(n).unwrap_or(f64::NAN);
    let all = total("capsim:added_delay_seconds_count");
    let quantile = |q: f64| {
        scrape
            .named("capsim:added_delay_seconds_bucket")
            .find(|b| b.value >= q * all)
            .map_or("?".to_string(), |b| b.labels["le"].clone())
    };
    println!(
        "{:5.1} s  {:4} running  {:9} tokens  added delay mean {:.2} ms, p50 <= {} s, p99 <= {} s, p99.9 <= {} s  {:.1} us of processor per token  {:.0} MiB",
        start.elapsed().as_secs_f64(),
        total("vllm:num_requests_running"),
        all,
        1e3 * total("capsim:added_delay_seconds_sum") / all,
        quantile(0.5),
        quantile(0.99),
        quantile(0.999),
        1e6 * cpu() / all,
        rss()
    );
}

async fn client(address: String, streams: u32, tokens: u32) {
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..streams {
        let address = address.clone();
        tasks.spawn(async move {
            let body = format!(r#"{{"prompt":"w{i} w1 w2","max_tokens":{tokens},"stream":true}}"#);
            let mut s = TcpStream::connect(&address).await.ok()?;
            s.write_all(
                format!(
                    "POST /v1/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: \
                     application/json\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                )
                .as_bytes(),
            )
            .await
            .ok()?;
            let (mut buffer, mut events, mut last) = (vec![0; 16 << 10], 0u32, b' ');
            loop {
                let n = s.read(&mut buffer).await.ok()?;
                if n == 0 {
                    break;
                }
                for &b in &buffer[..n] {
                    events += u32::from(b == b'\n' && last == b'\n');
                    last = b;
                }
            }
            Some(events)
        });
    }
    let mut whole = 0;
    while let Some(done) = tasks.join_next().await {
        // One event per token and [DONE].
        whole += u32::from(matches!(done, Ok(Some(n)) if n == tokens + 1));
    }
    println!("client: {whole} of {streams} streams complete");
    std::process::exit(i32::from(whole != streams));
}
