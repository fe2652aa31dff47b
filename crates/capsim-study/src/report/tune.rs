//! An answer of `capsim tune` for people.
use super::capacity::{command, labelled, supposed};
use super::prediction::left_out;
use super::table::{three, with_header};
use capsim::plan::tune::{Objective, Outcome, Tuned};
use capsim::predict::Scenario;
use std::fmt::Write as _;

fn words(o: &Outcome) -> String {
    let load = o
        .concurrency
        .map_or(String::new(), |c| format!(", {c} at once"));
    let margin = o.margin.map_or(String::new(), |m| {
        format!("; {:.0} % of the tightest limit used", 100.0 * m)
    });
    let devices = match o.devices {
        1 => String::new(),
        n => format!(" on {n} devices"),
    };
    let refused = match o.refused {
        0 => String::new(),
        n => format!("; {n} of {} requests refused", o.requests),
    };
    format!(
        "{} output tok/s{devices}, {} tok/s per user, TTFT {} s, TPOT {} ms (means){load}{margin}{refused}",
        three(o.output_throughput),
        three(o.interactivity),
        three(o.ttft),
        three(1e3 * o.tpot)
    )
}

/// Which requests are refused with the setting shown that refuses most, for the first line; empty if none.
fn refused(t: &Tuned) -> String {
    let share = |o: &Outcome| o.refused as f64 / (o.requests as f64).max(1.0);
    let shown = [&t.present, &t.best, &t.nearest].into_iter().flatten();
    let worst = shown
        .chain(&t.front)
        .max_by(|a, b| share(a).total_cmp(&share(b)));
    let Some(o) = worst.filter(|o| o.refused > 0) else {
        return String::new();
    };
    let text = format!(
        "up to {} of {} requests refused ({:.1} %): prompt and output together exceed max-model-len or the KV cache; each \
         misses the SLO, and means are of the others",
        o.refused,
        o.requests,
        100.0 * share(o)
    );
    labelled("Refused", &text) + "\n"
}

fn changes(o: &Outcome) -> String {
    if o.changes.is_empty() {
        return "as today".into();
    }
    let all: Vec<String> = o.changes.iter().map(|(k, v)| format!("{k} {v}")).collect();
    all.join(", ")
}

/// The whole answer.
pub fn text(scenario: &Scenario, t: &Tuned) -> String {
    let w = &scenario.workload;
    let slo = t.slo.as_ref().map_or("none".to_string(), Clone::clone);
    let pace = match t.front.iter().any(|f| f.concurrency.is_some()) {
        true => "several loads".into(),
        false => w.pace(),
    };
    let mut o =
        left_out(std::iter::once(scenario)) + &refused(t) + &super::answer::lines(&t.answer);
    let _ = write!(
        o,
        "{}\non {}\n{}, {pace}; SLO {slo}\n{}\n",
        scenario.model_name,
        scenario.device.name,
        w.sizes(),
        supposed(scenario)
    );
    o.push_str(&tried(t));
    match &t.present {
        Some(p) => {
            let verdict = match (t.slo.is_some(), p.met) {
                (false, _) => "",
                (true, true) => "meets the SLO: ",
                (true, false) => "does not meet the SLO: ",
            };
            o.push_str(&labelled("Today", &format!("{verdict}{}", words(p))));
        }
        None => o.push_str(&labelled("Today", "does not start")),
    }
    let shown = match (&t.best, &t.nearest) {
        (Some(b), _) => {
            o.push_str(&labelled("Best", &words(b)));
            Some(b)
        }
        (None, Some(n)) => {
            o.push_str(&labelled(
                "Best",
                "no setting tried meets the SLO; the nearest:",
            ));
            o.push_str(&labelled("", &words(n)));
            Some(n)
        }
        (None, None) => {
            o.push_str(&labelled("Best", "none: no setting tried starts"));
            None
        }
    };
    if let Some(b) = shown {
        o.push_str(&labelled("", &changes(b)));
        if let Some(of) = t.gain {
            o.push_str(&gain(t, of));
        }
        o.push_str(&serving(b));
    }
    o.push_str(&effects(t));
    o.push_str(&front(t));
    // What is left out stands in the first lines.
    let said = scenario.notes.left_out().map(|c| c.to_string());
    for note in t.notes.iter().filter(|n| Some(*n) != said.as_ref()) {
        o.push_str(&labelled("Caveat", note));
    }
    o
}

/// How many settings were tried, and how long.
fn tried(t: &Tuned) -> String {
    let combinations = if t.combinations > t.tried as f64 {
        format!("{} of {:.0} combinations", t.tried, t.combinations)
    } else {
        format!("all {} combinations", t.tried)
    };
    let rungs: Vec<String> = t
        .rungs
        .iter()
        .map(|(n, p)| format!("{n} with {p} requests"))
        .collect();
    let text = format!(
        "{combinations}: {} would not start, {} are different engines; {} simulations ({})",
        t.refused,
        t.distinct,
        t.simulations,
        rungs.join(", then ")
    );
    labelled("Tried", &text)
}

/// What the best setting gains, with its interval.
fn gain(t: &Tuned, [g, low, high]: [f64; 3]) -> String {
    let what = match t.objective {
        Objective::Throughput => "output throughput",
        Objective::PerDevice => "output throughput per device",
        Objective::Latency if t.slo.is_some() => "room to the tightest limit",
        Objective::Latency => "speed of an answer",
    };
    // Of two devices nothing says how the errors of their profiles hang together.
    let text = match low < high {
        true => format!(
            "{what} × {} [{} … {}, from the cost model's uncertainty]",
            three(g),
            three(low),
            three(high)
        ),
        false => format!("{what} × {}", three(g)),
    };
    labelled("Gain", &text)
}

/// The line that starts a setting, and what no flag of it says.
fn serving(o: &Outcome) -> String {
    let mut text = String::new();
    if o.serve.starts_with('#') {
        // A deployment: one line for each pool.
        for line in o.serve.lines() {
            match line.starts_with('#') {
                true => text.push_str(&format!("  {line}\n")),
                false => text.push_str(&command(&serve_words(line))),
            }
        }
        return text;
    }
    let (line, comment) = o.serve.split_once("   # ").unwrap_or((&o.serve, ""));
    if !comment.is_empty() {
        let _ = writeln!(text, "  # {comment}");
    }
    text.push_str(&command(&serve_words(line)));
    for (k, v) in &o.changes {
        if k == "moe-tiles" {
            let note = format!(
                "moe-tiles {v} is no flag: the fused-MoE configuration of that name must be in place (docs/methodology.md)"
            );
            text.push_str(&labelled("", &note));
        }
    }
    text
}

/// Flags with their values, one word each.
pub(super) fn serve_words(line: &str) -> Vec<String> {
    let mut all: Vec<String> = vec![];
    for w in line.split(' ') {
        match all.last_mut() {
            Some(last) if last.starts_with('-') && !last.contains(' ') && !w.starts_with('-') => {
                last.push(' ');
                last.push_str(w);
            }
            _ => all.push(w.into()),
        }
    }
    all
}

fn effects(t: &Tuned) -> String {
    if t.effects.is_empty() {
        return String::new();
    }
    let mut o =
        String::from("\nKnobs of it, each turned alone (score relative to it; ! misses the SLO)\n");
    for e in &t.effects {
        let others: Vec<String> = e
            .others
            .iter()
            .map(|(v, r, met)| match r {
                None => format!("{v}: not possible"),
                Some(r) => format!("{v}: {}{}", three(*r), if *met { "" } else { "!" }),
            })
            .collect();
        let name = format!("  {} {}", e.knob, e.chosen);
        let text = super::table::wrap(&others.join(", "), 78 - 34, &" ".repeat(34));
        let _ = writeln!(o, "{name:<33} {text}");
    }
    o
}

fn front(t: &Tuned) -> String {
    if t.front.len() < 2 {
        return String::new();
    }
    let levels = t.front.iter().any(|f| f.concurrency.is_some());
    let many = t.front.iter().any(|f| f.devices > 1);
    let per_device = match t.objective {
        Objective::PerDevice => " per device",
        Objective::Throughput | Objective::Latency => "",
    };
    let mut o =
        format!("\nNothing tried beats these in both throughput{per_device} and speed per user:\n");
    let mut header = vec!["tok/s", "tok/s/user", "TTFT s", "TPOT ms"];
    if many {
        header.push("devices");
    }
    if levels {
        header.push("at once");
    }
    let mut table = with_header(&header);
    let mut notes = vec![];
    for f in &t.front {
        let mut row = vec![
            three(f.output_throughput),
            three(f.interactivity),
            three(f.ttft),
            three(1e3 * f.tpot),
        ];
        if many {
            row.push(f.devices.to_string());
        }
        if levels {
            row.push(f.concurrency.map_or(String::new(), |c| c.to_string()));
        }
        table.add_row(row);
        notes.push(changes(f));
    }
    for (i, l) in table.to_string().lines().enumerate() {
        let note = if i == 0 {
            "changes"
        } else {
            notes.get(i - 1).map_or("", String::as_str)
        };
        let used = l.chars().count() + 2;
        let _ = writeln!(
            o,
            "{l}  {}",
            super::table::wrap(
                note,
                79usize.saturating_sub(used).max(20),
                &" ".repeat(used)
            )
        );
    }
    o
}
