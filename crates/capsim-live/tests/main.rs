//! The simulated server, through real sockets.
mod http;
