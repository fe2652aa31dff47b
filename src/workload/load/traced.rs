//! A load that is a recorded trace.
use super::table::*;
use super::{LoadFiles, LoadValues, ensure, wrong};
use crate::fields::FieldError;
use crate::workload::trace::{Client, Pool};
use crate::workload::trace::{Format, Options, Pieces, Trace, TraceSpec};
use std::sync::Arc;

/// Fields that mean nothing without a trace.
const ONLY_OF_TRACES: [&str; 10] = [
    "trace_format",
    "trace_columns",
    "trace_block_size",
    "trace_skip_empty",
    "trace_sort",
    "trace_start",
    "trace_duration",
    "trace_spread",
    "trace_rate",
    "trace_speedup",
];

/// The trace that a load names, read and cut as it says; `None`: it names none.
///
/// # Errors
/// A file that cannot be read, or values out of range. Errors name the field.
pub fn trace(v: &LoadValues, files: &dyn LoadFiles) -> Result<Option<TraceSpec>, FieldError> {
    let Some(path) = v.get(TRACE_FILE) else {
        let stray = v.iter().find(|(f, _)| ONLY_OF_TRACES.contains(&f.name));
        return match stray {
            Some((field, _)) => Err(wrong(
                field.name,
                "needs --trace-file, the trace that it describes",
            )),
            None => Ok(None),
        };
    };
    for key in [TRACE_START, TRACE_DURATION] {
        if let Some(s) = v.get(key) {
            ensure((0.0..=4e9).contains(&s), key.name(), || {
                format!("{s}: must lie between 0 and 4e9 seconds")
            })?;
        }
    }
    let mut spec = TraceSpec::of(path.clone(), Trace::default());
    spec.options = options(v)?;
    spec.start = v.get(TRACE_START).unwrap_or(0.0);
    spec.duration = v.get(TRACE_DURATION);
    spec.spread = v.get(TRACE_SPREAD).unwrap_or(false);
    spec.speedup = v.get(TRACE_SPEEDUP).unwrap_or(spec.speedup);
    let broken = |problem: String| wrong("trace_file", problem);
    let folder = files.is_folder(&path) || spec.options.format == Some(Format::ServeGen);
    let mut data = if folder {
        let drawn = drawn(&path, &mut spec, v, files)?;
        // The part is what was drawn.
        (spec.start, spec.duration) = (0.0, None);
        drawn
    } else {
        ensure(v.get(TRACE_RATE).is_none(), "trace_rate", || {
            "is for ServeGen folders; --trace-speedup makes a recorded trace faster".into()
        })?;
        let mut pieces = Pieces::new(&spec.file, &spec.options);
        files
            .pieces(&path, &mut |text| {
                pieces.piece(text).map_err(|e| e.to_string())
            })
            .map_err(broken)?;
        pieces.finish().map_err(|e| broken(e.to_string()))?
    };
    if spec.spread {
        data.spread();
    }
    spec.data = Some(Arc::new(data));
    Ok(Some(spec))
}

fn options(v: &LoadValues) -> Result<Options, FieldError> {
    let format = match v.get(TRACE_FORMAT) {
        None => None,
        Some(name) => Some(Format::by_name(&name).ok_or_else(|| {
            let names: Vec<&str> = Format::ALL.iter().map(|(n, _)| *n).collect();
            let known = names.join(", ");
            wrong("trace_format", format!("`{name}`: must be one of {known}"))
        })?),
    };
    Ok(Options {
        format,
        columns: v.get(TRACE_COLUMNS),
        block_size: v.get(TRACE_BLOCK_SIZE),
        sort: v.get(TRACE_SORT).unwrap_or(false),
        skip_empty: v.get(TRACE_SKIP_EMPTY).unwrap_or(false),
    })
}

/// Requests drawn from the clients of a ServeGen folder.
fn drawn(
    path: &str,
    spec: &mut TraceSpec,
    v: &LoadValues,
    files: &dyn LoadFiles,
) -> Result<Trace, FieldError> {
    spec.options.format = Some(Format::ServeGen);
    let rate = v.get(TRACE_RATE);
    if let Some(r) = rate {
        ensure((1e-6..=1e6).contains(&r), "trace_rate", || {
            format!("{r}: must lie between 1e-6 and 1e6 per second")
        })?;
    }
    let pool = servegen(path, files).map_err(|e| wrong("trace_file", e))?;
    pool.draw(
        &spec.file,
        spec.start,
        spec.duration,
        rate,
        v.get(SEED).unwrap_or(0),
    )
    .map_err(|e| wrong("trace_file", e.to_string()))
}

/// All clients of a ServeGen folder.
fn servegen(folder: &str, files: &dyn LoadFiles) -> Result<Pool, String> {
    let mut numbers: Vec<(u64, String)> = vec![];
    for name in files.names(folder)? {
        if let Some(n) = name
            .strip_prefix("chunk-")
            .and_then(|r| r.strip_suffix("-trace.csv"))
            && let Ok(number) = n.parse()
        {
            numbers.push((number, n.to_string()));
        }
    }
    if numbers.is_empty() {
        return Err(format!("{folder}: holds no chunk-N-trace.csv of ServeGen"));
    }
    numbers.sort();
    let folder = folder.trim_end_matches('/');
    let mut pool = Pool::default();
    for (_, n) in numbers {
        let trace = format!("{folder}/chunk-{n}-trace.csv");
        let dataset = format!("{folder}/chunk-{n}-dataset.json");
        let client = Client::parse(
            (&trace, &files.text(&trace)?),
            (&dataset, &files.text(&dataset)?),
        );
        pool.clients.push(client.map_err(|e| e.to_string())?);
    }
    Ok(pool)
}
