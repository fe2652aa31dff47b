//! The table that `vllm bench serve` (vllm 0.12 to 0.33: vllm/benchmarks/serve.py) and SGLang's `bench_serving` print, pasted from a
//! terminal, a log or an issue: `Mean TTFT (ms):   401.23`, whatever stands before a label (a time, a process, `> `, `# `).
use super::totals::MEAN_LENGTHS;
use super::{Bad, Recording, Tool};
use capsim::device::EngineId;
use capsim::metrics::{Latency, Metric, Statistic};

/// A line of the table, and what it says.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Label {
    Completed,
    Failed,
    Concurrency,
    Rate,
    Duration,
    Input,
    Output,
    Metric(Metric),
    /// Known, and nothing that is compared.
    Other,
    Backend,
}

/// Labels in lower case, without the unit in brackets.
const LABELS: &[(&str, Label)] = &[
    ("successful requests", Label::Completed),
    ("failed requests", Label::Failed),
    ("maximum request concurrency", Label::Concurrency),
    ("max request concurrency", Label::Concurrency),
    ("request rate configured", Label::Rate),
    ("traffic request rate", Label::Rate),
    ("benchmark duration", Label::Duration),
    ("total input tokens", Label::Input),
    ("total generated tokens", Label::Output),
    (
        "request throughput",
        Label::Metric(Metric::RequestThroughput),
    ),
    ("peak output token throughput", Label::Other),
    (
        "output token throughput",
        Label::Metric(Metric::OutputThroughput),
    ),
    (
        "total token throughput",
        Label::Metric(Metric::TotalThroughput),
    ),
    ("input token throughput", Label::Other),
    ("backend", Label::Backend),
];

/// Latencies as the labels name them.
const LATENCIES: &[(&str, Latency)] = &[
    ("ttft", Latency::Ttft),
    ("tpot", Latency::Tpot),
    ("itl", Latency::Itl),
    ("e2el", Latency::E2el),
    ("e2e latency", Latency::E2el),
];

/// What the label at the end of `text` says.
fn label(text: &str) -> Option<Label> {
    let text = text.trim_end();
    let text = match text.rfind('(') {
        Some(at) if text.ends_with(')') => text[..at].trim_end(),
        _ => text,
    };
    let text = text.to_ascii_lowercase();
    let ends = |label: &str| {
        let before = text.strip_suffix(label)?;
        before
            .chars()
            .next_back()
            .is_none_or(|c| !c.is_alphanumeric())
            .then_some(before)
    };
    for (name, latency) in LATENCIES {
        let Some(before) = ends(name) else { continue };
        let word = before.split_whitespace().next_back()?;
        let statistic: Statistic = word.parse().ok()?;
        return Some(Label::Metric(Metric::Latency(*latency, statistic)));
    }
    LABELS
        .iter()
        .find(|(name, _)| ends(name).is_some())
        .map(|(_, l)| *l)
}

/// Label and value of a line.
fn row(line: &str) -> Option<(Label, &str)> {
    let (text, value) = line.rsplit_once(':')?;
    Some((
        label(text)?,
        value.trim().trim_end_matches(['|', '`']).trim_end(),
    ))
}

pub(super) fn is(text: &str) -> bool {
    let mut labels = text.lines().filter_map(row).map(|(l, _)| l);
    labels.any(|l| l == Label::Completed)
}

/// A table as far as it was read.
#[derive(Default)]
struct Table {
    completed: Option<f64>,
    failed: f64,
    input: Option<f64>,
    output: Option<f64>,
    duration: Option<f64>,
    rate: Option<f64>,
    concurrency: Option<u32>,
    sglang: bool,
    backend: Option<String>,
    metrics: Vec<(Metric, f64)>,
}

pub(super) fn read(text: &str) -> Result<Vec<Recording>, Bad> {
    let mut tables: Vec<(usize, Table)> = vec![];
    let mut open: Option<(usize, Table)> = None;
    // What is printed before a table (rate, concurrency) belongs to it.
    let mut heading = Table::default();
    let mut model = None;
    for (i, line) in text.lines().enumerate() {
        let n = i + 1;
        model = model.or_else(|| quoted(line, "model='"));
        let found = row(line);
        let whole = open.as_ref().is_some_and(|(_, t)| t.completed.is_some());
        let title = found.is_none() && line.contains("Benchmark Result =");
        let end = found.is_none() && line.trim_end().ends_with("==========") && whole;
        let begin =
            title || matches!(found, Some((Label::Completed, _))) && (open.is_none() || whole);
        if begin || end {
            tables.extend(open.take());
        }
        if begin {
            open = Some((n, std::mem::take(&mut heading)));
        }
        let Some((label, value)) = found else {
            continue;
        };
        let table = open.as_mut().map_or(&mut heading, |(_, t)| t);
        table.sglang |= line.contains("E2E Latency") || line.contains("Max request concurrency");
        table
            .take(label, value)
            .map_err(|p| (format!("line {n}"), p))?;
    }
    tables.extend(open);
    tables
        .into_iter()
        .map(|(line, t)| t.recording(line, model.as_deref()))
        .collect()
}

/// The text between `before` and the next quotation mark.
fn quoted(line: &str, before: &str) -> Option<String> {
    let (_, rest) = line.split_once(before)?;
    let (name, _) = rest.split_once('\'')?;
    (!name.is_empty()).then(|| name.into())
}

impl Table {
    fn take(&mut self, label: Label, value: &str) -> Result<(), String> {
        let number = || -> Result<f64, String> {
            let n: Result<f64, _> = value.replace(',', "").parse();
            n.map_err(|_| format!("`{value}` is no number"))
        };
        match label {
            Label::Completed => self.completed = Some(number()?),
            Label::Failed => self.failed = number()?,
            Label::Input => self.input = Some(number()?),
            Label::Output => self.output = Some(number()?),
            Label::Duration => self.duration = Some(number()?),
            // `inf`, `not set`: none.
            Label::Rate => self.rate = value.parse().ok().filter(|r: &f64| r.is_finite()),
            Label::Concurrency => {
                let clients = value.parse::<f64>().ok().map(|c| c as u32);
                self.concurrency = clients.filter(|c| *c > 0);
            }
            Label::Backend => self.backend = Some(value.into()),
            Label::Metric(metric) => self.metrics.push((metric, number()?)),
            Label::Other => {}
        }
        Ok(())
    }

    fn recording(self, line: usize, model: Option<&str>) -> Result<Recording, Bad> {
        let missing = |what: &str| {
            (
                format!("table at line {line}"),
                format!("the line `{what}` is missing (is the table cut off?)"),
            )
        };
        let mut r = Recording::empty(if self.sglang {
            Tool::Sglang
        } else {
            Tool::Vllm
        });
        r.engine = match self.backend.as_deref() {
            Some(b) if b.starts_with("vllm") => Some(EngineId::Vllm),
            Some(b) if !b.starts_with("sglang") => None,
            _ if self.sglang => Some(EngineId::Sglang),
            _ => None,
        };
        r.model = model.map(Into::into);
        let count = self
            .completed
            .ok_or_else(|| missing("Successful requests:"))?;
        let input = self.input.ok_or_else(|| missing("Total input tokens:"))?;
        let output = self
            .output
            .ok_or_else(|| missing("Total generated tokens:"))?;
        let duration = self
            .duration
            .ok_or_else(|| missing("Benchmark duration (s):"))?;
        r.of_means(count, input / count, output / count)?;
        r.duration = Some(duration).filter(|d| *d > 0.0);
        r.state(Metric::Duration, r.duration);
        for (metric, value) in self.metrics {
            r.state(metric, Some(value));
        }
        // Two decimals of a small rate are few: the totals say it better.
        r.throughputs(
            Some(count / duration),
            Some(output / duration),
            Some((input + output) / duration),
        );
        r.request_rate = self.rate;
        r.max_concurrency = self.concurrency;
        if self.failed > 0.0 {
            r.notes.push(format!(
                "{} requests failed; they are in no figure",
                self.failed
            ));
        }
        r.notes.push(MEAN_LENGTHS.into());
        Ok(r)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_found_behind_whatever_stands_before() {
        let ttft = |s| Some((Label::Metric(Metric::Latency(Latency::Ttft, s)), "401.23"));
        assert_eq!(
            row("Mean TTFT (ms):            401.23    "),
            ttft(Statistic::Mean)
        );
        assert_eq!(
            row("(APIServer pid=12) 2026-01-01 10:11:12 P99.9 TTFT (ms):  401.23"),
            ttft(Statistic::Percentile(99.9))
        );
        assert_eq!(
            row("> # Median TTFT (ms):  401.23"),
            ttft(Statistic::MEDIAN)
        );
        assert_eq!(
            row("Peak output token throughput (tok/s):  3"),
            Some((Label::Other, "3"))
        );
        assert_eq!(
            row("Output token throughput (tok/s):  3").unwrap().0,
            Label::Metric(Metric::OutputThroughput)
        );
        assert_eq!(
            row("Mean E2E Latency (ms):  3").unwrap().0,
            Label::Metric(Metric::mean(Latency::E2el))
        );
        assert_eq!(row("Unsuccessful requests: 3"), None);
        assert_eq!(row("Peak concurrent requests:                16.00"), None);
    }
}
