//! The devices of this machine, for people.
use super::table::wrap;
use capsim::units::Bytes;
use capsim_calibrate::backend::{Api, DeviceInfo};
use capsim_calibrate::discover::Found;
use std::fmt::Write as _;

/// Lines are at most this long.
const WIDTH: usize = 80;
/// Columns: device, name and driver, memory; then whether it can be used.
const DEVICE: usize = 10;
const NAME: usize = 44;
const MEMORY: usize = 11;

/// One entry per device: name, driver, memory, whether it can be used or why not. With `verbose` also limits and features.
pub fn devices(all: &[Found], verbose: bool) -> String {
    let mut o = format!(
        "{:DEVICE$}  {:NAME$}  {:>MEMORY$}  usable\n",
        "device", "name, driver", "memory"
    );
    for found in all {
        match (&found.info, &found.unusable) {
            (Some(info), None) => {
                row(&mut o, &found.id(), info);
                if verbose {
                    details(&mut o, info);
                }
            }
            (_, why) => {
                let why = format!("no: {}", why.as_deref().unwrap_or("unknown reason"));
                text(&mut o, &found.id(), &why);
            }
        }
    }
    let usable = || all.iter().filter_map(|f| f.info.as_ref());
    if !usable().any(|i| !i.software) {
        o.push('\n');
        o.push_str(HINT);
    } else if usable().any(|i| i.software) {
        o.push_str(
            "\nSoftware devices run on the processor: their speed says nothing about a GPU.\n",
        );
    }
    o
}

/// What each backend found, and what measuring through it gives; for `calibrate --backend auto`.
pub fn backends(all: &[Found]) -> String {
    let mut o = String::from("found:\n");
    for found in all {
        let line = match (&found.info, &found.unusable) {
            (Some(info), None) => {
                format!("{} ({}): {}", info.name, info.driver, gives(found.api))
            }
            (_, why) => format!("no: {}", why.as_deref().unwrap_or("unknown reason")),
        };
        text(&mut o, &found.id(), &line);
    }
    o
}

/// What a backend's figures stand for.
fn gives(api: Api) -> &'static str {
    match api {
        Api::Torch => {
            "the operators that an engine runs, with their launches, in eager mode and in replayed graphs"
        }
        Api::Opencl | Api::Wgpu => {
            "the device's limits by capsim's own kernels; an engine's libraries may multiply faster"
        }
        Api::Cpu => "the processor's limits by capsim's own kernels; no GPU",
        Api::Synthetic => "made-up numbers, for tests",
    }
}

/// What brings a driver, where there is no GPU.
const HINT: &str = "\
No GPU can be used. Software devices run on the processor: their speed says
nothing about a GPU. What brings a driver (Debian and Ubuntu; others similar):
  AMD, OpenCL      rocm-opencl-runtime (AMD's repository); user in group render
  AMD, Vulkan      mesa-vulkan-drivers
  NVIDIA           nvidia-driver with nvidia-opencl-icd and libvulkan1
  Intel            intel-opencl-icd, mesa-vulkan-drivers
  OpenCL, Vulkan   the libraries themselves: ocl-icd-libopencl1, libvulkan1
";

fn row(o: &mut String, id: &str, info: &DeviceInfo) {
    let memory = match info.memory_bytes {
        0 => "unknown".into(),
        bytes => Bytes(bytes).to_string(),
    };
    let mut lines = cut(&info.name, NAME);
    lines.extend(cut(&info.driver, NAME));
    for (i, line) in lines.iter().enumerate() {
        let rest = if i > 0 {
            String::new()
        } else {
            let usable = if info.software { "software" } else { "yes" };
            format!("  {memory:>MEMORY$}  {usable}")
        };
        let id = if i > 0 { "" } else { id };
        let line = format!("{id:DEVICE$}  {line:NAME$}{rest}");
        let _ = writeln!(o, "{}", line.trim_end());
    }
}

/// Lines of at most `width` characters; words longer than that are broken.
fn cut(words: &str, width: usize) -> Vec<String> {
    let mut lines = vec![];
    for line in wrap(words, width, "").lines() {
        let chars: Vec<char> = line.chars().collect();
        lines.extend(chars.chunks(width).map(String::from_iter));
    }
    lines
}

/// A line under (or beside) the device's name, over all other columns.
fn text(o: &mut String, id: &str, words: &str) {
    for (i, line) in cut(words, WIDTH - DEVICE - 2).iter().enumerate() {
        let id = if i > 0 { "" } else { id };
        let _ = writeln!(o, "{id:DEVICE$}  {line}");
    }
}

fn details(o: &mut String, info: &DeviceInfo) {
    let size = |bytes| match bytes {
        0 => "unknown".to_string(),
        bytes => Bytes(bytes).to_string(),
    };
    let count = |n: u32| match n {
        0 => "unknown".to_string(),
        n => n.to_string(),
    };
    let timestamps = match info.timestamp_ns {
        Some(ns) => format!("steps of {ns} ns"),
        None => "none: the host's clock only".into(),
    };
    for (what, value) in [
        ("vendor", info.vendor.clone()),
        ("API", info.api_version.clone()),
        (
            "memory shared with host",
            if info.unified_memory { "yes" } else { "no" }.into(),
        ),
        ("largest buffer", size(info.max_buffer_bytes)),
        ("largest kernel argument", size(info.max_binding_bytes)),
        ("local memory", size(info.local_memory_bytes)),
        ("cache, as stated", size(info.cache_bytes)),
        ("work-items in a group", count(info.max_group)),
        ("compute units", count(info.compute_units)),
        ("clock, as stated (MHz)", count(info.clock_mhz)),
        ("timestamps", timestamps),
        ("features", info.features.join(" ")),
    ] {
        text(o, "", &format!("{what}: {value}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use capsim_calibrate::backend::Api;

    fn found(name: &str, software: bool) -> Found {
        Found {
            api: Api::Opencl,
            index: Some(0),
            info: Some(DeviceInfo {
                name: name.into(),
                driver: "A driver of some version, with as many words as drivers use, and one-very-long-word-without-any-space-at-all".into(),
                software,
                memory_bytes: 96 << 30,
                features: (0..60).map(|i| format!("cl_khr_feature_{i}")).collect(),
                ..DeviceInfo::default()
            }),
            unusable: None,
        }
    }

    #[test]
    fn tables_fit_a_terminal_and_lose_nothing() {
        let broken = Found {
            api: Api::Wgpu,
            index: Some(12),
            info: None,
            unusable: Some("the driver failed: ".to_string() + &"crashed ".repeat(40)),
        };
        let name = "AMD Radeon 8060S Graphics (gfx1151) of an uncommonly long designation";
        let all = [found(name, false), found("pthread", true), broken];
        for verbose in [false, true] {
            let table = devices(&all, verbose);
            for line in table.lines() {
                assert!(line.chars().count() <= WIDTH, "{line}");
            }
            for word in name
                .split(' ')
                .chain(["opencl:0", "wgpu:12", "96.00", "software"])
            {
                assert!(table.contains(word), "{word}\n{table}");
            }
            assert_eq!(table.matches("crashed").count(), 40);
            assert_eq!(table.contains("cl_khr_feature_59"), verbose);
        }
        // With a GPU no hint; without one, what brings a driver.
        assert!(!devices(&all, false).contains("mesa-vulkan-drivers"));
        let none = devices(&all[1..], false);
        assert!(none.contains("mesa-vulkan-drivers"));
        assert!(none.lines().all(|l| l.chars().count() <= WIDTH));
    }
}
