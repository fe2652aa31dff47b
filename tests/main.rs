//! The pure core, held against laws, recordings, a slow twin and its own documents.
#[path = "common/replay.rs"]
mod replay;
#[path = "common/scenario.rs"]
mod scenario;
#[path = "common/fleet_twin.rs"]
mod fleet_twin;
mod architecture;
mod engines;
mod examples;
mod fleet;
mod front_end;
mod generated;
mod images;
mod intervals;
mod laws;
mod layers;
mod models;
mod numpy;
mod offload;
mod pipeline;
mod plan;
mod prose;
mod recipes;
mod resemble;
mod serve_core;
mod speculation;
mod traces;
mod traces_in_pieces;
mod trtllm;
mod vllm_parity;
mod wild;
mod workload;
