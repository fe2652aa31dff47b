//! The stand-in server over real sockets: what clients rely on. Counts and order are asserted, not tight times.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a server lives in real time"
)]
mod abuse;
mod answers;
mod client;
mod connections;
mod dashboards;
mod faults;
mod forms;
mod messages;
mod native;
mod refusals;
