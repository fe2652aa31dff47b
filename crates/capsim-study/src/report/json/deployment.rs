//! What the pools of a deployment did.
use super::{Settings, finite};
use capsim::predict::deployment::role_name;
use capsim::predict::{PoolRun, Run};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Several engines that serve together.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Deployed {
    /// Devices of all pools.
    pub devices: u32,
    /// Prompt and output tokens per second and device.
    pub total_throughput_per_device: Option<f64>,
    /// Output tokens per second and device.
    pub output_throughput_per_device: Option<f64>,
    /// The pools.
    pub pools: Vec<PoolFigures>,
    /// KV that travelled from prefill to decode replicas.
    pub transfers: Transfers,
    /// Requests that a decode replica served alone.
    pub served_by_decoders_alone: u64,
    /// Requests that were sent again because a replica failed.
    pub retried: u64,
}

/// The replicas of a pool.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PoolFigures {
    /// `serve`, `prefill` or `decode`.
    pub role: String,
    /// How many.
    pub replicas: u32,
    /// Devices of all of them.
    pub devices: u32,
    /// Device profile.
    pub device: String,
    /// Settings of each.
    pub settings: Settings,
    /// Steps of all replicas, warm-up included.
    pub steps: u64,
    /// Share of the time in which a replica computes, on average.
    pub busy: Option<f64>,
    /// Mean sequences per step, weighted by time.
    pub batch: Option<f64>,
    /// Mean requests that wait in a replica.
    pub waiting: Option<f64>,
    /// Mean KV usage of a replica, 0 to 1.
    pub kv_usage_mean: Option<f64>,
    /// Highest KV usage of any, 0 to 1.
    pub kv_usage_max: Option<f64>,
    /// Preemptions.
    pub preemptions: u64,
    /// Fewest and most requests that one replica was given.
    pub requests_of_a_replica: [u64; 2],
}

/// KV that travelled.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Transfers {
    /// How often.
    pub count: u64,
    /// Bytes of all.
    pub bytes: u64,
    /// Mean time from the end of a prefill until the decoder has its KV.
    pub mean_ms: Option<f64>,
    /// Of it: until the decoder had room.
    pub mean_wait_ms: Option<f64>,
}

/// The figures of a deployment; `None`: one engine.
pub fn deployed(run: &Run) -> Option<Deployed> {
    let fleet = run.fleet.as_ref()?;
    let (s, t) = (&run.summary, &fleet.transfer);
    let each = |rate: f64| finite(rate / f64::from(fleet.devices().max(1)));
    let mean = |secs: f64| finite(1e3 * secs / t.count as f64);
    let pool = |(p, &(least, most)): (&PoolRun, &(u64, u64))| {
        let o = &p.occupancy;
        PoolFigures {
            role: role_name(p.role).into(),
            replicas: p.replicas,
            devices: p.devices,
            device: p.device.id.clone(),
            settings: Settings {
                version: p.settings.config.version.to_string(),
                num_gpu_blocks: p.settings.config.num_gpu_blocks,
                in_force: p.settings.in_force.clone(),
            },
            steps: p.engine.steps,
            busy: finite(o.busy / s.duration),
            batch: finite(o.batch),
            waiting: finite(o.waiting),
            kv_usage_mean: finite(o.kv_mean),
            kv_usage_max: finite(o.kv_max),
            preemptions: p.engine.preemptions,
            requests_of_a_replica: [least, most],
        }
    };
    Some(Deployed {
        devices: fleet.devices(),
        total_throughput_per_device: each(s.total_throughput()),
        output_throughput_per_device: each(s.output_throughput()),
        pools: fleet.pools.iter().zip(&fleet.routed).map(pool).collect(),
        transfers: Transfers {
            count: t.count,
            bytes: t.bytes,
            mean_ms: mean(t.time.secs()),
            mean_wait_ms: mean(t.waiting.secs()),
        },
        served_by_decoders_alone: fleet.local,
        retried: fleet.retried,
    })
}
