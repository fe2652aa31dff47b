//! Traces as comma-separated values. A format is a choice of columns and a unit of time:
//!
//! - Azure LLM inference 2023 (Azure/AzurePublicDataset; P. Patel et al., ISCA 2024): dates;
//! - BurstGPT (HPMLL/BurstGPT; Y. Wang et al., arXiv 2401.17644): seconds; failed requests have 0 response tokens;
//! - Vidur's processed traces (microsoft/vidur: data/processed_traces): seconds;
//! - any other, by the names that the user gives, or by those that loggers use.
use super::timestamp::Clock;
use super::{Format, Options, Problem, Raw, Reader, names};
use crate::text::{self, Lines};

struct Columns {
    names: [String; 3],
    clock: Clock,
}

fn columns(
    format: Format,
    options: &Options,
    header: &csv::StringRecord,
) -> Result<Columns, Problem> {
    let of = |names: [&str; 3]| Columns {
        names: names.map(str::to_string),
        clock: Clock::guessed(1_000_000_000),
    };
    if let Some(text) = &options.columns {
        return mapping(text).map_err(|p| (0, format!("columns `{text}`: {p}")));
    }
    Ok(match format {
        Format::Azure => of(["TIMESTAMP", "ContextTokens", "GeneratedTokens"]),
        Format::BurstGpt => of(["Timestamp", "Request tokens", "Response tokens"]),
        Format::Vidur => of(["arrived_at", "num_prefill_tokens", "num_decode_tokens"]),
        _ => {
            let have: Vec<&str> = header.iter().collect();
            let known = |of| names::column(of, &have);
            if let (Some(time), Some(input), Some(output)) = (
                known(names::TIME),
                known(names::INPUT),
                known(names::OUTPUT),
            ) {
                return Ok(of([time, input, output]));
            }
            return Err((
                0,
                "another CSV needs --trace-columns time=NAME,input=NAME,output=NAME".into(),
            ));
        }
    })
}

/// `time=NAME,input=NAME,output=NAME[,unit=s|ms|us|ns]`.
fn mapping(text: &str) -> Result<Columns, String> {
    let mut names = [None, None, None];
    let mut clock = Clock::guessed(1_000_000_000);
    for part in text.split(',') {
        let (key, value) = part
            .split_once('=')
            .ok_or_else(|| format!("`{part}` is not key=value"))?;
        let value = value.trim();
        let slot = match key.trim() {
            "time" => 0,
            "input" => 1,
            "output" => 2,
            "unit" => {
                clock = match value {
                    "s" => Clock::told(1_000_000_000),
                    "ms" => Clock::told(1_000_000),
                    "us" => Clock::told(1_000),
                    "ns" => Clock::told(1),
                    other => return Err(format!("unit `{other}`: must be s, ms, us or ns")),
                };
                continue;
            }
            other => return Err(format!("`{other}`: must be time, input, output or unit")),
        };
        if value.is_empty() {
            return Err(format!("`{part}` names no column"));
        }
        names[slot] = Some(value.to_string());
    }
    match names {
        [Some(t), Some(i), Some(o)] => Ok(Columns {
            names: [t, i, o],
            clock,
        }),
        _ => Err("must name all of time, input and output".into()),
    }
}

/// What the first piece of a table says of the others.
pub(super) struct State {
    separator: u8,
    columns: Columns,
    /// Where time, input and output stand.
    index: [usize; 3],
    /// Fields of a row.
    width: usize,
}

fn words(e: &csv::Error) -> String {
    match e.kind() {
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => wrong_width(*len, *expected_len),
        _ => e.to_string(),
    }
}

fn wrong_width(len: u64, expected: u64) -> String {
    format!("{len} columns where the header has {expected} (is the line cut off?)")
}

impl State {
    fn of(
        format: Format,
        options: &Options,
        separator: u8,
        header: &csv::StringRecord,
    ) -> Result<Self, Problem> {
        let columns = columns(format, options, header)?;
        let mut index = [0; 3];
        for (slot, name) in index.iter_mut().zip(&columns.names) {
            *slot = header
                .iter()
                .position(|h| h.eq_ignore_ascii_case(name))
                .ok_or_else(|| {
                    let have: Vec<&str> = header.iter().take(20).collect();
                    (
                        1,
                        format!(
                            "no column `{name}`; there are {}; --trace-columns maps others",
                            have.join(", ")
                        ),
                    )
                })?;
        }
        Ok(Self {
            separator,
            columns,
            index,
            width: header.len(),
        })
    }
}

/// Reads a piece: the first has the header, by which the others are read.
pub(super) fn read(
    text: &str,
    (format, options): (Format, &Options),
    known: &mut Option<State>,
    out: &mut Reader,
) -> Result<(), Problem> {
    let first = || {
        text.lines()
            .find(|l| !l.trim().is_empty())
            .unwrap_or_default()
    };
    let separator = match known {
        Some(state) => state.separator,
        None => text::separator(first()).unwrap_or(b','),
    };
    let mut csv = csv::ReaderBuilder::new()
        .delimiter(separator)
        .trim(csv::Trim::All)
        .has_headers(known.is_none())
        .from_reader(text.as_bytes());
    let mut lines = Lines::of(text);
    let before = out.lines_before;
    let mut line_of =
        |at: Option<&csv::Position>| at.map_or(0, |p| before + lines.at(p.byte() as usize));
    let state = match known {
        Some(state) => state,
        none => {
            let header = csv
                .headers()
                .map_err(|e| (line_of(e.position()), words(&e)))?;
            none.insert(State::of(format, options, separator, header)?)
        }
    };
    let (index, width) = (state.index, state.width);
    let clock = &mut state.columns.clock;
    let names = [0, 1, 2].map(|i| state.columns.names[i].as_str());
    let mut record = csv::StringRecord::new();
    loop {
        let more = csv
            .read_record(&mut record)
            .map_err(|e| (line_of(e.position()), words(&e)))?;
        if !more {
            return Ok(());
        }
        let line = line_of(record.position());
        if record.len() != width {
            return Err((line, wrong_width(record.len() as u64, width as u64)));
        }
        let field = |i: usize| record.get(index[i]).unwrap_or_default();
        let at = clock.read(field(0)).ok_or_else(|| {
            (
                line,
                format!(
                    "{} `{}` is neither a number nor a date like 2023-11-16 18:15:46.68",
                    names[0],
                    field(0)
                ),
            )
        })?;
        let tokens = |i: usize| -> Result<u64, Problem> {
            // Some writers turn counts into floats: 374.0 is a count, 374.5 is none.
            let text = field(i);
            let whole = text.parse::<u64>().ok().or_else(|| {
                let v = text.parse::<f64>().ok()?;
                ((0.0..1e15).contains(&v) && v == libm::trunc(v)).then_some(v as u64)
            });
            whole.ok_or_else(|| {
                (
                    line,
                    format!("{} `{text}` is not a number of tokens", names[i]),
                )
            })
        };
        out.push(
            line,
            Raw {
                at,
                input: tokens(1)?,
                output: tokens(2)?,
                hash_ids: &[],
                names,
            },
        )?;
    }
}
