//! A sweep for Python: here on threads, or point by point wherever Python takes its tasks.
use crate::call::{Stop, failed, interruptible, threads};
use crate::table::Table;
use anyhow::{Context, ensure};
use capsim_cli::api::{self, Job};
use capsim_study::report::{flat, json};
use pyo3::prelude::*;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A plan in its folder.
#[pyclass(frozen, module = "capsim")]
pub struct Sweep {
    /// The library's.
    pub job: Arc<Job>,
}

#[pymethods]
impl Sweep {
    /// Understands a plan (JSON if its name is none of a TOML file) and opens its folder.
    #[new]
    fn new(
        py: Python<'_>,
        plan: String,
        name: String,
        folder: PathBuf,
        shard: Option<String>,
        set: Vec<String>,
        files: BTreeMap<String, String>,
    ) -> PyResult<Self> {
        interruptible(py, move |_| {
            let mut plan = if name.is_empty() {
                api::plan_of_json(&plan, "the plan")?
            } else {
                api::plan_of_toml(&plan, &name)?
            };
            for assignment in &set {
                plan.set(assignment)?;
            }
            let part = shard.as_deref().map_or(Ok((0, 1)), api::shard)?;
            let files = api::Files::of(files);
            let points = api::understand(&plan, &files)?;
            let job = Arc::new(Job::open(&plan, points, files, &folder, part)?);
            Ok(Self { job })
        })
    }

    /// Points of the plan.
    fn __len__(&self) -> usize {
        self.job.len()
    }

    /// Points of this shard.
    #[getter]
    fn mine(&self) -> usize {
        self.job.mine()
    }

    /// Indices of the points that are to be simulated.
    #[getter]
    fn todo(&self) -> Vec<usize> {
        self.job.todo().to_vec()
    }

    /// What `evaluate` needs for a point.
    fn task(&self, point: usize) -> PyResult<String> {
        ensure_in(point, self.job.len())?;
        Ok(self.job.task(point))
    }

    /// The texts of all files that the points name.
    #[getter]
    fn texts(&self) -> PyResult<BTreeMap<String, String>> {
        self.job.texts().map_err(failed)
    }

    /// Keeps what `evaluate` made of a point.
    fn keep(&self, py: Python<'_>, point: usize, result: &str) -> PyResult<()> {
        ensure_in(point, self.job.len())?;
        py.allow_threads(|| self.job.keep(point, result))
            .map_err(failed)
    }

    /// Simulates all that is to do on threads; `progress(done, all)` is called now and then.
    fn run(
        &self,
        py: Python<'_>,
        threads: Option<usize>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let job = Arc::clone(&self.job);
        let pool = self::threads(threads).map_err(failed)?;
        let all = job.todo().len();
        interruptible(py, move |stop: &Stop| {
            let done = AtomicUsize::new(0);
            pool.install(|| {
                job.todo().par_iter().try_for_each(|&p| {
                    ensure!(!stop.is_set(), "interrupted");
                    job.run(p)?;
                    let n = done.fetch_add(1, Ordering::Relaxed) + 1;
                    if let Some(f) = &progress {
                        Python::with_gil(|py| f.call1(py, (n, all)).map(drop))?;
                    }
                    anyhow::Ok(())
                })
            })
        })
    }

    /// Rows of `results.jsonl` as one JSON text, the table, and the indices of points without a result. Writes the tables if there
    /// are none.
    fn finish(&self, py: Python<'_>) -> PyResult<(String, Table, Vec<usize>)> {
        let job = Arc::clone(&self.job);
        interruptible(py, move |_| {
            let merged = job.finish()?;
            let table = Table::new(flat::table(&merged.listing.dimensions, &merged.rows))?;
            let rows = serde_json::to_string(&json::value(&merged.rows))?;
            Ok((rows, table, merged.missing))
        })
    }
}

fn ensure_in(point: usize, len: usize) -> PyResult<()> {
    let there = (point < len)
        .then_some(())
        .context("there is no such point");
    there.map_err(failed)
}

/// What a point's file holds, from its task and the sweep's texts.
#[pyfunction]
pub fn evaluate(py: Python<'_>, task: String, files: BTreeMap<String, String>) -> PyResult<String> {
    interruptible(py, move |_| api::evaluate(&task, &api::Files::of(files)))
}
