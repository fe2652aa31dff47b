//! `capsim devices` on machines that are not well: no library, no driver, a driver that crashes, hangs, or says nothing.
use serde_json::Value;
use std::process::{Command, Output};

const EXE: &str = env!("CARGO_BIN_EXE_capsim");

fn capsim(args: &[&str], vars: &[(&str, &str)]) -> Output {
    assert_cmd::Command::from_std(Command::new(EXE))
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .args(args)
        .envs(vars.iter().copied())
        .timeout(std::time::Duration::from_secs(240))
        .output()
        .unwrap()
}

/// `capsim devices --json`, which always succeeds.
fn devices(args: &[&str], vars: &[(&str, &str)]) -> Vec<Value> {
    let args: Vec<&str> = ["devices", "--json"]
        .into_iter()
        .chain(args.iter().copied())
        .collect();
    let out = capsim(&args, vars);
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let value: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(value["schema"], "capsim.devices/1");
    assert!(value["environment"]["host"]["memory_total"].is_object());
    value["devices"].as_array().unwrap().clone()
}

fn why(device: &Value) -> &str {
    device["unusable"].as_str().unwrap_or("")
}

/// Neither an OpenCL library nor a Vulkan driver.
const NOTHING: [(&str, &str); 3] = [
    ("CAPSIM_OPENCL_LIBRARY", "/nonexistent/libOpenCL.so"),
    ("VK_DRIVER_FILES", "/nonexistent/driver.json"),
    ("VK_ICD_FILENAMES", "/nonexistent/driver.json"),
];

#[test]
fn no_gpu_is_an_ordinary_answer() {
    let all = devices(&[], &NOTHING);
    let of = |api: &str| {
        let found: Vec<&Value> = all.iter().filter(|d| d["api"] == api).collect();
        assert_eq!(found.len(), 1, "{all:?}");
        found[0]
    };
    assert!(why(of("opencl")).contains("/nonexistent/"), "{all:?}");
    assert!(why(of("wgpu")).contains("no driver"), "{all:?}");
    assert!(
        of("cpu")["info"]["name"]
            .as_str()
            .is_some_and(|n| !n.is_empty())
    );

    let out = capsim(&["devices"], &NOTHING);
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.success());
    assert!(text.contains("What brings a driver"), "{text}");
    assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
}

#[test]
fn no_driver_is_an_ordinary_answer() {
    let empty = concat!(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."), "/kernels/");
    let all = devices(&["--backend", "opencl"], &[("OCL_ICD_VENDORS", empty)]);
    if all.iter().any(|d| d["index"].is_number()) {
        println!("SKIP because this OpenCL loader does not honour OCL_ICD_VENDORS");
        return;
    }
    assert!(
        why(&all[0]).contains("knows no driver") || why(&all[0]).contains("no OpenCL library"),
        "{all:?}"
    );
}

#[test]
fn a_driver_that_misbehaves_costs_one_line() {
    for (fault, says) in [
        ("crash", "crashed"),
        ("exit", "the driver gave up"),
        ("silence", "no answer"),
    ] {
        let spec = format!("opencl={fault}");
        let all = devices(&[], &[("CAPSIM_PROBE_FAULT", &spec)]);
        let opencl: Vec<&Value> = all.iter().filter(|d| d["api"] == "opencl").collect();
        assert_eq!(opencl.len(), 1, "{all:?}");
        assert!(why(opencl[0]).contains(says), "{fault}: {all:?}");
        // The others are as they were.
        assert!(
            all.iter()
                .any(|d| d["api"] == "cpu" && d["info"].is_object())
        );
    }
    // One device of an API that has others, or none: its listing is not hit.
    let all = devices(
        &["--backend", "cpu"],
        &[("CAPSIM_PROBE_FAULT", "cpu:0=crash")],
    );
    assert_eq!(all.len(), 1);
    assert_eq!(all[0]["index"], 0);
    assert!(why(&all[0]).contains("crashed"), "{all:?}");
}

#[test]
fn a_driver_that_hangs_is_given_up() {
    let all = devices(
        &["--backend", "cpu,opencl", "--timeout", "1.5"],
        &[("CAPSIM_PROBE_FAULT", "opencl=hang")],
    );
    let hung = all.iter().find(|d| d["api"] == "opencl").unwrap();
    assert!(why(hung).contains("no answer within 1.5 s"), "{all:?}");
}

#[test]
fn the_fault_variable_means_nothing_elsewhere() {
    let out = capsim(&["models"], &[("CAPSIM_PROBE_FAULT", "cpu=crash")]);
    assert!(out.status.success());
}

#[test]
fn bad_flags_are_refused() {
    for args in [
        ["devices", "--backend", "cuda"],
        ["devices", "--timeout", "-1"],
        ["devices", "--timeout", "nan"],
        ["devices", "--timeout", "0"],
    ] {
        let out = capsim(&args, &[]);
        assert_eq!(out.status.code(), Some(2), "{args:?}");
        assert!(out.stdout.is_empty());
    }
}

/// The program must start where there is no libOpenCL and no libvulkan: it may not be linked to either.
#[cfg(target_os = "linux")]
#[test]
fn the_program_is_linked_to_no_gpu_library() {
    let out = match Command::new("readelf").args(["-d", EXE]).output() {
        Ok(out) if out.status.success() => String::from_utf8_lossy(&out.stdout).into_owned(),
        _ => {
            println!("SKIP because readelf (binutils) is not installed");
            return;
        }
    };
    let needed: Vec<&str> = out.lines().filter(|l| l.contains("(NEEDED)")).collect();
    assert!(needed.iter().any(|l| l.contains("libc.")), "{out}");
    for line in needed {
        let lower = line.to_lowercase();
        assert!(
            !lower.contains("opencl") && !lower.contains("vulkan"),
            "{line}"
        );
    }
}

/// `devices` and `predict` in a root that holds nothing but the program and its libraries.
#[cfg(target_os = "linux")]
#[test]
fn works_in_a_bare_root() {
    let skip = |why: &str| println!("SKIP because {why}");
    let Ok(ldd) = Command::new("ldd").arg(EXE).output() else {
        return skip("there is no ldd");
    };
    let root = tempfile::tempdir().unwrap();
    let put = |from: &str, to: &str| {
        let to = root.path().join(to.trim_start_matches('/'));
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from, to).unwrap();
    };
    let libraries = String::from_utf8_lossy(&ldd.stdout).into_owned();
    for path in libraries.split_whitespace().filter(|w| w.starts_with('/')) {
        put(path, path);
    }
    put(EXE, "/capsim");
    let run = |args: &[&str]| {
        Command::new("chroot")
            .arg(root.path())
            .arg("/capsim")
            .args(args)
            .output()
    };
    match run(&["--version"]) {
        Err(e) => return skip(&format!("there is no chroot: {e}")),
        Ok(out) if !out.status.success() => {
            // 125 to 127: chroot itself failed. Anything else is the program's own failure.
            let words = String::from_utf8_lossy(&out.stderr).into_owned();
            assert_eq!(out.status.code(), Some(125), "{words}");
            return skip(words.trim());
        }
        Ok(_) => {}
    }
    let out = run(&["predict"]).unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    assert!(text.contains("tok/s"), "{text}");
    let out = run(&["devices"]).unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    assert!(
        text.contains("cpu:0") && text.contains("What brings a driver"),
        "{text}"
    );
}

/// A card without measurements: by its name, in a word, or as a profile of its own; an unknown one is told the ways.
#[test]
fn a_card_from_its_data_sheet_is_predicted() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("device.json").display().to_string();
    let new = [
        "device",
        "new",
        "My Card 7",
        "--memory-gib",
        "32",
        "--bandwidth-gbs",
        "1792",
        "--tflops-bf16",
        "210",
        "--like",
        "rtx-pro-6000",
        "--json",
        "-o",
        &file,
    ];
    let out = capsim(&new, &[]);
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let printed: Value = serde_json::from_slice(&out.stdout).unwrap();
    let written: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(printed, written);
    assert_eq!(written["schema"], "capsim.device/1");
    assert_eq!(written["name"], "NVIDIA My Card 7");
    let predict = |device: &str| {
        let args = [
            "predict",
            "--model",
            "qwen3-0.6b",
            "--num-prompts",
            "2",
            "--device",
            device,
        ];
        let out = capsim(&args, &[]);
        let text = [&out.stdout[..], &out.stderr[..]].concat();
        (
            out.status.code(),
            String::from_utf8_lossy(&text).into_owned(),
        )
    };
    for device in [
        file.as_str(),
        "NVIDIA GeForce RTX 5090",
        "x:32GiB,1792GB/s,210TFLOPS,like=rtx-pro-6000",
    ] {
        let (code, text) = predict(device);
        assert_eq!(code, Some(0), "{text}");
        assert!(
            text.contains("data sheet") && text.contains("rtx-pro-6000"),
            "{text}"
        );
    }
    // Two devices, one of them with commas of its own.
    let (code, text) = predict("l40s,x:32GiB,1792GB/s,210TFLOPS");
    assert!(code == Some(0) && text.contains("device l40s"), "{text}");
    let (code, text) = predict("RTX 5070");
    assert_eq!(code, Some(2));
    for way in [
        "capsim calibrate",
        "capsim device new rtx-5070",
        "capsim import",
    ] {
        assert!(text.contains(way), "{text}");
    }
    let (code, text) = predict("x:32GiB,1792GB/s");
    assert!(code == Some(2) && text.contains("matrix rate"), "{text}");
    let wrong = [
        "device",
        "new",
        "x",
        "--memory-gib=-1",
        "--bandwidth-gbs",
        "9",
        "--tflops-bf16",
        "9",
    ];
    let out = capsim(&wrong, &[]);
    assert_eq!(out.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&out.stderr).contains("memory_gib"));
}
