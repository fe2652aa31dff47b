//! Speed of the engine simulator: `cargo bench`. Rates are requests simulated per second of wall time.
use capsim::cost::LinearCost;
use capsim::engine::{EngineConfig, simulate};
use capsim::units::Span;
use capsim::workload::WorkloadSpec;
use divan::{Bencher, counter::ItemsCount};

fn main() {
    divan::main();
}

/// The peers' workload, 512 tokens in and 256 out, at about nine tenths of this cost's capacity.
#[divan::bench(args = [1_000, 10_000, 100_000], consts = [false, true])]
fn near_capacity<const CACHING: bool>(bencher: Bencher, requests: u32) {
    let config = EngineConfig {
        max_num_seqs: 256,
        max_num_batched_tokens: 8192,
        num_gpu_blocks: 20_000,
        enable_prefix_caching: CACHING,
        ..EngineConfig::default()
    };
    // 10 ms + 20 µs per token: 256 sequences decode at 15 ms per step, which with prefills is about 50 requests per second.
    let cost = LinearCost {
        base: Span::from_millis(10),
        per_token: Span::from_micros(20),
        per_seq: Span::ZERO,
    };
    bencher.counter(ItemsCount::new(requests)).bench(|| {
        let mut source = WorkloadSpec::open_loop(requests, 36.0, 512, 256)
            .source()
            .unwrap();
        simulate(&config, &cost, &mut source, &mut ()).unwrap()
    });
}
