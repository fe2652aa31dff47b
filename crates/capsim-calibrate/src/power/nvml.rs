//! NVIDIA's management library, found at run time; nothing is linked.
#![allow(unsafe_code, reason = "a C library")]
use libloading::{Library, Symbol};
use std::ffi::{CString, c_char, c_int, c_uint, c_void};

type Handle = *mut c_void;

/// A device.
pub struct Nvml {
    library: Library,
    handle: Handle,
}

// SAFETY: NVML is thread-safe, and a handle stays valid until `nvmlShutdown`, which is never called (NVML API reference, "NVML is
// thread-safe").
unsafe impl Send for Nvml {}

const NAMES: [&str; 3] = ["libnvidia-ml.so.1", "libnvidia-ml.so", "nvml.dll"];

impl Nvml {
    /// The device at this PCI address.
    ///
    /// # Errors
    /// No library, or no such device.
    pub fn open(pci: &str) -> Result<Self, String> {
        // SAFETY: the library's own initialisers run; it is the driver's.
        let library = NAMES
            .iter()
            .find_map(|n| unsafe { Library::new(*n) }.ok())
            .ok_or("there is no NVML library")?;
        let address = CString::new(pci).map_err(|e| e.to_string())?;
        let mut handle: Handle = std::ptr::null_mut();
        // SAFETY: the signatures are those of nvml.h; `handle` outlives the call.
        let code = unsafe {
            let init: Symbol<unsafe extern "C" fn() -> c_int> =
                library.get(b"nvmlInit_v2\0").map_err(|e| e.to_string())?;
            let find: Symbol<unsafe extern "C" fn(*const c_char, *mut Handle) -> c_int> = library
                .get(b"nvmlDeviceGetHandleByPciBusId_v2\0")
                .map_err(|e| e.to_string())?;
            match init() {
                0 => find(address.as_ptr(), &raw mut handle),
                code => code,
            }
        };
        match code {
            0 => Ok(Self { library, handle }),
            code => Err(format!("NVML error {code} for {pci}")),
        }
    }

    /// Watts now.
    ///
    /// # Errors
    /// The device does not tell.
    pub fn watts(&self) -> Result<f64, String> {
        let mut milliwatts: c_uint = 0;
        // SAFETY: as above; the handle is of this library.
        let code = unsafe {
            let usage: Symbol<unsafe extern "C" fn(Handle, *mut c_uint) -> c_int> = self
                .library
                .get(b"nvmlDeviceGetPowerUsage\0")
                .map_err(|e| e.to_string())?;
            usage(self.handle, &raw mut milliwatts)
        };
        match code {
            0 => Ok(f64::from(milliwatts) / 1e3),
            code => Err(format!("NVML error {code}")),
        }
    }
}
