//! Attention over the KV cache: decoding streams keys and values, a prompt computes on (query, key) pairs.
use crate::cost::StepShape;
use crate::device::{Curve, DeviceProfile, EngineProfile};
use crate::model::{Model, OpKind};

/// All layers with attention.
#[derive(Clone, Debug)]
pub struct AttentionPrice {
    /// Seconds per KV token read: layers that see everything, layers with a window.
    kv_full: f64,
    kv_windowed: f64,
    /// Seconds of arithmetic per KV token and query, where several queries of a sequence share the reading.
    compute_full: f64,
    compute_windowed: f64,
    /// Operations per (query, key) pair, both kinds of layer.
    pair_full: f64,
    pair_windowed: f64,
    /// Operations per cached token to make keys and values of what is kept, for each chunk of a prompt anew.
    expand: f64,
    /// Operations per second by queries computed at once.
    curve: Curve,
    efficiency: f64,
    /// Queries of a kernel's tile, where the engine brings kernels of its own.
    tile: Option<u32>,
    /// Tokens that layers with a window see.
    pub window: Option<u32>,
}

impl AttentionPrice {
    /// As the engine runs it on the device.
    pub fn new(model: &Model, device: &DeviceProfile, engine: &EngineProfile) -> Self {
        let stream = device.dram_read() * engine.attention_stream.value;
        let mut price = Self {
            kv_full: 0.0,
            kv_windowed: 0.0,
            compute_full: 0.0,
            compute_windowed: 0.0,
            pair_full: 0.0,
            pair_windowed: 0.0,
            expand: 0.0,
            curve: device.attention_prefill.clone(),
            efficiency: engine.attention_compute.value * device.curves.library(),
            tile: engine.attention_tile,
            window: None,
        };
        for op in model.ops() {
            let OpKind::Attention(a) = &op.kind else {
                continue;
            };
            let layers = f64::from(op.layers);
            let decode = a.cache.decode_ops as f64 / f64::from(a.cache.tokens.max(1));
            let compute = decode / (price.curve.peak() * price.efficiency);
            let per_token = layers * (a.read_bytes_per_token() / stream).max(compute);
            let pairs = layers * a.ops_per_pair();
            let decoded = decode.max(a.ops_per_pair());
            let arithmetic = layers * decoded / (price.curve.peak() * price.efficiency);
            price.expand += layers * a.cache.expand as f64;
            if let Some(w) = a.window {
                // Steps are counted with one window: the narrowest.
                price.window = Some(price.window.map_or(w, |known| known.min(w)));
                price.kv_windowed += per_token;
                price.compute_windowed += arithmetic;
                price.pair_windowed += pairs;
            } else {
                price.kv_full += per_token;
                price.compute_full += arithmetic;
                price.pair_full += pairs;
            }
        }
        price
    }

    /// Seconds to stream the decoding sequences' keys and values: once for all queries of a sequence, unless their arithmetic takes
    /// longer.
    pub fn decode(&self, shape: &StepShape) -> f64 {
        let stream = self.stream(shape);
        if shape.verified == 0 {
            return stream;
        }
        stream.max(self.arithmetic(shape))
    }

    /// Seconds of arithmetic of the decoding sequences' queries.
    pub fn arithmetic(&self, shape: &StepShape) -> f64 {
        let each = 1.0 + f64::from(shape.verified) / f64::from(shape.decode_seqs.max(1));
        each * (self.compute_full * shape.decode_context as f64
            + self.compute_windowed * shape.decode_context_windowed as f64)
    }

    fn stream(&self, shape: &StepShape) -> f64 {
        self.kv_full * shape.decode_context as f64
            + self.kv_windowed * shape.decode_context_windowed as f64
    }

    /// Operations per second when so many queries are computed at once.
    pub fn rate(&self, queries: u32) -> f64 {
        match self.tile {
            // Whole tiles: a chunk shorter than one costs as much.
            Some(t) => {
                let whole = queries.div_ceil(t) * t;
                self.curve.peak() * f64::from(queries) / f64::from(whole)
            }
            None => self.curve.at(f64::from(queries)).y,
        }
    }

    /// Seconds of arithmetic on prompts at a `rate` of operations per second.
    pub fn prefill_compute(&self, shape: &StepShape, rate: f64) -> f64 {
        // What a chunk's queries see of tokens that were computed before.
        let before = shape
            .prefill_context
            .saturating_sub(shape.prefill_tokens.into());
        (self.pair_full * shape.prefill_pairs as f64
            + self.pair_windowed * shape.prefill_pairs_windowed as f64
            + self.expand * before as f64)
            / (rate * self.efficiency)
    }

    /// Seconds to stream the prompts' keys and values, in so many passes.
    pub fn prefill_stream(&self, shape: &StepShape, passes: f64) -> f64 {
        // Each pass reads the keys and values up to its own end: half of them on average, and all before.
        let reads = (1.0 + passes) / 2.0;
        (self.kv_full + self.kv_windowed) * shape.prefill_context as f64 * reads
    }
}
