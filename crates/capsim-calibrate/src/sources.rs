//! The kernels' sources, and how defines get into them.
use super::backend::{Api, BackendError, Kernel};
use capsim::kernels::KERNELS;
use sha2::{Digest, Sha256};

/// Names of all kernels, in the table's order.
pub fn names() -> impl Iterator<Item = &'static str> {
    KERNELS.iter().map(|e| e.name)
}

/// The source of a kernel as it stands in `kernels/`. `None`: there is none for this API.
pub fn source(name: &str, api: Api) -> Option<&'static str> {
    let entry = KERNELS.iter().find(|e| e.name == name)?;
    match api {
        Api::Opencl => entry.cl,
        Api::Wgpu => entry.wgsl,
        Api::Cpu | Api::Torch | Api::Synthetic => None,
    }
}

/// SHA-256 of a kernel variant in hexadecimal: its source and its defines in order. Two measurements with the same hash ran the
/// same code (compiled by whatever driver). `None`: no source for this API.
pub fn kernel_hash(name: &str, defines: &[(&'static str, String)], api: Api) -> Option<String> {
    let mut hash = Sha256::new();
    hash.update(source(name, api)?);
    for (key, value) in defines {
        // A zero byte cannot occur in either, so no two lists run together.
        hash.update(format!("\0{key}\0{value}"));
    }
    Some(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
}

/// A kernel's defines, with the work-group's size first.
fn all_defines(kernel: &Kernel) -> Vec<(&'static str, String)> {
    let mut all = vec![
        ("WG", kernel.group[0].to_string()),
        ("WG_Y", kernel.group[1].to_string()),
    ];
    all.extend(kernel.defines.iter().cloned());
    all
}

/// The source, or the error that says there is none.
fn must(kernel: &Kernel, api: Api) -> Result<&'static str, BackendError> {
    source(kernel.name, api).ok_or_else(|| BackendError::Unsupported {
        kernel: kernel.name,
        feature: match api {
            Api::Wgpu => "a WGSL source".into(),
            _ => "an OpenCL source".into(),
        },
    })
}

/// OpenCL: the source and the compiler's options.
///
/// # Errors
/// No source of this name.
pub fn opencl(kernel: &Kernel) -> Result<(&'static str, String), BackendError> {
    let options: Vec<String> = all_defines(kernel)
        .iter()
        .map(|(key, value)| format!("-D {key}={value}"))
        .collect();
    Ok((must(kernel, Api::Opencl)?, options.join(" ")))
}

/// WGSL: the source with every `${NAME}` replaced.
///
/// # Errors
/// No source of this name, or a placeholder without a define.
pub fn wgsl(kernel: &Kernel) -> Result<String, BackendError> {
    let template = must(kernel, Api::Wgpu)?;
    let defines = all_defines(kernel);
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(at) = rest.find("${") {
        out.push_str(&rest[..at]);
        let after = &rest[at + 2..];
        let name = after.split('}').next().unwrap_or(after);
        let Some((_, value)) = defines.iter().find(|(key, _)| *key == name) else {
            return Err(BackendError::Compile {
                kernel: kernel.name,
                log: format!("the source asks for ${{{name}}}, which is not defined"),
            });
        };
        out.push_str(value);
        rest = after.get(name.len() + 1..).unwrap_or("");
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(defines: Vec<(&'static str, String)>) -> Kernel {
        Kernel {
            name: "stream_read",
            defines,
            group: [64, 1],
            buffers: vec![],
            numbers: 1,
            needs: vec![],
        }
    }

    #[test]
    fn every_kernel_has_a_header_and_an_entry_point_of_its_name() {
        for name in names() {
            let sources = [Api::Opencl, Api::Wgpu].map(|api| source(name, api));
            assert!(sources.iter().any(Option::is_some), "{name}");
            for text in sources.into_iter().flatten() {
                for word in [
                    "// Measures: ",
                    "// Bytes per launch: ",
                    "FLOPs per launch: ",
                ] {
                    assert!(text.contains(word), "{name} lacks `{word}`");
                }
                for word in ["// Honesty: ", "// Answer: "] {
                    assert!(text.contains(word), "{name} lacks `{word}`");
                }
                assert!(
                    text.contains(&format!("void {name}("))
                        || text.contains(&format!("fn {name}(")),
                    "{name} has no entry point of its name"
                );
            }
        }
    }

    #[test]
    fn placeholders_are_filled_and_missing_ones_named() {
        let full = wgsl(&kernel(vec![("SHAPE", "2".into())])).unwrap();
        assert!(full.contains("@workgroup_size(64, 1, 1)") && full.contains("const SHAPE = 2u;"));
        assert!(!full.contains("${"));
        let e = wgsl(&kernel(vec![])).unwrap_err().to_string();
        assert!(e.contains("${SHAPE}"), "{e}");
        let (_, options) = opencl(&kernel(vec![("SHAPE", "2".into())])).unwrap();
        assert_eq!(options, "-D WG=64 -D WG_Y=1 -D SHAPE=2");
    }

    #[test]
    fn the_hash_depends_on_source_defines_and_their_borders() {
        let hash = |d: &[(&'static str, String)], api| kernel_hash("stream_read", d, api).unwrap();
        let a = hash(&[("A", "1".into())], Api::Opencl);
        assert_eq!(a.len(), 64);
        assert_eq!(a, hash(&[("A", "1".into())], Api::Opencl));
        assert_ne!(a, hash(&[("A", "1".into())], Api::Wgpu));
        assert_ne!(a, hash(&[("A", "2".into())], Api::Opencl));
        assert_ne!(
            hash(&[("A", "1".into()), ("B", "2".into())], Api::Opencl),
            hash(&[("A", "1B2".into())], Api::Opencl)
        );
        assert_eq!(kernel_hash("no_such", &[], Api::Opencl), None);
    }
}
