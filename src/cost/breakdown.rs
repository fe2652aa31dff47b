//! What a step's time is made of.
use serde::Serialize;

/// Where device or host time goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// Dense matrix products inside the layers.
    Dense,
    /// Grouped expert matrix products.
    Experts,
    /// Expert router: logits, softmax, top-k, sorting.
    Router,
    /// Attention over the KV cache, decoding sequences.
    AttentionDecode,
    /// Attention of prefill chunks.
    AttentionPrefill,
    /// Norms, rotary embedding, activations, residuals, KV write, embedding.
    Elementwise,
    /// Output projection onto the vocabulary and sampling kernels.
    LmHead,
    /// Launch cost of kernels on the device.
    Launch,
    /// Vision tower.
    Encoder,
    /// The drafter of speculative decoding.
    Draft,
    /// Exchange between devices that share a layer.
    Comm,
    /// What the processor computes, with weights in the host's memory.
    Processor,
    /// Weights and activations on their way between the host's memory and the device.
    Bus,
    /// Host time that the device waits for.
    Host,
}

impl Part {
    /// All parts, in the order of tables.
    pub const ALL: [Part; 14] = [
        Part::Dense,
        Part::Experts,
        Part::Router,
        Part::AttentionDecode,
        Part::AttentionPrefill,
        Part::Elementwise,
        Part::LmHead,
        Part::Launch,
        Part::Encoder,
        Part::Draft,
        Part::Comm,
        Part::Processor,
        Part::Bus,
        Part::Host,
    ];

    /// As words for tables.
    pub fn words(self) -> &'static str {
        match self {
            Part::Dense => "dense weights",
            Part::Experts => "expert weights",
            Part::Router => "router",
            Part::AttentionDecode => "decode attention (KV)",
            Part::AttentionPrefill => "prefill attention",
            Part::Elementwise => "elementwise",
            Part::LmHead => "lm_head and sampling",
            Part::Launch => "kernel launches",
            Part::Encoder => "vision tower",
            Part::Draft => "drafts",
            Part::Comm => "communication",
            Part::Processor => "processor (layers there)",
            Part::Bus => "bus to host memory",
            Part::Host => "host",
        }
    }
}

/// Seconds per part.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Breakdown {
    seconds: [f64; Part::ALL.len()],
}

impl Breakdown {
    /// Seconds spent on `part`.
    pub fn of(&self, part: Part) -> f64 {
        self.seconds[part as usize]
    }
    /// Adds seconds to a part.
    pub fn add(&mut self, part: Part, seconds: f64) {
        self.seconds[part as usize] += seconds;
    }
    /// Adds all of another breakdown.
    pub fn merge(&mut self, other: &Breakdown) {
        for (a, b) in self.seconds.iter_mut().zip(other.seconds) {
            *a += b;
        }
    }
    /// Device time: everything but the host's.
    pub fn device(&self) -> f64 {
        self.total() - self.of(Part::Host)
    }
    /// Everything.
    pub fn total(&self) -> f64 {
        self.seconds.iter().sum()
    }
    /// The part with the largest share.
    pub fn largest(&self) -> Part {
        *Part::ALL
            .iter()
            .max_by(|a, b| self.of(**a).total_cmp(&self.of(**b)))
            .expect("there are parts")
    }
}
