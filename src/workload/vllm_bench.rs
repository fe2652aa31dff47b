//! The very requests that `vllm bench serve --dataset-name random` sends: same arrivals, same lengths, for the same flags.
//!
//! vLLM 0.12.0, `vllm/benchmarks/serve.py: get_request` and `datasets.py: RandomDataset`: gaps from the legacy generator, summed up
//! and stretched so that the last arrival is at N / rate; input lengths, then output lengths, from `default_rng(seed)`.
use super::arrival::RampUp;
use super::numpy::{DefaultRng, LegacyRandom};

/// Send times in seconds since the start, one per request; all zero without a rate. `burstiness` infinite: constant gaps.
pub fn arrivals(requests: u32, rate: Option<f64>, burstiness: f64, seed: u32) -> Vec<f64> {
    let Some(rate) = rate else {
        return vec![0.0; requests as usize];
    };
    let mut rng = LegacyRandom::new(seed);
    let mut at = 0.0;
    let mut times: Vec<f64> = (0..requests)
        .map(|_| {
            at += if burstiness.is_infinite() {
                1.0 / rate
            } else {
                rng.gamma(burstiness, 1.0 / (rate * burstiness))
            };
            at
        })
        .collect();
    if let Some(&last) = times.last()
        && last != 0.0
    {
        let stretch = f64::from(requests) / rate / last;
        times.iter_mut().for_each(|t| *t *= stretch);
    }
    times
}

/// Send times under `--ramp-up-strategy`: every gap has the rate of its own request, and nothing is stretched.
pub fn ramp_up(
    requests: u32,
    strategy: RampUp,
    start: f64,
    end: f64,
    burstiness: f64,
    seed: u32,
) -> Vec<f64> {
    let mut rng = LegacyRandom::new(seed);
    let mut at = 0.0;
    (0..requests)
        .map(|i| {
            let rate = strategy.rate(start, end, i, requests);
            at += if burstiness.is_infinite() {
                1.0 / rate
            } else {
                rng.gamma(burstiness, 1.0 / (rate * burstiness))
            };
            at
        })
        .collect()
}

/// (input, output) tokens per request. `input_len` is without special tokens that the tokenizer would add.
pub fn lengths(
    requests: u32,
    input_len: u32,
    output_len: u32,
    range_ratio: f64,
    seed: u64,
) -> Vec<(u32, u32)> {
    let mut rng = DefaultRng::new(seed);
    let bounds = |len: u32, least: u32| {
        let low = libm::floor(f64::from(len) * (1.0 - range_ratio)) as u32;
        let high = libm::ceil(f64::from(len) * (1.0 + range_ratio)) as u32;
        (low.max(least), high.max(least) + 1)
    };
    let (low, high) = bounds(input_len, 0);
    let inputs: Vec<u32> = (0..requests).map(|_| rng.integer(low, high)).collect();
    let (low, high) = bounds(output_len, 1);
    inputs
        .into_iter()
        .map(|i| (i, rng.integer(low, high)))
        .collect()
}
