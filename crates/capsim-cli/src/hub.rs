//! The configs that Hugging Face's tools keep on this machine: `hub/models--ORG--NAME/snapshots/REVISION/config.json`
//! (huggingface_hub's documentation, "Understand caching").
use super::files::Files;
use std::env;
use std::path::PathBuf;

/// Where the cache lies: `HF_HUB_CACHE`, `HF_HOME/hub`, `XDG_CACHE_HOME/huggingface/hub`, `~/.cache/huggingface/hub`.
fn folder() -> Option<PathBuf> {
    let dir = |name: &str| {
        env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    dir("HF_HUB_CACHE")
        .or_else(|| Some(dir("HF_HOME")?.join("hub")))
        .or_else(|| Some(dir("XDG_CACHE_HOME")?.join("huggingface/hub")))
        .or_else(|| Some(dir("HOME")?.join(".cache/huggingface/hub")))
}

/// The config of `ORG/NAME` there: of the revision that `refs/main` names, else of the last by name.
pub fn config(files: &Files, id: &str) -> Option<PathBuf> {
    let (org, name) = id.split_once('/')?;
    let plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    if !plain(org) || !plain(name) {
        return None;
    }
    let model = folder()?.join(format!("models--{org}--{name}"));
    let snapshots = model.join("snapshots");
    let main = files.read(&model.join("refs/main")).ok();
    let mut revisions = files.list(&snapshots).ok()?;
    revisions.sort();
    let wanted = main.as_deref().map(str::trim);
    revisions.sort_by_key(|r| Some(r.as_str()) != wanted);
    revisions
        .iter()
        .map(|r| snapshots.join(r).join("config.json"))
        .find(|path| files.exists(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_id_is_looked_up() {
        let files = Files::default();
        for name in ["qwen3-8b", "a/b/c", "../x", "/x", "x/", "./x/y"] {
            assert_eq!(config(&files, name), None, "{name}");
        }
    }
}
