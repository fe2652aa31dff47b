//! `capsim device new`: a device profile from a data sheet.
use super::files;
use anyhow::Context;
use capsim::device::sheet::{DataSheet, Stated};
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Args, Debug)]
pub struct DeviceArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// A device profile from a data sheet, with the shares of it that the nearest measured device reaches
    New(NewArgs),
}

/// What the data sheet says.
#[derive(Args, Debug)]
struct NewArgs {
    /// Name of the device
    #[arg(value_name = "NAME")]
    name: String,
    /// Memory in GiB
    #[arg(long, value_name = "GIB")]
    memory_gib: f64,
    /// Memory bandwidth in GB/s
    #[arg(long, value_name = "GB/S")]
    bandwidth_gbs: f64,
    /// Dense 16-bit matrix rate with 32-bit accumulation, in TFLOPS (not the figure with sparsity)
    #[arg(long, value_name = "TFLOPS")]
    tflops_bf16: f64,
    /// The same at 8 bits
    #[arg(long, value_name = "TFLOPS")]
    tflops_fp8: Option<f64>,
    /// Link to another device, each way, in GB/s
    #[arg(long, value_name = "GB/S")]
    link_gbs: Option<f64>,
    /// Bus to the host's memory, each way, in GB/s
    #[arg(long, value_name = "GB/S")]
    bus_gbs: Option<f64>,
    /// Power limit in watts
    #[arg(long, value_name = "W")]
    tdp_w: Option<f64>,
    /// Measured device whose shares count (default: the nearest in bandwidth and matrix rate, of the same maker first)
    #[arg(long, value_name = "DEVICE")]
    like: Option<String>,
    /// Who states these numbers; it becomes their provenance
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "data sheet, as given on the command line"
    )]
    source: String,
    /// File or folder (default: calibration/NAME/datasheet/device.json)
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// Print the profile as well, instead of words (capsim schema device)
    #[arg(long)]
    json: bool,
}

/// A name as a file's: lower case, digits, single dashes.
fn id(name: &str) -> String {
    capsim_calibrate::fit::slug(name)
}

pub fn run(args: &DeviceArgs) -> anyhow::Result<ExitCode> {
    let What::New(new) = &args.what;
    let stated = |value: f64| Stated {
        value,
        source: new.source.clone(),
    };
    anyhow::ensure!(
        new.name.chars().any(char::is_alphanumeric),
        "NAME `{}`: a device has a name",
        new.name
    );
    let sheet = DataSheet {
        id: id(&new.name),
        name: new.name.clone(),
        aliases: vec![],
        memory_gib: stated(new.memory_gib),
        bandwidth_gbs: stated(new.bandwidth_gbs),
        tflops_bf16: stated(new.tflops_bf16),
        tflops_fp8: new.tflops_fp8.map(stated),
        link_gbs: new.link_gbs.map(stated),
        bus_gbs: new.bus_gbs.map(stated),
        tdp_w: new.tdp_w.map(stated),
        like: new.like.clone(),
    };
    let profile = sheet.profile()?;
    let path = match &new.output {
        None => PathBuf::from("calibration")
            .join(&profile.id)
            .join("datasheet/device.json"),
        Some(p) if p.extension().is_some_and(|e| e == "json") => p.clone(),
        Some(p) => p.join("device.json"),
    };
    if let Some(dir) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
        std::fs::create_dir_all(dir).with_context(|| format!("{}", dir.display()))?;
    }
    let text = serde_json::to_string_pretty(&profile)? + "\n";
    files::write(&path, &text)?;
    if new.json {
        print!("{text}");
        return Ok(ExitCode::SUCCESS);
    }
    let spread = |c: &capsim::device::Curve| 100.0 * c.points[c.points.len() - 1].rel_sd;
    println!(
        "{}: {:.0} GB/s ± {:.0} %, {:.0} TFLOPS ± {:.0} % (16 bits), {:.1} GiB\n{}\n\nWritten to {}\nNext: capsim predict --device {}",
        profile.name,
        profile.dram_read() / 1e9,
        spread(&profile.stream_read),
        profile.gemm_f16.peak() / 1e12,
        spread(&profile.gemm_f16),
        profile.memory.total_bytes.value / (1u64 << 30) as f64,
        profile.provenance.note,
        path.display(),
        path.display(),
    );
    Ok(ExitCode::SUCCESS)
}
