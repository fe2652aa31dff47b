//! Kernels that no device here can run still parse, type-check and compile to the instructions that they are about.
use capsim_calibrate::backend::{Api, DeviceInfo, Kernel};
use capsim_calibrate::family::{Effort, Scope};
use capsim_calibrate::{families, sources};
use std::collections::BTreeMap;

/// All kernels of all variants that a GPU with every feature, or a software device, would be given, by what they compile to.
fn kernels() -> Vec<Kernel> {
    let gpu = DeviceInfo {
        max_group: 1024,
        local_memory_bytes: 64 << 10,
        memory_bytes: 64 << 30,
        max_buffer_bytes: 4 << 30,
        max_binding_bytes: 4 << 30,
        compute_units: 40,
        features: ["f16-wmma", "bf16-wmma", "ptx-mma", "coop-matrix-f16"]
            .map(String::from)
            .to_vec(),
        ..DeviceInfo::default()
    };
    let software = DeviceInfo {
        software: true,
        ..gpu.clone()
    };
    let mut all = BTreeMap::new();
    for device in [&gpu, &software] {
        for effort in [Effort::Quick, Effort::Full] {
            let scope = Scope {
                device,
                effort,
                ring_bytes: 256 << 20,
                budget_bytes: 2 << 30,
                seed: 1,
            };
            for family in families::all() {
                for point in family.points(&scope) {
                    for variant in family.variants(&scope, &point) {
                        for kernel in variant.kernels {
                            all.insert(format!("{kernel:?}"), kernel);
                        }
                    }
                }
            }
        }
    }
    all.into_values().collect()
}

/// Every kernel with a source for the API is in use.
fn all_used(kernels: &[Kernel], api: Api) {
    for name in sources::names().filter(|n| sources::source(n, api).is_some()) {
        assert!(kernels.iter().any(|k| k.name == name), "{name}: unused");
    }
}

#[cfg(feature = "wgpu")]
mod wgsl {
    use super::*;
    use wgpu::naga;

    /// As wgpu does it, with everything allowed that some device has.
    fn validate(text: &str) -> Result<naga::Module, String> {
        let module = naga::front::wgsl::parse_str(text).map_err(|e| e.emit_to_string(text))?;
        let all = naga::valid::Capabilities::all();
        naga::valid::Validator::new(naga::valid::ValidationFlags::all(), all)
            .subgroup_stages(naga::valid::ShaderStages::all())
            .subgroup_operations(naga::valid::SubgroupOperationSet::all())
            .validate(&module)
            .map_err(|e| e.emit_to_string(text))?;
        Ok(module)
    }

    #[test]
    fn every_wgsl_variant_is_valid() {
        let kernels = kernels();
        all_used(&kernels, Api::Wgpu);
        let mut count = 0;
        for kernel in &kernels {
            if sources::source(kernel.name, Api::Wgpu).is_none() {
                continue;
            }
            let text = sources::wgsl(kernel).unwrap();
            let module = validate(&text).unwrap_or_else(|e| panic!("{kernel:?}: {e}"));
            let entry = &module.entry_points[0];
            assert_eq!(entry.name, kernel.name);
            assert_eq!(entry.workgroup_size[..2], kernel.group);
            // The kernel's buffers and its numbers.
            let bound = module.global_variables.iter();
            let bound = bound.filter(|(_, v)| v.binding.is_some()).count();
            assert_eq!(bound, kernel.buffers.len() + 1, "{}", kernel.name);
            count += 1;
        }
        assert!(count > 40, "{count} variants");
    }

    #[test]
    fn what_is_wrong_is_seen() {
        let kernels = kernels();
        let coop = kernels.iter().find(|k| k.name == "gemm_coop").unwrap();
        let text = sources::wgsl(coop).unwrap();
        for (good, bad) in [
            (
                "coopMultiplyAdd(x0, y0, acc00)",
                "coopMultiplyAdd(y0, x0, acc00)",
            ),
            ("coop_mat16x16<f16, A>", "coop_mat16x16<f16, C>"),
            ("&c[c00]", "&b[c00]"),
        ] {
            assert!(text.contains(good));
            assert!(validate(&text.replace(good, bad)).is_err(), "{bad}");
        }
    }
}

/// A compiler of OpenCL C for GPUs that are not here: PoCL brings clang along on Debian. `None`, said aloud, without.
fn clang() -> Option<&'static str> {
    let names = [
        "clang", "clang-20", "clang-19", "clang-18", "clang-17", "clang-16", "clang-15",
    ];
    let works = |name: &&str| {
        let out = std::process::Command::new(name)
            .arg("--print-targets")
            .output();
        out.is_ok_and(|o| {
            let text = String::from_utf8_lossy(&o.stdout).into_owned();
            text.contains("amdgcn") && text.contains("nvptx64")
        })
    };
    let found = names.into_iter().find(works);
    if found.is_none() {
        println!("SKIP: no clang for amdgcn and nvptx64");
    }
    found
}

/// The assembly of a kernel, or the compiler's words.
fn assembly(clang: &str, kernel: &Kernel, target: &[&str]) -> Result<String, String> {
    let (source, options) = sources::opencl(kernel).map_err(|e| e.to_string())?;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("kernel.cl");
    std::fs::write(&file, source).unwrap();
    let out = std::process::Command::new(clang)
        .args(["-x", "cl", "-cl-std=CL1.2", "-S", "-O2", "-o", "-"])
        .args(["-Xclang", "-finclude-default-header"])
        .args(target)
        .args(options.replace("-D ", "-D").split(' '))
        .arg(&file)
        .output()
        .unwrap();
    if out.status.success() {
        Ok(String::from_utf8_lossy(&out.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&out.stderr).into_owned())
    }
}

#[test]
fn kernels_of_matrix_units_compile_to_matrix_instructions() {
    let Some(clang) = clang() else {
        return;
    };
    let rdna3: &[&str] = &["--target=amdgcn-amd-amdhsa", "-mcpu=gfx1100", "-nogpulib"];
    // NVIDIA's compiler knows `asm` in OpenCL C, clang only `__asm__`.
    let ampere: &[&str] = &[
        "--target=nvptx64-nvidia-nvcl",
        "-Xclang",
        "-target-cpu",
        "-Xclang",
        "sm_80",
        "-Xclang",
        "-target-feature",
        "-Xclang",
        "+ptx70",
        "-Dasm=__asm__",
    ];
    let kernels = kernels();
    all_used(&kernels, Api::Opencl);
    for (name, target, instruction, tiles) in [
        ("gemm_wmma", rdna3, "v_wmma_f32_16x16x16_", 2),
        ("gemm_ptx", ampere, "mma.sync.aligned.m16n8k16", 5),
    ] {
        let variants: Vec<&Kernel> = kernels.iter().filter(|k| k.name == name).collect();
        // Both formats, all tiles.
        assert_eq!(variants.len(), 2 * tiles, "{name}");
        for kernel in variants {
            let define = |name: &str| -> usize {
                let found = kernel.defines.iter().find(|(n, _)| *n == name);
                found.unwrap_or_else(|| panic!("{name}")).1.parse().unwrap()
            };
            let text =
                assembly(clang, kernel, target).unwrap_or_else(|e| panic!("{kernel:?}: {e}"));
            let count = text.matches(instruction).count();
            // At least one step of the loop; a compiler may unroll it.
            let step = match name {
                "gemm_wmma" => define("EACH") * define("EACH"),
                // A quarter of the tile per warp, products of 16 x 8 x 16.
                _ => define("TM") * define("TN") / 4 / (16 * 8) * define("BK") / 16,
            };
            assert!(
                count >= step && count.is_multiple_of(step),
                "{kernel:?}: {count} of {instruction}"
            );
        }
    }
    // And every other kernel compiles for that GPU, in one variant.
    let mut seen = BTreeMap::new();
    for kernel in &kernels {
        if sources::source(kernel.name, Api::Opencl).is_some() {
            seen.entry(kernel.name).or_insert(kernel);
        }
    }
    seen.remove("gemm_ptx");
    let attention = seen.remove("attention_ptx").expect("a variant");
    let text = assembly(clang, attention, ampere).unwrap_or_else(|e| panic!("{attention:?}: {e}"));
    // A tile of 64 tokens: 8 x 8 products for the scores of a warp, 4 x 16 for what is read by them.
    assert_eq!(text.matches("mma.sync.aligned.m16n8k16").count(), 128);
    for kernel in seen.values() {
        assembly(clang, kernel, rdna3).unwrap_or_else(|e| panic!("{kernel:?}: {e}"));
    }
}
