//! Which trace, and how it is replayed.
use super::super::spec::WorkloadError;
use super::{Trace, log, names};
use crate::text;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// A file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// JSONL: `timestamp` (ms), `input_length`, `output_length`, `hash_ids` of 512-token blocks.
    Mooncake,
    /// JSONL: `timestamp` (s), `input_length`, `output_length`, `hash_ids` of 16-token blocks, `chat_id` and others.
    Bailian,
    /// JSONL: `queued_ts` or `arrival_time` (s), `input_toks`, `output_toks`.
    LlmServingSim,
    /// JSON objects of a gateway's or a server's log: a time and numbers of tokens under names in use.
    Log,
    /// CSV: `TIMESTAMP,ContextTokens,GeneratedTokens`.
    Azure,
    /// CSV: `Timestamp,…,Request tokens,Response tokens,…`.
    BurstGpt,
    /// CSV: `arrived_at,num_prefill_tokens,num_decode_tokens`.
    Vidur,
    /// CSV with columns that the user names.
    Csv,
    /// A folder of `chunk-N-trace.csv` and `chunk-N-dataset.json`.
    ServeGen,
}

impl Format {
    /// All, by name.
    pub const ALL: [(&'static str, Format); 9] = [
        ("mooncake", Format::Mooncake),
        ("bailian", Format::Bailian),
        ("llmservingsim", Format::LlmServingSim),
        ("log", Format::Log),
        ("azure", Format::Azure),
        ("burstgpt", Format::BurstGpt),
        ("vidur", Format::Vidur),
        ("csv", Format::Csv),
        ("servegen", Format::ServeGen),
    ];

    /// The format called `name`.
    pub fn by_name(name: &str) -> Option<Format> {
        Self::ALL.iter().find(|(n, _)| *n == name).map(|(_, f)| *f)
    }

    /// Tokens per hash id.
    pub fn block_size(self) -> u32 {
        match self {
            Format::Mooncake => 512,
            Format::Bailian => 16,
            _ => 0,
        }
    }
}

/// How a file is to be read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Format; absent: recognised by the first line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// Columns of a CSV file: `time=NAME,input=NAME,output=NAME[,unit=s|ms|us|ns]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub columns: Option<String>,
    /// Tokens per hash id, where they are not the format's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_size: Option<u32>,
    /// Put rows in the order of their times, instead of refusing a file that is out of order.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sort: bool,
    /// Leave out requests without input or output tokens (failed ones), instead of refusing the file.
    pub skip_empty: bool,
}

/// A trace to replay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TraceSpec {
    /// The file.
    pub file: String,
    /// How to read it.
    #[serde(default)]
    pub options: Options,
    /// How many times faster than recorded.
    #[serde(default = "as_recorded")]
    pub speedup: f64,
    /// Seconds of recorded time to leave out at the beginning.
    #[serde(default)]
    pub start: f64,
    /// Seconds of recorded time to replay; absent: to the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<f64>,
    /// Whether requests of one and the same time are spread up to the next.
    #[serde(default)]
    pub spread: bool,
    /// What was read. The core reads no files: the caller puts it here.
    #[serde(skip)]
    pub data: Option<Arc<Trace>>,
}

fn as_recorded() -> f64 {
    1.0
}

impl TraceSpec {
    /// The whole of `data` as recorded.
    pub fn of(file: impl Into<String>, data: Trace) -> Self {
        Self {
            file: file.into(),
            options: Options::default(),
            speedup: 1.0,
            start: 0.0,
            duration: None,
            spread: false,
            data: Some(Arc::new(data)),
        }
    }

    /// First row replayed, and the one after the last.
    pub fn rows(&self, data: &Trace) -> (usize, usize) {
        let at = |s: f64| data.rows().partition_point(|r| r.at.secs() < s);
        let to = self
            .duration
            .map_or(data.rows().len(), |d| at(self.start + d));
        let from = at(self.start);
        (from, to.max(from))
    }

    /// Checks every number.
    ///
    /// # Errors
    /// Names the field.
    pub fn check(&self) -> Result<(), WorkloadError> {
        let bad = |field, problem: String| Err(WorkloadError { field, problem });
        if !(1e-6..=1e6).contains(&self.speedup) {
            return bad(
                "trace.speedup",
                format!("must lie between 1e-6 and 1e6, not {}", self.speedup),
            );
        }
        if !(0.0..=4e9).contains(&self.start) {
            return bad(
                "trace.start",
                format!("must lie between 0 and 4e9 s, not {}", self.start),
            );
        }
        if let Some(d) = self.duration
            && !(d > 0.0 && d <= 4e9)
        {
            return bad(
                "trace.duration",
                format!("must lie between 0 and 4e9 s, not {d}"),
            );
        }
        let Some(data) = &self.data else {
            return bad("trace", format!("`{}` was not read", self.file));
        };
        let (from, to) = self.rows(data);
        if from == to {
            return bad(
                "trace",
                format!(
                    "`{}` holds no request from {} s on{}; it lasts {:.3} s",
                    self.file,
                    self.start,
                    self.duration
                        .map_or(String::new(), |d| format!(" for {d} s")),
                    data.duration().secs()
                ),
            );
        }
        if data.duration().secs() / self.speedup > 4e9 {
            return bad(
                "trace.speedup",
                "the replay would take more than a century".into(),
            );
        }
        Ok(())
    }
}

/// The format that the first line reveals.
pub(super) fn detect(text: &str, options: &Options) -> Result<Format, String> {
    let line = text
        .lines()
        .map(str::trim)
        .find(|l| !l.is_empty())
        .ok_or_else(|| "the file is empty".to_string())?;
    if line.starts_with(['{', '[']) {
        return of_json(text, line);
    }
    if options.columns.is_some() {
        return Ok(Format::Csv);
    }
    let columns: Vec<&str> = line
        .split([',', ';', '\t'])
        .map(|c| c.trim().trim_matches('"'))
        .collect();
    let has = |name: &str| columns.iter().any(|n| n.eq_ignore_ascii_case(name));
    let known = |of: &[&str]| names::column(of, &columns).is_some();
    if has("contexttokens") {
        Ok(Format::Azure)
    } else if has("request tokens") {
        Ok(Format::BurstGpt)
    } else if has("num_prefill_tokens") || has("arrived_at") {
        Ok(Format::Vidur)
    } else if known(names::TIME) && known(names::INPUT) && known(names::OUTPUT) {
        Ok(Format::Csv)
    } else {
        let shown: String = line.chars().take(80).collect();
        Err(format!(
            "`{shown}` is the first line of no known format (mooncake, bailian, llmservingsim, log, azure, burstgpt, vidur); for another CSV \
             name its columns: --trace-columns time=NAME,input=NAME,output=NAME"
        ))
    }
}

/// The format of a text that begins as JSON does, by the keys of its first object.
fn of_json(text: &str, line: &str) -> Result<Format, String> {
    let first = match serde_json::from_str::<Value>(line) {
        Ok(Value::Object(o)) => Value::Object(o),
        _ => {
            let found = text::values(text).map_err(|e| e.to_string())?;
            found
                .items
                .into_iter()
                .next()
                .map(|i| i.value)
                .ok_or("the file holds no object")?
        }
    };
    let has = |key: &str| first.get(key).is_some();
    Ok(if has("input_toks") {
        Format::LlmServingSim
    } else if has("chat_id") || has("parent_chat_id") {
        Format::Bailian
    } else if has("timestamp") && has("input_length") {
        Format::Mooncake
    } else if log::is(&first) {
        Format::Log
    } else {
        let keys: Vec<&str> = first
            .as_object()
            .into_iter()
            .flatten()
            .take(8)
            .map(|(k, _)| k.as_str())
            .collect();
        return Err(format!(
            "an object with {} is of no known format: there must be a time and numbers of prompt and output tokens, such as `timestamp`, \
             `prompt_tokens`, `completion_tokens`",
            keys.join(", ")
        ));
    })
}
