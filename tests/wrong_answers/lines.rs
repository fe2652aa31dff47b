//! Server lines run as people type them.
