//! Knobs of an engine, and the values they are turned to.
use crate::device::DeviceProfile;
use crate::model::{KvDtype, Model, Precision};
use crate::predict::Scenario;
use std::fmt;

/// One value of one knob.
#[derive(Clone, Debug, PartialEq)]
pub enum Setting {
    /// `--max-num-seqs`.
    MaxNumSeqs(u32),
    /// `--max-num-batched-tokens`.
    MaxNumBatchedTokens(u32),
    /// `--max-model-len`.
    MaxModelLen(u32),
    /// `--gpu-memory-utilization`.
    GpuMemoryUtilization(f64),
    /// `--block-size`.
    BlockSize(u32),
    /// `--enable-chunked-prefill`.
    ChunkedPrefill(bool),
    /// `--enable-prefix-caching`.
    PrefixCaching(bool),
    /// `--async-scheduling`.
    AsyncScheduling(bool),
    /// `--enforce-eager`.
    EnforceEager(bool),
    /// A way to run the expert kernels, by its name in the engine profile.
    MoeTiles(String),
    /// A weight format, by its name.
    Weights(String, Precision),
    /// `--kv-cache-dtype`.
    KvCacheDtype(KvDtype),
    /// `--tensor-parallel-size`: devices that share every layer.
    TensorParallel(u32),
    /// `--data-parallel-size`: engines behind a router; replicas of a dense model, engines that share the experts of a mixture.
    DataParallel(u32),
    /// Another device.
    Device(Box<DeviceProfile>),
}

/// A setting of the engine with the values to try, today's first.
#[derive(Clone, Debug, PartialEq)]
pub struct Knob {
    /// vLLM's name of it, or ours.
    pub name: String,
    /// Values.
    pub values: Vec<Setting>,
}

/// Sets a number of parts; a line that says nothing means one, and stays as it is then.
fn divide(now: &mut Option<u32>, parts: u32) {
    if now.unwrap_or(1) != parts {
        *now = Some(parts);
    }
}

impl Setting {
    /// Puts the value into a scenario.
    pub fn apply(&self, s: &mut Scenario) {
        match self {
            Setting::MaxNumSeqs(v) => s.serve.max_num_seqs = Some(*v),
            Setting::MaxNumBatchedTokens(v) => s.serve.max_num_batched_tokens = Some(*v),
            Setting::MaxModelLen(v) => s.serve.max_model_len = Some(*v),
            Setting::GpuMemoryUtilization(v) => s.serve.gpu_memory_utilization = Some(*v),
            Setting::BlockSize(v) => s.serve.block_size = Some(*v),
            Setting::ChunkedPrefill(v) => s.serve.enable_chunked_prefill = Some(*v),
            Setting::PrefixCaching(v) => s.serve.enable_prefix_caching = Some(*v),
            Setting::AsyncScheduling(v) => s.serve.async_scheduling = Some(*v),
            Setting::EnforceEager(v) => s.serve.enforce_eager = Some(*v),
            Setting::MoeTiles(v) => s.moe_path = Some(v.clone()),
            Setting::Weights(name, p) => {
                let kv = s.model.precision().kv;
                if p.with_kv(kv) != *s.model.precision() {
                    s.model = Model::new(s.model.config(), p.with_kv(kv));
                    s.serve.quantization = Some(name.clone());
                }
            }
            Setting::KvCacheDtype(v) => {
                let p = s.model.precision().with_kv(*v);
                if p != *s.model.precision() {
                    s.model = Model::new(s.model.config(), p);
                    s.serve.kv_cache_dtype = Some(self.to_string());
                }
            }
            Setting::TensorParallel(v) => divide(&mut s.serve.tensor_parallel_size, *v),
            Setting::DataParallel(v) => divide(&mut s.serve.data_parallel_size, *v),
            Setting::Device(d) => s.device = (**d).clone(),
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let switch = |on: bool| if on { "on" } else { "off" };
        match self {
            Setting::MaxNumSeqs(v)
            | Setting::MaxNumBatchedTokens(v)
            | Setting::MaxModelLen(v)
            | Setting::BlockSize(v)
            | Setting::TensorParallel(v)
            | Setting::DataParallel(v) => write!(f, "{v}"),
            Setting::GpuMemoryUtilization(v) => write!(f, "{v}"),
            Setting::ChunkedPrefill(v)
            | Setting::PrefixCaching(v)
            | Setting::AsyncScheduling(v)
            | Setting::EnforceEager(v) => f.write_str(switch(*v)),
            Setting::MoeTiles(v) | Setting::Weights(v, _) => f.write_str(v),
            Setting::KvCacheDtype(v) => write!(f, "{v}"),
            Setting::Device(d) => f.write_str(&d.id),
        }
    }
}
