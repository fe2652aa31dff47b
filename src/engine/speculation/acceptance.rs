//! How many drafts of a verification are right.
//!
//! Chance is drawn anew for every position of every answer, from a key of the experiment's seed, the request and the position: what a
//! draft is worth depends on no batch, no time and no other request.
use super::MOST_POSITIONS;
use crate::engine::content::mix;
use crate::workload::RequestId;
use std::sync::Arc;

/// Certainty, as a chance out of 2³².
const ONE: u64 = 1 << 32;

/// Whether drafts are right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acceptance {
    /// Chances that a draft is right where those before it are, out of 2³²; the last one holds for all later positions.
    Chances(Vec<u64>),
    /// Numbers of right drafts in one verification after another, as recorded. Each request begins somewhere in it.
    Recorded(Arc<[u32]>),
}

/// A text that is no acceptance.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AcceptanceError(String);

fn bad<T>(problem: String) -> Result<T, AcceptanceError> {
    Err(AcceptanceError(problem))
}

/// A chance out of 2³².
fn chance(p: f64) -> u64 {
    (p.clamp(0.0, 1.0) * ONE as f64) as u64
}

impl Acceptance {
    /// Every draft is right with this chance, where those before it are.
    pub fn constant(p: f64) -> Self {
        Self::Chances(vec![chance(p)])
    }

    /// From the shares of verifications that accept each position, as engines print them: they never rise.
    pub fn per_position(shares: &[f64]) -> Self {
        let mut before = 1.0;
        let of = |&share: &f64| {
            let given = if before > 0.0 { share / before } else { 0.0 };
            before = share;
            chance(given)
        };
        Self::Chances(shares.iter().map(of).collect())
    }

    /// The constant chance at which `drafts` drafts make a mean of `length` tokens: 1 + p + p² + … + pᵏ (Leviathan et al., eq. 1).
    pub fn of_length(length: f64, drafts: u32) -> Self {
        let mean = |p: f64| {
            (0..=drafts)
                .map(|i| libm::pow(p, f64::from(i)))
                .sum::<f64>()
        };
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..60 {
            let middle = 0.5 * (low + high);
            if mean(middle) < length {
                low = middle;
            } else {
                high = middle;
            }
        }
        Self::constant(high)
    }

    /// Reads what a user says: `0.7`, every draft's chance; `0.73,0.52,0.35`, shares by position as engines print them; `length:2.6`, a
    /// mean acceptance length.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn parse(text: &str, drafts: u32) -> Result<Self, AcceptanceError> {
        let share = |t: &str| match t.trim().parse::<f64>() {
            Ok(p) if (0.0..=1.0).contains(&p) => Ok(p),
            _ => bad(format!(
                "`{t}` is no share from 0 to 1: give one for every draft (0.7), one for each position (0.73,0.52,0.35), or a mean length \
                 (length:2.6)"
            )),
        };
        if let Some(length) = text.strip_prefix("length:") {
            let most = f64::from(drafts) + 1.0;
            return match length.trim().parse::<f64>() {
                Ok(l) if (1.0..=most).contains(&l) => Ok(Self::of_length(l, drafts)),
                _ => bad(format!(
                    "`{length}` is no mean length from 1 to {most}, which is all that {drafts} drafts can make"
                )),
            };
        }
        let shares: Vec<f64> = text.split(',').map(share).collect::<Result<_, _>>()?;
        match shares.as_slice() {
            [one] => Ok(Self::constant(*one)),
            many if many.windows(2).any(|w| w[1] > w[0]) => bad(format!(
                "`{text}` rises: a position is accepted only where those before it are, so that shares by position never do"
            )),
            many if many.len() > MOST_POSITIONS => {
                bad(format!("more than {MOST_POSITIONS} positions"))
            }
            many => Ok(Self::per_position(many)),
        }
    }

    /// Reads a record: numbers of right drafts, separated by spaces, commas or lines.
    ///
    /// # Errors
    /// Names what is no such number.
    pub fn recorded(text: &str) -> Result<Self, AcceptanceError> {
        let words = text.split(|c: char| c.is_whitespace() || c == ',');
        let mut all: Vec<u32> = vec![];
        for word in words.filter(|w| !w.is_empty()) {
            match word.parse() {
                Ok(n) if n as usize <= MOST_POSITIONS => all.push(n),
                _ => return bad(format!("`{word}` is no number of accepted drafts")),
            }
        }
        match all.is_empty() {
            true => bad("it holds no number of accepted drafts".into()),
            false => Ok(Self::Recorded(all.into())),
        }
    }

    /// The same with every chance times a factor. A record has no chances: it becomes those that it holds.
    pub fn scaled(&self, factor: f64) -> Self {
        if factor == 1.0 {
            return self.clone();
        }
        let chances = match self {
            Self::Chances(all) => all.clone(),
            Self::Recorded(all) => {
                let reach = |i: u32| all.iter().filter(|n| **n >= i).count() as f64;
                let most = all.iter().max().copied().unwrap_or(0);
                let of = |i: u32| chance(reach(i) / reach(i - 1).max(1.0));
                let mut all: Vec<u64> = (1..=most).map(of).collect();
                all.push(0);
                all
            }
        };
        let scale = |c: &u64| chance(*c as f64 / ONE as f64 * factor);
        Self::Chances(chances.iter().map(scale).collect())
    }

    /// Mean tokens of a verification of `drafts` drafts, the one that the model adds included.
    pub fn mean_length(&self, drafts: u32) -> f64 {
        match self {
            Self::Chances(all) => {
                let (mut sum, mut reach) = (1.0, 1.0);
                for i in 0..drafts as usize {
                    reach *= all[i.min(all.len() - 1)] as f64 / ONE as f64;
                    sum += reach;
                }
                sum
            }
            Self::Recorded(all) => {
                let sum: u64 = all.iter().map(|n| u64::from(*n.min(&drafts))).sum();
                1.0 + sum as f64 / all.len() as f64
            }
        }
    }

    /// How many of `drafts` drafts are right. `outputs` is the number of answer tokens before them, `nth` that of the request's
    /// verifications.
    pub fn accepted(
        &self,
        key: u64,
        request: RequestId,
        outputs: u32,
        nth: u32,
        drafts: u32,
    ) -> u32 {
        let own = mix(key ^ mix(request.0));
        match self {
            Self::Chances(all) => {
                let right = |i: &u32| {
                    let drawn = mix(own.wrapping_add(u64::from(outputs + i))) >> 32;
                    drawn < all[(*i as usize).min(all.len() - 1)]
                };
                (0..drafts).take_while(right).count() as u32
            }
            Self::Recorded(all) => {
                let at = own.wrapping_add(nth.into()) % all.len() as u64;
                all[at as usize].min(drafts)
            }
        }
    }

    /// Whether a request has drafts at all before its next token, where only a share of steps does (n-gram drafts need a match).
    pub fn drafted(key: u64, request: RequestId, outputs: u32, share: u64) -> bool {
        let own = mix(!key ^ mix(request.0));
        mix(own.wrapping_add(outputs.into())) >> 32 < share
    }

    /// A share as [`drafted`](Self::drafted) takes it.
    pub fn share(p: f64) -> u64 {
        chance(p)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(a: &Acceptance, drafts: u32) -> f64 {
        let one = |r: u64, n: u32| a.accepted(7, RequestId(r), 5 * n, n, drafts);
        let all = (0..200).flat_map(|r| (0..100).map(move |n| (r, n)));
        let sum: u64 = all.map(|(r, n)| u64::from(one(r, n))).sum();
        1.0 + sum as f64 / 20_000.0
    }

    #[test]
    fn what_is_drawn_has_the_mean_that_is_said() {
        for (text, drafts, wanted) in [
            ("0", 3, 1.0),
            ("1", 3, 4.0),
            ("0.5", 3, 1.875),
            ("0.73,0.52,0.35", 3, 2.6),
            ("0.73,0.52,0.35", 2, 2.25),
            ("length:2.6", 3, 2.6),
        ] {
            let a = Acceptance::parse(text, drafts).unwrap();
            let (law, drawn) = (a.mean_length(drafts), mean(&a, drafts));
            assert!((law - wanted).abs() < 1e-6, "{text}: {law}");
            assert!((drawn - wanted).abs() < 0.03, "{text}: {drawn}");
        }
        let a = Acceptance::recorded("3 0\n1,2").unwrap();
        assert!((mean(&a, 3) - 2.5).abs() < 0.01);
        // Later positions have the last chance.
        let a = Acceptance::per_position(&[0.5, 0.5]);
        assert!((a.mean_length(4) - 3.0).abs() < 1e-6);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_what_would() {
        for (text, part) in [
            ("1.2", "no share from 0 to 1"),
            ("often", "no share from 0 to 1"),
            ("0.5,0.6", "rises"),
            ("length:9", "from 1 to 4"),
            ("", "no share"),
        ] {
            let e = Acceptance::parse(text, 3).unwrap_err().to_string();
            assert!(e.contains(part), "{text}: {e}");
        }
        assert!(Acceptance::recorded("2 x").is_err() && Acceptance::recorded(" ").is_err());
    }

    #[test]
    fn a_factor_moves_the_mean_and_one_moves_nothing() {
        let a = Acceptance::parse("0.8,0.5", 2).unwrap();
        assert_eq!(a.scaled(1.0), a);
        assert!(a.scaled(0.9).mean_length(2) < a.mean_length(2));
        let r = Acceptance::recorded("0 1 2 2").unwrap();
        assert!((r.scaled(1.0 - 1e-12).mean_length(2) - r.mean_length(2)).abs() < 1e-6);
    }
}
