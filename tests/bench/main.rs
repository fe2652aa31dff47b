//! The load client against a server whose behaviour is scripted request by request.
#![cfg(all(feature = "http", feature = "cli"))]
mod command;
mod failures;
mod measuring;
mod server;
