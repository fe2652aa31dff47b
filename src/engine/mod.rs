//! The engine simulator: vLLM's V1 scheduler, KV blocks, prefix cache and event loop.
pub mod observe;
