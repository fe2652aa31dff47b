//! Finds libOpenCL at run time, so that programs which use the `ocl` crate start where there is none.
//!
//! The crates `ocl` and `ocl-core` call OpenCL through `cl-sys`, whose `#[link(name = "OpenCL")]` cannot be switched off: a
//! program built with it does not start on a machine without libOpenCL. This crate satisfies the link itself. Its build script
//! puts an empty archive named `libOpenCL.a` in front of the linker, and `entry.rs` defines every `cl…` function that `cl-sys`
//! declares; each looks its namesake up in the real library when it is first called, and passes the call on.
//!
//! Without a library, or with one that knows no driver (`CL_PLATFORM_NOT_FOUND_KHR`), `clGetPlatformIDs` reports success and
//! no platform, at once: "no device" is an ordinary answer. Every other function then returns an error.
//!
//! Use: depend on this crate beside `ocl` and name it once, `use capsim_clload as _;`, so that it is linked.
//!
//! The environment variable [`LIBRARY_VARIABLE`] names another library file; nothing else is tried then.
//!
//! On Apple systems OpenCL is a framework that is always there: the crate is empty but for these constants.
#![allow(
    unsafe_code,
    reason = "the crate's whole business is to call a C library found at run time"
)]

#[cfg(not(target_vendor = "apple"))]
mod entry;
#[cfg(not(target_vendor = "apple"))]
mod library;

/// Name of the environment variable that names the OpenCL library to load instead of the usual ones.
pub const LIBRARY_VARIABLE: &str = "CAPSIM_OPENCL_LIBRARY";

/// Whether an OpenCL library was found and loaded; otherwise what was tried and why it did not load.
///
/// # Errors
/// The loader's words for each name that was tried.
pub fn loaded() -> Result<(), String> {
    #[cfg(target_vendor = "apple")]
    return Ok(());
    #[cfg(not(target_vendor = "apple"))]
    library::get().map(|_| ()).map_err(Clone::clone)
}
