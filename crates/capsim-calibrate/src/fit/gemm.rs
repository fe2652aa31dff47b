//! The arithmetic limit of matrix products over the number of rows.
//!
//! The cost model takes the larger of streaming and arithmetic time. A product whose time is that of its bytes tells nothing
//! about arithmetic; it is left out, and the curve begins at the first number of rows where arithmetic shows. Nor does a kernel without
//! matrix units tell of a device that has them: the curve then holds products with matrix units alone.
use super::Sample;
use super::least_squares::minimise;

/// Above this ratio of time to streaming time, arithmetic shows.
const SHOWS: f64 = 1.1;

/// A product: rows, operations, bytes, seconds without launch.
#[derive(Clone, Copy, Debug)]
pub struct Product {
    /// Rows M.
    pub rows: f64,
    /// As a sample of operations over rows.
    pub sample: Sample,
    /// Seconds without arithmetic: of its bytes at the streaming rate of its working set, or of the same product with next to no rows,
    /// whichever is longer.
    pub stream_s: f64,
    /// Whether the kernel used matrix units.
    pub matrix_units: bool,
}

/// The curve's points: at each number of rows the best rate of any shape and format, where it is arithmetic that limits it.
pub fn arithmetic(products: &[Product]) -> Vec<Sample> {
    let units = products.iter().any(|p| p.matrix_units);
    let products: Vec<Product> = products
        .iter()
        .filter(|p| p.matrix_units || !units)
        .copied()
        .collect();
    let mut rows: Vec<f64> = products.iter().map(|p| p.rows).collect();
    rows.sort_by(f64::total_cmp);
    rows.dedup();
    let best: Vec<&Product> = rows
        .iter()
        .filter_map(|r| {
            products
                .iter()
                .filter(|p| p.rows == *r)
                .max_by(|a, b| a.sample.rate().total_cmp(&b.sample.rate()))
        })
        .collect();
    let shown: Vec<Sample> = best
        .iter()
        .filter(|p| p.sample.seconds > SHOWS * p.stream_s)
        .map(|p| p.sample)
        .collect();
    if shown.is_empty() {
        // Nothing but streaming was seen: the best rate is a lower bound, which is all there is.
        return best.iter().map(|p| p.sample).collect();
    }
    shown
}

/// F∞ of F(M) = F∞ · M / (M + M½), with its relative standard deviation; `None` with fewer than four points.
pub fn saturation(points: &[Sample]) -> Option<(f64, f64)> {
    if points.len() < 4 {
        return None;
    }
    let top = points.iter().map(Sample::rate).fold(0.0, f64::max);
    let s = minimise(
        &|p| {
            points
                .iter()
                .map(|s| {
                    let model = libm::exp(p[0]) * s.x / (s.x + libm::exp(p[1]));
                    (libm::log(s.rate()) - libm::log(model)) / s.weight()
                })
                .collect()
        },
        &[libm::log(top), libm::log(points[0].x)],
    )?;
    Some((libm::exp(s.at[0]), s.sd[0].min(3.0)))
}
