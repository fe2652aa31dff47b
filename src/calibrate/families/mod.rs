//! The families of microbenchmarks: what a serving step is made of.
mod harness;
mod launch;
mod stream;

use super::family::Family;

/// Every family, in the order in which they are measured: what a profile needs first comes first.
pub fn all() -> Vec<Box<dyn Family>> {
    vec![Box::new(stream::Stream), Box::new(launch::LaunchCost)]
}
