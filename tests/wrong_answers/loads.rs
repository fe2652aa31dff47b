//! Loads: when a request is sent, which requests are lost, what an unsaid load is.
