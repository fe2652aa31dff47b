//! A device from its data sheet: what its maker states, times the share of that which the nearest measured device reaches.
//!
//! How far such a profile may be off is what leaving each measured device out says ([`spread`]): its curves built from the other
//! nearest one, against its own.
mod inline;
mod names;

pub use inline::{is_inline, parse as inline, rejoined};
pub(super) use names::same;

use super::builtin::devices;
use super::curves::cuda_graph_launch;
use super::{
    Curve, DeviceProfile, Host, KernelCurves, Link, Memory, Origin, Power, ProfileError,
    Provenance, Quantity, parse,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const GIB: f64 = 1_073_741_824.0;

/// A value with its source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stated {
    /// In the unit of its field.
    pub value: f64,
    /// Who states it.
    pub source: String,
}

/// What a maker states of a device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSheet {
    /// Short name.
    pub id: String,
    /// Name for people, its maker first.
    pub name: String,
    /// Other names, as drivers print them.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Memory in GiB.
    pub memory_gib: Stated,
    /// Memory bandwidth in GB/s.
    pub bandwidth_gbs: Stated,
    /// Dense 16-bit matrix rate with 32-bit accumulation, in 10¹² operations per second.
    pub tflops_bf16: Stated,
    /// The same at 8 bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tflops_fp8: Option<Stated>,
    /// Link to another device, each way, in GB/s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_gbs: Option<Stated>,
    /// Bus to the host's memory, each way, in GB/s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bus_gbs: Option<Stated>,
    /// Power limit in watts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tdp_w: Option<Stated>,
    /// The measured device whose shares count; none: the nearest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub like: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sheets {
    #[serde(rename = "schema")]
    _schema: String,
    sheets: Vec<DataSheet>,
}

/// The power limit that a data sheet of this id states.
pub fn power_limit(id: &str) -> Option<Quantity> {
    all().into_iter().find(|s| s.id == id)?.limit()
}

/// All data sheets that ship with capsim, those of measured devices among them.
pub fn all() -> Vec<DataSheet> {
    let text = include_str!("../../../calibration/sheets/sheets.json");
    let file: Sheets = parse(text, "calibration/sheets/sheets.json", "capsim.sheets/1")
        .expect("shipped sheets are valid");
    file.sheets
}

/// The bus that the data sheet of a device states.
pub(super) fn bus(id: &str) -> Option<Stated> {
    all().into_iter().find(|s| s.id == id)?.bus_gbs
}

/// A measured device beside its data sheet.
struct Measured {
    sheet: DataSheet,
    profile: DeviceProfile,
}

fn measured() -> Vec<Measured> {
    let sheets = all();
    devices()
        .into_iter()
        .filter_map(|profile| {
            let sheet = sheets.iter().find(|s| s.id == profile.id)?.clone();
            Some(Measured { sheet, profile })
        })
        .collect()
}

/// The makers of all devices with a data sheet by their ids, in lower case: for several questions, since the sheets are read for each call.
pub fn makers() -> BTreeMap<String, String> {
    let all = all().into_iter();
    all.map(|s| (s.id, maker(&s.name))).collect()
}

/// The maker of a device with a data sheet, in lower case.
pub fn maker_of(id: &str) -> Option<String> {
    makers().remove(id)
}

/// The first word of a name: its maker.
fn maker(name: &str) -> String {
    name.split_whitespace().next().unwrap_or("").to_lowercase()
}

/// Distance in logarithms of bandwidth and of matrix rate; another maker's device is further than any of the same.
fn distance(a: &DataSheet, b: &DataSheet) -> f64 {
    let ln = |a: &Stated, b: &Stated| libm::log(a.value / b.value);
    let far = if maker(&a.name) == maker(&b.name) {
        0.0
    } else {
        1e3
    };
    far + libm::hypot(
        ln(&a.bandwidth_gbs, &b.bandwidth_gbs),
        ln(&a.tflops_bf16, &b.tflops_bf16),
    )
}

fn nearest<'a>(sheet: &DataSheet, among: &'a [Measured]) -> &'a Measured {
    among
        .iter()
        .filter(|m| m.sheet.id != sheet.id)
        .min_by(|a, b| distance(sheet, &a.sheet).total_cmp(&distance(sheet, &b.sheet)))
        .expect("several devices are measured")
}

/// Relative standard deviations of curves that are built from data sheets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Of memory reads.
    pub stream: f64,
    /// Of matrix products.
    pub matrix: f64,
    /// Of prefill attention.
    pub attention: f64,
    /// Devices that it rests on.
    pub devices: usize,
}

/// One measured device against a profile built for it from its data sheet and the nearest other device: ratios built / measured.
#[derive(Clone, Debug, PartialEq)]
pub struct LeftOut {
    /// The device.
    pub id: String,
    /// The device whose shares counted.
    pub like: String,
    /// Memory read.
    pub stream: f64,
    /// Largest matrix rate.
    pub matrix: f64,
    /// Largest rate of prefill attention.
    pub attention: f64,
}

/// Every measured device left out once.
pub fn left_out() -> Vec<LeftOut> {
    let all = measured();
    all.iter()
        .map(|m| {
            let near = nearest(&m.sheet, &all);
            let bytes = m.sheet.bandwidth_gbs.value / near.sheet.bandwidth_gbs.value;
            let ops = m.sheet.tflops_bf16.value / near.sheet.tflops_bf16.value;
            let (a, b) = (&near.profile, &m.profile);
            LeftOut {
                id: m.sheet.id.clone(),
                like: near.sheet.id.clone(),
                stream: a.dram_read() * bytes / b.dram_read(),
                matrix: a.gemm_f16.peak() * ops / b.gemm_f16.peak(),
                attention: a.attention_prefill.peak() * ops / b.attention_prefill.peak(),
            }
        })
        .collect()
}

/// A measured device as if it were not: from its data sheet and the nearest other measured device. `None`: it has none.
pub fn without(id: &str) -> Option<DeviceProfile> {
    let mut sheet = all().into_iter().find(|s| s.id == id)?;
    devices().iter().find(|d| d.id == id)?;
    let near = nearest(&sheet, &measured()).sheet.id.clone();
    sheet.like = Some(near);
    let mut profile = sheet.profile().ok()?;
    // Engine profiles that were made for the device itself do not know this one.
    profile.id = format!("{id}-from-its-data-sheet");
    Some(profile)
}

/// The spread of devices that take a maker's own device as their reference (`same`), or another maker's.
pub fn spread(same: bool) -> Spread {
    let all = measured();
    let name = |id: &str| {
        let m = all.iter().find(|m| m.sheet.id == id).expect("measured");
        maker(&m.sheet.name)
    };
    let left: Vec<LeftOut> = left_out()
        .into_iter()
        .filter(|l| !same || name(&l.id) == name(&l.like))
        .collect();
    let rms = |of: fn(&LeftOut) -> f64| {
        let sum: f64 = left.iter().map(|l| libm::pow(libm::log(of(l)), 2.0)).sum();
        libm::sqrt(sum / left.len().max(1) as f64)
    };
    Spread {
        stream: rms(|l| l.stream),
        matrix: rms(|l| l.matrix),
        attention: rms(|l| l.attention),
        devices: left.len(),
    }
}

/// Share of its memory that a device's runtime reports: the median of measured devices with memory of their own.
fn reported(all: &[Measured]) -> f64 {
    let mut shares: Vec<f64> = all
        .iter()
        .filter(|m| !m.profile.memory.unified)
        .map(|m| m.profile.memory.total_bytes.value / (m.sheet.memory_gib.value * GIB))
        .filter(|s| (0.5..=1.0).contains(s))
        .collect();
    shares.sort_by(f64::total_cmp);
    crate::stats::percentile(&shares, 50.0)
}

/// Share of its stated bandwidth that a device's memory streams: the median of measured devices.
pub fn streaming_share() -> f64 {
    let of = |m: &Measured| m.profile.dram_read() / (1e9 * m.sheet.bandwidth_gbs.value);
    let mut shares: Vec<f64> = measured().iter().map(of).collect();
    shares.sort_by(f64::total_cmp);
    crate::stats::percentile(&shares, 50.0)
}

/// The launch of a kernel. That of CUDA's reference devices is in their kernel times; without them each kernel has its own. Another
/// maker's device takes that of a device of its own maker, whatever its reference is.
fn launch_of(maker_of: &str, all: &[Measured], near: &Measured) -> Quantity {
    if maker_of == "nvidia" {
        return cuda_graph_launch();
    }
    let own = all.iter().find(|m| maker(&m.sheet.name) == maker_of);
    own.unwrap_or(near).profile.launch.clone()
}

impl DataSheet {
    fn limit(&self) -> Option<Quantity> {
        self.tdp_w.as_ref().map(|stated| Quantity {
            value: stated.value,
            rel_sd: 0.0,
            provenance: Provenance {
                origin: Origin::Datasheet,
                source: stated.source.clone(),
                note: "the power limit: a device draws no more for long".into(),
            },
        })
    }

    fn check(&self) -> Result<(), ProfileError> {
        let within = |field: &str, v: f64, low: f64, high: f64, unit: &str| {
            let bad = ProfileError::Value {
                field: field.into(),
                problem: format!("is {v} {unit}; a device has from {low} to {high} {unit}"),
            };
            (v.is_finite() && (low..=high).contains(&v))
                .then_some(())
                .ok_or(bad)
        };
        within("memory_gib", self.memory_gib.value, 0.5, 1e5, "GiB")?;
        within("bandwidth_gbs", self.bandwidth_gbs.value, 1.0, 1e6, "GB/s")?;
        within("tflops_bf16", self.tflops_bf16.value, 0.01, 1e6, "TFLOPS")?;
        for (field, value, high, unit) in [
            ("tflops_fp8", &self.tflops_fp8, 1e6, "TFLOPS"),
            ("link_gbs", &self.link_gbs, 1e5, "GB/s"),
            ("bus_gbs", &self.bus_gbs, 1e5, "GB/s"),
            ("tdp_w", &self.tdp_w, 1e5, "W"),
        ] {
            if let Some(v) = value {
                within(field, v.value, 0.01, high, unit)?;
            }
        }
        if self.id.is_empty() || self.id.len() > 80 {
            return Err(ProfileError::Value {
                field: "name".into(),
                problem: "a device has a name of 1 to 80 characters".into(),
            });
        }
        Ok(())
    }

    /// The device profile that follows.
    ///
    /// # Errors
    /// A value that no device has, or `like` names no measured device.
    pub fn profile(&self) -> Result<DeviceProfile, ProfileError> {
        self.check()?;
        let all = measured();
        let near = self.reference(&all)?;
        // A name without a maker is of the reference's.
        let known = ["nvidia", "amd", "intel", "apple"];
        let name = match known.contains(&maker(&self.name).as_str()) {
            true => self.name.clone(),
            false => {
                let maker = near.sheet.name.split_whitespace().next().unwrap_or("");
                format!("{maker} {}", self.name)
            }
        };
        let spread = spread(maker(&name) == maker(&near.sheet.name));
        let bytes = self.bandwidth_gbs.value / near.sheet.bandwidth_gbs.value;
        let ops = self.tflops_bf16.value / near.sheet.tflops_bf16.value;
        let scaled = |curve: &Curve, factor: f64, sd: f64, stated: &str| {
            let mut curve = curve.clone();
            for p in &mut curve.points {
                p.y *= factor;
                p.rel_sd = libm::hypot(p.rel_sd, sd).min(1.0);
            }
            curve.provenance = Provenance {
                origin: Origin::Datasheet,
                source: stated.into(),
                note: format!(
                    "times the share of it that {} reaches; ± {:.0} % from leaving each of {} measured devices out",
                    near.sheet.id,
                    100.0 * sd,
                    spread.devices
                ),
            };
            curve
        };
        let r = &near.profile;
        let (bandwidth, matrix) = (&self.bandwidth_gbs.source, &self.tflops_bf16.source);
        let share = reported(&all);
        let launch = launch_of(&maker(&name), &all, near);
        Ok(DeviceProfile {
            schema: DeviceProfile::SCHEMA.into(),
            id: self.id.clone(),
            name,
            aliases: self.aliases.clone(),
            memory: self.memory(share),
            stream_read: scaled(&r.stream_read, bytes, spread.stream, bandwidth),
            gemm_f16: scaled(&r.gemm_f16, ops, spread.matrix, matrix),
            attention_prefill: scaled(&r.attention_prefill, ops, spread.attention, matrix),
            elementwise: scaled(&r.elementwise, bytes, spread.stream, bandwidth),
            launch,
            processor: None,
            int8_ratio: self.tflops_fp8.as_ref().map(|q| Quantity {
                value: q.value / self.tflops_bf16.value,
                rel_sd: 0.1,
                provenance: Provenance {
                    origin: Origin::Datasheet,
                    source: q.source.clone(),
                    note: String::new(),
                },
            }),
            curves: KernelCurves::default(),
            measured: Default::default(),
            switches: vec![],
            kernels: vec![],
            link: self.link(near),
            host: self.bus_gbs.as_ref().map(|s| Host {
                bus: Some(super::host::bus_of(s)),
                ..Host::default()
            }),
            power: self.limit().map(|limit| Power {
                limit_w: Some(limit),
                ..Power::default()
            }),
            provenance: Provenance {
                origin: Origin::Datasheet,
                source: self.sources(&near.sheet.id),
                note: format!(
                    "not measured: the data sheet times the shares that {} reaches of its own; `capsim calibrate` on the device measures it",
                    near.sheet.id
                ),
            },
        })
    }

    /// The measured device whose shares of its own data sheet count: the one that `like` names, or the nearest.
    fn reference<'a>(&self, all: &'a [Measured]) -> Result<&'a Measured, ProfileError> {
        let Some(name) = &self.like else {
            return Ok(nearest(self, all));
        };
        let named = |m: &&Measured| {
            let aliases = &m.profile.aliases;
            m.sheet.id != self.id
                && (same(name, &m.sheet.id) || aliases.iter().any(|a| same(name, a)))
        };
        all.iter().find(named).ok_or_else(|| {
            let ids: Vec<&str> = all.iter().map(|m| m.sheet.id.as_str()).collect();
            ProfileError::Value {
                field: "like".into(),
                problem: format!(
                    "`{name}` is no measured device; there are: {}",
                    ids.join(", ")
                ),
            }
        })
    }

    /// The `share` of its memory that a runtime reports.
    fn memory(&self, share: f64) -> Memory {
        Memory {
            total_bytes: Quantity {
                value: libm::floor(self.memory_gib.value * GIB * share),
                rel_sd: 0.02,
                provenance: Provenance {
                    origin: Origin::Datasheet,
                    source: self.memory_gib.source.clone(),
                    note: format!(
                        "{:.1} % of {:.1} GiB, the share that runtimes report of measured devices",
                        100.0 * share,
                        self.memory_gib.value
                    ),
                },
            },
            unified: false,
        }
    }

    /// Where all of it comes from, in a line.
    fn sources(&self, like: &str) -> String {
        let (memory, bandwidth, matrix) = (
            &self.memory_gib.source,
            &self.bandwidth_gbs.source,
            &self.tflops_bf16.source,
        );
        let stated = if memory == bandwidth && bandwidth == matrix {
            memory.clone()
        } else {
            format!("memory: {memory}; bandwidth: {bandwidth}; matrix rate: {matrix}")
        };
        format!("its data sheet times the shares that {like} reaches of its own; {stated}")
    }

    /// The reference's link, with the stated rate times the share that the reference reaches of its own.
    fn link(&self, near: &Measured) -> Option<Link> {
        let (link, stated) = (near.profile.link.clone()?, self.link_gbs.as_ref());
        let (Some(stated), Some(own)) = (stated, &near.sheet.link_gbs) else {
            return Some(link);
        };
        let share = (link.rate.value / (own.value * 1e9)).min(1.0);
        Some(Link {
            rate: Quantity {
                value: stated.value * 1e9 * share,
                rel_sd: 0.3,
                provenance: Provenance {
                    origin: Origin::Datasheet,
                    source: stated.source.clone(),
                    note: format!("times the share that {} reaches of its link", near.sheet.id),
                },
            },
            groups: vec![],
            ..link
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sheet_gives_a_profile_and_every_measured_device_has_one() {
        let sheets = all();
        for s in &sheets {
            let p = s.profile().unwrap_or_else(|e| panic!("{}: {e}", s.id));
            let text = serde_json::to_string(&p).unwrap();
            DeviceProfile::parse(&text, &s.id).unwrap_or_else(|e| panic!("{e}"));
            assert!(p.dram_read() < 1e9 * s.bandwidth_gbs.value, "{}", s.id);
            assert!(
                p.gemm_f16.peak() < 1.05e12 * s.tflops_bf16.value,
                "{}",
                s.id
            );
            for q in [&s.memory_gib, &s.bandwidth_gbs, &s.tflops_bf16] {
                assert!(q.source.len() > 10, "{}: no source", s.id);
            }
        }
        for d in devices() {
            assert!(sheets.iter().any(|s| s.id == d.id), "{} has no sheet", d.id);
        }
        let mut ids: Vec<&str> = sheets.iter().map(|s| s.id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), sheets.len());
    }

    #[test]
    fn leaving_a_device_out_says_how_far_a_sheet_may_be_off() {
        let left = left_out();
        assert_eq!(left.len(), devices().len());
        assert!(left.iter().all(|l| l.like != l.id));
        let (own, any) = (spread(true), spread(false));
        assert!(own.stream > 0.01 && own.stream < 0.3, "{own:?}");
        // The only measured device of its maker rests on another's: that widens it.
        assert!(any.matrix > own.matrix && any.devices == left.len());
    }

    #[test]
    fn twice_the_data_sheet_is_twice_the_rate() {
        let mut s = all().into_iter().find(|s| s.id == "rtx-5090").unwrap();
        let one = s.profile().unwrap();
        s.bandwidth_gbs.value *= 2.0;
        s.tflops_bf16.value *= 2.0;
        let two = s.profile().unwrap();
        assert!((two.dram_read() / one.dram_read() - 2.0).abs() < 1e-9);
        assert!((two.gemm_f16.peak() / one.gemm_f16.peak() - 2.0).abs() < 1e-9);
    }
}
