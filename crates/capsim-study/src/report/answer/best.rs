//! Which row of a table answers it, and how those compare that are alternatives.
use super::super::Row;
use super::super::table::three;
use super::{SAME, binds, first_token, of_load, sentence, speed, time};
use capsim::fields::Value;
use capsim::metrics::Metric;

/// What varies between rows.
type Varied = Vec<(&'static str, Value)>;

/// Alternatives that people choose between: what is served on what. Other settings are tuned.
const CHOICES: [&str; 6] = [
    "device",
    "engine",
    "weights",
    "quantization",
    "moe_tiles",
    "engine_version",
];

/// Fields that say how much load there is; the answer follows them from the least to the most.
const PACES: [&str; 3] = ["max_concurrency", "users", "request_rate"];

/// A table's rows, by load.
pub struct Table<'a> {
    rows: &'a [Row],
    /// The loads in the order of the table, each with its rows.
    loads: Vec<(Varied, Vec<&'a Row>)>,
}

fn part(row: &Row, load: bool) -> Varied {
    let all = row.varied.iter().filter(|(f, _)| of_load(f) == load);
    all.cloned().collect()
}

fn answered(row: &Row) -> f64 {
    row.prediction.run.summary.e2el.mean()
}

/// Rows whose requests were refused lose; then the one whose answers come soonest.
fn better<'a>(a: &'a Row, b: &'a Row) -> &'a Row {
    let key = |r: &Row| (r.prediction.run.summary.refused, answered(r));
    let (x, y) = (key(a), key(b));
    match x.0.cmp(&y.0).then(x.1.total_cmp(&y.1)).is_le() {
        true => a,
        false => b,
    }
}

fn best<'a>(rows: &[&'a Row]) -> &'a Row {
    let first = rows[0];
    rows.iter().fold(first, |a, b| better(a, b))
}

/// Fields with their values as flags, without dashes.
fn named(varied: &[(&'static str, Value)]) -> String {
    let all: Vec<String> = varied
        .iter()
        .map(|(f, v)| format!("{} {v}", f.replace('_', "-")))
        .collect();
    all.join(", ")
}

/// A load in words.
fn load(varied: &[(&'static str, Value)]) -> String {
    match varied {
        [("max_concurrency", v)] => format!("{v} at once"),
        [("users", v)] => format!("{v} users"),
        [("request_rate", v)] => format!("{v} requests/s"),
        other => named(other),
    }
}

impl<'a> Table<'a> {
    /// `None` without rows.
    pub fn new(rows: &'a [Row]) -> Option<Self> {
        let mut loads: Vec<(Varied, Vec<&Row>)> = vec![];
        for row in rows {
            let key = part(row, true);
            match loads.iter_mut().find(|(k, _)| *k == key) {
                Some((_, of)) => of.push(row),
                None => loads.push((key, vec![row])),
            }
        }
        (!rows.is_empty()).then_some(Self { rows, loads })
    }

    /// The row that the answer is about: the best under the largest load of a table that raises it, else the best of the first load.
    pub fn about(&self) -> &'a Row {
        match self.paced() {
            true => best(&self.most().1),
            false => best(&self.loads[0].1),
        }
    }

    /// What of the load varies is how much there is of it.
    fn paced(&self) -> bool {
        let (first, _) = &self.loads[0];
        matches!(&first[..], [(field, _)] if PACES.contains(field))
    }

    fn size(varied: &Varied) -> f64 {
        match varied.first() {
            Some((_, Value::Count(n))) => *n as f64,
            Some((_, Value::Number(n))) => *n,
            _ => 0.0,
        }
    }

    fn most(&self) -> &(Varied, Vec<&'a Row>) {
        let size = |l: &&(Varied, Vec<&Row>)| Self::size(&l.0);
        let most = self.loads.iter().max_by(|a, b| size(a).total_cmp(&size(b)));
        most.expect("a table has rows")
    }

    fn least(&self) -> &(Varied, Vec<&'a Row>) {
        let size = |l: &&(Varied, Vec<&Row>)| Self::size(&l.0);
        let least = self.loads.iter().min_by(|a, b| size(a).total_cmp(&size(b)));
        least.expect("a table has rows")
    }

    /// For gains: under which of several loads they were simulated.
    pub fn at_that(&self) -> String {
        match self.loads.len() {
            1 => String::new(),
            _ => format!(" with {}", load(&part(self.about(), true))),
        }
    }

    /// The table in a sentence or two.
    pub fn sentence(&self) -> String {
        let row = self.about();
        let choice = part(row, false);
        let of = self.loads[0].1.len();
        let first = match (choice.is_empty(), self.paced()) {
            (true, true) => self.spread(),
            (true, false) => self.range(),
            (false, true) => format!("With {}: {}", named(&choice), self.spread()),
            (false, false) => format!("Best of {of}: {}. {}", named(&choice), sentence(row)),
        };
        let more: Vec<String> = CHOICES.iter().filter_map(|f| self.compared(f)).collect();
        [&[first][..], &more].concat().join(" ")
    }

    /// From the least to the most load, with the settings that are best under the most.
    fn spread(&self) -> String {
        let row = self.about();
        let choice = part(row, false);
        let (least, rows) = self.least();
        let same = rows.iter().find(|r| part(r, false) == choice);
        let low = same.copied().unwrap_or(rows[0]);
        let most = &self.most().0;
        let rate = |r: &Row| three(r.prediction.run.summary.output_throughput());
        let slow = speed(&row.prediction).unwrap_or_else(|| format!("{} tokens/s", rate(row)));
        let fast = 1.0 / low.prediction.run.summary.tpot.mean();
        format!(
            "{} reads {} tokens/s, with {} each reads {slow}, {} together; the first token comes after {} and {}; {} at most load.",
            match least.first() {
                Some(("max_concurrency", Value::Count(1))) => "one person at a time".into(),
                Some(("users", Value::Count(1))) => "one user".into(),
                _ => format!("with {} each", load(least)),
            },
            three(fast),
            load(most),
            rate(row),
            time(low.prediction.run.summary.ttft.mean()),
            first_token(&row.prediction)
                .trim_start_matches("the first token comes after ")
                .to_owned(),
            binds(&row.prediction),
        )
    }

    /// Loads that differ in more than their size: the slowest and the fastest row.
    fn range(&self) -> String {
        let rate = |r: &&Row| r.prediction.run.summary.output_throughput();
        let order = |a: &&Row, b: &&Row| rate(a).total_cmp(&rate(b));
        let (Some(low), Some(high)) = (
            self.rows.iter().min_by(order),
            self.rows.iter().max_by(order),
        ) else {
            return String::new();
        };
        format!(
            "From {} output tokens/s with {} to {} with {}.",
            three(rate(&low)),
            load(&low.varied),
            three(rate(&high)),
            load(&high.varied)
        )
    }

    /// Which value of a field is the best under which loads; `None` where it does not vary.
    fn compared(&self, field: &str) -> Option<String> {
        let value = |r: &Row| {
            let of = r.varied.iter().find(|(f, _)| *f == field);
            of.map(|(_, v)| v.clone())
        };
        value(&self.rows[0])?;
        // Runs of loads that agree in the winner.
        let mut runs: Vec<(Verdict, Vec<&Varied>)> = vec![];
        for (load, rows) in &self.loads {
            let verdict = Verdict::of(rows, &value)?;
            match runs.last_mut() {
                Some((last, loads)) if last.agrees(&verdict) => {
                    last.widen(&verdict);
                    loads.push(load);
                }
                _ => runs.push((verdict, vec![load])),
            }
        }
        let whole = runs.len() == 1;
        let told = runs.iter().map(|(verdict, loads)| {
            let at = match (whole, &loads[..]) {
                (true, _) => String::new(),
                (false, [one]) => format!(" with {}", load(one)),
                (false, [a, .., z]) => format!(" with {} to {}", load(a), load(z)),
                (false, []) => unreachable!("a run has a load"),
            };
            verdict.words() + &at
        });
        let told: Vec<String> = told.collect();
        Some(format!("{}: {}.", heading(field), told.join("; ")))
    }
}

fn heading(field: &str) -> &'static str {
    match field {
        "device" => "Devices",
        "engine" => "Engines",
        "weights" | "quantization" => "Weights",
        "moe_tiles" => "Expert kernels",
        _ => "Releases",
    }
}

/// The best value of a field under a load, and how far ahead of the next.
struct Verdict {
    best: Value,
    next: Value,
    low: f64,
    high: f64,
    /// Whether the 90 % intervals of their throughputs overlap under any of the loads.
    overlap: bool,
}

impl Verdict {
    fn of(rows: &[&Row], value: &dyn Fn(&Row) -> Option<Value>) -> Option<Self> {
        let winner = best(rows);
        let name = value(winner)?;
        let others: Vec<&Row> = rows
            .iter()
            .filter(|r| value(r).is_some_and(|v| v != name))
            .copied()
            .collect();
        if others.is_empty() {
            return None;
        }
        let second = best(&others);
        let ahead = answered(second) / answered(winner);
        let interval = |r: &Row| r.prediction.interval_of(Metric::OutputThroughput);
        let overlap = match (interval(winner), interval(second)) {
            (Some(a), Some(b)) => a.low <= b.high && b.low <= a.high,
            _ => false,
        };
        Some(Self {
            best: name,
            next: value(second)?,
            low: ahead,
            high: ahead,
            overlap,
        })
    }

    fn tie(&self) -> bool {
        self.high < SAME
    }

    fn agrees(&self, other: &Self) -> bool {
        match (self.tie(), other.tie()) {
            (true, true) => true,
            (false, false) => self.best == other.best && self.next == other.next,
            _ => false,
        }
    }

    fn widen(&mut self, other: &Self) {
        self.low = self.low.min(other.low);
        self.high = self.high.max(other.high);
        self.overlap |= other.overlap;
    }

    fn words(&self) -> String {
        if self.tie() {
            return format!("{} and {} answer equally fast", self.best, self.next);
        }
        let times = match (three(self.low), three(self.high)) {
            (a, b) if a == b => a,
            (a, b) => format!("{a} to {b}"),
        };
        let overlap = match self.overlap {
            true => ", though the 90 % intervals overlap",
            false => "",
        };
        format!(
            "{} answers {times} times as fast as {}{overlap}",
            self.best, self.next
        )
    }
}
