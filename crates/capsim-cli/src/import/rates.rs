//! `capsim import rates`: a profile with what small tools measured of memory, matrix units, bus and link.
use super::super::{files, load};
use anyhow::{Context, bail, ensure};
use capsim::device::DeviceProfile;
use capsim::device::sheet::{DataSheet, Stated, streaming_share};
use capsim_study::import::rates::{self, Rates};
use capsim_study::report::json::listing::Imported;
use clap::Args;
use std::path::PathBuf;

#[derive(Args, Debug)]
pub struct RatesArgs {
    /// Outputs of clpeak, vkpeak, memtest_vulkan, mixbench, nvbandwidth, rocm_bandwidth_test, nccl-tests or rccl-tests, saved
    #[arg(required = true, value_name = "FILE")]
    measured: Vec<PathBuf>,
    /// The profile beneath: a device's name, a file, or a data sheet written inline (default: the device that the tool names)
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// Which device of a file with several, from 0
    #[arg(long, value_name = "N")]
    index: Option<usize>,
    /// Memory in GiB, of a card that is not known
    #[arg(long, value_name = "GIB")]
    memory_gib: Option<f64>,
    /// Dense 16-bit matrix rate with 32-bit sums in TFLOPS, of a card that is not known
    #[arg(long, value_name = "TFLOPS")]
    tflops_bf16: Option<f64>,
    /// Device profile to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

fn one(all: Vec<Rates>, index: Option<usize>, file: &str) -> anyhow::Result<Rates> {
    let names: Vec<String> = all
        .iter()
        .enumerate()
        .map(|(i, r)| format!("{i}: {}", r.device.as_deref().unwrap_or("no name")))
        .collect();
    let n = all.len();
    let wanted = match index {
        None if n > 1 => bail!(
            "{file}: holds {n} devices ({}); --index says which is meant",
            names.join(", ")
        ),
        None => 0,
        Some(i) => i,
    };
    all.into_iter()
        .nth(wanted)
        .with_context(|| format!("--index {wanted}: {file} holds {}", names.join(", ")))
}

/// A card that is not known, from what was said and measured of it.
fn unknown(
    args: &RatesArgs,
    name: Option<&str>,
    all: &[(Rates, String)],
) -> anyhow::Result<DeviceProfile> {
    let told = |of: fn(&Rates) -> Option<f64>| {
        all.iter()
            .find_map(|(r, file)| of(r).map(|v| (v, format!("{}, {file}", r.tool))))
    };
    let said = |v: Option<f64>| v.map(|v| (v, "as given on the command line".to_string()));
    let name = name.unwrap_or("this card");
    let bandwidth = told(|r| r.stream_gbs).map(|(v, s)| (v / streaming_share(), s));
    let memory = said(args.memory_gib).or_else(|| told(|r| r.memory_gib));
    let matrix = said(args.tflops_bf16).or_else(|| told(|r| r.matrix_16));
    let (Some(bandwidth), Some(memory), Some(matrix)) = (bandwidth, memory, matrix) else {
        bail!(
            "`{name}` is no device that capsim knows, and the files do not say all of it: name the profile beneath with --device (`capsim models` \
             lists them), or give --memory-gib and --tflops-bf16 beside a file with its memory bandwidth"
        );
    };
    let stated = |(value, source): (f64, String)| Stated { value, source };
    let sheet = DataSheet {
        id: capsim_calibrate::fit::slug(name),
        name: name.into(),
        aliases: vec![],
        memory_gib: stated(memory),
        bandwidth_gbs: stated(bandwidth),
        tflops_bf16: stated(matrix),
        tflops_fp8: told(|r| r.matrix_8).map(stated),
        link_gbs: None,
        bus_gbs: None,
        tdp_w: None,
        like: None,
    };
    Ok(sheet.profile()?)
}

pub fn import(args: &RatesArgs, told: &mut Imported) -> anyhow::Result<()> {
    let mut all = vec![];
    for path in &args.measured {
        let file = path.display().to_string();
        let found = rates::read(&files::read(path)?, &file)?;
        // A name for provenance, which outlives the folder.
        let short = path
            .file_name()
            .map_or(file.clone(), |n| n.to_string_lossy().into_owned());
        all.push((one(found, args.index, &file)?, short));
    }
    let printed = all.iter().find_map(|(r, _)| r.device.clone());
    let mut profile = match (&args.device, &printed) {
        (Some(name), _) => load::device(name).context("--device")?,
        (None, Some(name)) => match load::device(name) {
            Ok(known) => known,
            Err(_) => unknown(args, Some(name), &all)?,
        },
        (None, None) => unknown(args, None, &all)?,
    };
    for (rates, file) in &all {
        if let Some(gbs) = rates.stream_gbs {
            let share = gbs * 1e9 / profile.dram_read();
            ensure!(
                (0.4..=1.5).contains(&share),
                "{file}: {gbs:.0} GB/s is {share:.2} times what `{}` streams: is it of another device ({})? --device names the right one",
                profile.id,
                rates.device.as_deref().unwrap_or("it names none")
            );
        }
        let changed = rates::apply(&mut profile, rates, file);
        told.notes
            .extend(rates.notes.iter().map(|n| format!("{file}: {n}")));
        told.notes.push(match &changed[..] {
            [] => format!("{file}: nothing of it stands in a profile"),
            some => format!("{file}: {}", some.join("; ")),
        });
    }
    super::save(&profile, &args.output, told)
}
