//! Files are read whole, with their name in every error, and written whole or not at all.
mod decode;
mod pieces;

use anyhow::Context;
use std::collections::BTreeMap;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Largest file that is read: beyond it, it is no profile, model or list of runs.
const MAX_BYTES: u64 = 256 << 20;

/// Reads a text file, `-` being standard input: UTF-8 or UTF-16, also compressed with gzip or zstd.
pub fn read(path: &Path) -> anyhow::Result<String> {
    let name = || format!("{}", path.display());
    let bytes = if path == Path::new("-") {
        let mut bytes = vec![];
        std::io::stdin()
            .lock()
            .take(MAX_BYTES + 1)
            .read_to_end(&mut bytes)
            .context("standard input")?;
        bytes
    } else {
        let meta = std::fs::metadata(path).with_context(name)?;
        anyhow::ensure!(!meta.is_dir(), "{}: is a folder, not a file", name());
        let mut bytes = vec![];
        // What has no size of its own (a pipe) ends as well.
        std::fs::File::open(path)
            .and_then(|f| f.take(MAX_BYTES + 1).read_to_end(&mut bytes))
            .with_context(name)?;
        bytes
    };
    anyhow::ensure!(
        bytes.len() as u64 <= MAX_BYTES,
        "{}: is larger than {} MiB",
        name(),
        MAX_BYTES >> 20
    );
    decode::text(bytes, MAX_BYTES).with_context(name)
}

/// The first bytes of a file, at most so many.
///
/// # Errors
/// It cannot be read.
pub fn head(path: &Path, bytes: u64) -> anyhow::Result<Vec<u8>> {
    let name = || format!("{}", path.display());
    let mut head = vec![];
    let file = std::fs::File::open(path).with_context(name)?;
    file.take(bytes).read_to_end(&mut head).with_context(name)?;
    Ok(head)
}

/// Texts of files under the names by which they were asked for.
pub type Texts = BTreeMap<String, String>;

/// Where the files that a scenario names are read: among texts that were handed over, else on the disk. It remembers what it read,
/// so that another machine, which has none of these files, can understand the same scenario.
#[derive(Clone, Debug, Default)]
pub struct Files {
    given: Arc<Texts>,
    read: Arc<Mutex<Texts>>,
    /// Files that were read in pieces: their texts are not kept.
    passed: Arc<Mutex<Vec<PathBuf>>>,
}

impl Files {
    /// Reads these texts instead of files of their names.
    pub fn of(given: Texts) -> Self {
        Self {
            given: Arc::new(given),
            ..Self::default()
        }
    }

    /// All that was read so far; what was read in pieces is read once more, as a whole.
    ///
    /// # Errors
    /// A file that is larger than what is handed over, or that cannot be read any more.
    pub fn texts(&self) -> anyhow::Result<Texts> {
        let passed = self.passed.lock();
        let passed = passed.unwrap_or_else(PoisonError::into_inner).clone();
        for path in passed {
            self.read(&path)?;
        }
        Ok(self.seen().clone())
    }

    /// A file's text in pieces that end where lines end, without a limit of its size.
    ///
    /// # Errors
    /// It cannot be read, or what takes the pieces refuses one.
    pub fn pieces(
        &self,
        path: &Path,
        take: &mut dyn FnMut(&str) -> Result<(), String>,
    ) -> anyhow::Result<()> {
        let given = self.given.get(&path.display().to_string());
        if let Some(text) = given {
            return take(text).map_err(anyhow::Error::msg);
        }
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        if path != Path::new("-") && !passed.iter().any(|p| p == path) {
            passed.push(path.to_owned());
        }
        drop(passed);
        pieces::read(path, take)
    }

    /// A file's text; the same one however often it is asked for.
    pub fn read(&self, path: &Path) -> anyhow::Result<String> {
        let name = path.display().to_string();
        if let Some(text) = self.seen().get(&name) {
            return Ok(text.clone());
        }
        let text = match self.given.get(&name) {
            Some(text) => text.clone(),
            None => read(path)?,
        };
        Ok(self.seen().entry(name).or_insert(text).clone())
    }

    fn seen(&self) -> MutexGuard<'_, Texts> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names of what was handed over in a folder.
    fn given_in<'a>(&'a self, folder: &'a Path) -> impl Iterator<Item = String> + 'a {
        self.given.keys().filter_map(move |name| {
            let name = Path::new(name);
            (name.parent() == Some(folder))
                .then(|| Some(name.file_name()?.to_string_lossy().into_owned()))?
        })
    }

    /// Whether there is a folder of this name.
    pub fn is_dir(&self, path: &Path) -> bool {
        self.given_in(path).next().is_some() || path.is_dir()
    }

    /// Whether there is a file or folder of this name.
    pub fn exists(&self, path: &Path) -> bool {
        self.given.contains_key(&path.display().to_string()) || self.is_dir(path) || path.exists()
    }

    /// Names in a folder.
    pub fn list(&self, folder: &Path) -> anyhow::Result<Vec<String>> {
        let given: Vec<String> = self.given_in(folder).collect();
        if !given.is_empty() {
            return Ok(given);
        }
        let name = || format!("{}", folder.display());
        std::fs::read_dir(folder)
            .with_context(name)?
            .map(|e| {
                Ok(e.with_context(name)?
                    .file_name()
                    .to_string_lossy()
                    .into_owned())
            })
            .collect()
    }
}

/// Writes a file whole: to a temporary neighbour, then renamed, so that half of it is never visible.
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
