//! A device: its curves and where they come from.
use super::super::chart::{Chart, Dot, Mark, Scale, Series, Upright, escape, short};
use super::{PageError, Picture, Section, charts, table};
use capsim::device::{Curve, DeviceProfile};

/// Attainable rate over arithmetic intensity (S. Williams, A. Waterman, D. Patterson, Commun. ACM 52(4), 2009): below the
/// ridge the memory limits, above it the arithmetic. The memory roof is the rate of the longest stream, the other the largest
/// rate of matrix products, both as measured. A 16-bit matrix of weights is read once for `rows` rows, 2 operations per weight
/// of 2 bytes and row: its products lie at an intensity of `rows` as long as weights are most of the traffic.
fn roofline(device: &DeviceProfile) -> Result<Chart, PageError> {
    let gemm = &device.gemm_f16.points;
    let missing = || PageError::Missing("stream_read.points".into());
    let memory = device.stream_read.points.last().ok_or_else(missing)?.y;
    let peak = gemm.iter().map(|p| p.y).fold(0.0, f64::max);
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
        .map(|p| Dot {
            x: p.x,
            y: p.y,
            label: format!("{} rows: {}op/s", short(p.x), short(p.y)),
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

/// A curve over its sizes.
fn curve(curve: &Curve, title: &str, x: &str, y: &str) -> Chart {
    let dots = curve
        .points
        .iter()
        .map(|p| {
            let end = |sign: f64| p.y * libm::exp(sign * 1.645 * p.rel_sd);
            Dot {
                x: p.x,
                y: p.y,
                range: (p.rel_sd > 0.0).then(|| (end(-1.0), end(1.0))),
                label: format!("{}: {}", short(p.x), short(p.y)),
            }
        })
        .collect();
    Chart {
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
    }
}

pub fn section(device: &DeviceProfile) -> Result<Section, PageError> {
    let d = device;
    let rate = "operations/s";
    let all = [
        roofline(d)?,
        curve(&d.stream_read, "Streaming reads", "bytes", "bytes/s"),
        curve(&d.gemm_f16, "16-bit matrix products", "rows", rate),
        curve(
            &d.attention_prefill,
            "Prefill attention",
            "new tokens",
            rate,
        ),
        curve(
            &d.elementwise,
            "Elementwise kernels",
            "bytes moved",
            "bytes/s",
        ),
    ]
    .map(Picture::from);
    let mut body = format!(
        "<p class=\"note\">{}: {} ({}).</p>\n",
        escape(&d.name),
        escape(&d.provenance.source),
        escape(d.provenance.origin.word())
    );
    body += &charts(&all);
    let rows = vec![
        vec![
            "memory".into(),
            format!("{} bytes", short(d.memory.total_bytes.value)),
        ],
        vec![
            "launch of a dependent kernel".into(),
            format!("{} µs", short(d.launch.value * 1e6)),
        ],
    ];
    body += &table(
        "Single figures",
        &["what", "value"].map(String::from),
        &rows,
    );
    Ok(Section {
        title: format!("Device {}", d.id),
        body,
        pictures: all.into(),
        ..Section::default()
    })
}
