//! Values by a small number, computed when first asked for.
use std::cell::OnceCell;

/// Entries that are allocated together.
const PAGE: usize = 64;

/// A table of `len` values of which few are ever wanted.
#[derive(Clone, Debug)]
pub struct Memo<T> {
    len: usize,
    pages: Vec<OnceCell<Box<[OnceCell<T>]>>>,
}

impl<T: Copy> Memo<T> {
    /// A table for 0 ..= `last`.
    pub fn upto(last: u32) -> Self {
        let len = last as usize + 1;
        Self {
            len,
            pages: (0..len.div_ceil(PAGE)).map(|_| OnceCell::new()).collect(),
        }
    }

    /// Largest number in the table.
    pub fn last(&self) -> u32 {
        (self.len - 1) as u32
    }

    /// The value of `i` ≤ [`last`](Self::last), which `compute` gives the first time.
    pub fn get(&self, i: u32, compute: impl FnOnce() -> T) -> T {
        let i = i as usize;
        let page =
            self.pages[i / PAGE].get_or_init(|| (0..PAGE).map(|_| OnceCell::new()).collect());
        *page[i % PAGE].get_or_init(compute)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_is_computed_once() {
        let memo = Memo::upto(1000);
        let mut computed = 0;
        for _ in 0..2 {
            for i in 0..=memo.last() {
                let v = memo.get(i, || {
                    computed += 1;
                    2 * i
                });
                assert_eq!(v, 2 * i);
            }
        }
        assert_eq!(computed, 1001);
    }
}
