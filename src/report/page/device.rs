//! A device: its curves and where they come from.
use super::super::chart::{Chart, Dot, Mark, Scale, Series, escape, short};
use super::{PageError, Section, array, charts, figure_of, table, word};
use serde_json::Value;

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
            levels: vec![],
        })
    };
    let all = [
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
    ];
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
    })
}
