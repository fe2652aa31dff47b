//! The load client against a server whose behaviour is scripted request by request.
mod command;
mod failures;
mod measuring;
mod server;
