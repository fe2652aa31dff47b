//! The text of the kernels in `kernels/`, which `capsim-calibrate` compiles and measures with. The folder stands at the top of the
//! repository, and so in this package; nothing here runs them.
//!
//! A kernel has one name and, per API, one file whose entry point has that name.

/// One line per kernel: `name: cl wgsl`, for the files that exist.
macro_rules! table {
    ($( $name:ident: $($ext:ident)+; )*) => {
        &[ $( KernelSource {
            name: stringify!($name),
            $( $ext: Some(include_str!(concat!("../kernels/", stringify!($name), ".", stringify!($ext)))), )+
            ..NOTHING
        }, )* ]
    };
}

/// A kernel's sources.
#[derive(Clone, Copy, Debug)]
pub struct KernelSource {
    /// Its name, and that of its entry point.
    pub name: &'static str,
    /// In OpenCL C.
    pub cl: Option<&'static str>,
    /// In WGSL.
    pub wgsl: Option<&'static str>,
}

const NOTHING: KernelSource = KernelSource {
    name: "",
    cl: None,
    wgsl: None,
};

#[allow(
    clippy::needless_update,
    reason = "a kernel may exist in one of the languages only"
)]
/// All kernels.
pub const KERNELS: &[KernelSource] = table! {
    add: cl wgsl;
    argmax: cl wgsl;
    attention_decode: cl wgsl;
    attention_ptx: cl;
    attention_prefill: cl wgsl;
    attention_reduce: cl wgsl;
    combine: cl wgsl;
    empty: cl wgsl;
    gemm_grouped: cl wgsl;
    gemm_coop: wgsl;
    gemm_ptx: cl;
    gemm_tiled: cl wgsl;
    gemm_wmma: cl;
    kv_write: cl wgsl;
    rmsnorm: cl wgsl;
    rope: cl wgsl;
    router: cl wgsl;
    silu_mul: cl wgsl;
    stream_copy: cl wgsl;
    stream_gather: cl wgsl;
    stream_read: cl wgsl;
    stream_write: cl wgsl;
};
