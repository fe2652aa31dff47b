//! The device profile's curves and quantities from measured points.
use super::super::samples::SamplesFile;
use super::kernels::Kernels;
use super::power;
use super::source::Source;
use super::steps::Steps;
use super::surfaces::surfaces;
use super::{Fit, FitError};
use capsim::device::{Curve, DeviceProfile, Memory};

/// A name for files and `--device`: lower case, digits, single dashes.
pub fn slug(name: &str) -> String {
    let mut out = String::new();
    for c in name.to_lowercase().chars() {
        if c.is_ascii_alphanumeric() {
            out.push(c);
        } else if !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
        if out.len() >= 48 {
            break;
        }
    }
    let out = out.trim_end_matches('-');
    if out.is_empty() { "device" } else { out }.into()
}

/// The profile of a device, from the launch cost on: every later rate has it taken off.
pub(super) fn fit(file: &SamplesFile, name: &str) -> Result<Fit, FitError> {
    let source = Source { file, name };
    let mut steps = Steps::new(&source);
    let launch = steps.launch();
    let read_points = steps.read()?;
    let gemm_points = steps.matrix(&read_points)?;
    let attention_prefill = steps.attention(&gemm_points);
    let elementwise = steps.elementwise(&read_points);
    steps.soak();
    let per_byte = 1.0 / read_points.last().expect("checked").y;
    let mut kernels = Kernels {
        source: &source,
        t0: steps.t0,
        per_byte,
        matrix_rate: gemm_points.iter().map(|p| p.y).fold(0.0, f64::max),
        notes: vec![],
    };
    let curves = kernels.curves();
    steps.notes.append(&mut kernels.notes);
    let (measured, switches) = surfaces(&source, steps.t0);
    steps.switches(&switches);
    let memory = steps.memory();
    let profile = DeviceProfile {
        schema: DeviceProfile::SCHEMA.into(),
        id: slug(&file.device.name),
        name: file.device.name.clone(),
        aliases: vec![],
        memory: Memory {
            total_bytes: memory,
            unified: file.device.unified_memory,
        },
        stream_read: Curve {
            points: read_points,
            provenance: source.measured("over the working set; best access shape at each size"),
        },
        gemm_f16: Curve {
            points: gemm_points,
            provenance: source.measured(
                "best format and shape at each number of rows, where arithmetic and not streaming limits it",
            ),
        },
        attention_prefill,
        elementwise,
        launch,
        int8_ratio: None,
        processor: source.processor(),
        curves,
        measured,
        switches,
        kernels: vec![],
        link: None,
        host: None,
        power: power::power(&source),
        provenance: source.measured("capsim calibrate"),
    };
    // The reader's own checks, so that nothing is written that predict would refuse.
    let text = serde_json::to_string(&profile).expect("numbers and strings");
    let profile = DeviceProfile::parse(&text, "device.json")?;
    Ok(Fit {
        profile,
        families: steps.families,
        parameters: steps.parameters,
        falls: steps.falls,
        notes: steps.notes,
    })
}
