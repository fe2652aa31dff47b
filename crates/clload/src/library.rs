//! The library itself: found once, never unloaded.
use libloading::Library;
use std::sync::OnceLock;

/// What to try, best first. `libOpenCL.so.1` is the ABI's name; the plain one exists where development files are installed.
#[cfg(windows)]
const NAMES: &[&str] = &["OpenCL.dll"];
#[cfg(not(windows))]
const NAMES: &[&str] = &["libOpenCL.so.1", "libOpenCL.so"];

static LIBRARY: OnceLock<Result<Library, String>> = OnceLock::new();

/// The library, or what was tried.
pub fn get() -> Result<&'static Library, &'static String> {
    LIBRARY.get_or_init(open).as_ref()
}

fn open() -> Result<Library, String> {
    let named = std::env::var_os(crate::LIBRARY_VARIABLE);
    let names: Vec<std::ffi::OsString> = match named {
        Some(name) => vec![name],
        None => NAMES.iter().map(Into::into).collect(),
    };
    let mut tried = vec![];
    for name in names {
        // SAFETY: loading a library runs its initialisers. These are the names under which every OpenCL loader is installed,
        // or what the user named; there is no way to use OpenCL without trusting them.
        match unsafe { Library::new(&name) } {
            Ok(library) => return Ok(library),
            Err(e) => {
                let why =
                    std::error::Error::source(&e).map_or_else(|| e.to_string(), |s| s.to_string());
                tried.push(format!("{}: {why}", name.display()));
            }
        }
    }
    Err(tried.join("; "))
}

/// A function of the library, by name. `None` without a library, or with one too old to have it.
///
/// # Safety
/// `F` must be the function's type.
pub unsafe fn find<F: Copy>(name: &str) -> Option<F> {
    let library = get().ok()?;
    // SAFETY: the caller vouches for the type. The library is in a static and never unloaded, so the copy stays valid.
    unsafe { library.get::<F>(name.as_bytes()) }
        .ok()
        .map(|symbol| *symbol)
}
