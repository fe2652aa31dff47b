//! What small tools measured of a device: memory bandwidth, matrix rates, the bus, the link.
//!
//! | tool | what is read | how it counts |
//! | --- | --- | --- |
//! | clpeak | text of any release, or its XML | reads of a buffer too large to cache |
//! | vkpeak | `key = value UNIT` | `copy-d2d` counts a copy once: it reads and writes as much |
//! | memtest_vulkan | lines of iterations | `checked` counts reads; before 0.4 reads and writes together |
//! | mixbench | its CSV rows | reads (`-ro`) or reads and writes together |
//! | nvbandwidth | text or `-j` | `device_local_copy` counts a copy once (memcpy.cpp@66746a3b: `getAdjustedBandwidth`) |
//! | rocm_bandwidth_test | the unidirectional matrix | a copy within a device counts reads and writes: 212 of Strix Halo's 256 GB/s |
//! | nccl-tests, rccl-tests | `all_reduce_perf` | message sizes and times |
mod clpeak;
mod matrix;
mod nccl;
mod peaks;

use super::ImportError;
use super::links::AllReduces;
use capsim::device::{Curve, DeviceProfile, Host, Origin, Provenance, Quantity};

/// Relative spread of what these tools measure, run to run and tool to tool: assumed. On one Strix Halo rocm_bandwidth_test copied 212 GB/s
/// (llm-tracker.info) where capsim's profile streams 213 to 215.
const REL_SD: f64 = 0.05;

/// What one tool's output says of a device.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rates {
    /// The tool.
    pub tool: String,
    /// The device's name as the tool prints it.
    pub device: Option<String>,
    /// Memory traffic, GB/s.
    pub stream_gbs: Option<f64>,
    /// Dense 16-bit matrix rate with 32-bit sums, TFLOPS.
    pub matrix_16: Option<f64>,
    /// The same of 8-bit floats.
    pub matrix_8: Option<f64>,
    /// From the host's memory to the device, GB/s.
    pub bus_gbs: Option<f64>,
    /// One way between two devices, GB/s.
    pub link_gbs: Option<f64>,
    /// Memory, GiB.
    pub memory_gib: Option<f64>,
    /// All-reduces.
    pub all_reduces: AllReduces,
    /// What was left out, and why.
    pub notes: Vec<String>,
}

impl Rates {
    fn is_empty(&self) -> bool {
        let told = [
            self.stream_gbs,
            self.matrix_16,
            self.matrix_8,
            self.bus_gbs,
            self.link_gbs,
        ];
        told.iter().all(Option::is_none) && self.all_reduces.is_empty()
    }
}

/// Keeps the larger of two.
fn most(of: &mut Option<f64>, v: f64) {
    if v.is_finite() && v > 0.0 {
        *of = Some(of.map_or(v, |o| o.max(v)));
    }
}

/// A tool's reader; `None`: no output of it.
type Reader = fn(&str) -> Option<Vec<Rates>>;

/// Reads a tool's output: what each of its devices did.
///
/// # Errors
/// No such tool's output, or one without any rate.
pub fn read(text: &str, file: &str) -> Result<Vec<Rates>, ImportError> {
    let readers: [Reader; 5] = [
        clpeak::read,
        peaks::vkpeak,
        peaks::memtest_vulkan,
        peaks::mixbench,
        matrix::read,
    ];
    let problem = |p: String| ImportError::File {
        file: file.into(),
        problem: p,
    };
    let found = readers
        .iter()
        .find_map(|r| r(text))
        .or_else(|| nccl::read(text));
    let Some(all) = found else {
        return Err(problem(
            "is no output of clpeak, vkpeak, memtest_vulkan, mixbench, nvbandwidth, rocm_bandwidth_test or nccl-tests that is known"
                .into(),
        ));
    };
    let told: Vec<Rates> = all.into_iter().filter(|r| !r.is_empty()).collect();
    if told.is_empty() {
        return Err(problem("holds no rate: the run ended too soon".into()));
    }
    Ok(told)
}

/// Puts what was measured into a profile, in place of what it says. Returns what changed, in words.
pub fn apply(profile: &mut DeviceProfile, rates: &Rates, file: &str) -> Vec<String> {
    let mut told = vec![];
    let source = format!("{}, {file}", rates.tool);
    let provenance = |note: &str| Provenance {
        origin: Origin::Published,
        source: source.clone(),
        note: note.into(),
    };
    if let Some(gbs) = rates.stream_gbs {
        let factor = gbs * 1e9 / profile.dram_read();
        let scale = |curve: &mut Curve| {
            for p in &mut curve.points {
                p.y *= factor;
                p.rel_sd = REL_SD;
            }
            curve.provenance = provenance("the shape over sizes is that of the profile beneath");
        };
        scale(&mut profile.stream_read);
        scale(&mut profile.elementwise);
        told.push(format!(
            "memory {gbs:.0} GB/s, {factor:.2} times what the profile said"
        ));
        if !profile.kernels.is_empty() {
            told.push(
                "the kernel times of the profile stay as they are: they were measured whole".into(),
            );
        }
    }
    let quantity = |v: f64, note: &str| Quantity {
        value: v,
        rel_sd: REL_SD,
        provenance: provenance(note),
    };
    if let Some(gbs) = rates.bus_gbs {
        let host = profile.host.get_or_insert_with(Host::default);
        host.bus = Some(quantity(gbs * 1e9, "from the host to the device"));
        told.push(format!("bus {gbs:.1} GB/s"));
    }
    let words = super::Source {
        name: source.clone(),
        licence: "measured by the user".into(),
    };
    if let Some(link) = rates.all_reduces.link(&words) {
        told.push(format!(
            "link {:.1} GB/s after {:.1} µs",
            link.rate.value / 1e9,
            link.latency.value * 1e6
        ));
        profile.link = Some(link);
    } else if let (Some(gbs), Some(link)) = (rates.link_gbs, &mut profile.link) {
        link.rate = quantity(gbs * 1e9, "copies from device to device");
        told.push(format!("link {gbs:.1} GB/s"));
    }
    if !told.is_empty() {
        profile.provenance.note =
            format!("{}; {source}: {}", profile.provenance.note, told.join(", "));
    }
    told
}
