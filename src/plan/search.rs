//! The highest step that still will do: galloping, then bisection.
use std::ops::ControlFlow;

/// Where an answer changes from yes to no.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The highest step found to do; `None`: not even the lowest.
    pub highest: Option<i64>,
    /// The lowest step found not to do, next to it within the resolution; `None`: none was found up to the top.
    pub broken: Option<i64>,
}

/// Finds neighbours of which the lower will do and the upper will not. If `will_do` is monotone there is only one such pair,
/// and this finds it; if not, it finds one of them.
///
/// Begins at `start`, gallops away from it with doubling strides (`stride` at first, or the step itself where steps count
/// things), then halves the gap until it is at most `resolution` of the lower one's step. `will_do` may
/// break off with the step at which more changes nothing any more.
///
/// # Errors
/// The first error of `will_do`.
pub fn highest<E>(
    range: std::ops::RangeInclusive<i64>,
    start: i64,
    stride: Option<i64>,
    resolution: impl Fn(i64) -> i64,
    mut will_do: impl FnMut(i64) -> Result<ControlFlow<(), bool>, E>,
) -> Result<Found, E> {
    let (bottom, top) = (*range.start(), *range.end());
    let mut found = Found::default();
    let mut at = start.clamp(bottom, top);
    let mut stride_now = stride.unwrap_or(0);
    loop {
        let yes = match will_do(at)? {
            ControlFlow::Break(()) => {
                found.highest = Some(at);
                found.broken = None;
                return Ok(found);
            }
            ControlFlow::Continue(yes) => yes,
        };
        if yes {
            found.highest = Some(at);
        } else {
            found.broken = Some(at);
        }
        let next = match (yes, stride) {
            (true, None) => at.saturating_mul(2),
            (false, None) => at / 2,
            (true, Some(_)) => at.saturating_add(stride_now),
            (false, Some(_)) => at.saturating_sub(stride_now),
        };
        stride_now = stride_now.saturating_mul(2);
        let next = next.clamp(bottom, top);
        let turned = found.highest.is_some() && found.broken.is_some();
        if turned || next == at {
            break;
        }
        at = next;
    }
    while let (Some(low), Some(high)) = (found.highest, found.broken) {
        if high - low <= resolution(low).max(1) {
            break;
        }
        let middle = low + (high - low) / 2;
        match will_do(middle)? {
            ControlFlow::Continue(false) => found.broken = Some(middle),
            _ => found.highest = Some(middle),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn search(limit: i64, start: i64, stride: Option<i64>, range: (i64, i64)) -> Found {
        let ask = |x: i64| Ok::<_, ()>(ControlFlow::Continue(x <= limit));
        highest(range.0..=range.1, start, stride, |_| 1, ask).unwrap()
    }

    proptest! {
        #[test]
        fn bisection_finds_what_a_linear_scan_finds(
            limit in -5i64..300, start in 1i64..400, gallop in prop::option::of(1i64..70),
        ) {
            let (bottom, top) = (1, 256);
            let scan = (bottom..=top).rev().find(|&x| x <= limit);
            let found = search(limit, start, gallop, (bottom, top));
            prop_assert_eq!(found.highest, scan);
            prop_assert_eq!(found.broken, (bottom..=top).find(|&x| x > limit));
        }
    }

    #[test]
    fn saturation_ends_the_search() {
        let ask = |x: i64| {
            Ok::<_, ()>(if x >= 32 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(true)
            })
        };
        let found = highest(1..=1 << 40, 1, None, |_| 1, ask).unwrap();
        assert_eq!(
            found,
            Found {
                highest: Some(32),
                broken: None
            }
        );
    }
}
