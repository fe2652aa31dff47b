//! Container images: whose server they hold, and which release their tag names.
use crate::device::Scheduler;

/// What is known of an image by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Image {
    /// The engine in it.
    pub engine: Scheduler,
    /// Whether it starts the server by itself, so that the words after it are the server's flags.
    pub starts: bool,
}

/// What an image's name says. Images that hold an engine without starting it (`rocm/vllm`, `lmsysorg/sglang`) take a command.
pub(super) fn known(image: &str) -> Option<Image> {
    let (name, tag) = split(image);
    let name = name.to_ascii_lowercase();
    let last = name.rsplit('/').next().unwrap_or(&name);
    if name.contains("llama.cpp") || name.contains("llama-cpp") || last.starts_with("llama-server")
    {
        // full: a script that takes --server; light: llama-cli.
        let other = tag.is_some_and(|t| t.starts_with("full") || t.starts_with("light"));
        return Some(Image {
            engine: Scheduler::LlamaServer,
            starts: !other,
        });
    }
    if name.contains("sglang") {
        return Some(Image {
            engine: Scheduler::Sglang,
            starts: false,
        });
    }
    if name.contains("tensorrt-llm") || name.contains("tensorrtllm") {
        return Some(Image {
            engine: Scheduler::Trtllm,
            starts: false,
        });
    }
    let command_follows = ["rocm/vllm", "rocm/vllm-dev", "nvidia/vllm"];
    name.contains("vllm").then(|| Image {
        engine: Scheduler::Vllm,
        starts: !command_follows
            .iter()
            .any(|c| name == *c || name.ends_with(&format!("/{c}"))),
    })
}

/// Name and tag; a digest is left out, and a registry's port is no tag.
fn split(image: &str) -> (&str, Option<&str>) {
    let image = image.split('@').next().unwrap_or(image);
    let image = image.strip_prefix("docker://").unwrap_or(image);
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (image, None),
    }
}

/// The release that an image's tag names: `v0.10.2`, `rocm6.4.1_vllm_0.10.1_20250909`, `v0.5.3-cu129`, `server-cuda-b4719`.
pub(super) fn release(image: &str) -> Option<String> {
    let (_, tag) = split(image);
    let tag = tag?;
    match known(image)?.engine {
        Scheduler::LlamaServer => {
            let build = tag.split(['-', '_']).find(|p| {
                p.strip_prefix('b')
                    .is_some_and(|n| n.len() > 2 && digits(n))
            })?;
            Some(build.into())
        }
        Scheduler::Vllm | Scheduler::Sglang | Scheduler::Trtllm => {
            let after = ["vllm", "sglang"].iter().find_map(|e| {
                tag.split_once(e)
                    .map(|(_, rest)| rest.trim_start_matches(['_', '-', 'v']))
            });
            numbers(after.unwrap_or(tag.strip_prefix('v').unwrap_or(tag)))
        }
    }
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// `0.10.2`, `0.4.6.post5` or `0.11.0rc1` at the start of a text; three numbers, so that a CUDA or ROCm version is none.
pub(super) fn numbers(text: &str) -> Option<String> {
    let end = text
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '.')
        .unwrap_or(text.len());
    let parts: Vec<&str> = text[..end].split('.').collect();
    let [major, minor, patch, rest @ ..] = parts.as_slice() else {
        return None;
    };
    let plain: &str = &patch[..patch
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(patch.len())];
    if !digits(major) || !digits(minor) || plain.is_empty() {
        return None;
    }
    let post = rest
        .first()
        .filter(|r| r.starts_with("post"))
        .map_or(String::new(), |r| format!(".{r}"));
    Some(format!("{major}.{minor}.{patch}{post}"))
}

/// The release that a requirement pins: `vllm==0.10.2`, `sglang[all]==0.4.6.post5`.
pub(super) fn pinned(word: &str) -> Option<(Scheduler, String)> {
    let (name, version) = word.split_once("==")?;
    let engine = match name.split('[').next()?.trim() {
        "vllm" => Scheduler::Vllm,
        "sglang" => Scheduler::Sglang,
        "tensorrt-llm" | "tensorrt_llm" => Scheduler::Trtllm,
        _ => return None,
    };
    Some((engine, numbers(version.trim())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_names_a_release() {
        for (image, wanted) in [
            ("vllm/vllm-openai:v0.10.2", Some("0.10.2")),
            ("vllm/vllm-openai:v0.11.0-x86_64", Some("0.11.0")),
            ("vllm/vllm-openai:v0.6.4.post1", Some("0.6.4.post1")),
            ("vllm/vllm-openai:v0.9.0rc1", Some("0.9.0rc1")),
            ("vllm/vllm-openai:latest", None),
            ("vllm/vllm-openai", None),
            ("localhost:5000/vllm/vllm-openai", None),
            ("vllm/vllm-openai@sha256:0.9.1", None),
            ("rocm/vllm:rocm6.4.1_vllm_0.10.1_20250909", Some("0.10.1")),
            (
                "rocm/vllm:rocm6.3.1_instinct_vllm0.8.3_20250410",
                Some("0.8.3"),
            ),
            ("rocm/vllm-dev:nightly", None),
            ("nvcr.io/nvidia/vllm:25.11-py3", None),
            ("lmsysorg/sglang:v0.4.6.post5-cu124", Some("0.4.6.post5")),
            ("lmsysorg/sglang:v0.5.3rc0-rocm630-mi30x", Some("0.5.3rc0")),
            (
                "ghcr.io/ggml-org/llama.cpp:server-cuda-b4719",
                Some("b4719"),
            ),
            ("ghcr.io/ggml-org/llama.cpp:server-cuda", None),
            (
                "nvcr.io/nvidia/tensorrt-llm/release:1.1.0rc2.post2",
                Some("1.1.0rc2.post2"),
            ),
            ("nginx:1.27.0", None),
        ] {
            assert_eq!(release(image).as_deref(), wanted, "{image}");
        }
        assert_eq!(
            pinned("vllm==0.10.2"),
            Some((Scheduler::Vllm, "0.10.2".into()))
        );
        assert_eq!(
            pinned("sglang[all]==0.4.6.post5"),
            Some((Scheduler::Sglang, "0.4.6.post5".into()))
        );
        assert_eq!(pinned("vllm>=0.10"), None);
    }

    #[test]
    fn images_start_a_server_or_take_a_command() {
        let starts = |image: &str| known(image).map(|i| (i.engine, i.starts));
        assert_eq!(
            starts("docker.io/vllm/vllm-openai:v0.9.1"),
            Some((Scheduler::Vllm, true))
        );
        assert_eq!(
            starts("vllm/vllm-openai-rocm:latest"),
            Some((Scheduler::Vllm, true))
        );
        assert_eq!(
            starts("docker.io/rocm/vllm:latest"),
            Some((Scheduler::Vllm, false))
        );
        assert_eq!(
            starts("nvcr.io/nvidia/vllm:25.11-py3"),
            Some((Scheduler::Vllm, false))
        );
        assert_eq!(
            starts("lmsysorg/sglang:latest"),
            Some((Scheduler::Sglang, false))
        );
        assert_eq!(
            starts("ghcr.io/ggml-org/llama.cpp:server-vulkan"),
            Some((Scheduler::LlamaServer, true))
        );
        assert_eq!(
            starts("local/llama.cpp:full-cuda"),
            Some((Scheduler::LlamaServer, false))
        );
        assert_eq!(starts("ubuntu:24.04"), None);
    }
}
