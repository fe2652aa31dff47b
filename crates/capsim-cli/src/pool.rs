//! All cores at work on simulations.
use super::progress::late;
use anyhow::Context;
use capsim::plan::Pool;
use clap::Args;
use rayon::prelude::*;

#[derive(Args, Clone, Debug, Default)]
pub struct PoolArgs {
    /// Threads (default: one per core); the answer does not depend on it
    #[arg(long)]
    threads: Option<usize>,
}

/// Threads, and a line that shows on a terminal how far they are.
pub struct Threads {
    pool: rayon::ThreadPool,
    done: indicatif::ProgressBar,
}

impl PoolArgs {
    pub fn start(&self) -> anyhow::Result<Threads> {
        anyhow::ensure!(self.threads != Some(0), "--threads 0: must be at least 1");
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(self.threads.unwrap_or(0))
            .build()
            .context("starting threads")?;
        let done = late(indicatif::ProgressBar::no_length());
        done.set_style(
            indicatif::ProgressStyle::with_template("{spinner} {pos} simulations, {elapsed}")
                .context("progress line")?,
        );
        Ok(Threads { pool, done })
    }
}

impl Pool for Threads {
    fn map<J: Sync, R: Send>(&self, jobs: &[J], f: impl Fn(&J) -> R + Sync) -> Vec<R> {
        self.pool.install(|| {
            jobs.par_iter()
                .map(|j| {
                    let r = f(j);
                    self.done.inc(1);
                    r
                })
                .collect()
        })
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.done.finish_and_clear();
    }
}
