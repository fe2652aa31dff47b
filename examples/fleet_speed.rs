//! How long a large fleet takes to simulate: `cargo run --release --example fleet_speed [REPLICAS] [REQUESTS] [POLICY]`.
use capsim::cost::LinearCost;
use capsim::device::EngineId;
use capsim::engine::fleet::{Fleet, Plan, Policy, Pool, Role, Transfer};
use capsim::engine::observe::{Observer, RequestRecord};
use capsim::engine::{EngineConfig, FrontEndCost, Group};
use capsim::units::Span;
use capsim::workload::{PromptKind, WorkloadSpec};

/// A digest of all records, to compare runs with.
struct Digest(u64);

impl Observer for Digest {
    fn on_request(&mut self, r: &RequestRecord) {
        let parts = [r.id.0, r.first_token.0, r.finish.0];
        self.0 = parts.iter().fold(self.0, |d, p| {
            (d ^ p).wrapping_mul(0x100_0000_01b3).rotate_left(7)
        });
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let replicas: u32 = args.next().map_or(Ok(100), |a| a.parse())?;
    let requests: u32 = args.next().map_or(Ok(1_000_000), |a| a.parse())?;
    let policy = args.next().unwrap_or_else(|| "least-requests".into());
    let policy = Policy::ALL.iter().find(|(name, _)| *name == policy);
    let (_, policy) = policy.ok_or("no such policy")?;
    // As one H100 with an 8B model: 7 ms for a decode step, 20 µs per prompt token.
    let cost = LinearCost {
        base: Span::from_micros(7_000),
        per_token: Span::from_micros(20),
        per_seq: Span::from_micros(10),
    };
    let plan = Plan {
        pools: vec![Pool {
            role: Role::Serve,
            engine: EngineId::Vllm,
            config: EngineConfig {
                num_gpu_blocks: 24_000,
                max_num_batched_tokens: 8192,
                async_scheduling: true,
                ..EngineConfig::default()
            },
            group: Group::ONE,
            replicas,
            front: FrontEndCost::default(),
            cost,
            rate: None,
        }],
        policy: *policy,
        signal_age: Span::from_millis(50),
        transfer: Transfer::default(),
        outages: vec![],
    };
    let load = WorkloadSpec {
        range_ratio: 0.5,
        prompts: PromptKind::SharedPrefix,
        shared_prefix_len: 256,
        ..WorkloadSpec::open_loop(requests, f64::from(replicas) * 8.0, 1024, 128)
    };
    let mut digest = Digest(0);
    let fleet = Fleet::new(plan, false)?;
    let summary = fleet.run(&mut load.source()?, &mut digest)?;
    println!(
        "{} requests on {replicas} replicas, {} steps, {:.0} s simulated; digest {:016x}",
        summary.total.completed,
        summary.total.steps,
        summary.total.end.secs(),
        digest.0
    );
    Ok(())
}
