//! What a step's dense matrices and passes over its rows cost, by the number of rows.
//!
//! A simulation meets few of the thousands of row counts that a step may have, and a prediction is many simulations: each
//! count is priced when it is first met, and remembered.
use super::dense::Dense;
use super::elementwise::Passes;
use super::memo::Memo;
use super::tables::Tables;
use crate::device::{DeviceProfile, EngineProfile};
use crate::model::{Model, Op, OpKind, Rows};

/// Seconds of the operators that work on all rows of a step.
#[derive(Clone, Copy, Debug, Default)]
pub struct RowCost {
    pub dense: f64,
    pub router: f64,
    pub elementwise: f64,
}

/// Prices by number of rows.
#[derive(Clone, Debug)]
pub struct RowPrices {
    ops: Vec<Op>,
    dense: Dense,
    passes: Passes,
    /// 0 ..= most new tokens of a step.
    all: Memo<RowCost>,
    /// 0 ..= most sequences: lm_head and sampling.
    sampled: Memo<f64>,
}

impl RowPrices {
    /// Prices of up to `max_rows` rows, and of up to `max_sampled` sampled ones.
    pub fn new(
        model: &Model,
        device: &DeviceProfile,
        engine: &EngineProfile,
        max_rows: u32,
        max_sampled: u32,
    ) -> Self {
        Self {
            ops: model.ops().to_vec(),
            dense: Dense::new(device, engine),
            passes: Passes::new(model, device, engine),
            all: Memo::upto(max_rows),
            // Sampled rows never exceed sequences, and those not new tokens.
            sampled: Memo::upto(max_sampled.min(max_rows)),
        }
    }

    /// The operators that work on every new token's row; more rows than there may be cost what so many do.
    pub fn tokens(&self, rows: u32, tables: &Tables) -> RowCost {
        let rows = rows.min(self.all.last());
        self.all.get(rows, || self.price(rows, tables))
    }

    /// The operators that work on sampled rows only.
    pub fn sampled(&self, rows: u32, tables: &Tables) -> f64 {
        let rows = rows.min(self.sampled.last());
        self.sampled.get(rows, || self.price_sampled(rows, tables))
    }

    fn price(&self, rows: u32, tables: &Tables) -> RowCost {
        let mut cost = RowCost::default();
        if rows == 0 {
            return cost;
        }
        let n = f64::from(rows);
        for op in self.ops.iter().filter(|op| op.rows == Rows::Tokens) {
            let layers = f64::from(op.layers);
            let table = tables.row(op, rows);
            match &op.kind {
                OpKind::Gemm(g) => {
                    cost.dense += layers * table.unwrap_or_else(|| self.dense.seconds(g, rows))
                }
                OpKind::Router(g) => {
                    cost.router += layers * table.unwrap_or_else(|| self.dense.seconds(g, rows))
                }
                OpKind::Elementwise(e) => {
                    cost.elementwise += layers * table.unwrap_or_else(|| self.passes.of(op, e, n))
                }
                OpKind::Recurrence(r) => {
                    cost.elementwise +=
                        layers * self.passes.seconds(n * r.activations_per_row.as_f64())
                }
                _ => {}
            }
        }
        cost
    }

    fn price_sampled(&self, rows: u32, tables: &Tables) -> f64 {
        if rows == 0 {
            return 0.0;
        }
        self.ops
            .iter()
            .filter(|op| op.rows == Rows::Sampled)
            .map(|op| {
                let seconds = tables.row(op, rows).unwrap_or_else(|| match &op.kind {
                    OpKind::Gemm(g) | OpKind::Router(g) => self.dense.seconds(g, rows),
                    OpKind::Elementwise(e) => self.passes.of(op, e, f64::from(rows)),
                    _ => 0.0,
                });
                f64::from(op.layers) * seconds
            })
            .sum()
    }
}
