//! Puts an empty library named OpenCL in front of the linker.
//!
//! `cl-sys` says `#[link(name = "OpenCL")]`, so the linker is asked for that library, whatever we do. An archive without
//! members is a valid answer: the functions come from this crate. A linker that takes nothing but a shared library for that request
//! (zig's, 0.17) finds a linker script in its place, which names the archive.
use std::path::PathBuf;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let env = |name: &str| std::env::var_os(name).unwrap_or_default();
    if env("CARGO_CFG_TARGET_VENDOR") == "apple" {
        // OpenCL is a framework there and always present.
        return;
    }
    let out = PathBuf::from(env("OUT_DIR"));
    let name = if env("CARGO_CFG_TARGET_ENV") == "msvc" {
        "OpenCL.lib"
    } else {
        "libOpenCL.a"
    };
    let write = |name: &str, text: &str| {
        std::fs::write(out.join(name), text).expect("the build folder can be written");
    };
    write(name, "!<arch>\n");
    if env("CARGO_CFG_TARGET_FAMILY") == "unix" {
        write("libOpenCL.so", "INPUT(libOpenCL.a)\n");
    }
    println!("cargo::rustc-link-search=native={}", out.display());
}
