//! The grouped expert products of a mixture of experts.
use super::kernel::roofline;
use super::load::Load;
use super::memo::Memo;
use crate::device::{Curve, MoePath, MoeRegime};
use crate::model::experts::Popularity;

/// The grouped expert products.
#[derive(Clone, Debug)]
pub struct Experts {
    /// See [`EngineProfile::roofline_power`](crate::device::EngineProfile::roofline_power).
    pub roofline_power: Option<f64>,
    /// Whether the kernels' rate is their own whatever the number of rows, or follows the device's curve.
    pub own_tiles: bool,
    /// How often each is chosen.
    pub popularity: Popularity,
    /// Distinct experts by number of distinct tokens.
    pub distinct: Memo<f64>,
    /// Kernel configurations.
    pub path: MoePath,
    /// Layers with experts of the same shape.
    pub groups: Vec<ExpertGroup>,
    /// The device's streaming read, in bytes per second.
    pub stream: f64,
    /// The device's matrix rate, in operations per second by rows.
    pub gemm: Curve,
    /// Experts of a layer.
    pub num: f64,
    /// Experts per token.
    pub top_k: f64,
    /// How they are divided among devices.
    pub load: Load,
}

/// Layers with experts of the same shape.
#[derive(Clone, Copy, Debug)]
pub struct ExpertGroup {
    /// How many layers.
    pub layers: f64,
    /// Bytes of one expert's weights.
    pub bytes_per_expert: f64,
    /// Bytes of activations per token, all its experts.
    pub activation_bytes_per_token: f64,
    /// Operations of one token in one expert.
    pub ops_per_row: f64,
    /// Experts per token.
    pub top_k: f64,
    /// Columns of gate and up together, and of down.
    pub columns: (f64, f64),
}

impl Experts {
    fn regime(&self, tokens: u32) -> &MoeRegime {
        self.path
            .regimes
            .iter()
            .find(|r| r.max_tokens.is_none_or(|m| tokens <= m))
            .expect("the last regime has no limit")
    }

    /// Distinct experts that so many distinct tokens touch.
    pub fn touched(&self, distinct: u32) -> f64 {
        let m = distinct.min(self.distinct.last());
        self.distinct
            .get(m, || self.popularity.expected_distinct(m))
    }

    /// Distinct experts and rows (in tokens' worth of `top_k` each) on the most loaded device.
    pub fn busiest(&self, tokens: u32, distinct: u32) -> (f64, f64) {
        let touched = self.touched(distinct);
        let slots = self.load.slots(f64::from(tokens) * self.top_k);
        (self.load.experts(touched), slots / self.top_k)
    }

    /// Seconds for a batch of `tokens` new tokens, `distinct` of them different computations.
    pub fn seconds(&self, tokens: u32, distinct: u32) -> f64 {
        if tokens == 0 {
            return 0.0;
        }
        let regime = self.regime(tokens);
        let tile = f64::from(regime.tile_rows);
        let (touched, tokens) = self.busiest(tokens, distinct);
        let mut total = 0.0;
        for g in &self.groups {
            let slots = tokens * g.top_k;
            // Each expert's rows are padded to whole tiles. Few rows per expert make one tile each; with many,
            // (τ − 1)/2 rows are wasted on average (rows modulo τ taken as uniform).
            let tiles = touched.max((slots + touched * (tile - 1.0) / 2.0) / tile);
            // Gate and up are two thirds of an expert's bytes, down one; each a kernel that may not fill the device.
            let slower = regime.fill.as_ref().map_or(1.0, |f| {
                let groups = |columns: f64| touched * libm::ceil(columns / f64::from(f.tile_cols));
                let less = |columns| (f.workgroups.value / groups(columns)).max(1.0);
                (2.0 * less(g.columns.0) + less(g.columns.1)) / 3.0
            });
            let stream = (touched * g.bytes_per_expert * slower
                + tokens * g.activation_bytes_per_token)
                / (self.stream * regime.stream.value);
            // The grouped kernel works on all experts' tiles at once, so that its parallelism, and with it
            // the rate, is that of all padded rows together.
            let rows = tiles * tile;
            let at_once = if self.path.one_by_one {
                rows / touched
            } else {
                rows
            };
            let rate = if self.own_tiles {
                self.gemm.peak()
            } else {
                self.gemm.at(at_once).y
            };
            let compute = rows * g.ops_per_row / (rate * regime.compute.value);
            total += g.layers * roofline(self.roofline_power, stream, compute);
        }
        total
    }
}
