//! Who evaluates.

/// Applies a function to every job; result number k is job number k's, on whichever thread and whenever it ran.
pub trait Pool {
    /// All results, in the order of the jobs.
    fn map<J: Sync, R: Send>(&self, jobs: &[J], f: impl Fn(&J) -> R + Sync) -> Vec<R>;
}

/// One after another.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sequential;

impl Pool for Sequential {
    fn map<J: Sync, R: Send>(&self, jobs: &[J], f: impl Fn(&J) -> R + Sync) -> Vec<R> {
        jobs.iter().map(f).collect()
    }
}
