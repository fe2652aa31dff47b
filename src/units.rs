//! Quantities as types: only meaningful arithmetic compiles.
//!
//! Simulated time is an unsigned number of nanoseconds. A float becomes time in exactly one place,
//! [`Span::from_secs`], so that rounding is the same everywhere.
//!
//! ```
//! use capsim::units::{Bytes, SimTime, Span};
//! let weights = Bytes(6_083_000_000);
//! let t = Span::from_secs(weights.as_f64() / 215e9);
//! assert_eq!((SimTime::ZERO + t).since(SimTime::ZERO), t);
//! ```
//!
//! Bytes plus tokens is not a quantity:
//!
//! ```compile_fail
//! use capsim::units::{Bytes, Tokens};
//! let nonsense = Bytes(1) + Tokens(1);
//! ```
use core::fmt;
use core::iter::Sum;
use core::ops::{Add, AddAssign, Mul, Sub, SubAssign};
use serde::{Deserialize, Serialize};

macro_rules! count {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// None of it.
            pub const ZERO: Self = Self(0);
            /// As a float, for rates and fits.
            pub fn as_f64(self) -> f64 {
                self.0 as f64
            }
        }
        impl Add for $name {
            type Output = Self;
            fn add(self, o: Self) -> Self {
                Self(self.0 + o.0)
            }
        }
        impl AddAssign for $name {
            fn add_assign(&mut self, o: Self) {
                self.0 += o.0
            }
        }
        impl Sub for $name {
            type Output = Self;
            fn sub(self, o: Self) -> Self {
                Self(self.0 - o.0)
            }
        }
        impl SubAssign for $name {
            fn sub_assign(&mut self, o: Self) {
                self.0 -= o.0
            }
        }
        impl Mul<u64> for $name {
            type Output = Self;
            fn mul(self, k: u64) -> Self {
                Self(self.0 * k)
            }
        }
        impl Sum for $name {
            fn sum<I: Iterator<Item = Self>>(it: I) -> Self {
                it.fold(Self(0), Add::add)
            }
        }
    };
}

count!(
    /// Bytes of memory or traffic.
    Bytes
);
count!(
    /// Floating-point (or integer matrix) operations; a multiply-add counts as two.
    Flops
);
count!(
    /// A number of tokens.
    Tokens
);
count!(
    /// A number of KV-cache blocks (not a block's index).
    Blocks
);

impl Bytes {
    /// `n` gibibytes.
    pub const fn gib(n: u64) -> Self {
        Self(n << 30)
    }
    /// In gigabytes (10⁹ bytes).
    pub fn gb(self) -> f64 {
        self.0 as f64 / 1e9
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let b = self.0 as f64;
        match self.0 {
            0..1024 => write!(f, "{} B", self.0),
            1024..1_048_576 => write!(f, "{:.1} KiB", b / 1024.0),
            1_048_576..1_073_741_824 => write!(f, "{:.1} MiB", b / 1_048_576.0),
            _ => write!(f, "{:.2} GiB", b / 1_073_741_824.0),
        }
    }
}

/// A length of simulated time in nanoseconds.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Span(pub u64);

impl Span {
    /// No time.
    pub const ZERO: Self = Self(0);

    /// The one place where a float becomes time: rounded to the nearest nanosecond.
    ///
    /// # Panics
    /// If `secs` is negative, NaN or beyond 292 years: a bug in the caller, inputs are checked before.
    pub fn from_secs(secs: f64) -> Self {
        let ns = secs * 1e9;
        assert!(
            (0.0..9.2e18).contains(&ns),
            "not a length of time: {secs} s"
        );
        Self(libm::round(ns) as u64)
    }
    /// `us` microseconds.
    pub const fn from_micros(us: u64) -> Self {
        Self(us * 1_000)
    }
    /// `ms` milliseconds.
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms * 1_000_000)
    }
    /// In seconds.
    pub fn secs(self) -> f64 {
        self.0 as f64 / 1e9
    }
    /// In milliseconds.
    pub fn millis(self) -> f64 {
        self.0 as f64 / 1e6
    }
}
impl Add for Span {
    type Output = Self;
    fn add(self, o: Self) -> Self {
        Self(self.0 + o.0)
    }
}
impl AddAssign for Span {
    fn add_assign(&mut self, o: Self) {
        self.0 += o.0
    }
}
impl Sub for Span {
    type Output = Self;
    fn sub(self, o: Self) -> Self {
        Self(self.0 - o.0)
    }
}
impl Mul<u64> for Span {
    type Output = Self;
    fn mul(self, k: u64) -> Self {
        Self(self.0 * k)
    }
}
impl Sum for Span {
    fn sum<I: Iterator<Item = Self>>(it: I) -> Self {
        it.fold(Self(0), Add::add)
    }
}

/// A point of simulated time: nanoseconds since the simulation began.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct SimTime(pub u64);

impl SimTime {
    /// The beginning.
    pub const ZERO: Self = Self(0);

    /// Time passed since `earlier`.
    ///
    /// # Panics
    /// If `earlier` is later: time does not run backwards.
    pub fn since(self, earlier: SimTime) -> Span {
        Span(self.0.checked_sub(earlier.0).expect("time ran backwards"))
    }
    /// In seconds since the beginning.
    pub fn secs(self) -> f64 {
        self.0 as f64 / 1e9
    }
}
impl Add<Span> for SimTime {
    type Output = Self;
    fn add(self, s: Span) -> Self {
        Self(self.0 + s.0)
    }
}
impl AddAssign<Span> for SimTime {
    fn add_assign(&mut self, s: Span) {
        self.0 += s.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_rounds_to_the_nearest_nanosecond() {
        assert_eq!(Span::from_secs(1.4e-9), Span(1));
        assert_eq!(Span::from_secs(1.6e-9), Span(2));
        assert_eq!(Span::from_millis(3).secs(), 0.003);
    }

    #[test]
    #[should_panic(expected = "time ran backwards")]
    fn time_does_not_run_backwards() {
        SimTime(1).since(SimTime(2));
    }
}
