//! The native kernels. Each does what the sources of the same name in `kernels/` do, for the same buffers and numbers.
mod stream;

use super::call::Function;

/// The native function of a kernel's name.
pub(super) fn find(name: &str) -> Option<Function> {
    Some(match name {
        "empty" => stream::empty,
        "stream_read" => stream::read,
        "stream_write" => stream::write,
        "stream_copy" => stream::copy,
        "stream_gather" => stream::gather,
        _ => return None,
    })
}
