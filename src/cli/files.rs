//! Files are read whole, with their name in every error, and written whole or not at all.
use anyhow::Context;
use std::io::Write;
use std::path::Path;

/// Largest file that is read: beyond it, it is no profile, model or list of runs.
const MAX_BYTES: u64 = 256 << 20;

/// Reads a text file.
pub fn read(path: &Path) -> anyhow::Result<String> {
    let meta = std::fs::metadata(path).with_context(|| format!("{}", path.display()))?;
    anyhow::ensure!(
        !meta.is_dir(),
        "{}: is a folder, not a file",
        path.display()
    );
    anyhow::ensure!(
        meta.len() <= MAX_BYTES,
        "{}: is larger than {} MiB",
        path.display(),
        MAX_BYTES >> 20
    );
    std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))
}

/// Writes a file whole: to a temporary neighbour, then renamed, so that nobody ever sees half of it.
pub fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let dir = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    let mut file = tempfile::NamedTempFile::new_in(dir)
        .with_context(|| format!("{}: cannot write there", path.display()))?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.as_file().sync_all())
        .with_context(|| format!("{}", path.display()))?;
    // Temporary files are private; results are not.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.as_file()
            .set_permissions(std::fs::Permissions::from_mode(0o644))
            .with_context(|| format!("{}", path.display()))?;
    }
    file.persist(path)
        .with_context(|| format!("{}", path.display()))?;
    Ok(())
}
