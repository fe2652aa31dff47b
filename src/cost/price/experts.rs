//! The grouped expert products of a mixture of experts.
use super::dense::roofline;
use super::load::Load;
use super::memo::Memo;
use super::stream::Stream;
use super::tables::Tables;
use super::{CostError, CostOptions};
use crate::cost::Routing;
use crate::device::{Curve, DeviceProfile, EngineProfile, MoePath, MoeRegime};
use crate::model::experts::{ExpertsError, Popularity};
use crate::model::{ExpertGemms, Model, OpKind};

/// The grouped expert products.
#[derive(Clone, Debug)]
pub struct ExpertsPrice {
    /// See [`EngineProfile::roofline_power`].
    roofline_power: Option<f64>,
    /// Whether the kernels' rate is their own whatever the number of rows, or follows the device's curve.
    own_tiles: bool,
    /// How often each is chosen.
    popularity: Popularity,
    /// Distinct experts by number of distinct tokens.
    distinct: Memo<f64>,
    /// Seconds by number of tokens, all of them different.
    alone: Memo<f64>,
    /// Kernel configurations.
    path: MoePath,
    /// Layers with experts of the same shape.
    groups: Vec<ExpertGroup>,
    /// Weights and activations.
    stream: Stream,
    /// The rate of these very products, in operations per second by rows of an expert, where it was measured.
    own_rate: Option<Curve>,
    /// The device's matrix rate, in operations per second by rows.
    gemm: Curve,
    /// What a library reaches of it.
    library: f64,
    /// Experts of a layer.
    num: f64,
    /// Experts per token.
    top_k: f64,
    /// How they are divided among devices.
    load: Load,
}

/// Layers with experts of the same shape.
#[derive(Clone, Copy, Debug)]
struct ExpertGroup {
    /// How many layers.
    layers: f64,
    /// Bytes of one expert's weights.
    bytes_per_expert: f64,
    /// Bytes of activations per token, all its experts.
    activation_bytes_per_token: f64,
    /// Operations of one token in one expert.
    ops_per_row: f64,
    /// Experts per token.
    top_k: f64,
    /// Columns of gate and up together, and of down.
    columns: (f64, f64),
    /// Bytes of the first product for each of the second.
    first: f64,
}

impl ExpertGroup {
    fn of(e: &ExpertGemms, layers: f64) -> Self {
        Self {
            layers,
            bytes_per_expert: e.bytes_per_expert(),
            activation_bytes_per_token: e.activation_bytes_per_token(),
            ops_per_row: e.ops_per_row(),
            top_k: f64::from(e.top_k),
            columns: (e.first_columns() as f64, e.hidden as f64),
            first: if e.gated { 2.0 } else { 1.0 },
        }
    }
}

impl ExpertsPrice {
    /// As the engine runs them on the device, for up to `max_rows` tokens of each engine; `None` for a dense model.
    ///
    /// # Errors
    /// An unknown MoE path (asked of a dense model, too), or a popularity that does not fit the model.
    pub fn new(
        model: &Model,
        device: &DeviceProfile,
        engine: &EngineProfile,
        options: &CostOptions,
        max_rows: u32,
    ) -> Result<Option<Self>, CostError> {
        let path = moe_path(engine, options.moe_path.as_deref())?;
        let all: Vec<(&ExpertGemms, f64)> = model
            .ops()
            .iter()
            .filter_map(|op| match &op.kind {
                OpKind::Experts(e) => Some((e, f64::from(op.layers))),
                _ => None,
            })
            .collect();
        let Some((e, _)) = all.first() else {
            return Ok(None);
        };
        Ok(Some(Self {
            roofline_power: engine.roofline_power,
            own_tiles: !engine.dense_tiles.is_empty(),
            distinct: Memo::upto(max_rows.saturating_mul(e.engines)),
            alone: Memo::upto(max_rows),
            popularity: popularity(&options.routing, e.of, e.top_k)?,
            load: Load::new(e.of, model.parallel().expert_ranks()),
            top_k: f64::from(e.top_k),
            path: path.clone(),
            groups: all.iter().map(|(e, n)| ExpertGroup::of(e, *n)).collect(),
            stream: Stream::experts(device),
            own_rate: device.curves.experts_rate.clone(),
            gemm: device.gemm_f16.clone(),
            library: device.curves.library(),
            num: f64::from(e.of),
        }))
    }

    fn regime(&self, tokens: u32) -> &MoeRegime {
        self.path
            .regimes
            .iter()
            .find(|r| r.max_tokens.is_none_or(|m| tokens <= m))
            .expect("the last regime has no limit")
    }

    /// Distinct experts of a layer that so many distinct tokens touch.
    pub fn distinct(&self, tokens: u32) -> f64 {
        self.touched(tokens).min(self.num)
    }

    fn touched(&self, distinct: u32) -> f64 {
        let m = distinct.min(self.distinct.last());
        self.distinct
            .get(m, || self.popularity.expected_distinct(m))
    }

    /// Distinct experts and rows (in tokens' worth of `top_k` each) on the most loaded device.
    fn busiest(&self, tokens: u32, distinct: u32) -> (f64, f64) {
        let touched = self.touched(distinct);
        let slots = self.load.slots(f64::from(tokens) * self.top_k);
        (self.load.experts(touched), slots / self.top_k)
    }

    /// Seconds for a batch of `tokens` new tokens, `distinct` of them different computations.
    pub fn seconds(&self, tokens: u32, distinct: u32, tables: &Tables) -> f64 {
        // Mostly all are different: one price per number of tokens.
        if distinct >= tokens && tokens <= self.alone.last() {
            self.alone
                .get(tokens, || self.measured(tokens, tokens, tables))
        } else {
            self.measured(tokens, distinct, tables)
        }
    }

    /// Whether such a batch lies outside what was measured.
    pub fn outside(&self, tokens: u32, distinct: u32, tables: &Tables) -> bool {
        let (touched, busiest) = self.busiest(tokens, distinct);
        let times = tables.experts(busiest, touched);
        times.is_some_and(|s| s.extrapolated)
    }

    /// By the kernel times of these experts where there are any.
    fn measured(&self, tokens: u32, distinct: u32, tables: &Tables) -> f64 {
        if tokens == 0 {
            return 0.0;
        }
        let (touched, busiest) = self.busiest(tokens, distinct);
        tables
            .experts(busiest, touched)
            .map_or_else(|| self.priced(tokens, distinct), |s| s.value)
    }

    /// By the device's curves.
    fn priced(&self, tokens: u32, distinct: u32) -> f64 {
        let regime = self.regime(tokens);
        let tile = f64::from(regime.tile_rows);
        let (touched, tokens) = self.busiest(tokens, distinct);
        let mut total = 0.0;
        for g in &self.groups {
            let slots = tokens * g.top_k;
            // Each expert's rows are padded to whole tiles. Few rows per expert make one tile each; with many,
            // (τ − 1)/2 rows are wasted on average (rows modulo τ taken as uniform).
            let tiles = touched.max((slots + touched * (tile - 1.0) / 2.0) / tile);
            // Gate and up are two thirds of an expert's bytes, down one (a half each without a gate); each a kernel that may not
            // fill the device.
            let slower = regime.fill.as_ref().map_or(1.0, |f| {
                let groups = |columns: f64| touched * libm::ceil(columns / f64::from(f.tile_cols));
                let less = |columns| (f.workgroups.value / groups(columns)).max(1.0);
                (g.first * less(g.columns.0) + less(g.columns.1)) / (g.first + 1.0)
            });
            let bytes =
                touched * g.bytes_per_expert * slower + tokens * g.activation_bytes_per_token;
            let stream = self.stream.seconds(bytes) / regime.stream.value;
            // The grouped kernel works on all experts' tiles at once, so that its parallelism, and with it
            // the rate, is that of all padded rows together.
            let rows = tiles * tile;
            let at_once = if self.path.one_by_one {
                rows / touched
            } else {
                rows
            };
            let rate = match &self.own_rate {
                Some(measured) => measured.at(rows / touched).y,
                None if self.own_tiles => self.gemm.peak() * self.library,
                None => self.gemm.at(at_once).y * self.library,
            };
            let compute = rows * g.ops_per_row / (rate * regime.compute.value);
            total += g.layers * roofline(self.roofline_power, stream, compute);
        }
        total
    }
}

/// The way in which the experts run: that of the name, or the profile's default.
fn moe_path<'a>(engine: &'a EngineProfile, name: Option<&str>) -> Result<&'a MoePath, CostError> {
    let name = name.unwrap_or(&engine.moe_default);
    engine
        .moe_paths
        .get(name)
        .ok_or_else(|| CostError::UnknownMoePath {
            profile: engine.id.clone(),
            path: name.into(),
            known: engine
                .moe_paths
                .keys()
                .cloned()
                .collect::<Vec<_>>()
                .join(", "),
        })
}

fn popularity(routing: &Routing, num: u32, top_k: u32) -> Result<Popularity, CostError> {
    match routing {
        Routing::Uniform => Ok(Popularity::uniform(num, top_k)),
        Routing::Zipf(s) => Popularity::zipf(num, top_k, *s),
        Routing::Histogram(counts) => Popularity::from_counts(counts, num, top_k),
    }
    .map_err(|e: ExpertsError| CostError::Routing(e.to_string()))
}
