//! A call from Python: what was said, what went wrong, and Ctrl-C while the library works.
use capsim::plan::Pool;
use capsim_cli::api;
use pyo3::create_exception;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

create_exception!(
    capsim,
    CapsimError,
    PyValueError,
    "Input that cannot be used. The text is what the command line says after `error:`."
);

/// An error of the library as Python's.
pub fn failed(e: anyhow::Error) -> PyErr {
    // An error that Python raised inside comes back as itself.
    match e.downcast::<PyErr>() {
        Ok(e) => e,
        Err(e) => CapsimError::new_err(format!("{e:#}")),
    }
}

/// Fields of a scenario as JSON pairs `[[name, value | [value, …]], …]`, flags of the question as JSON pairs, the words of a line that
/// starts a server, texts that stand for files.
pub struct Said {
    /// What was said of the scenario.
    pub scenario: api::Described,
    /// What was said of the question.
    pub flags: api::Flags,
    /// Where files are read.
    pub files: api::Files,
}

impl<'py> FromPyObject<'py> for Said {
    fn extract_bound(object: &Bound<'py, PyAny>) -> PyResult<Self> {
        let (fields, flags, line, files): (String, String, Vec<String>, BTreeMap<String, String>) =
            object.extract()?;
        let read = || {
            let fields: api::Flags = serde_json::from_str(&fields)?;
            let flags: api::Flags = serde_json::from_str(&flags)?;
            anyhow::Ok(Self {
                scenario: api::described(&fields, &line)?,
                flags,
                files: api::Files::of(files),
            })
        };
        read().map_err(failed)
    }
}

/// How often Ctrl-C is looked for.
const LOOK: Duration = Duration::from_millis(50);

/// What a simulation that is not wanted any more unwinds with.
struct Stopped;

/// Whether the caller no longer waits for the answer.
#[derive(Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks for the end.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the end was asked for.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Works in another thread, without the interpreter's lock, while this one answers signals. After Ctrl-C the call returns at once; the
/// work ends where it next looks at `Stop`.
pub fn interruptible<T: Send + 'static>(
    py: Python<'_>,
    work: impl FnOnce(&Stop) -> anyhow::Result<T> + Send + 'static,
) -> PyResult<T> {
    let stop = Stop::default();
    let (send, mut receive) = channel();
    let told = stop.clone();
    std::thread::spawn(move || {
        // The receiver may be gone.
        let _ = send.send(catch_unwind(AssertUnwindSafe(|| work(&told))));
    });
    loop {
        let got;
        (got, receive) = py.allow_threads(move || (receive.recv_timeout(LOOK), receive));
        match got {
            Ok(Ok(answer)) => return answer.map_err(failed),
            Ok(Err(panic)) => resume_unwind(panic),
            Err(RecvTimeoutError::Timeout) => {
                if let Err(e) = py.check_signals() {
                    stop.set();
                    return Err(e);
                }
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(CapsimError::new_err("the working thread is gone"));
            }
        }
    }
}

/// Threads that stop between two simulations, and tell how many are done.
pub struct Threads {
    pool: rayon::ThreadPool,
    stop: Stop,
    progress: Option<Py<PyAny>>,
    done: AtomicUsize,
    known: AtomicUsize,
}

impl Threads {
    /// Calls `progress(done, known)`. What it raises ends nothing: it is told where Python tells such errors.
    fn tell(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        let Some(f) = &self.progress else { return };
        let known = self.known.load(Ordering::Relaxed);
        Python::with_gil(|py| {
            if let Err(e) = f.call1(py, (done, known)) {
                e.write_unraisable(py, Some(f.bind(py)));
            }
        });
    }
}

impl Pool for Threads {
    fn map<J: Sync, R: Send>(&self, jobs: &[J], f: impl Fn(&J) -> R + Sync) -> Vec<R> {
        self.known.fetch_add(jobs.len(), Ordering::Relaxed);
        self.pool.install(|| {
            jobs.par_iter()
                .map(|j| {
                    if self.stop.is_set() {
                        // The caller is gone: unwinds to `interruptible` without a word.
                        resume_unwind(Box::new(Stopped));
                    }
                    let answer = f(j);
                    self.tell();
                    answer
                })
                .collect()
        })
    }
}

/// A pool of `threads`, by default one per core.
pub fn threads(threads: Option<usize>) -> anyhow::Result<rayon::ThreadPool> {
    anyhow::ensure!(threads != Some(0), "threads 0: must be at least 1");
    Ok(rayon::ThreadPoolBuilder::new()
        .num_threads(threads.unwrap_or(0))
        .build()?)
}

/// [`interruptible`] work of many simulations.
pub fn stoppable<T: Send + 'static>(
    py: Python<'_>,
    threads: Option<usize>,
    progress: Option<Py<PyAny>>,
    work: impl FnOnce(&Threads) -> anyhow::Result<T> + Send + 'static,
) -> PyResult<T> {
    let pool = self::threads(threads).map_err(failed)?;
    interruptible(py, move |stop| {
        work(&Threads {
            pool,
            stop: stop.clone(),
            progress,
            done: AtomicUsize::new(0),
            known: AtomicUsize::new(0),
        })
    })
}
