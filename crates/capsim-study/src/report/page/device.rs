//! A device: its curves and where they come from.
use super::super::chart::{Chart, Dot, Mark, Scale, Series, Upright, escape, short};
use super::{PageError, Picture, Section, array, charts, figure_of, table, word};
use serde_json::Value;

/// Points of a curve: (x, y).
fn points(value: &Value, key: &str) -> Result<Vec<(f64, f64)>, PageError> {
    Ok(array(&value[key], "points")
        .map_err(|_| PageError::Missing(format!("{key}.points")))?
        .iter()
        .filter_map(|p| Some((p["x"].as_f64()?, p["y"].as_f64()?)))
        .collect())
}

/// Attainable rate over arithmetic intensity (S. Williams, A. Waterman, D. Patterson, Commun. ACM 52(4), 2009): below the
/// ridge the memory limits, above it the arithmetic. The memory roof is the rate of the longest stream, the other the largest
/// rate of matrix products, both as measured. A 16-bit matrix of weights is read once for `rows` rows, 2 operations per weight
/// of 2 bytes and row: its products lie at an intensity of `rows` as long as weights are most of the traffic.
fn roofline(value: &Value) -> Result<Chart, PageError> {
    let (stream, gemm) = (points(value, "stream_read")?, points(value, "gemm_f16")?);
    let missing = || PageError::Missing("stream_read.points".into());
    let memory = stream.last().ok_or_else(missing)?.1;
    let peak = gemm.iter().map(|p| p.1).fold(0.0, f64::max);
    let ridge = peak / memory.max(1e-300);
    let roof = [1.0, ridge, 16.0 * ridge]
        .into_iter()
        .map(|x| Dot {
            x,
            y: peak.min(memory * x),
            label: format!(
                "{}op/s at {} op/byte",
                short(peak.min(memory * x)),
                short(x)
            ),
            ..Dot::default()
        })
        .collect();
    let products = gemm
        .iter()
        .map(|&(x, y)| Dot {
            x,
            y,
            label: format!("{} rows: {}op/s", short(x), short(y)),
            ..Dot::default()
        })
        .collect();
    Ok(Chart {
        title: "Roofline".into(),
        x: "operations per byte, logarithmic".into(),
        y: "operations/s".into(),
        x_scale: Scale::Log,
        y_scale: Scale::Log,
        series: vec![
            Series {
                name: "memory and arithmetic".into(),
                dots: roof,
                mark: Mark::Line,
            },
            Series {
                name: "16-bit products, at operations per weight byte".into(),
                dots: products,
                mark: Mark::Dots,
            },
        ],
        uprights: vec![Upright {
            x: ridge,
            name: format!("ridge {}", short(ridge)),
            series: None,
        }],
        ..Chart::default()
    })
}

pub fn section(value: &Value) -> Result<Section, PageError> {
    let curve = |key: &str, title: &str, x: &str, y: &str| -> Result<Chart, PageError> {
        let dots = array(&value[key], "points")
            .map_err(|_| PageError::Missing(format!("{key}.points")))?
            .iter()
            .filter_map(|p| {
                let (px, py) = (p["x"].as_f64()?, p["y"].as_f64()?);
                let sd = p["rel_sd"].as_f64().unwrap_or(0.0);
                Some(Dot {
                    x: px,
                    y: py,
                    range: (sd > 0.0)
                        .then(|| (py * libm::exp(-1.645 * sd), py * libm::exp(1.645 * sd))),
                    label: format!("{}: {}", short(px), short(py)),
                })
            })
            .collect();
        Ok(Chart {
            title: title.into(),
            x: x.into(),
            y: y.into(),
            x_scale: Scale::Log,
            y_scale: Scale::Log,
            series: vec![Series {
                name: title.into(),
                dots,
                mark: Mark::Line,
            }],
            ..Chart::default()
        })
    };
    let all = [
        roofline(value)?,
        curve("stream_read", "Streaming reads", "bytes", "bytes/s")?,
        curve("gemm_f16", "16-bit matrix products", "rows", "operations/s")?,
        curve(
            "attention_prefill",
            "Prefill attention",
            "new tokens",
            "operations/s",
        )?,
        curve(
            "elementwise",
            "Elementwise kernels",
            "bytes moved",
            "bytes/s",
        )?,
    ]
    .map(Picture::from);
    let provenance = &value["provenance"];
    let mut body = format!(
        "<p class=\"note\">{}: {} ({}).</p>\n",
        escape(word(value, "name")?),
        escape(provenance["source"].as_str().unwrap_or("no source")),
        escape(provenance["origin"].as_str().unwrap_or("?"))
    );
    body += &charts(&all);
    let rows = vec![
        vec![
            "memory".into(),
            figure_of(value, "/memory/total_bytes/value")
                .map_or("–".into(), |v| format!("{} bytes", short(v))),
        ],
        vec![
            "launch of a dependent kernel".into(),
            figure_of(value, "/launch/value")
                .map_or("–".into(), |v| format!("{} µs", short(v * 1e6))),
        ],
    ];
    body += &table(
        "Single figures",
        &["what", "value"].map(String::from),
        &rows,
    );
    Ok(Section {
        title: format!("Device {}", word(value, "id")?),
        body,
        pictures: all.into(),
    })
}
