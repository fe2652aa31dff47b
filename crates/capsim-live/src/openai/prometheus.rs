//! Prometheus' text format 0.0.4: written as `prometheus_client` for Python writes it (labels sorted, numbers as floats),
//! read from anybody.
use std::collections::BTreeMap;
use std::fmt::Write;

/// Content type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Observations in buckets.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// Upper edges, inclusive, ascending; one more bucket takes the rest.
    edges: Vec<f64>,
    /// Per bucket, not cumulative.
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    /// With these upper edges.
    pub fn new(edges: impl Into<Vec<f64>>) -> Self {
        let edges = edges.into();
        Self {
            counts: vec![0; edges.len() + 1],
            edges,
            sum: 0.0,
        }
    }
    /// From counts per bucket (not cumulative, one more than edges) and the sum of the observations.
    ///
    /// # Panics
    /// If the numbers of edges and counts do not fit.
    pub fn from_parts(edges: impl Into<Vec<f64>>, counts: Vec<u64>, sum: f64) -> Self {
        let edges = edges.into();
        assert_eq!(counts.len(), edges.len() + 1, "one count per bucket");
        Self { edges, counts, sum }
    }
    /// `n` observations of `value`.
    pub fn observe_n(&mut self, value: f64, n: u64) {
        self.counts[self.edges.partition_point(|e| *e < value)] += n;
        self.sum += value * n as f64;
    }
    /// One observation.
    pub fn observe(&mut self, value: f64) {
        self.observe_n(value, 1)
    }
    /// Observations so far.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
    /// Their sum.
    pub fn sum(&self) -> f64 {
        self.sum
    }
}

/// Name and value of each label.
pub type Labels<'a> = [(&'a str, &'a str)];

/// The text, family by family.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    text: String,
}

fn number(v: f64) -> String {
    if v == f64::INFINITY {
        "+Inf".into()
    } else if v == f64::NEG_INFINITY {
        "-Inf".into()
    } else if v.is_nan() {
        "NaN".into()
    } else {
        format!("{v:?}")
    }
}

impl Writer {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The whole text.
    pub fn finish(self) -> String {
        self.text
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &Labels, value: f64) {
        self.text.push_str(name);
        let mut sorted = labels.to_vec();
        sorted.sort_unstable();
        for (i, (key, value)) in sorted.iter().enumerate() {
            self.text.push(if i == 0 { '{' } else { ',' });
            self.text.push_str(key);
            self.text.push_str("=\"");
            for c in value.chars() {
                match c {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    c => self.text.push(c),
                }
            }
            self.text.push('"');
        }
        if !sorted.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {}", number(value));
    }

    /// A gauge, one sample per set of labels.
    pub fn gauge(&mut self, name: &str, help: &str, samples: &[(&Labels, f64)]) {
        self.head(name, help, "gauge");
        for (labels, value) in samples {
            self.sample(name, labels, *value);
        }
    }

    /// A counter; `name` without `_total`.
    pub fn counter(&mut self, name: &str, help: &str, samples: &[(&Labels, u64)]) {
        let name = format!("{name}_total");
        self.head(&name, help, "counter");
        for (labels, value) in samples {
            self.sample(&name, labels, *value as f64);
        }
    }

    /// A counter of seconds without labels; `name` without `_total`.
    pub fn counter_of_seconds(&mut self, name: &str, help: &str, value: f64) {
        let name = format!("{name}_total");
        self.head(&name, help, "counter");
        self.sample(&name, &[], value);
    }

    /// A summary without quantiles: number and sum of the observations for each set of labels.
    pub fn summary(&mut self, name: &str, help: &str, samples: &[(&Labels, u64, f64)]) {
        self.head(name, help, "summary");
        for (labels, count, sum) in samples {
            self.sample(&format!("{name}_count"), labels, *count as f64);
            self.sample(&format!("{name}_sum"), labels, *sum);
        }
    }

    /// A histogram.
    pub fn histogram(&mut self, name: &str, help: &str, labels: &Labels, h: &Histogram) {
        self.histograms(name, help, &[(labels, h)]);
    }

    /// A family of histograms, one for each set of labels.
    pub fn histograms(&mut self, name: &str, help: &str, samples: &[(&Labels, &Histogram)]) {
        self.head(name, help, "histogram");
        for (labels, h) in samples {
            self.buckets(name, labels, h);
        }
    }

    fn buckets(&mut self, name: &str, labels: &Labels, h: &Histogram) {
        let mut below = 0;
        let bucket = format!("{name}_bucket");
        for (i, n) in h.counts.iter().enumerate() {
            below += n;
            let edge = number(h.edges.get(i).copied().unwrap_or(f64::INFINITY));
            let mut with_edge = labels.to_vec();
            with_edge.push(("le", &edge));
            self.sample(&bucket, &with_edge, below as f64);
        }
        self.sample(&format!("{name}_count"), labels, below as f64);
        self.sample(&format!("{name}_sum"), labels, h.sum);
    }
}

/// One line of a scrape.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Full name, with `_total`, `_bucket`, …
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Value.
    pub value: f64,
}

/// A line that is no sample.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct LineError {
    /// From 1.
    pub line: usize,
    /// What is wrong.
    pub problem: &'static str,
}

/// What a server told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scrape {
    /// In the order of the text.
    pub samples: Vec<Sample>,
    /// Lines that could not be read; the others were.
    pub errors: Vec<LineError>,
}

impl Scrape {
    /// Reads what can be read.
    pub fn parse(text: &str) -> Self {
        let mut scrape = Self::default();
        for (i, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match sample(line) {
                Ok(s) => scrape.samples.push(s),
                Err(problem) => scrape.errors.push(LineError {
                    line: i + 1,
                    problem,
                }),
            }
        }
        scrape
    }

    /// Samples of that name.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |s| s.name == name)
    }

    /// Sum of the samples of that name (over engines and models); `None` if there is none.
    pub fn total(&self, name: &str) -> Option<f64> {
        self.named(name).map(|s| s.value).reduce(|a, b| a + b)
    }

    /// Sum of the samples of that name that have this label.
    pub fn total_with(&self, name: &str, label: &str, value: &str) -> Option<f64> {
        self.named(name)
            .filter(|s| s.labels.get(label).is_some_and(|v| v == value))
            .map(|s| s.value)
            .reduce(|a, b| a + b)
    }

    /// (sum, count) of a histogram.
    pub fn sum_and_count(&self, histogram: &str) -> Option<(f64, f64)> {
        Some((
            self.total(&format!("{histogram}_sum"))?,
            self.total(&format!("{histogram}_count"))?,
        ))
    }
}

fn is_name(s: &str) -> bool {
    !s.is_empty()
        && s.chars().enumerate().all(|(i, c)| {
            c.is_ascii_alphabetic() || matches!(c, '_' | ':') || i > 0 && c.is_ascii_digit()
        })
}

fn sample(line: &str) -> Result<Sample, &'static str> {
    let end = line
        .find(|c: char| c == '{' || c.is_whitespace())
        .ok_or("no value")?;
    let name = &line[..end];
    if !is_name(name) {
        return Err("not a metric's name");
    }
    let mut labels = BTreeMap::new();
    let mut rest = line[end..].trim_start();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside.trim_start();
        loop {
            if let Some(after) = rest.strip_prefix('}') {
                rest = after;
                break;
            }
            let (key, after) = rest.split_once('=').ok_or("a label without value")?;
            let key = key.trim();
            if !is_name(key) {
                return Err("not a label's name");
            }
            let quoted = after
                .trim_start()
                .strip_prefix('"')
                .ok_or("a label's value without quotes")?;
            let mut value = String::new();
            let mut chars = quoted.char_indices();
            let after = loop {
                match chars.next().ok_or("a label's value without end")? {
                    (i, '"') => break &quoted[i + 1..],
                    (_, '\\') => match chars.next().ok_or("a label's value without end")?.1 {
                        'n' => value.push('\n'),
                        c => value.push(c),
                    },
                    (_, c) => value.push(c),
                }
            };
            labels.insert(key.to_string(), value);
            rest = after.trim_start();
            match rest.strip_prefix(',') {
                Some(more) => rest = more.trim_start(),
                None if rest.starts_with('}') => {}
                None => return Err("no comma between labels"),
            }
        }
    }
    let value = rest.split_whitespace().next().ok_or("no value")?;
    let value = match value {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        v => v.parse().map_err(|_| "not a number")?,
    };
    Ok(Sample {
        name: name.into(),
        labels,
        value,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let mut w = Writer::new();
        let labels = [("model_name", "a\"b\\c\nd"), ("engine", "0")];
        w.gauge("vllm:num_requests_running", "Now.", &[(&labels, 3.0)]);
        w.counter("vllm:prompt_tokens", "So far.", &[(&labels, 12)]);
        let mut h = Histogram::new([0.1, 1.0]);
        h.observe(0.1);
        h.observe_n(5.0, 2);
        w.histogram("vllm:e2e_request_latency_seconds", "How long.", &labels, &h);
        let text = w.finish();
        assert!(text.contains("# TYPE vllm:prompt_tokens_total counter\n"));
        assert!(
            text.contains("e2e_request_latency_seconds_bucket{engine=\"0\",le=\"0.1\",model_name=")
        );
        let s = Scrape::parse(&text);
        assert_eq!(s.errors, []);
        assert_eq!(s.samples[0].labels["model_name"], "a\"b\\c\nd");
        assert_eq!(s.total("vllm:prompt_tokens_total"), Some(12.0));
        assert_eq!(
            s.sum_and_count("vllm:e2e_request_latency_seconds"),
            Some((10.1, 3.0))
        );
        let buckets: Vec<f64> = s
            .named("vllm:e2e_request_latency_seconds_bucket")
            .map(|s| s.value)
            .collect();
        assert_eq!(buckets, [1.0, 1.0, 3.0]);
        assert_eq!(
            s.total_with("vllm:e2e_request_latency_seconds_bucket", "le", "+Inf"),
            Some(3.0)
        );
    }

    #[test]
    fn a_bad_line_is_named_and_the_others_are_read() {
        let s =
            Scrape::parse("a 1\nb{x=1} 2\n9c 3\nd{x=\"y\",} 4 1700000000\ne nan\nf\ng{x=\"y} 1\n");
        assert_eq!(s.total("a"), Some(1.0));
        assert_eq!(s.total_with("d", "x", "y"), Some(4.0));
        assert!(s.total("e").unwrap().is_nan());
        let lines: Vec<usize> = s.errors.iter().map(|e| e.line).collect();
        assert_eq!(lines, [2, 3, 6, 7]);
    }
}
