//! Files are read whole, with their name in every error, and written whole or not at all.
use anyhow::Context;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

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
    let mut file = Pending::new(path)?;
    file.write_all(text.as_bytes())
        .with_context(|| format!("{}", path.display()))?;
    file.keep()
}

/// A file being written under another name; gone without a trace unless it is kept.
pub struct Pending {
    path: PathBuf,
    file: BufWriter<tempfile::NamedTempFile>,
}

impl Pending {
    /// Begins a file.
    pub fn new(path: &Path) -> anyhow::Result<Self> {
        let dir = match path.parent() {
            Some(p) if !p.as_os_str().is_empty() => p,
            _ => Path::new("."),
        };
        anyhow::ensure!(
            !path.is_dir(),
            "{}: is a folder, not a file",
            path.display()
        );
        let file = tempfile::NamedTempFile::new_in(dir)
            .with_context(|| format!("{}: cannot write there", path.display()))?;
        Ok(Self {
            path: path.into(),
            file: BufWriter::with_capacity(1 << 16, file),
        })
    }

    /// Its name when it is whole.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its name.
    pub fn keep(self) -> anyhow::Result<()> {
        let Self { path, file } = self;
        let name = || format!("{}", path.display());
        let file = file
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error)
            .with_context(name)?;
        file.as_file().sync_all().with_context(name)?;
        // Temporary files are private; results are not.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            file.as_file()
                .set_permissions(std::fs::Permissions::from_mode(0o644))
                .with_context(name)?;
        }
        file.persist(&path).with_context(name)?;
        Ok(())
    }
}

impl Write for Pending {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// A file of the shared data that may not be copied into the project: under the folder that `CAPSIM_SHARED` names,
/// default `../shared`.
pub fn shared(rest: &str) -> std::path::PathBuf {
    let base = std::env::var_os("CAPSIM_SHARED").unwrap_or_else(|| "../shared".into());
    Path::new(&base).join(rest)
}
