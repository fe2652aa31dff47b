//! Wrong answers that ended: one test for each kind, so that it stays ended.
mod doors;
mod engines;
mod lines;
mod loads;
mod memory;
mod pages;
mod printed;
