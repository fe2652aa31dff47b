//! A calibration for people: a table that says what was measured, what it is worth and what it means.
use super::json::calibration::Calibration;
use super::table::{plain, three, with_header, wrap};
use capsim_calibrate::backend::Api;
use capsim_calibrate::compare::{Difference, Verdict};
use capsim_calibrate::fit::{Fit, flags};
use capsim_calibrate::meaning::{self, Meaning};
use capsim_calibrate::samples::{Flag, Outcome, SamplesFile};
use std::fmt::Write as _;

/// A number with three digits and a decimal prefix: `212 G`.
pub fn si(v: f64) -> String {
    for (scale, prefix) in [(1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")] {
        if v.abs() >= 0.9995 * scale {
            return format!("{} {prefix}", three(v / scale));
        }
    }
    for (scale, prefix) in [(1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n")] {
        if v.abs() >= 0.9995 * scale {
            return format!("{} {prefix}", three(v / scale));
        }
    }
    format!("{v} ")
}

fn percent(v: f64) -> String {
    if v.is_finite() {
        format!("{:.1} %", 100.0 * v)
    } else {
        "–".into()
    }
}

fn size(bytes: f64) -> String {
    if bytes >= f64::from(1 << 30) {
        format!("{} GiB", three(bytes / f64::from(1 << 30)))
    } else if bytes >= f64::from(1 << 20) {
        format!("{} MiB", three(bytes / f64::from(1 << 20)))
    } else {
        format!("{} KiB", three(bytes / 1024.0))
    }
}

fn words(flag: Flag) -> &'static str {
    match flag {
        Flag::Noisy => "noisy (spread above 5 %)",
        Flag::Throttled => "measured while the device was throttled",
        Flag::Drifted => "measured while the device was slower than at the start",
        Flag::FewSamples => "with fewer than 11 samples: time ran out",
        Flag::ClocksDisagree => "device and host clock disagree by more than 10 %",
        Flag::HostClock => "by the host's clock: the device has none",
        Flag::RingDoubled => "first above physics, measured again with twice the ring",
        Flag::OutOfOrder => "slower than a point with more work",
    }
}

/// Whom the figures speak for.
pub fn software_warning(file: &SamplesFile) -> Option<String> {
    match (file.api, file.device.software) {
        (Api::Synthetic, _) => {
            Some("A synthetic device: these numbers are made up, for tests.".into())
        }
        (Api::Cpu, _) => Some(
            "These are the speeds of this machine's processor, not of a GPU. To measure a GPU, install its OpenCL or Vulkan driver \
             (`capsim devices` says what is there)."
                .into(),
        ),
        (Api::Torch, true) => Some(
            "These are the speeds of PyTorch on this machine's processor, not of a GPU.".into(),
        ),
        (_, true) => Some(format!(
            "{} runs on the processor: these are no GPU speeds, and far below what the processor can do. They show that measuring \
             works, no more.",
            file.device.name
        )),
        _ => None,
    }
}

fn rates(file: &SamplesFile, fit: &Fit) -> String {
    let p = &fit.profile;
    let limit = |value: f64, peak: Option<f64>| {
        peak.map_or_else(
            || "–".to_string(),
            |l| format!("{:.0} %", 100.0 * value / l),
        )
    };
    let mut t = plain(["", "rate", "spread", "of peak"]);
    let row = |t: &mut comfy_table::Table, a: String, v: String, sd: f64, peak: String| {
        t.add_row([a, v, format!("±{:.1} %", 100.0 * sd), peak]);
    };
    let last = p.stream_read.points[p.stream_read.points.len() - 1];
    row(
        &mut t,
        format!("read from memory ({})", size(last.x)),
        format!("{}B/s", si(last.y)),
        last.rel_sd,
        limit(last.y, file.limits.bandwidth),
    );
    if let Some(top) = p
        .stream_read
        .points
        .iter()
        .max_by(|a, b| a.y.total_cmp(&b.y))
        .filter(|top| top.y > 1.15 * last.y)
    {
        row(
            &mut t,
            format!("read from cache ({})", size(top.x)),
            format!("{}B/s", si(top.y)),
            top.rel_sd,
            "–".into(),
        );
    }
    let g = &p.gemm_f16.points;
    for point in [g.first(), g.get(g.len() / 2), g.last()]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .into_iter()
        .fold(vec![], |mut v: Vec<&capsim::device::Point>, q| {
            if v.iter().all(|w| w.x != q.x) {
                v.push(q);
            }
            v
        })
    {
        row(
            &mut t,
            format!(
                "matrix product, {} row{}",
                point.x,
                if point.x == 1.0 { "" } else { "s" }
            ),
            format!("{}op/s", si(point.y)),
            point.rel_sd,
            limit(point.y, file.limits.flops),
        );
    }
    let measured = capsim::device::Origin::Measured;
    if p.attention_prefill.provenance.origin == measured {
        let a = p.attention_prefill.points[p.attention_prefill.points.len() - 1];
        row(
            &mut t,
            format!("prefill attention, {} tokens", a.x),
            format!("{}op/s", si(a.y)),
            a.rel_sd,
            limit(a.y, file.limits.flops),
        );
    }
    if p.launch.provenance.origin == measured {
        row(
            &mut t,
            "launch of a dependent kernel".into(),
            format!("{}s", si(p.launch.value)),
            p.launch.rel_sd,
            "–".into(),
        );
    }
    format!("{t}\n")
}

fn quality(fit: &Fit) -> String {
    let mut t = plain(["curve", "points", "spread", "left out: median", "p90", ""]);
    for f in &fit.families {
        t.add_row([
            f.name.clone(),
            f.points.to_string(),
            percent(f.spread),
            percent(f.median_error),
            percent(f.p90_error),
            match f.good() {
                Some(true) => "good".into(),
                Some(false) => "coarse".into(),
                None => "–".into(),
            },
        ]);
    }
    format!("{t}\n")
}

fn outcome_counts(file: &SamplesFile) -> String {
    let (mut measured, mut dropped, mut failed, mut unsupported) = (0, 0, 0, 0);
    for p in &file.points {
        match p.outcome {
            Outcome::Measured => measured += 1,
            Outcome::Dropped(_) => dropped += 1,
            Outcome::Failed(_) | Outcome::Crashed(_) => failed += 1,
            Outcome::Unsupported(_) => unsupported += 1,
        }
    }
    let mut s = format!("{measured} points measured");
    for (n, what) in [
        (failed, "failed"),
        (unsupported, "not supported"),
        (dropped, "dropped for lack of time"),
    ] {
        if n > 0 {
            let _ = write!(s, ", {n} {what}");
        }
    }
    s + "."
}

fn meaning_lines(file: &SamplesFile, m: &Meaning) -> Vec<String> {
    let mut lines = vec![format!(
        "Qwen3-30B-A3B in bf16, one sequence, {} tokens of context: at most {} tokens/s if every kernel of the engine were as good as \
         these microbenchmarks, about {} tokens/s as vLLM 0.12 on ROCm uses a device. The second figure carries efficiencies \
         published for the Radeon 8060S over to this device: fit your own with `capsim validate --fit`.",
        meaning::CONTEXT,
        three(m.roof),
        three(m.engine)
    )];
    if !m.fits {
        lines.push(format!(
            "The weights ({} GB) do not fit into this device's memory: the figures say how fast they would be if they did.",
            three(m.weight_bytes / 1e9)
        ));
    }
    if file.device.software {
        lines.push("On a software device these figures mean nothing for serving.".into());
    }
    lines
}

fn remarks(file: &SamplesFile, fit: &Fit) -> Vec<String> {
    let mut all = vec![];
    for (flag, n) in flags(file) {
        all.push(format!("{n} points: {}", words(flag)));
    }
    let mut cliffs: Vec<String> = fit
        .falls
        .iter()
        .map(|(curve, f)| {
            format!(
                "{curve}: the rate falls to {:.0} % between {} and {}: a kernel switch or a scheduling cliff; both points are kept",
                100.0 * f.factor,
                f.before,
                f.after
            )
        })
        .collect();
    cliffs.dedup();
    let more = cliffs.len().saturating_sub(6);
    all.extend(cliffs.into_iter().take(6));
    if more > 0 {
        all.push(format!("{more} more such falls (device.json, `switches`)"));
    }
    all.extend(fit.notes.iter().cloned());
    let mut failures: Vec<(String, usize)> = vec![];
    for p in &file.points {
        if let Outcome::Failed(why) | Outcome::Crashed(why) = &p.outcome {
            match failures.iter_mut().find(|(w, _)| w.ends_with(why.as_str())) {
                Some((_, n)) => *n += 1,
                None => failures.push((format!("{}: {why}", p.key()), 1)),
            }
        }
    }
    for (why, n) in failures.iter().take(6) {
        // A compiler's log can be long: the file has it whole.
        let short: String = why.chars().take(220).collect();
        all.push(match n {
            1 => short,
            n => format!("{short} (and {} more)", n - 1),
        });
    }
    all
}

/// The answer on a terminal, at most 80 columns wide.
pub fn text(file: &SamplesFile, fit: &Fit, meaning: Option<&Meaning>) -> String {
    let mut o = format!(
        "{}\n{}\n\n",
        wrap(&fit.profile.name, 78, ""),
        wrap(
            &format!("{} · {}", file.device.driver, file.device.api_version),
            78,
            ""
        )
    );
    if let Some(w) = software_warning(file) {
        let _ = writeln!(o, "{}\n", wrap(&w, 78, ""));
    }
    o += &rates(file, fit);
    if !file.limits.source.is_empty() {
        let _ = writeln!(
            o,
            "{}",
            wrap(&format!("Peak: {}.", file.limits.source), 78, "")
        );
    }
    o.push('\n');
    if let Some(m) = meaning {
        for l in meaning_lines(file, m) {
            let _ = writeln!(o, "{}", wrap(&l, 78, ""));
        }
        o.push('\n');
    }
    let _ = writeln!(o, "{}", outcome_counts(file));
    for r in remarks(file, fit) {
        let _ = writeln!(o, "  - {}", wrap(&r, 74, "    "));
    }
    let _ = writeln!(o, "\nHow well the curves predict their own points:");
    o += &quality(fit);
    o
}

fn markdown_table(plain: &str) -> String {
    format!("```text\n{}\n```\n", plain.trim_end())
}

/// The README of a calibration folder.
pub fn readme(file: &SamplesFile, fit: &Fit, meaning: Option<&Meaning>) -> String {
    let mut o = format!(
        "# {}\n\nMeasured {} by capsim {} with `{}`.\n\n",
        fit.profile.name, file.started, file.capsim, file.command
    );
    if let Some(w) = software_warning(file) {
        let _ = writeln!(o, "**{w}**\n");
    }
    o += &markdown_table(&rates(file, fit));
    if !file.limits.source.is_empty() {
        let _ = writeln!(o, "\nPeak: {}.", file.limits.source);
    }
    o += "\n![Roofline](roofline.svg)\n\n";
    if let Some(m) = meaning {
        for l in meaning_lines(file, m) {
            let _ = writeln!(o, "{l}\n");
        }
    }
    let _ = writeln!(o, "## What it is worth\n\n{}\n", outcome_counts(file));
    for r in remarks(file, fit) {
        let _ = writeln!(o, "- {r}");
    }
    let _ = write!(
        o,
        "\nEach inner point of a curve, predicted from its neighbours:\n\n{}\n",
        markdown_table(&quality(fit))
    );
    o += "## Conditions\n\n| | |\n| --- | --- |\n";
    let cell = |v: &str| v.replace('|', "/").replace('\n', " ");
    for (k, v) in [
        ("device", file.device.name.clone()),
        ("driver", file.device.driver.clone()),
        ("API", file.device.api_version.clone()),
        ("timer tick", format!("{}s", si(file.timer_tick_s))),
        ("submission", format!("{}s", si(file.submit_s))),
        ("ring", size(file.ring_bytes as f64)),
        ("seed", file.seed.to_string()),
    ] {
        let _ = writeln!(o, "| {k} | {} |", cell(&v));
    }
    for (k, v) in &file.environment {
        let _ = writeln!(o, "| {} | {} |", cell(k), cell(v));
    }
    o += "\n`samples.json` holds every sample; `capsim calibrate --refit samples.json` makes the other files again. Use the profile with \
          `capsim predict --device` and this folder.\n";
    o
}

/// The answer for machines.
pub fn json(file: &SamplesFile, fit: &Fit, meaning: Option<&Meaning>) -> Calibration {
    Calibration::new(file, fit, meaning, remarks(file, fit))
}

/// A comparison of two calibrations.
pub fn comparison(a: &str, b: &str, all: &[Difference]) -> String {
    let mut o = format!("{b}\nagainst {a}\n\n");
    let differ: Vec<&Difference> = all
        .iter()
        .filter(|d| d.verdict != Verdict::NoDifference)
        .collect();
    if all.is_empty() {
        o += "No point is in both.\n";
        return o;
    }
    if differ.is_empty() {
        let _ = writeln!(o, "No difference seen in {} points.", all.len());
        return o;
    }
    let mut t = with_header(&["point", "time", "99 % interval", ""]);
    for d in &differ {
        t.add_row([
            d.key.clone(),
            format!("× {}", three(d.ratio)),
            format!("{} to {}", three(d.low), three(d.high)),
            d.verdict.words().into(),
        ]);
    }
    let _ = writeln!(
        o,
        "{t}\n\n{} of {} points: no difference seen.",
        all.len() - differ.len(),
        all.len()
    );
    o
}
