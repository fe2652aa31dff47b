//! llama-benchy's `--format json` (eugr/llama-benchy@ae09cab5: schemas/sample.json): points of concurrency × context × prompt × answer.
//! `e2e_ttft` is the time to the first token of an answer, `tg_req_throughput` a request's rate after it: (n − 1)/(last − first).
use super::{Bad, Recorded, Recording, Tool, number, tokens};
use capsim::metrics::{Latency, Metric};
use capsim::workload::{Prompt, Segment, StreamId};
use serde_json::Value;

pub(super) fn is(v: &Value) -> bool {
    let first = v.pointer("/benchmarks/0");
    first.is_some_and(|b| b.get("pp_throughput").is_some() || b.get("tg_throughput").is_some())
}

pub(super) fn read(v: &Value) -> Result<Vec<Recording>, Bad> {
    let points = v["benchmarks"].as_array().map_or(&[][..], Vec::as_slice);
    let cached = v["prefix_caching_enabled"] == true;
    points
        .iter()
        .enumerate()
        .map(|(i, p)| point(p, &format!("benchmarks[{i}]"), v, cached))
        .collect()
}

/// How many times a point was measured.
fn runs(p: &Value, clients: u32) -> u32 {
    let of = |v: &Value| v.as_array().map_or(0, Vec::len) as u32;
    let values = of(&p["e2e_ttft"]["values"]) / clients;
    of(&p["throughput_over_time"]).max(values).clamp(1, 1000)
}

fn point(p: &Value, place: &str, v: &Value, cached: bool) -> Result<Recording, Bad> {
    let at = |f: &str| format!("{place}.{f}");
    let count = |f: &str| tokens(&p[f], &at(f));
    let mut r = Recording::empty(Tool::LlamaBenchy);
    r.model = v["model"].as_str().map(Into::into);
    let clients = count("concurrency")?;
    if !(1..=65_536).contains(&clients) {
        return Err((
            at("concurrency"),
            format!("must lie between 1 and 65536, not {clients}"),
        ));
    }
    let (context, prompt, answer) = (
        count("context_size")?,
        count("prompt_size")?,
        count("response_size")?,
    );
    r.max_concurrency = Some(clients);
    let first = ["e2e_ttft", "ttfr"]
        .iter()
        .map(|k| &p[*k])
        .find(|t| t.is_object());
    if let Some(t) = first {
        r.statistics(Latency::Ttft, t, 1.0);
    }
    let rate = p
        .pointer("/tg_req_throughput/mean")
        .or_else(|| p.pointer("/tg_throughput/mean"))
        .filter(|t| !t.is_null());
    if let Some(rate) = rate {
        let rate = number(rate, &at("tg_req_throughput.mean"))?;
        r.state(
            Metric::mean(Latency::Tpot),
            (rate > 0.0).then(|| 1e3 / rate),
        );
    }
    r.left_out
        .push("pp and tg throughput of all requests together (rates over parts of a run)".into());
    // The context comes first; with a prefix cache it was sent before, alone.
    let alone = p["is_context_prefill_phase"] == true;
    let input = if alone { context } else { context + prompt };
    let requests = clients * runs(p, clients);
    let shared = cached && context > 0 && !alone;
    let segment = |stream: u64, len: u32| Segment {
        stream: StreamId(stream),
        start: 0,
        len,
    };
    let request = |i: u32, measured: bool, len: u32| {
        let own = 1_000_000 + 2 * u64::from(i);
        let of_client = 500_000 + u64::from(i % clients);
        Recorded {
            measured,
            ok: true,
            input: len,
            output: answer.max(1),
            prompt: shared.then(|| match len.checked_sub(context).filter(|n| *n > 0) {
                Some(rest) => Prompt::new([segment(of_client, context), segment(own, rest)]),
                None => Prompt::new([segment(of_client, context)]),
            }),
            answer: shared.then_some(StreamId(own + 1)),
            ..Recorded::default()
        }
    };
    if shared {
        r.requests
            .extend((0..clients).map(|i| request(i, false, context)));
    }
    r.requests
        .extend((0..requests).map(|i| request(i, true, input)));
    r.notes.push(format!(
        "{clients} clients, {context} tokens of context{}, {prompt} prompt and {answer} output tokens",
        match (alone, shared) {
            (true, _) => " (this point: the context alone)",
            (_, true) => ", found in the prefix cache",
            _ => "",
        }
    ));
    Ok(r)
}
