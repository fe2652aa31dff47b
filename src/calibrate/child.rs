//! A child process with a deadline: a driver that crashes or hangs takes the child down, never us.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a deadline needs a clock"
)]
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Most that is kept of a child's output.
const MAX_OUTPUT: u64 = 1 << 20;

/// How long to wait for a killed child: one that hangs inside the kernel cannot be killed and is left behind.
const GRACE: Duration = Duration::from_secs(2);

/// Runs a command to its end or the deadline; its standard output.
///
/// # Errors
/// In one line: it could not start, did not end in time, was killed by a signal, or failed (with its last words).
pub fn run(command: &mut Command, deadline: Duration) -> Result<String, String> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("cannot start: {e}"))?;
    let out = drain(child.stdout.take());
    let err = drain(child.stderr.take());
    let Some(status) = wait(&mut child, deadline) else {
        let _ = child.kill();
        // Reap it, unless it cannot die.
        let _ = wait(&mut child, GRACE);
        return Err(format!("no answer within {} s", deadline.as_secs_f32()));
    };
    // A grandchild may hold the pipes open: do not wait for it longer than for a killed child.
    let out = out.recv_timeout(GRACE).unwrap_or_default();
    if status.success() {
        return Ok(out);
    }
    let err = err.recv_timeout(GRACE).unwrap_or_default();
    let words = err.lines().rev().map(str::trim).find(|l| !l.is_empty());
    Err(match (signal(status), words) {
        (Some(signal), _) => format!("crashed (signal {signal})"),
        (None, Some(words)) => words.chars().take(300).collect(),
        (None, None) => format!("ended with {status}"),
    })
}

#[cfg(unix)]
fn signal(status: std::process::ExitStatus) -> Option<String> {
    use std::os::unix::process::ExitStatusExt;
    status.signal().map(|s| match s {
        4 => "SIGILL".into(),
        6 => "SIGABRT".into(),
        7 => "SIGBUS".into(),
        8 => "SIGFPE".into(),
        9 => "SIGKILL".into(),
        11 => "SIGSEGV".into(),
        other => other.to_string(),
    })
}

#[cfg(not(unix))]
fn signal(status: std::process::ExitStatus) -> Option<String> {
    // Windows reports a crash as an exception code with the top bits set: 0xC0000005 is an access violation.
    let code = status.code()? as u32;
    (code >= 0xC000_0000).then(|| format!("{code:#X}"))
}

/// Reads a pipe in a thread of its own, so that neither side waits for the other.
fn drain(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    if let Some(mut pipe) = pipe {
        std::thread::spawn(move || {
            let mut kept = vec![];
            let _ = (&mut pipe).take(MAX_OUTPUT).read_to_end(&mut kept);
            // What is beyond is read and dropped: a full pipe would stop the child.
            let _ = std::io::copy(&mut pipe, &mut std::io::sink());
            let _ = sender.send(String::from_utf8_lossy(&kept).into_owned());
        });
    }
    receiver
}

fn wait(child: &mut Child, deadline: Duration) -> Option<std::process::ExitStatus> {
    let began = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if began.elapsed() < deadline => {
                let pause = began.elapsed() / 16;
                std::thread::sleep(
                    pause.clamp(Duration::from_millis(1), Duration::from_millis(50)),
                );
            }
            _ => return None,
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn sh(script: &str, seconds: f64) -> Result<String, String> {
        run(
            Command::new("sh").args(["-c", script]),
            Duration::from_secs_f64(seconds),
        )
    }

    #[test]
    fn every_way_to_end_is_told() {
        assert_eq!(sh("echo hello", 60.0).unwrap(), "hello\n");
        assert_eq!(
            sh("echo one; echo two >&2; exit 3", 60.0).unwrap_err(),
            "two"
        );
        assert!(sh("exit 3", 60.0).unwrap_err().contains('3'));
        assert_eq!(
            sh("kill -SEGV $$", 60.0).unwrap_err(),
            "crashed (signal SIGSEGV)"
        );
        let e = sh("exec sleep 600", 0.2).unwrap_err();
        assert_eq!(e, "no answer within 0.2 s");
        let e = run(&mut Command::new("/no/such/program"), GRACE).unwrap_err();
        assert!(e.starts_with("cannot start"), "{e}");
    }

    #[test]
    fn more_output_than_a_pipe_holds_does_not_block() {
        let out = sh("head -c 3000000 /dev/zero | tr '\\0' x", 120.0).unwrap();
        assert_eq!(out.len() as u64, MAX_OUTPUT);
    }
}
