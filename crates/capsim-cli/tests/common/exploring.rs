//! `capsim explore` on a free port, for a test's own.
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// The page's server; stopped when dropped.
pub struct Exploring {
    child: Child,
    url: String,
}

impl Drop for Exploring {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Exploring {
    /// Starts it, and waits until it says where it listens.
    pub fn start(args: &[&str]) -> Self {
        let mut child = Command::new(assert_cmd::cargo::cargo_bin!("capsim"))
            .args(["explore", "--port", "0"])
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let url = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok)
            .map(|l| l.trim().to_string())
            .find(|l| l.starts_with("http://"))
            .expect("it says where it is");
        Self { child, url }
    }

    /// The page as it is at first.
    pub fn url(&self) -> &str {
        &self.url
    }
}
