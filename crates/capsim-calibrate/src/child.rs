//! A child process with a deadline: a driver that crashes or hangs takes the child down, never us.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a deadline needs a clock"
)]
use std::io::{BufRead, BufReader, Read, Write};
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
        // An empty pipe rather than `/dev/null`, which a bare root lacks.
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("cannot start: {e}"))?;
    drop(child.stdin.take());
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
    Err(ended(status, &err))
}

/// Runs a command that reports in lines on its standard output for as long as it works. `input` is its first line of standard
/// input, which stays open: a child that finds it closed knows that its parent is gone.
///
/// # Errors
/// In a few words: it could not start, said nothing for `silence` (and was killed), was killed by a signal, or failed.
pub fn watch(
    command: &mut Command,
    input: String,
    silence: Duration,
    mut line: impl FnMut(&str),
) -> Result<(), String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("cannot start: {e}"))?;
    // In threads of their own: a child that does not read must not stop us.
    let (keep, kept) = mpsc::channel::<()>();
    if let Some(mut pipe) = child.stdin.take() {
        std::thread::spawn(move || {
            let _ = pipe.write_all(input.as_bytes());
            let _ = pipe.write_all(b"\n");
            let _ = pipe.flush();
            // Until the sender is gone.
            let _ = kept.recv();
        });
    }
    let (sender, lines) = mpsc::channel();
    if let Some(pipe) = child.stdout.take() {
        std::thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut bytes = vec![];
            while matches!((&mut pipe).take(MAX_OUTPUT).read_until(b'\n', &mut bytes), Ok(n) if n > 0)
            {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                bytes.clear();
                if sender.send(text).is_err() {
                    break;
                }
            }
        });
    }
    let err = drain(child.stderr.take());
    let hung = loop {
        match lines.recv_timeout(silence) {
            Ok(text) => line(text.trim_end()),
            Err(mpsc::RecvTimeoutError::Disconnected) => break false,
            Err(mpsc::RecvTimeoutError::Timeout) => break true,
        }
    };
    let status = if hung {
        None
    } else {
        wait(&mut child, silence)
    };
    let Some(status) = status else {
        let _ = child.kill();
        let _ = wait(&mut child, GRACE);
        return Err(format!("no sign of life for {} s", silence.as_secs_f32()));
    };
    drop(keep);
    if status.success() {
        return Ok(());
    }
    Err(ended(status, &err.recv_timeout(GRACE).unwrap_or_default()))
}

/// How a child failed, with its last words.
fn ended(status: std::process::ExitStatus, err: &str) -> String {
    let words = err.lines().rev().map(str::trim).find(|l| !l.is_empty());
    match (signal(status), words) {
        (Some(signal), _) => format!("crashed (signal {signal})"),
        (None, Some(words)) => words.chars().take(300).collect(),
        (None, None) => format!("ended with {status}"),
    }
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
    fn a_watched_child_is_heard_line_by_line_and_not_for_longer_than_it_lives() {
        let watch = |script: &str, seconds| {
            let mut heard = vec![];
            let result = watch(
                Command::new("sh").args(["-c", script]),
                "job".into(),
                Duration::from_secs_f64(seconds),
                |l| heard.push(l.to_string()),
            );
            (result, heard)
        };
        let (ok, heard) = watch("read a; echo got $a; echo; echo end", 60.0);
        assert_eq!(ok, Ok(()));
        assert_eq!(heard, ["got job", "", "end"]);
        let (e, heard) = watch("echo one; kill -SEGV $$", 60.0);
        assert_eq!(e.unwrap_err(), "crashed (signal SIGSEGV)");
        assert_eq!(heard, ["one"]);
        let (e, heard) = watch("echo one; exec sleep 600", 0.3);
        assert_eq!(e.unwrap_err(), "no sign of life for 0.3 s");
        assert_eq!(heard, ["one"]);
        // The reader of standard input sees its end when we are done, not before.
        let (ok, _) = watch("read a; echo x; exec >&-; exit 0", 60.0);
        assert_eq!(ok, Ok(()));
    }

    #[test]
    fn more_output_than_a_pipe_holds_does_not_block() {
        let out = sh("head -c 3000000 /dev/zero | tr '\\0' x", 120.0).unwrap();
        assert_eq!(out.len() as u64, MAX_OUTPUT);
    }
}
