//! What fits: where the device memory goes, how many requests of which length the KV cache holds, and what would make it fit.
use super::super::bars::Bars;
use super::super::chart::short;
use super::{Picture, Section, figure, head, list, table};
use capsim::plan::memory::Memory;
use capsim::predict::unmodelled;
use capsim::units::Bytes;

fn size(bytes: f64) -> String {
    Bytes(bytes.max(0.0) as u64).to_string()
}

/// Whether it fits, and why not.
fn verdict(m: &Memory) -> String {
    let problem = m.problem.as_deref().unwrap_or("");
    match (m.fits, m.starts) {
        (true, _) => "It fits.".into(),
        (false, true) => format!("It does not fit: the engine starts, but {problem}."),
        (false, false) => format!("It does not fit: {problem}."),
    }
}

/// Requests of each length that the KV cache holds.
fn held(m: &Memory) -> String {
    let rows: Vec<Vec<String>> = m
        .table
        .iter()
        .map(|r| {
            vec![
                r.context.to_string(),
                r.blocks.to_string(),
                size(r.bytes),
                r.held.to_string(),
                r.running.to_string(),
            ]
        })
        .collect();
    let columns = [
        "tokens per request",
        "KV blocks",
        "KV",
        "KV holds",
        "run at once",
    ]
    .map(String::from);
    match rows.is_empty() {
        true => String::new(),
        false => table("Requests that the KV cache holds", &columns, &rows),
    }
}

/// Changes that make it fit, and flags that are not modelled.
fn remarks(m: &Memory) -> Vec<String> {
    let mut all: Vec<String> = vec![];
    for way in &m.ways {
        let same = match way.same_answers {
            true => "",
            false => ", which changes answers",
        };
        let (change, tokens) = (&way.change, way.kv_tokens);
        all.push(format!("fits with {change}{same}: {tokens} KV tokens"));
    }
    if let Some(b) = m.device_needed {
        all.push(format!("fits unchanged on a device with {}", size(b)));
    }
    if let Some(mean) = m.preempts_at {
        all.push(format!(
            "with {} requests running, the KV cache is full beyond {} tokens each on average",
            m.max_num_seqs,
            short(mean)
        ));
    }
    all.extend(m.notes.iter().cloned());
    if !m.unmodelled.is_empty() {
        all.insert(0, unmodelled::memory_sentence(&m.unmodelled));
    }
    all
}

pub fn section(m: &Memory) -> Section {
    let total = m.total;
    let mut sizes: Vec<(&str, f64)> = vec![
        ("weights", m.weights),
        ("activations", m.activations),
        ("runtime", m.non_torch),
        ("KV cache", m.kv_cache),
    ];
    let used: f64 = sizes.iter().map(|s| s.1).sum();
    if used < total {
        sizes.push(("left alone", total - used));
    }
    let bars = Bars {
        title: "Where the memory goes".into(),
        parts: sizes.iter().map(|s| s.0.to_string()).collect(),
        rows: vec![(
            format!(
                "{} of {} on the device ({:.0} %)",
                size(used),
                size(total),
                100.0 * used / total
            ),
            sizes.iter().map(|s| s.1).collect(),
        )],
    };
    let rows: Vec<Vec<String>> = sizes
        .iter()
        .map(|(name, b)| {
            let share = format!("{:.1} %", 100.0 * b / total);
            vec![name.to_string(), size(*b), share]
        })
        .collect();
    let columns = ["part", "size", "share of the device"].map(String::from);
    let picture = Picture::from(bars);
    let answer = match m.answer.is_empty() {
        true => head::answer(&verdict(m)),
        false => head::answer(&m.answer),
    };
    let body = answer
        + &format!(
            "<p class=\"note\">{} KV blocks of {} tokens, max-model-len {}, max-num-seqs {}.</p>\n",
            m.num_gpu_blocks, m.block_size, m.max_model_len, m.max_num_seqs
        )
        + "<div class=\"charts\">\n"
        + &figure(&picture, "")
        + "</div>\n"
        + &table("Memory", &columns, &rows)
        + &held(m)
        + &list(&remarks(m));
    Section {
        title: format!("Memory{}", head::subject(m.about.as_ref())),
        head: head::about(m.about.as_ref()),
        body,
        pictures: vec![picture],
    }
}
