//! How many distinct experts a batch touches, and how many tiles their tokens fill.
//!
//! A token is sent to exactly k of E experts. Let p_e be the probability that expert e is among them
//! (Σ p_e = k). For m tokens that choose independently, expert e is touched with probability
//! 1 − (1 − p_e)^m, so
//!
//! ```text
//! E[distinct] = Σ_e 1 − (1 − p_e)^m          exact for any dependence among one token's k experts
//! E[tiles]    = Σ_e E⌈X_e / τ⌉,  X_e ~ Binomial(m, p_e)
//! ```
//!
//! by linearity of expectation. A grouped matrix product whose tiles are τ rows high starts one row of
//! tiles per started τ tokens of an expert (`moe_align_block_size` in vLLM pads each expert's tokens to
//! `BLOCK_SIZE_M`). Tokens that are the same computation route alike: m counts *distinct* tokens.
//!
//! ```
//! use capsim::model::experts::Popularity;
//! let uniform = Popularity::uniform(128, 8);
//! let rounded = |m| uniform.expected_distinct(m).round();
//! assert_eq!([1, 4, 8, 16, 32].map(rounded), [8.0, 29.0, 52.0, 82.0, 112.0]);
//! // A few popular experts take most tokens: fewer distinct ones.
//! let skewed = Popularity::zipf(128, 8, 1.0)?;
//! assert!(skewed.expected_distinct(16) < uniform.expected_distinct(16));
//! # Ok::<(), capsim::model::experts::ExpertsError>(())
//! ```
use crate::rng::Rng;
use rand::{Rng as _, RngExt as _};
use rand_distr::{Distribution as _, Gamma};

/// Expert popularity that is no distribution. The text says which value and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ExpertsError(String);

/// How probable it is that a token's top-k holds each expert.
#[derive(Clone, Debug, PartialEq)]
pub struct Popularity {
    /// p_e of each expert: in [0, 1], summing to k.
    inclusion: Vec<f64>,
    /// Equal p_e together: (p, how many experts), for speed. A uniform popularity has one class.
    classes: Vec<(f64, f64)>,
    top_k: u32,
}

impl Popularity {
    /// Every expert alike: p = k/E.
    ///
    /// # Panics
    /// Unless 1 ≤ k ≤ E, which a parsed config guarantees.
    pub fn uniform(num_experts: u32, top_k: u32) -> Self {
        assert!(
            (1..=num_experts).contains(&top_k),
            "top-{top_k} of {num_experts} experts"
        );
        let p = f64::from(top_k) / f64::from(num_experts);
        Self::new(vec![p; num_experts as usize], top_k)
    }

    /// From a measured histogram: how often each expert was chosen. The share of an expert among all choices
    /// is p_e / k, so p_e = k · count_e / Σ count; where noise puts that above 1 it is cut to 1 and the rest
    /// scaled up (p_e = min(1, λ·count_e) with λ such that Σ p_e = k).
    ///
    /// # Errors
    /// Not one value per expert, negative or non-finite counts, or fewer than k experts ever chosen.
    pub fn from_counts(counts: &[f64], num_experts: u32, top_k: u32) -> Result<Self, ExpertsError> {
        check(counts, num_experts, top_k)?;
        let k = f64::from(top_k);
        let mut capped = vec![false; counts.len()];
        loop {
            let taken = capped.iter().filter(|&&c| c).count() as f64;
            let free: f64 = counts
                .iter()
                .zip(&capped)
                .filter(|(_, c)| !**c)
                .map(|(v, _)| v)
                .sum();
            let scale = if free > 0.0 { (k - taken) / free } else { 0.0 };
            if !scale.is_finite() {
                return Err(ExpertsError(
                    "the counts are too far apart to share the rest of the top-k among them"
                        .to_owned(),
                ));
            }
            let over: Vec<usize> = (0..counts.len())
                .filter(|&e| !capped[e] && counts[e] * scale > 1.0)
                .collect();
            if over.is_empty() {
                let p = |(v, &c): (&f64, &bool)| if c { 1.0 } else { v * scale };
                let inclusion = counts.iter().zip(&capped).map(p).collect();
                return Ok(Self::new(inclusion, top_k));
            }
            over.into_iter().for_each(|e| capped[e] = true);
        }
    }

    /// From weights w_e with which a router prefers experts: the k experts of largest log w_e + Gumbel noise,
    /// which is drawing k without replacement in proportion to w (Plackett–Luce). Its inclusion
    /// probabilities have no closed form; Rosén's approximation p_e = 1 − exp(−w_e·t), with t such that
    /// Σ p_e = k, treats each expert as an exponential clock that rang by time t (B. Rosén, "Asymptotic theory
    /// for successive sampling with varying probabilities without replacement", Ann. Math. Statist. 43, 1972).
    ///
    /// # Errors
    /// Not one value per expert, negative or non-finite weights, or fewer than k positive ones.
    pub fn from_weights(
        weights: &[f64],
        num_experts: u32,
        top_k: u32,
    ) -> Result<Self, ExpertsError> {
        check(weights, num_experts, top_k)?;
        let k = f64::from(top_k);
        if weights.iter().filter(|&&w| w > 0.0).count() == top_k as usize {
            let inclusion = weights
                .iter()
                .map(|&w| if w > 0.0 { 1.0 } else { 0.0 })
                .collect();
            return Ok(Self::new(inclusion, top_k));
        }
        let p = |w: f64, t: f64| -libm::expm1(-w * t);
        let total = |t: f64| weights.iter().map(|&w| p(w, t)).sum::<f64>();
        let largest = weights.iter().copied().fold(0.0, f64::max);
        // Σ p grows with t: double until it is enough, then halve the interval.
        let (mut low, mut high) = (0.0, 1.0 / largest);
        while total(high) < k && high < f64::MAX / 4.0 {
            low = high;
            high *= 2.0;
        }
        for _ in 0..200 {
            let mid = low + (high - low) / 2.0;
            if total(mid) < k {
                low = mid
            } else {
                high = mid
            }
        }
        let inclusion: Vec<f64> = weights
            .iter()
            .map(|&w| p(w, high).clamp(0.0, 1.0))
            .collect();
        // Weights so far apart that f64 cannot resolve t would leave the sum off k.
        if (inclusion.iter().sum::<f64>() - k).abs() > 1e-6 * k {
            return Err(ExpertsError(
                "the weights are too far apart to choose the top-k from them".to_owned(),
            ));
        }
        Ok(Self::new(inclusion, top_k))
    }

    /// Zipf: the r-th most popular expert has weight r^−s. s = 0 is uniform.
    ///
    /// # Errors
    /// If `s` is negative or so large that weights vanish, or unless 1 ≤ k ≤ E.
    pub fn zipf(num_experts: u32, top_k: u32, s: f64) -> Result<Self, ExpertsError> {
        if !(s.is_finite() && s >= 0.0) {
            return Err(ExpertsError(format!(
                "the Zipf exponent is {s}; it must be ≥ 0"
            )));
        }
        let weights: Vec<f64> = (1..=num_experts)
            .map(|rank| libm::pow(f64::from(rank), -s))
            .collect();
        Self::from_weights(&weights, num_experts, top_k)
    }

    /// Weights drawn from a symmetric Dirichlet: a small `alpha` gives strong skew, a large one almost none.
    ///
    /// # Errors
    /// If `alpha` is not positive, or so small that fewer than k weights are positive.
    pub fn dirichlet(
        num_experts: u32,
        top_k: u32,
        alpha: f64,
        rng: &mut Rng,
    ) -> Result<Self, ExpertsError> {
        // Normalised gamma variates are Dirichlet; the normalisation cancels in `from_weights`.
        let gamma = Gamma::new(alpha, 1.0)
            .map_err(|_| ExpertsError(format!("the Dirichlet alpha is {alpha}; it must be > 0")))?;
        let weights: Vec<f64> = (0..num_experts).map(|_| gamma.sample(rng)).collect();
        Self::from_weights(&weights, num_experts, top_k)
    }

    fn new(inclusion: Vec<f64>, top_k: u32) -> Self {
        let mut sorted = inclusion.clone();
        sorted.sort_by(f64::total_cmp);
        let mut classes: Vec<(f64, f64)> = Vec::new();
        for p in sorted {
            match classes.last_mut() {
                Some((q, n)) if *q == p => *n += 1.0,
                _ => classes.push((p, 1.0)),
            }
        }
        Self {
            inclusion,
            classes,
            top_k,
        }
    }

    /// p_e of each expert.
    pub fn inclusion(&self) -> &[f64] {
        &self.inclusion
    }

    /// Number of experts (E).
    pub fn num_experts(&self) -> u32 {
        self.inclusion.len() as u32
    }

    /// Experts per token (k).
    pub fn top_k(&self) -> u32 {
        self.top_k
    }

    /// Expected distinct experts that `m` independent tokens touch in one layer.
    pub fn expected_distinct(&self, m: u32) -> f64 {
        self.expected_distinct_of(f64::from(m))
    }

    /// The same for a fractional number of tokens (a mean over steps), by the same formula.
    pub fn expected_distinct_of(&self, m: f64) -> f64 {
        if m <= 0.0 {
            return 0.0;
        }
        let touched = |p: f64| {
            if p >= 1.0 {
                1.0
            } else {
                -libm::expm1(m * libm::log1p(-p))
            }
        };
        self.classes.iter().map(|&(p, n)| n * touched(p)).sum()
    }

    /// Expected rows of tiles, Σ_e ⌈tokens of e / `tile`⌉, for `m` independent tokens.
    pub fn expected_tiles(&self, m: u32, tile: u32) -> f64 {
        self.tiles(m, tile, |_| {})
    }

    /// [`expected_tiles`](Self::expected_tiles) for 0, 1, … `max` tokens.
    pub fn tiles_table(&self, max: u32, tile: u32) -> Vec<f64> {
        let mut table = Vec::with_capacity(max as usize + 1);
        self.tiles(max, tile, |tiles| table.push(tiles));
        table
    }

    /// One more token starts a tile of expert e when it chooses e and e's tokens fill whole tiles so far:
    /// E[tiles(m+1)] − E[tiles(m)] = Σ_e p_e · P(X_e(m) ≡ 0 mod τ). X_e mod τ is a Markov chain on τ states,
    /// so the whole table costs O(m · τ) per class of equal experts, without a subtraction to lose digits in.
    fn tiles(&self, max: u32, tile: u32, mut each: impl FnMut(f64)) -> f64 {
        let tile = tile.max(1) as usize;
        // state[r] = P(X ≡ r mod tile), one row per class.
        let mut states: Vec<Vec<f64>> = self
            .classes
            .iter()
            .map(|_| {
                let mut s = vec![0.0; tile];
                s[0] = 1.0;
                s
            })
            .collect();
        let mut tiles = 0.0;
        each(tiles);
        for _ in 0..max {
            for (&(p, n), state) in self.classes.iter().zip(&mut states) {
                tiles += n * p * state[0];
                let mut carry = state[tile - 1];
                for s in state.iter_mut() {
                    let here = *s;
                    *s = (1.0 - p) * here + p * carry;
                    carry = here;
                }
            }
            each(tiles);
        }
        tiles
    }

    /// One token's k experts: a random draw in which expert e appears with probability p_e exactly
    /// (systematic sampling over a random order, Goodman and Kish, J. Am. Stat. Assoc. 45, 1950).
    pub fn sample_token(&self, rng: &mut Rng) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.num_experts()).collect();
        for i in (1..order.len()).rev() {
            let j = (rng.next_u64() % (i as u64 + 1)) as usize;
            order.swap(i, j);
        }
        let mut chosen = Vec::with_capacity(self.top_k as usize);
        let (mut upto, mut next) = (0.0, rng.random::<f64>());
        for e in order {
            upto += self.inclusion[e as usize];
            if upto > next {
                chosen.push(e);
                next += 1.0;
            }
        }
        chosen
    }

    /// Distinct experts that `m` independent tokens touch, drawn once.
    pub fn sample_distinct(&self, m: u32, rng: &mut Rng) -> u32 {
        let mut touched = vec![false; self.inclusion.len()];
        for _ in 0..m {
            self.sample_token(rng)
                .into_iter()
                .for_each(|e| touched[e as usize] = true);
        }
        touched.into_iter().filter(|&t| t).count() as u32
    }
}

fn check(values: &[f64], num_experts: u32, top_k: u32) -> Result<(), ExpertsError> {
    let bad = |text: String| Err(ExpertsError(text));
    if values.len() != num_experts as usize {
        return bad(format!("{} values for {num_experts} experts", values.len()));
    }
    if let Some((e, v)) = values
        .iter()
        .enumerate()
        .find(|(_, v)| !(v.is_finite() && **v >= 0.0))
    {
        return bad(format!(
            "expert {e} has {v}; every value must be finite and ≥ 0"
        ));
    }
    if !values.iter().sum::<f64>().is_finite() {
        return bad("the values add up to more than f64 holds".to_owned());
    }
    let positive = values.iter().filter(|v| **v > 0.0).count();
    if top_k == 0 || positive < top_k as usize {
        return bad(format!(
            "{positive} of {} experts have a positive value; top-{top_k} needs at least {} of them",
            values.len(),
            top_k.max(1)
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Seed;
    use proptest::prelude::*;

    fn mean_of(n: u32, mut f: impl FnMut() -> f64) -> f64 {
        (0..n).map(|_| f()).sum::<f64>() / f64::from(n)
    }

    #[test]
    fn qwen3_30b_touches_the_experts_of_the_formula() {
        // 128·(1 − (15/16)^m).
        let p = Popularity::uniform(128, 8);
        for (m, expected) in [
            (0, 0.0),
            (1, 8.0),
            (2, 15.5),
            (4, 29.122_070_312_5),
            (8, 51.619_907_8),
        ] {
            assert!((p.expected_distinct(m) - expected).abs() < 1e-3, "m = {m}");
        }
        assert!((p.expected_distinct(16) - 82.42).abs() < 0.01);
        assert!((p.expected_distinct(32) - 111.77).abs() < 0.01);
    }

    #[test]
    fn the_formula_agrees_with_drawn_tokens() {
        let mut rng = Seed(7).stream("experts");
        for p in [
            Popularity::uniform(64, 6),
            Popularity::zipf(64, 6, 1.0).unwrap(),
        ] {
            for m in [1, 3, 10, 40] {
                let drawn = mean_of(2000, || f64::from(p.sample_distinct(m, &mut rng)));
                let expected = p.expected_distinct(m);
                // Standard error of the mean is below 0.09 (at most 64 · ¼ of variance).
                assert!(
                    (drawn - expected).abs() < 0.35,
                    "m = {m}: {drawn} {expected}"
                );
            }
        }
    }

    #[test]
    fn a_drawn_token_has_k_different_experts_with_their_probabilities() {
        let mut rng = Seed(1).stream("experts");
        let p = Popularity::zipf(16, 4, 0.8).unwrap();
        let mut seen = [0.0; 16];
        for _ in 0..20_000 {
            let mut chosen = p.sample_token(&mut rng);
            chosen.sort();
            chosen.dedup();
            assert_eq!(chosen.len(), 4);
            chosen
                .into_iter()
                .for_each(|e| seen[e as usize] += 1.0 / 20_000.0);
        }
        for (seen, p) in seen.iter().zip(p.inclusion()) {
            assert!((seen - p).abs() < 0.02, "{seen} {p}");
        }
    }

    /// Top-k of log-weight plus Gumbel noise, drawn: what `from_weights` approximates.
    #[test]
    fn inclusion_probabilities_are_those_of_a_noisy_top_k() {
        let mut rng = Seed(3).stream("gumbel");
        for (experts, k, s) in [(128u32, 8usize, 1.0), (16, 4, 0.5), (8, 2, 1.5)] {
            let p = Popularity::zipf(experts, k as u32, s).unwrap();
            let mut seen = vec![0.0; experts as usize];
            let runs = 20_000;
            for _ in 0..runs {
                // An exponential clock of rate w rings first with the same order as the Gumbel top-k.
                let mut clocks: Vec<(f64, usize)> = (0..experts as usize)
                    .map(|e| {
                        let w = libm::pow((e + 1) as f64, -s);
                        (-libm::log(1.0 - rng.random::<f64>()) / w, e)
                    })
                    .collect();
                clocks.sort_by(|a, b| a.0.total_cmp(&b.0));
                clocks[..k]
                    .iter()
                    .for_each(|c| seen[c.1] += 1.0 / f64::from(runs));
            }
            // Rosén's approximation is asymptotic: with 2 of 8 it is off by a few hundredths.
            let worst = seen
                .iter()
                .zip(p.inclusion())
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f64::max);
            assert!(worst < 0.05, "{k} of {experts}: {worst}");
        }
    }

    #[test]
    fn tiles_agree_with_drawn_binomials() {
        let mut rng = Seed(5).stream("tiles");
        let p = Popularity::uniform(32, 4);
        for (m, tile) in [(10, 4), (100, 16), (7, 1)] {
            let drawn = mean_of(3000, || {
                let mut count = [0u32; 32];
                for _ in 0..m {
                    p.sample_token(&mut rng)
                        .into_iter()
                        .for_each(|e| count[e as usize] += 1);
                }
                count.iter().map(|c| f64::from(c.div_ceil(tile))).sum()
            });
            let expected = p.expected_tiles(m, tile);
            assert!(
                (drawn - expected).abs() < 0.01 * expected,
                "{m} {tile}: {drawn} {expected}"
            );
        }
    }

    #[test]
    fn tiles_are_distinct_experts_when_tall_and_assignments_when_one_row() {
        let p = Popularity::zipf(32, 4, 0.7).unwrap();
        for m in [0, 1, 5, 33] {
            assert!((p.expected_tiles(m, 1) - 4.0 * f64::from(m)).abs() < 1e-6);
            assert!((p.expected_tiles(m, 64) - p.expected_distinct(m)).abs() < 1e-9);
        }
    }

    #[test]
    fn counts_are_taken_as_measured_and_capped_at_certainty() {
        let p = Popularity::from_counts(&[10.0, 10.0, 20.0, 40.0], 4, 2).unwrap();
        assert_eq!(p.inclusion(), [0.25, 0.25, 0.5, 1.0]);
        let p = Popularity::from_counts(&[1.0, 1.0, 98.0], 3, 2).unwrap();
        assert_eq!(p.inclusion(), [0.5, 0.5, 1.0]);
    }

    #[test]
    fn impossible_popularity_is_refused_with_a_reason() {
        for (result, word) in [
            (Popularity::from_counts(&[1.0, f64::NAN], 2, 1), "expert 1"),
            (Popularity::from_counts(&[1.0, 0.0], 3, 2), "2 values"),
            (Popularity::from_counts(&[1.0, 0.0], 2, 2), "top-2"),
            (Popularity::from_weights(&[], 0, 0), "top-0"),
            (
                Popularity::from_weights(&[f64::MAX, f64::MAX], 2, 1),
                "add up",
            ),
            // What is left for the small ones cannot be scaled up to anything finite.
            (
                Popularity::from_counts(&[1e100, 1e-310, 1e-310], 3, 2),
                "too far apart",
            ),
            (Popularity::zipf(8, 2, f64::NAN), "Zipf"),
            (Popularity::zipf(8, 9, 1.0), "top-9"),
            (
                Popularity::dirichlet(8, 2, 0.0, &mut Seed(0).stream("d")),
                "alpha",
            ),
        ] {
            let text = result.unwrap_err().to_string();
            assert!(text.contains(word), "{text}");
        }
    }

    proptest! {
        #[test]
        fn distinct_experts_follow_the_laws(
            weights in proptest::collection::vec(0.001..1000.0f64, 4..64),
            k in 1u32..4,
            m in 0u32..200,
        ) {
            let p = Popularity::from_weights(&weights, weights.len() as u32, k).unwrap();
            prop_assert!((p.inclusion().iter().sum::<f64>() - f64::from(k)).abs() < 1e-6);
            prop_assert!(p.inclusion().iter().all(|p| (0.0..=1.0).contains(p)));
            let d = p.expected_distinct(m);
            let bound = f64::from(p.num_experts()).min(f64::from(k) * f64::from(m));
            prop_assert!(d <= bound + 1e-6);
            prop_assert!(d <= p.expected_distinct(m + 1) + 1e-12, "more tokens touch no fewer");
            let uniform = Popularity::uniform(p.num_experts(), k);
            prop_assert!(d <= uniform.expected_distinct(m) + 1e-6, "skew touches no more");
            let tiles = p.expected_tiles(m, 16);
            prop_assert!(d <= tiles + 1e-6 && tiles <= f64::from(k * m) + 1e-6);
        }

        #[test]
        fn any_weights_give_probabilities_or_an_error(
            weights in proptest::collection::vec(any::<f64>(), 0..12),
            k in 0u32..6,
        ) {
            let n = weights.len() as u32;
            let both = [Popularity::from_weights(&weights, n, k), Popularity::from_counts(&weights, n, k)];
            for p in both.into_iter().flatten() {
                prop_assert!(p.inclusion().iter().all(|p| (0.0..=1.0).contains(p)));
                prop_assert!((p.inclusion().iter().sum::<f64>() - f64::from(k)).abs() < 1e-5);
            }
        }
    }
}
