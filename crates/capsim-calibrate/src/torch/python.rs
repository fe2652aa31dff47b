//! Which Python, and how it is started: in a folder of its own, without network, leaving nothing behind.
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const WORKER: &str = include_str!("worker.py");
const OPERATORS: &str = include_str!("operators.py");

/// The hash of both scripts: two measurements with the same hash ran the same code.
pub fn hash() -> String {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    hash.update(WORKER);
    hash.update("\0");
    hash.update(OPERATORS);
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

/// The interpreter: the one that was named, else that of the active virtual environment, else `python3`.
pub fn interpreter(named: Option<&Path>) -> PathBuf {
    let bin = |folder: PathBuf| match cfg!(windows) {
        true => folder.join("Scripts").join("python.exe"),
        false => folder.join("bin").join("python"),
    };
    match named {
        // A virtual environment's folder stands for its interpreter.
        Some(path) if path.is_dir() => bin(path.to_path_buf()),
        Some(path) => path.to_path_buf(),
        None => match std::env::var_os("VIRTUAL_ENV") {
            Some(folder) => bin(folder.into()),
            None => if cfg!(windows) { "python" } else { "python3" }.into(),
        },
    }
}

/// The scripts in a folder that goes with this value; caches of the libraries are kept there, too.
#[derive(Debug)]
pub struct Scripts {
    folder: tempfile::TempDir,
}

impl Scripts {
    /// Written anew.
    ///
    /// # Errors
    /// No folder to write to.
    pub fn write() -> std::io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("capsim-torch-").tempdir()?;
        std::fs::write(folder.path().join("worker.py"), WORKER)?;
        std::fs::write(folder.path().join("operators.py"), OPERATORS)?;
        Ok(Self { folder })
    }

    /// A process of the interpreter with these words.
    pub fn command(&self, python: &Path, words: &[String]) -> Command {
        let at = |name: &str| self.folder.path().join(name);
        let mut command = Command::new(python);
        command
            .arg("-B")
            .arg("-u")
            .arg(at("worker.py"))
            .args(words)
            .env("TRITON_CACHE_DIR", at("triton"))
            .env("TORCHINDUCTOR_CACHE_DIR", at("inductor"))
            .env("VLLM_CACHE_ROOT", at("vllm"))
            .env("VLLM_CONFIG_ROOT", at("vllm"))
            .env("FLASHINFER_WORKSPACE_BASE", at("flashinfer"))
            .env("XDG_CACHE_HOME", at("cache"))
            .env("HF_HUB_OFFLINE", "1")
            .env("VLLM_NO_USAGE_STATS", "1")
            .env("DO_NOT_TRACK", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

/// Why a Python does not start, and what to do.
pub(super) fn cannot_start(python: &Path, why: &std::io::Error) -> String {
    format!(
        "`{}` does not start ({why}): name the Python of your engine with --python, for example --python .venv/bin/python",
        python.display()
    )
}
