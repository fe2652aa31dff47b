//! Every measured device left out once: its profile built from its data sheet and the nearest other one, against its own curves and
//! against runs that were recorded on it.
use super::compare::candidates;
use super::hypothesis::Basis;
use super::runs::RunsFile;
use capsim::device::{EngineProfile, builtin, sheet};
use capsim::metrics::{Latency, Metric};
use capsim::stats::percentile;
use std::fmt::Write as _;

/// One figure of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// The device that was left out.
    pub device: String,
    /// Whether it is a throughput; else a time per token.
    pub throughput: bool,
    /// Predicted / measured − 1.
    pub error: f64,
    /// Whether the measured value lies in the interval.
    pub inside: bool,
    /// Half of the interval over the prediction.
    pub half: f64,
}

/// The shipped profile of engines on several devices, one of which is this: what another device of its maker gets.
fn engine(device: &str) -> Option<EngineProfile> {
    let of = |e: &EngineProfile| e.devices.len() > 1 && e.devices.iter().any(|d| d == device);
    builtin::engines().into_iter().find(of)
}

/// The figures of a file's runs with their device left out; none where no engine profile serves several devices, or a run cannot be
/// simulated there.
pub fn figures(file: &RunsFile, basis: &Basis) -> Vec<Figure> {
    let id = &basis.device.id;
    let (Some(device), Some(engine)) = (sheet::without(id), engine(id)) else {
        return vec![];
    };
    let basis = Basis {
        device,
        engine,
        ..basis.clone()
    };
    let counted = |m: Metric| {
        m.is_throughput() || m == Metric::mean(Latency::Tpot) || m == Metric::median(Latency::Itl)
    };
    let mut all = vec![];
    for run in &file.runs {
        let Ok(found) = candidates(file, &basis, run) else {
            continue;
        };
        for m in &found[0].metrics {
            let Some(i) = m.interval.filter(|_| counted(m.metric.metric())) else {
                continue;
            };
            all.push(Figure {
                device: id.clone(),
                throughput: m.metric.metric().is_throughput(),
                error: m.predicted / m.measured - 1.0,
                inside: (i.low..=i.high).contains(&m.measured),
                half: (i.high - i.low) / 2.0 / m.predicted,
            });
        }
    }
    all
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut all: Vec<f64> = values.collect();
    all.sort_by(f64::total_cmp);
    percentile(&all, 50.0)
}

/// Both tables.
pub fn markdown(figures: &[Figure]) -> String {
    let mut o = String::from(
        "\n## A card from its data sheet: every measured device left out\n\n\
         Each measured device is built from its data sheet and the shares that the nearest other measured device reaches of its own \
         (`capsim device new`). Built / measured:\n\n\
         | device | shares of | memory read | matrix rate | prefill attention |\n| --- | --- | --- | --- | --- |\n",
    );
    for l in sheet::left_out() {
        let _ = writeln!(
            o,
            "| {} | {} | {:.2} | {:.2} | {:.2} |",
            l.id, l.like, l.stream, l.matrix, l.attention
        );
    }
    for (same, who) in [(true, "of the same maker"), (false, "of any maker")] {
        let s = sheet::spread(same);
        let _ = writeln!(
            o,
            "\nRoot mean square of ln, reference {who} ({} devices): memory {:.0} %, matrix {:.0} %, attention {:.0} %.",
            s.devices,
            100.0 * s.stream,
            100.0 * s.matrix,
            100.0 * s.attention
        );
    }
    o.push_str(
        "\nThese are the spreads of the curves of a profile from a data sheet. Recorded runs of a device that was left out, with the engine \
         profile that serves several devices (a device whose maker has no other measured one is left out of this table):\n\n\
         | device | figure | n | median \\|error\\| | bias | inside | half-width |\n| --- | --- | --- | --- | --- | --- | --- |\n",
    );
    let mut devices: Vec<&str> = figures.iter().map(|f| f.device.as_str()).collect();
    devices.sort_unstable();
    devices.dedup();
    for device in devices {
        for (throughput, name) in [(false, "time per token"), (true, "throughput")] {
            let own = || {
                figures
                    .iter()
                    .filter(|f| f.device == device && f.throughput == throughput)
            };
            let n = own().count();
            if n > 0 {
                let inside = own().filter(|f| f.inside).count();
                let _ = writeln!(
                    o,
                    "| {device} | {name} | {n} | {:.1} % | {:+.1} % | {:.0} % | ± {:.0} % |",
                    100.0 * median(own().map(|f| f.error.abs())),
                    100.0 * median(own().map(|f| f.error)),
                    100.0 * inside as f64 / n as f64,
                    100.0 * median(own().map(|f| f.half)),
                );
            }
        }
    }
    o
}
