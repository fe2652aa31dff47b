//! What nothing beats, and what survives a rung.
use super::Objective;
use super::draw::Choice;
use super::tuner::{Figures, better, top};
use std::collections::BTreeSet;

/// Indices of points that no other beats in both coordinates, by increasing first coordinate.
pub fn pareto(points: &[(f64, f64)]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_by(|&a, &b| {
        points[b]
            .0
            .total_cmp(&points[a].0)
            .then(points[b].1.total_cmp(&points[a].1))
            .then(a.cmp(&b))
    });
    let mut front = vec![];
    let mut highest = f64::NEG_INFINITY;
    for i in order {
        if points[i].1 > highest {
            highest = points[i].1;
            front.push(i);
        }
    }
    front.reverse();
    front
}

/// Of each rung, one in so many survives.
const SURVIVORS: usize = 4;

/// The better part of the settings, with the best at every level and those on the front.
pub fn survivors(
    alive: Vec<(Choice, String)>,
    all: &[Vec<Figures>],
    keep: usize,
    objective: Objective,
) -> Vec<(Choice, String)> {
    let mut order: Vec<usize> = (0..alive.len()).collect();
    order.sort_by(|&a, &b| better(top(&all[b]).1, top(&all[a]).1).then(a.cmp(&b)));
    let n = keep.max(alive.len() / SURVIVORS);
    let mut stay: BTreeSet<usize> = order.iter().take(n).copied().collect();
    // The best at every level, and the front.
    for level in 0..all[0].len() {
        let points: Vec<(f64, f64)> = all
            .iter()
            .map(|f| (f[level].worth(objective), f[level].interactivity))
            .collect();
        stay.extend(pareto(&points).into_iter().rev().take(keep));
    }
    alive
        .into_iter()
        .enumerate()
        .filter(|(i, _)| stay.contains(i))
        .map(|(_, c)| c)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_front_holds_what_nothing_beats() {
        let points = [
            (1.0, 9.0),
            (2.0, 8.0),
            (2.0, 7.0),
            (3.0, 8.0),
            (4.0, 1.0),
            (0.5, 9.0),
        ];
        let front = pareto(&points);
        for (i, p) in points.iter().enumerate() {
            let beaten = points.iter().any(|o| o.0 >= p.0 && o.1 >= p.1 && o != p);
            assert_eq!(front.contains(&i), !beaten, "{p:?}");
        }
        assert_eq!(front, [0, 3, 4]);
    }
}
