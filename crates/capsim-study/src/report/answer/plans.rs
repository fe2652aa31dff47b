//! What capacity, tuning and memory answer, in words.
use super::super::capacity::{load, value};
use super::super::compare::devices;
use super::super::table::three;
use super::SAME;
use capsim::plan::capacity::{Capacity, Outlook};
use capsim::plan::compare::{Compared, Offer};
use capsim::plan::memory::Memory;
use capsim::plan::tune::{Objective, Outcome, Tuned};
use capsim::plan::{Axis, Limit, Slo};
use capsim::predict::Scenario;

/// `capsim capacity`: how much, what breaks first, what would bring more, how many replicas.
pub fn capacity(scenario: &Scenario, slo: &Slo, c: &Capacity) -> String {
    let first = match (&c.rising, &c.highest, c.high) {
        (Some(_), ..) => rising(slo, c),
        (None, Some(p), Some(high)) => format!(
            "About {} [90 %: {} … {high}] meet {} on {}; beyond it {}{}.",
            load(c.axis, p.load),
            c.low,
            c.slo,
            scenario.device.name,
            breaks(c),
            match p.waits_for {
                Limit::StepTime | Limit::Nothing =>
                    format!(", and most of a step is {}", p.step_part),
                l => format!(", and requests wait for {l}"),
            }
        ),
        (None, Some(p), None) => format!(
            "{} bounds no load: it still holds with {} and every place taken.",
            c.slo,
            load(c.axis, p.load)
        ),
        (None, None, _) => impossible(slo, c),
    };
    let parts = [first, replicas(c), outlooks(c)];
    let told: Vec<String> = parts.into_iter().filter(|p| !p.is_empty()).collect();
    told.join(" ")
}

/// What breaks first past the capacity.
fn breaks(c: &Capacity) -> String {
    match &c.broken {
        Some(p) if p.overloaded => "requests come faster than they are answered".into(),
        _ => format!("{} breaks first", c.decisive),
    }
}

fn rising(slo: &Slo, c: &Capacity) -> String {
    match c.rising.as_ref().and_then(|r| r.least) {
        Some(least) => format!(
            "{slo} holds from {} on; nothing in it bounds the load from above.",
            load(c.axis, least)
        ),
        None => impossible(slo, c),
    }
}

fn impossible(slo: &Slo, c: &Capacity) -> String {
    let missed = slo.terms.iter().zip(&c.floor);
    let worst = missed
        .filter(|(t, f)| t.margin_of(f.alone) > 1.0)
        .max_by(|(t, f), (u, g)| t.margin_of(f.alone).total_cmp(&u.margin_of(g.alone)));
    let why = worst.map_or(String::new(), |(t, f)| {
        let at = if t.wants_load() {
            "at best"
        } else {
            "with one request alone"
        };
        format!(
            ": {} is {} {at}, the limit is {}",
            f.name,
            value(t, f.alone),
            t.limit()
        )
    });
    format!("No load meets {slo}{why}.")
}

fn replicas(c: &Capacity) -> String {
    let Some(wanted) = c.wanted else {
        return String::new();
    };
    let wanted = load(c.axis, wanted);
    match (c.replicas, c.replicas_unlucky) {
        (None, _) => format!("No number of replicas serves {wanted}."),
        (Some(n), Some(unlucky)) if unlucky > n => {
            format!("{wanted} need {n} of these, {unlucky} at the low end of the interval.")
        }
        (Some(n), None) => format!(
            "{wanted} need {n} of these; at the low end of the interval no number serves them."
        ),
        (Some(1), _) => format!("One of these serves {wanted}."),
        (Some(n), _) => format!("{wanted} need {n} of these."),
    }
}

/// The best change that keeps the answers, and the best that changes them.
fn outlooks(c: &Capacity) -> String {
    let Some(now) = c.highest.as_ref().map(|p| p.load) else {
        return String::new();
    };
    if c.outlooks.is_empty() || c.high.is_none() {
        return String::new();
    }
    let better = |o: &&Outlook| o.load.is_none_or(|l| l > SAME * now);
    let best = |same: bool| {
        let mut all = c.outlooks.iter().filter(|o| o.same_answers == same);
        all.find(|o| better(o))
    };
    let words = |o: &Outlook| match o.load {
        Some(l) => format!("{}: {}", o.what, load(c.axis, l)),
        None => format!("{}: no limit", o.what),
    };
    let told: Vec<String> = [best(true), best(false)]
        .into_iter()
        .flatten()
        .map(words)
        .collect();
    match (told.is_empty(), c.axis) {
        (false, _) => format!("Simulated too: {}.", told.join("; ")),
        (true, Axis::Speedup) => String::new(),
        (true, _) => "No other setting or format tried brings 5 % more.".into(),
    }
}

fn changes(o: &Outcome) -> String {
    let all: Vec<String> = o.changes.iter().map(|(k, v)| format!("{k} {v}")).collect();
    all.join(", ")
}

/// `capsim tune`: the best setting, what it gains.
pub fn tune(t: &Tuned) -> String {
    let figures = |o: &Outcome| {
        format!(
            "{} tokens/s together, {} for each, the first token after {} s",
            three(o.output_throughput),
            three(o.interactivity),
            three(o.ttft)
        )
    };
    let meets = t
        .slo
        .as_ref()
        .map_or(String::new(), |s| format!(" that meet {s}"));
    match (&t.best, &t.nearest) {
        (Some(best), _) if best.changes.is_empty() => format!(
            "Today's settings are the best of {} tried{meets}: {}.",
            t.tried,
            figures(best)
        ),
        (Some(best), _) => {
            let what = match t.objective {
                Objective::Throughput => "output throughput",
                Objective::PerDevice => "output throughput per device",
                Objective::Latency => "speed",
            };
            let gain = match t.gain {
                Some([g, low, high]) if low < high => format!(
                    "; {what} × {} [90 %: {} … {}]",
                    three(g),
                    three(low),
                    three(high)
                ),
                Some([g, ..]) => format!("; {what} × {}", three(g)),
                None => "; today's settings do not start".into(),
            };
            format!(
                "Best of {} settings{meets}: {}: {}{gain}.",
                t.tried,
                changes(best),
                figures(best)
            )
        }
        (None, Some(n)) => format!(
            "None of {} settings tried{}; nearest: {}.",
            t.tried,
            t.slo
                .as_ref()
                .map_or(String::new(), |s| format!(" meets {s}")),
            figures(n)
        ),
        (None, None) => format!("None of {} settings tried starts.", t.tried),
    }
}

/// `capsim memory`: whether it fits, what is left for the KV cache, and the smallest change if it does not.
pub fn memory(m: &Memory) -> String {
    let gib = |b: f64| three(b / 1_073_741_824.0);
    if m.fits {
        let seqs = m.max_concurrency.min(f64::from(m.max_num_seqs));
        return format!(
            "It fits: weights take {} of {} GiB, and {} GiB are left for a KV cache of {} tokens: {} requests of {} tokens at once.",
            gib(m.weights),
            gib(m.total),
            gib(m.kv_cache),
            m.kv_tokens,
            three(seqs),
            m.max_model_len
        );
    }
    let problem = m.problem.as_deref().unwrap_or("it does not start");
    let problem = problem.split("; ").next().unwrap_or(problem);
    let way = match (m.ways.first(), m.device_needed) {
        (Some(w), _) if w.same_answers => format!(" Smallest change: {}.", w.change),
        (Some(w), _) => format!(" Smallest change: {} (changes answers).", w.change),
        (None, Some(b)) => format!(" It takes a device with {} GiB.", gib(b)),
        (None, None) => String::new(),
    };
    format!("It does not fit: {problem}.{way}")
}

/// The format of the weights: of the experts where there are some, else of the MLPs.
pub fn weights(scenario: &Scenario) -> String {
    let p = scenario.model.precision();
    match scenario.model.experts() {
        Some(_) => p.experts.to_string(),
        None => p.mlp.to_string(),
    }
}

/// `capsim compare`: the cheapest offer, or that with the fewest devices; the fastest to read; what is missing.
pub fn compared(c: &Compared) -> String {
    let Some(first) = c.offers.first() else {
        return format!(
            "None of {} devices serves {} users under {}, whatever their number.",
            c.missed.len(),
            c.users,
            c.slo
        );
    };
    let words = |o: &Offer| {
        let money = match (
            o.cost_per_hour.and_then(|c| c.value),
            o.cost_per_million_tokens,
        ) {
            (Some(hour), Some(m)) => format!(
                ", {} per hour, {} per million output tokens",
                three(hour),
                three(m.value.unwrap_or(f64::NAN))
            ),
            _ => String::new(),
        };
        format!(
            "{} × {} with {} weights{money}, {} tokens/s for each user",
            devices(o),
            o.device,
            o.weights,
            three(o.interactivity)
        )
    };
    let what = match first.cost_per_hour {
        Some(_) => "the cheapest of those with a price",
        None => "the fewest devices",
    };
    let mut text = format!(
        "{} users under {}: {what}: {}.",
        c.users,
        c.slo,
        words(first)
    );
    let fastest = c
        .offers
        .iter()
        .max_by(|a, b| a.interactivity.total_cmp(&b.interactivity));
    if let Some(fastest) = fastest.filter(|f| f.interactivity > SAME * first.interactivity) {
        text += &format!(" The fastest to read: {}.", words(fastest));
    }
    if first.price.is_none() {
        text += &format!(
            " No price was given: --price {}=2.10/h (rented) or =2400,36mo (bought) tells what it costs.",
            first.device
        );
    }
    text
}
