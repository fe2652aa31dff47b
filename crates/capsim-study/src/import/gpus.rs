//! What tables of kernel times do not say of the devices that they were measured on: memory and links.

/// A GPU as its makers and others describe it.
#[derive(Clone, Copy, Debug)]
pub struct Gpu {
    /// Profile id.
    pub id: &'static str,
    /// Name for people.
    pub name: &'static str,
    /// Names in the databases, and other names that `--device` takes.
    pub aliases: &'static [&'static str],
    /// Device memory as the runtime reports it, bytes.
    pub memory: f64,
    /// Who says so.
    pub memory_source: &'static str,
    /// Seconds of the smallest collective.
    pub latency: f64,
    /// Bytes per second, each way.
    pub rate: f64,
    /// Who says so.
    pub link_source: &'static str,
    /// Relative spread of both.
    pub link_sd: f64,
    /// Streaming reads by the data sheet, bytes per second: bounds what may be believed.
    pub bandwidth: f64,
    /// The attention kernels that vLLM runs there: FlashAttention 3 on compute capability 9, 2 before and on Ada (`get_flash_attn_version` in
    /// vllm/v1/attention/backends/fa_utils.py, 0.24).
    pub attention_backend: &'static str,
}

const GIB: f64 = 1_073_741_824.0;

/// The ones that profiles ship for.
pub const ALL: &[Gpu] = &[
    Gpu {
        id: "rtx-4090",
        name: "NVIDIA GeForce RTX 4090",
        aliases: &["RTX4090", "4090"],
        memory: 25_250_627_584.0,
        memory_source: "torch.cuda.get_device_properties in casys-kaist/LLMServingSim@5daddb21 bench/examples/RTX4090 meta.json",
        latency: 30e-6,
        rate: 20e9,
        link_source: "no peer access: NCCL through host memory, PCIe 4.0 x16 (NVIDIA/nccl-tests#117, #307)",
        link_sd: 0.4,
        bandwidth: 1008e9,
        attention_backend: "flash-attn-2",
    },
    Gpu {
        id: "rtx-pro-6000",
        name: "NVIDIA RTX PRO 6000 Blackwell",
        aliases: &["RTXPRO6000", "rtx-pro-6000-blackwell", "rtx_pro_6000"],
        memory: 94.97 * GIB,
        memory_source: "CUDA total memory as printed in antirez/ds4#431",
        latency: 14e-6,
        rate: 16e9,
        link_source: "NCCL between two of them, replayed from CUDA graphs: casys-kaist/LLMServingSim@e08dc388 \
                      profiler/perf/RTXPRO6000/hardware.yaml (2026-09-08). With ACS and IOMMU off the same node reached \
                      36 GB/s (@1b2cc02d); peer writes elsewhere 51-56 GB/s (voipmonitor/rtx6kpro hardware/pcie-bandwidth.md)",
        link_sd: 0.2,
        bandwidth: 1792e9,
        attention_backend: "flash-attn-2",
    },
    Gpu {
        id: "h100-sxm",
        name: "NVIDIA H100 SXM",
        aliases: &["h100", "h100_sxm"],
        memory: 79.19 * GIB,
        memory_source: "CUDA total memory of an H100 80GB HBM3",
        latency: 10e-6,
        rate: 360e9,
        link_source: "NVLink 4, 450 GB/s each way by the data sheet; NCCL reaches about 80 %",
        link_sd: 0.2,
        bandwidth: 3352e9,
        attention_backend: "flash-attn-3",
    },
    Gpu {
        id: "h200-sxm",
        name: "NVIDIA H200 SXM",
        aliases: &["h200", "h200_sxm"],
        memory: 139.8 * GIB,
        memory_source: "CUDA total memory of an H200 141GB HBM3e",
        latency: 10e-6,
        rate: 360e9,
        link_source: "NVLink 4, 450 GB/s each way by the data sheet; NCCL reaches about 80 %",
        link_sd: 0.2,
        bandwidth: 4800e9,
        attention_backend: "flash-attn-3",
    },
    Gpu {
        id: "a100-sxm",
        name: "NVIDIA A100 SXM 80GB",
        aliases: &["a100", "a100_sxm"],
        memory: 79.25 * GIB,
        memory_source: "CUDA total memory of an A100-SXM4-80GB",
        latency: 12e-6,
        rate: 235e9,
        link_source: "NVLink 3, 300 GB/s each way by the data sheet; NCCL reaches about 78 %",
        link_sd: 0.2,
        bandwidth: 2039e9,
        attention_backend: "flash-attn-2",
    },
    Gpu {
        id: "l40s",
        name: "NVIDIA L40S",
        aliases: &["L40S", "l40s_pcie"],
        memory: 44.4 * GIB,
        memory_source: "CUDA total memory of an L40S (48 GB with ECC)",
        latency: 20e-6,
        rate: 22e9,
        link_source: "PCIe 4.0 x16, 32 GB/s by the data sheet; NCCL reaches about 70 %",
        link_sd: 0.3,
        bandwidth: 864e9,
        attention_backend: "flash-attn-2",
    },
];

/// The GPU of that id or alias.
pub fn find(name: &str) -> Option<&'static Gpu> {
    ALL.iter().find(|g| {
        g.id.eq_ignore_ascii_case(name) || g.aliases.iter().any(|a| a.eq_ignore_ascii_case(name))
    })
}
