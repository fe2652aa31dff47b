//! Environment variables that change memory or speed.

/// Beginnings of names that belong to an engine, a device's runtime or a communication library.
const BEGINNINGS: &[&str] = &[
    "VLLM_",
    "SGLANG_",
    "SGL_",
    "GGML_",
    "LLAMA_",
    "NCCL_",
    "RCCL_",
    "HSA_",
    "HIP_",
    "ROCM_",
    "MIOPEN_",
    "AITER_",
    "PYTORCH_",
    "TORCH",
    "TRITON_",
    "FLASHINFER_",
    "CUDA_",
    "CUBLAS_",
    "OMP_",
    "MKL_",
    "KMP_",
    "GPU_",
    "LMCACHE_",
    "MOONCAKE_",
    "UCX_",
    "NVSHMEM_",
    "XFORMERS_",
    "DEEP_GEMM",
    "DG_",
    "FLASH_ATTENTION_",
];

/// Names, or beginnings that end with `*`, that change neither although they begin so.
const HARMLESS: &[&str] = &[
    "VLLM_API_KEY",
    "VLLM_HOST_IP",
    "VLLM_PORT",
    "VLLM_LOG*",
    "VLLM_CONFIGURE_LOGGING",
    "VLLM_USE_MODELSCOPE",
    "VLLM_CACHE_ROOT",
    "VLLM_CONFIG_ROOT",
    "VLLM_NO_USAGE_STATS",
    "VLLM_DO_NOT_TRACK",
    "VLLM_USAGE_*",
    "VLLM_WORKER_MULTIPROC_METHOD",
    "VLLM_RPC_*",
    "VLLM_ENGINE_ITERATION_TIMEOUT_S",
    "VLLM_ENGINE_READY_TIMEOUT_S",
    "VLLM_ALLOW_*",
    "VLLM_TRACE_FUNCTION",
    "VLLM_DEBUG*",
    "VLLM_SERVER_DEV_MODE",
    "VLLM_PLUGINS",
    "VLLM_ASSETS_CACHE*",
    "VLLM_IMAGE_FETCH_TIMEOUT",
    "VLLM_VIDEO_FETCH_TIMEOUT",
    "VLLM_AUDIO_FETCH_TIMEOUT",
    "VLLM_HTTP_TIMEOUT_KEEP_ALIVE",
    "VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS",
    "VLLM_KEEP_ALIVE_ON_ENGINE_DEATH",
    "VLLM_NIXL_SIDE_CHANNEL_*",
    "VLLM_RINGBUFFER_WARNING_INTERVAL",
    "VLLM_SOURCE_CODE_LOC",
    "VLLM_TARGET_DEVICE",
    "VLLM_LOOPBACK_IP",
    "NCCL_DEBUG*",
    "NCCL_SOCKET_IFNAME",
    "CUDA_HOME",
    "CUDA_PATH",
    "CUDA_DEVICE_ORDER",
    "CUDA_VERSION",
    "TRITON_CACHE_DIR",
    "TORCH_CUDA_ARCH_LIST",
    "TORCHINDUCTOR_CACHE_DIR",
    "TORCH_HOME",
    "PYTORCH_ROCM_ARCH",
    "ROCM_PATH",
    "ROCM_HOME",
    "HIP_PATH",
    "LLAMA_CACHE",
    "LLAMA_LOG*",
    "LLAMA_API_KEY",
    "SGLANG_HOST_IP",
    "SGLANG_LOG*",
    "SGLANG_USE_MODELSCOPE",
    "HIP_PLATFORM",
];

/// Whether a variable of this value may change memory or speed. `VLLM_USE_V1=1` chooses what is simulated.
pub(super) fn changes(name: &str, value: &str) -> bool {
    if name == "VLLM_USE_V1" {
        return value.trim() == "0";
    }
    let harmless = HARMLESS.iter().any(|h| match h.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == *h,
    });
    !harmless && !super::devices::is_list(name) && BEGINNINGS.iter().any(|b| name.starts_with(b))
}

#[cfg(test)]
mod tests {
    use super::changes;

    #[test]
    fn kernels_and_memory_count_keys_and_logs_do_not() {
        for name in [
            "VLLM_ATTENTION_BACKEND",
            "VLLM_ROCM_USE_AITER",
            "NCCL_P2P_DISABLE",
            "PYTORCH_CUDA_ALLOC_CONF",
            "HSA_OVERRIDE_GFX_VERSION",
        ] {
            assert!(changes(name, "1"), "{name}");
        }
        for name in [
            "HF_TOKEN",
            "VLLM_API_KEY",
            "VLLM_LOGGING_LEVEL",
            "CUDA_VISIBLE_DEVICES",
            "NCCL_DEBUG",
            "PATH",
            "VLLM_USE_V1",
        ] {
            assert!(!changes(name, "1"), "{name}");
        }
        assert!(changes("VLLM_USE_V1", "0"));
    }
}
