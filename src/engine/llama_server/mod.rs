//! llama.cpp's `llama-server`.
mod scheduler;

pub use scheduler::Scheduler;
