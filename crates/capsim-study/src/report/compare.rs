//! An answer of `capsim compare` for people.
use super::capacity::{check, command, labelled};
use super::table::{three, with_header};
use capsim::device::Origin;
use capsim::plan::compare::{Compared, Offer, Range};
use capsim::plan::{Axis, Slo};
use capsim::predict::Scenario;
use std::fmt::Write as _;

/// The whole answer. `best` is the scenario of the first offer's engines.
pub fn text(c: &Compared, best: Option<(&Scenario, &Slo)>) -> String {
    let mut o = super::answer::lines(&c.answer);
    if let Some((scenario, _)) = best {
        let w = &scenario.workload;
        let _ = writeln!(
            o,
            "{}\n{} users, {}; SLO {}",
            scenario.model_name,
            c.users,
            w.sizes(),
            c.slo
        );
    }
    if !c.assumed.is_empty() {
        o.push_str(&labelled("Assumed", &c.assumed.join("; ")));
    }
    o.push('\n');
    o.push_str(&table(c));
    o.push_str(&legend(c));
    for note in &c.notes {
        o.push_str(&labelled("Caveat", note));
    }
    for m in &c.missed {
        o.push_str(&labelled("Misses", &format!("{}: {}", m.device, m.why)));
    }
    if let (Some(first), Some((scenario, slo))) = (c.offers.first(), best) {
        o.push_str(&start(first, scenario, slo));
    }
    o
}

/// A number with a bound where only that is known.
fn bounded(r: Option<Range>) -> String {
    match r {
        None => "?".into(),
        Some(Range { value: Some(v), .. }) => three(v),
        Some(Range { high: Some(h), .. }) => format!("≤{}", three(h)),
        Some(_) => "?".into(),
    }
}

/// Devices with their interval, where there is one.
pub(super) fn devices(o: &Offer) -> String {
    let of = |v: Option<f64>| v.map_or("∞".into(), |v| format!("{:.0}", v.ceil()));
    let (value, low, high) = (of(o.devices.value), of(o.devices.low), of(o.devices.high));
    match low == value && high == value {
        true => value,
        false => format!("{value} [{low}–{high}]"),
    }
}

fn table(c: &Compared) -> String {
    let mut header = vec!["device", "weights", "tp", "devices", "tok/s"];
    let priced = c.offers.iter().any(|o| o.price.is_some());
    if priced {
        header.extend(["cost/h", "/Mtok"]);
    }
    header.extend(["W", "J/tok"]);
    let mut t = with_header(&header);
    for o in &c.offers {
        let sheet = if o.origin == Origin::Datasheet {
            "~"
        } else {
            ""
        };
        let front = if o.on_front { " *" } else { "" };
        let mut row = vec![
            format!("{sheet}{}{front}", o.device),
            o.weights.clone(),
            o.tensor_parallel_size.to_string(),
            devices(o),
            three(o.interactivity),
        ];
        if priced {
            row.push(match o.cost_per_hour {
                Some(cost) => bounded(Some(cost)),
                None => "--price?".into(),
            });
            row.push(bounded(o.cost_per_million_tokens));
        }
        row.extend([bounded(o.watts), bounded(o.joules_per_token)]);
        t.add_row(row);
    }
    let mut o = String::new();
    for l in t.to_string().lines() {
        let _ = writeln!(o, "{}", l.trim_end());
    }
    o.push('\n');
    o
}

fn legend(c: &Compared) -> String {
    let mut o = String::new();
    let mut say = |label: &str, text: &str| o.push_str(&labelled(label, text));
    say(
        "Columns",
        "tp: devices of one engine; devices: in all, with their 90 % interval; tok/s: what one user reads; W and J/tok: devices \
         without their hosts, ≤: only the data sheet's limit is known; *: nothing is both cheaper (without prices: fewer devices) and \
         faster to read",
    );
    if c.offers.iter().any(|o| o.origin == Origin::Datasheet) {
        say(
            "~",
            "priced from the maker's data sheet, not from measurements of this device",
        );
    }
    if c.offers.iter().any(|o| o.price.is_none()) {
        say(
            "Prices",
            "capsim ships none: --price h100-sxm=2.10/h (rented) or --price rtx-5090=2400,36mo (bought, 36 months), with \
             --electricity 0.30/kWh for those that are bought",
        );
    }
    o
}

/// The line that starts an engine of the first offer, and how to check it.
fn start(o: &Offer, scenario: &Scenario, slo: &Slo) -> String {
    let (line, comment) = o.serve.split_once("   # ").unwrap_or((&o.serve, ""));
    let words: Vec<String> = super::tune::serve_words(line);
    let mut text = format!("\nStart {} of these on {}:\n", o.engines, o.name);
    if !comment.is_empty() {
        let _ = writeln!(text, "  # {comment}");
    }
    text.push_str(&command(&words));
    let w = &scenario.workload;
    if let Some(words) = check(
        scenario,
        slo,
        Axis::Concurrency,
        f64::from(o.users_per_engine),
        w.num_prompts,
        0.0,
    ) {
        text.push_str("Check one of them:\n");
        text.push_str(&command(&words));
    }
    text
}
