//! An answer of `capsim memory` for people.
use super::capacity::labelled;
use super::table::{plain, wrap};
use capsim::device::{EngineId, Quantity};
use capsim::model::{Ffn, Layer, Mixer};
use capsim::plan::memory::{HostPart, Memory, StagePart, Way};
use capsim::predict::{Scenario, unmodelled};
use capsim::units::Bytes;
use std::fmt::Write as _;

fn size(bytes: f64) -> String {
    Bytes(bytes.max(0.0) as u64).to_string()
}

/// 1234567 as 1,234,567: as vLLM logs it.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut o = String::new();
    for (i, d) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            o.push(',');
        }
        o.push(d);
    }
    o
}

/// The whole answer.
pub fn text(scenario: &Scenario, m: &Memory) -> String {
    let mut o = super::answer::lines(&m.answer);
    let _ = write!(
        o,
        "{}\non {}\n\n",
        scenario.model_name, scenario.device.name
    );
    if !m.unmodelled.is_empty() {
        o.push_str(&labelled(
            "Left out",
            &unmodelled::memory_sentence(&m.unmodelled),
        ));
    }
    let verdict = match (&m.problem, m.starts) {
        (None, _) => "yes".to_string(),
        (Some(p), true) => format!("the engine starts, but {p}"),
        (Some(p), false) => format!("no: {p}"),
    };
    o.push_str(&labelled("Fits", &verdict));
    let assumed = &scenario.model.config().assumed;
    if !assumed.is_empty() {
        o.push_str(&labelled("Assumed", &assumed.join("; ")));
    }
    o.push('\n');
    o.push_str(&parts(scenario, m));
    o.push_str(&stages(&m.stages));
    o.push_str(&on_host(scenario, m.host_weights, m.host_kv));
    if !m.table.is_empty() {
        o.push_str(&logged(m));
        o.push_str(&contexts(m));
        o.push_str(&preempted(m));
    }
    if let Some(h) = &m.host {
        o.push_str(&host(m, h));
    } else if scenario.device.memory.unified {
        o.push_str(&labelled(
            "Host",
            "shares this memory: --host-ram-gib (with --carve-out-gib or --gtt-gib) tells what it keeps",
        ));
    }
    if !m.fits {
        o.push_str(&fixes(m));
    }
    for note in m.notes.iter().filter(|n| !assumed.contains(n)) {
        o.push_str(&labelled("Caveat", note));
    }
    o
}

/// Where the memory goes.
fn parts(scenario: &Scenario, m: &Memory) -> String {
    let mut t = plain(["", "GiB", "share", "how"]);
    let share = |b: f64| format!("{:.1} %", 100.0 * b / m.total);
    let gib = |b: f64| format!("{:.2}", b / 1_073_741_824.0);
    for (name, bytes, how) in [
        (
            "device memory",
            m.total,
            "what the runtime reports".to_string(),
        ),
        (
            "engine may use",
            m.requested,
            format!("× gpu-memory-utilization {}", m.utilization),
        ),
        ("weights", m.weights + m.position_table, stored(scenario)),
        ("vision tower", m.encoder, "exact, bf16 or fp16".to_string()),
        ("drafter", m.drafter, drafter(scenario)),
        (
            "activations",
            m.activations,
            if m.kv_tokens > 0 {
                format!("estimated, {} tokens", m.max_num_batched_tokens)
            } else {
                "estimated".into()
            },
        ),
        ("runtime", m.non_torch, "estimated".into()),
        (
            "KV cache",
            m.kv_cache,
            match m.num_gpu_blocks {
                0 => String::new(),
                n => format!("{n} blocks of {}", size(m.kv_per_block)),
            },
        ),
        ("outside", m.outside, "graphs, other processes".into()),
    ] {
        if !["vision tower", "drafter"].contains(&name) || bytes > 0.0 {
            t.add_row([name.to_string(), gib(bytes), share(bytes), how]);
        }
    }
    let mut o = String::new();
    for l in t.to_string().lines() {
        let _ = writeln!(o, "{}", l.trim_end());
    }
    o.push('\n');
    o
}

/// The stages of a pipeline; empty without one.
fn stages(all: &[StagePart]) -> String {
    if all.is_empty() {
        return String::new();
    }
    let one = |s: &StagePart| {
        format!(
            "{} layers, {} of weights, {} blocks",
            s.layers,
            size(s.weights),
            s.num_gpu_blocks
        )
    };
    let text = format!(
        "{}; above stands the stage with the fewest blocks, of which all have as many",
        all.iter().map(one).collect::<Vec<_>>().join("; ")
    );
    labelled("Stages", &text)
}

/// How large a drafter is known to be.
fn drafter(scenario: &Scenario) -> String {
    match scenario.speculation.drafter {
        Some(_) => "the draft model".into(),
        None => "layers like the model's own".into(),
    }
}

/// What lies in the host's memory, and the rates that count for it; empty where nothing does.
pub(super) fn on_host(scenario: &Scenario, weights: f64, kv: f64) -> String {
    if weights + kv == 0.0 {
        return String::new();
    }
    let rates = scenario.device.host_rates();
    let rate = |q: &Quantity, unit: f64, name: &str| {
        let p = &q.provenance;
        let value = q.value / unit;
        format!("{value:.0} {name} ({}: {})", p.origin.word(), p.source)
    };
    let computes = scenario.engine.scheduler == EngineId::LlamaServer;
    let mut text = format!(
        "{} of weights, {} of KV; bus {}",
        size(weights),
        size(kv),
        rate(&rates.bus, 1e9, "GB/s")
    );
    if computes {
        let _ = write!(
            text,
            "; the processor computes with {}, {}",
            rate(&rates.memory, 1e9, "GB/s"),
            rate(&rates.arithmetic, 1e9, "GFLOPS")
        );
    }
    labelled("Offloaded", &text)
}

/// The formats of the weights by kind of matrix, those that the model has.
fn stored(scenario: &Scenario) -> String {
    let p = scenario.model.precision();
    let layers = &scenario.model.config().layers;
    let recurrent = |l: &Layer| l.mixer.as_ref().is_some_and(Mixer::is_recurrent);
    let dense = |l: &Layer| matches!(l.ffn, Some(Ffn::Dense(_)));
    let mut kinds = vec![("attention", p.attention)];
    if layers.iter().any(recurrent) {
        kinds.push(("recurrent", p.recurrent));
    }
    if layers.iter().any(dense) {
        kinds.push(("MLP", p.mlp));
    }
    if scenario.model.experts().is_some() {
        kinds.push(("experts", p.experts));
    }
    if kinds.iter().all(|(_, f)| *f == kinds[0].1) {
        return format!("exact, {}", kinds[0].1);
    }
    let each: Vec<String> = kinds.iter().map(|(k, f)| format!("{k} {f}")).collect();
    format!("exact, {}", each.join(", "))
}

/// What a host that shares its memory keeps.
fn host(m: &Memory, h: &HostPart) -> String {
    let kind = if h.carved_out { "carve-out" } else { "GTT" };
    let enough = if h.left >= h.reserve {
        "enough"
    } else {
        "too little"
    };
    let mut text = format!(
        "{} left while the engine holds all it may ({kind}); {} wanted: {enough}",
        size(h.left),
        size(h.reserve)
    );
    match (h.carved_out, h.utilization) {
        (true, _) if h.left < h.reserve => {
            text += "; only a smaller carve-out in the firmware gives the host more";
        }
        (false, Some(u)) if h.left < h.reserve => {
            let _ = write!(text, "; --gpu-memory-utilization {u:.2} leaves it");
        }
        (false, None) => text += "; no utilisation leaves it",
        _ => {}
    }
    if !h.carved_out {
        let _ = write!(
            text,
            ". GTT of this size: ttm.pages_limit={} (pages of 4096 bytes)",
            (m.total / 4096.0) as u64
        );
    }
    labelled("Host", &text)
}

fn logged(m: &Memory) -> String {
    let mut o = String::from("vLLM logs this as\n");
    let _ = writeln!(o, "  GPU KV cache size: {} tokens", grouped(m.kv_tokens));
    if m.max_concurrency >= 1.0 {
        let _ = writeln!(
            o,
            "  Maximum concurrency for {} tokens per request: {:.2}x",
            grouped(m.max_model_len.into()),
            m.max_concurrency
        );
        let text = format!(
            "{:.2} requests that use all of max-model-len; shorter ones are more, and max-num-seqs {} lets no more run. It says \
             nothing of latency: `capsim capacity` does.",
            m.max_concurrency, m.max_num_seqs
        );
        let _ = writeln!(o, "That is {}", wrap(&text, 72, ""));
    }
    o.push('\n');
    o
}

fn contexts(m: &Memory) -> String {
    let mut t = plain([
        "tokens per request",
        "KV blocks",
        "KV GiB",
        "KV holds",
        "run at once",
    ]);
    for r in &m.table {
        t.add_row([
            r.context.to_string(),
            r.blocks.to_string(),
            format!("{:.3}", r.bytes / 1_073_741_824.0),
            r.held.to_string(),
            if r.context > m.max_model_len {
                "> max-model-len".into()
            } else {
                r.running.to_string()
            },
        ]);
    }
    let mut o = String::new();
    for l in t.to_string().lines() {
        let _ = writeln!(o, "{}", l.trim_end());
    }
    o.push('\n');
    o
}

fn preempted(m: &Memory) -> String {
    let text = match m.preempts_at {
        None => format!(
            "never: {} requests of {} tokens fit together",
            m.max_num_seqs, m.max_model_len
        ),
        Some(mean) => format!(
            "with {} requests running, beyond {:.0} tokens each on average ({} of max-model-len {}). Then the request {} loses its blocks \
             and is computed again from its beginning",
            m.max_num_seqs,
            mean,
            format_args!("{:.0} %", 100.0 * mean / f64::from(m.max_model_len)),
            m.max_model_len,
            if m.fcfs {
                "admitted last"
            } else {
                "of the least urgent priority"
            }
        ),
    };
    labelled("Preempts", &text)
}

fn fixes(m: &Memory) -> String {
    let list = |same: bool| -> Vec<String> {
        let of = |w: &Way| format!("{} ({} KV tokens)", w.change, grouped(w.kv_tokens));
        m.ways
            .iter()
            .filter(|w| w.same_answers == same)
            .map(of)
            .collect()
    };
    let (same, other) = (list(true), list(false));
    let mut o = String::from("\nSmallest changes that make it fit:\n");
    for w in same
        .iter()
        .cloned()
        .chain(other.iter().map(|w| format!("{w}, which changes answers")))
    {
        let _ = writeln!(o, "  {}", wrap(&w, 76, "    "));
    }
    if same.is_empty() && other.is_empty() {
        o.push_str("  none: no single setting and no other weights or KV format do\n");
    }
    match m.device_needed {
        Some(b) => {
            let _ = writeln!(o, "  a device with {} of memory", size(b));
        }
        None => o.push_str("  no device memory would do: other settings forbid it\n"),
    }
    o
}
