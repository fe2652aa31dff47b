//! A report like those that people write by hand.
use super::Row;
use super::escape::{cell, quoted};
use super::prediction::each;
use super::table::three;
use capsim::metrics::{Latency, Metric, Percentiles};
use capsim::predict::{Caveat, Prediction, Refused};
use capsim::workload::WorkloadSpec;
use std::fmt::Write as _;

/// A report of one or several predictions.
pub fn predictions(points: &[Row]) -> String {
    let mut o = String::new();
    let Some(Row {
        scenario,
        prediction: first,
        ..
    }) = points.first()
    else {
        return o;
    };
    let all = |of: fn(&Row) -> String, between: &str| each(points, of).join(between);
    let worst = points
        .iter()
        .filter_map(|r| Refused::by(&r.prediction.run))
        .max_by(|a, b| a.share().total_cmp(&b.share()));
    let refused = worst.map_or(String::new(), |r| match points.len() {
        1 => format!("**Refused:** {r}\n\n"),
        _ => format!("**Refused:** in one row or more, up to {r}\n\n"),
    });
    let _ = writeln!(
        o,
        "# Predicted serving performance\n\n{refused}**Model:** {}  \n**Hardware:** {}  \n**Engine:** {}  \n**Rests on:** device profile \
         {}, engine profile {}; intervals are 90 %\n",
        cell(&all(|r| r.scenario.model_name.clone(), "; ")),
        cell(&all(|r| r.scenario.device.name.clone(), "; ")),
        cell(&all(|r| r.scenario.engine.name.clone(), "; ")),
        all(
            |r| r.scenario.device.provenance.origin.word().into(),
            " or "
        ),
        all(
            |r| r.scenario.engine.provenance.origin.word().into(),
            " or "
        ),
    );
    let _ = writeln!(
        o,
        "| setting | req/s | output tok/s | 90 % | TTFT mean (ms) | TPOT mean (ms) | E2EL mean (s) | P50 | P99 | batch | \
         binds |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    );
    for point in points {
        row(&mut o, point);
    }
    configuration(&mut o, first, &scenario.workload);
    let _ = writeln!(o, "\n## Caveats\n");
    let mut seen: Vec<String> = vec![];
    for Row { prediction: p, .. } in points {
        for c in p
            .caveats
            .iter()
            .filter(|c| !matches!(c, Caveat::Refused(_)))
        {
            let text = c.to_string();
            if !seen.contains(&text) {
                let _ = writeln!(o, "- {}", cell(&text));
                seen.push(text);
            }
        }
    }
    o
}

/// A line of the table.
fn row(o: &mut String, point: &Row) {
    let (varied, p) = (&point.varied, &point.prediction);
    let s = &p.run.summary;
    let setting: Vec<String> = varied
        .iter()
        .map(|(k, v)| cell(&format!("{k} {v}")))
        .collect();
    let interval = p
        .interval_of(Metric::OutputThroughput)
        .map_or("–".into(), |i| {
            format!("{}–{}", three(i.low), three(i.high))
        });
    let e2el = |q| s.e2el.percentile(q, Percentiles::Linear);
    let _ = writeln!(
        o,
        "| {} | {} | {} | {interval} | {} | {} | {} | {} | {} | {} | {} |",
        if setting.is_empty() {
            "as given".into()
        } else {
            setting.join(", ")
        },
        three(s.request_throughput()),
        three(s.output_throughput()),
        three(1e3 * s.ttft.mean()),
        three(1e3 * s.tpot.mean()),
        three(s.e2el.mean()),
        three(e2el(50.0)),
        three(e2el(99.0)),
        three(p.run.occupancy.batch),
        p.binding,
    );
}

/// The settings that the first line was predicted with.
fn configuration(o: &mut String, first: &Prediction, w: &WorkloadSpec) {
    let c = &first.run.settings.config;
    let _ = writeln!(
        o,
        "\n## Configuration of the first row\n\n- **max-num-seqs:** {}\n- **max-num-batched-tokens:** {}\n- **max-model-len:** \
         {}\n- **KV blocks:** {} of {}\n- **Number of prompts:** {}\n- **Input length:** {} tokens\n- **Output length:** {} \
         tokens\n- **Max concurrency:** {}\n- **Prompts:** {:?}",
        c.max_num_seqs,
        c.max_num_batched_tokens,
        c.max_model_len,
        c.num_gpu_blocks,
        c.block_size,
        w.num_prompts,
        w.input_len,
        w.output_len,
        w.max_concurrency.map_or("none".into(), |c| c.to_string()),
        w.prompts,
    );
}

/// Comma-separated values, one line per prediction.
pub fn csv(points: &[Row]) -> String {
    let mut o = String::new();
    let Some(Row { varied, .. }) = points.first() else {
        return o;
    };
    for (k, _) in varied {
        let _ = write!(o, "{k},");
    }
    o.push_str(
        "request_throughput,output_throughput,output_throughput_low,output_throughput_high,mean_ttft_ms,mean_tpot_ms,\
         mean_e2el_ms,p99_e2el_ms,batch,kv_usage_max,preemptions,binds,refused\n",
    );
    for Row {
        varied,
        prediction: p,
        ..
    } in points
    {
        let s = &p.run.summary;
        for (_, v) in varied {
            let _ = write!(o, "{},", quoted(&v.to_string()));
        }
        let i = p.interval_of(Metric::OutputThroughput);
        let m = |metric: Metric| s.metric(metric, Percentiles::Linear);
        let _ = writeln!(
            o,
            "{},{},{},{},{},{},{},{},{},{},{},{},{}",
            s.request_throughput(),
            s.output_throughput(),
            i.map_or(f64::NAN, |i| i.low),
            i.map_or(f64::NAN, |i| i.high),
            m(Metric::mean(Latency::Ttft)),
            m(Metric::mean(Latency::Tpot)),
            m(Metric::mean(Latency::E2el)),
            m(Metric::percentile(Latency::E2el, 99.0)),
            p.run.occupancy.batch,
            p.run.occupancy.kv_max,
            s.preemptions,
            quoted(&p.binding.to_string()),
            s.refused,
        );
    }
    o
}
