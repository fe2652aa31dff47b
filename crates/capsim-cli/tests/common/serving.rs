//! `capsim serve` on a free port, for a test's own.
use std::io::BufRead as _;
use std::process::{Child, Command, Stdio};

/// A server; stopped when dropped.
pub struct Serving {
    child: Child,
    url: String,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Serving {
    /// Starts it, and waits until it says where it listens.
    pub fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_capsim"))
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
            .args(["serve", "--port", "0"])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let out = std::io::BufReader::new(child.stdout.take().unwrap());
        let address = out
            .lines()
            .map_while(Result::ok)
            .find_map(|l| Some(l.split_once("http://")?.1.trim().to_string()))
            .expect("the server says where it listens");
        Self {
            child,
            url: format!("http://{address}"),
        }
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }
}
