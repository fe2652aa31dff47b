//! SGLang.
mod scheduler;

pub use scheduler::Scheduler;
