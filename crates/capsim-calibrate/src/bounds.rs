//! What every backend refuses before the driver sees it: slices out of range, wrong numbers of arguments, impossible launches.
use super::backend::{BackendError, Kernel, Launch, SLICE_ALIGN, Slice};

/// A slice within a buffer of `size` bytes (`None`: no such buffer).
///
/// # Errors
/// Says which slice and how large the buffer is.
pub fn slice(slice: Slice, size: Option<u64>) -> Result<(), BackendError> {
    let Slice {
        buffer,
        offset,
        len,
    } = slice;
    let Some(size) = size else {
        return Err(BackendError::Device(format!(
            "buffer {} does not exist (any more)",
            buffer.0
        )));
    };
    let end = offset.checked_add(len);
    if len == 0 || end.is_none_or(|end| end > size) {
        return Err(BackendError::Device(format!(
            "{len} bytes at {offset} are not inside buffer {} of {size} bytes",
            buffer.0
        )));
    }
    if !len.is_multiple_of(4) {
        return Err(BackendError::Device(format!(
            "a slice of {len} bytes is not a whole number of 32-bit words"
        )));
    }
    if !offset.is_multiple_of(SLICE_ALIGN) {
        return Err(BackendError::Device(format!(
            "offset {offset} of a slice of buffer {} is not a multiple of {SLICE_ALIGN}",
            buffer.0
        )));
    }
    Ok(())
}

/// A copy between host memory of `data` bytes and a slice.
///
/// # Errors
/// The slice's, or lengths that differ.
pub fn copy(at: Slice, size: Option<u64>, data: usize) -> Result<(), BackendError> {
    slice(at, size)?;
    if at.len == data as u64 {
        return Ok(());
    }
    Err(BackendError::Device(format!(
        "a copy of {data} bytes to or from a slice of {} bytes",
        at.len
    )))
}

/// A launch of a kernel, its slices apart.
///
/// # Errors
/// Says what does not fit the kernel.
pub fn launch(kernel: &Kernel, launch: &Launch) -> Result<(), BackendError> {
    let wrong = |what: String| {
        Err(BackendError::Device(format!(
            "kernel `{}`: {what}",
            kernel.name
        )))
    };
    if launch.buffers.len() != kernel.buffers.len() {
        return wrong(format!(
            "{} buffers given, {} declared",
            launch.buffers.len(),
            kernel.buffers.len()
        ));
    }
    if launch.numbers.len() != kernel.numbers {
        return wrong(format!(
            "{} numbers given, {} declared",
            launch.numbers.len(),
            kernel.numbers
        ));
    }
    if launch.groups.contains(&0) {
        return wrong("a launch of no work-groups".into());
    }
    Ok(())
}

/// What can be known of a kernel before it is compiled.
///
/// # Errors
/// A missing feature, too many numbers, or too large a work-group.
pub fn kernel(kernel: &Kernel, features: &[String], max_group: u32) -> Result<(), BackendError> {
    if let Some(missing) = kernel
        .needs
        .iter()
        .find(|n| !features.iter().any(|f| f == *n))
    {
        return Err(BackendError::Unsupported {
            kernel: kernel.name,
            feature: missing.to_string(),
        });
    }
    let size = u64::from(kernel.group[0]) * u64::from(kernel.group[1]);
    if size == 0 || size > u64::from(max_group) {
        return Err(BackendError::Unsupported {
            kernel: kernel.name,
            feature: format!("work-groups of {size} work-items (at most {max_group} here)"),
        });
    }
    if kernel.numbers > 16 {
        return Err(BackendError::Unsupported {
            kernel: kernel.name,
            feature: format!("{} number arguments (at most 16)", kernel.numbers),
        });
    }
    Ok(())
}
