//! A link from measured all-reduces: the time of the smallest messages, and the slope beyond.
use super::{Source, fit};
use capsim::device::{Link, LinkGroup, Origin, Provenance, Quantity};

/// Largest message whose time says what a serving engine's all-reduce takes, bytes.
const LARGEST: f64 = 64.0 * 1024.0 * 1024.0;

/// Times of all-reduces of one machine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AllReduces {
    /// Devices, bytes, seconds.
    times: Vec<(u32, f64, f64)>,
}

impl AllReduces {
    /// One measurement: `bytes` summed over `ranks` devices in `seconds`.
    pub fn add(&mut self, ranks: u32, bytes: f64, seconds: f64) {
        self.times.push((ranks, bytes, seconds));
    }

    /// Whether nothing was measured.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Number of devices, latency and rate of each group: the smallest messages, and the slope up to the largest of at most 64 MiB.
    fn groups(&self) -> Vec<(u32, f64, f64)> {
        let mut ranks: Vec<u32> = self.times.iter().map(|r| r.0).collect();
        ranks.sort_unstable();
        ranks.dedup();
        let group = |&n: &u32| {
            let of = || {
                self.times
                    .iter()
                    .filter(move |r| r.0 == n && r.1 <= LARGEST)
            };
            let latency = of().map(|r| r.2).fold(f64::INFINITY, f64::min);
            let (_, bytes, time) = of()
                .copied()
                .max_by(|a, b| a.1.total_cmp(&b.1))
                .filter(|l| l.2 > latency && n > 1)?;
            let share = 2.0 * (f64::from(n) - 1.0) / f64::from(n);
            Some((n, latency, share * bytes / (time - latency)))
        };
        ranks.iter().filter_map(group).collect()
    }

    /// The link that these times tell of; `None`: fewer than two sizes of one group.
    pub fn link(&self, source: &Source) -> Option<Link> {
        let groups = self.groups();
        let &(first, latency, rate) = groups.first()?;
        let quantity = |v: f64| Quantity {
            value: fit::round(v),
            rel_sd: 0.2,
            provenance: Provenance {
                origin: Origin::Fitted,
                source: source.words(),
                note: format!("all-reduce of {first} devices"),
            },
        };
        let relative = |l: &(u32, f64, f64)| LinkGroup {
            ranks: l.0,
            latency: fit::round(l.1 / latency),
            rate: fit::round(l.2 / rate),
        };
        Some(Link {
            latency: quantity(latency),
            rate: quantity(rate),
            groups: groups.iter().filter(|l| l.0 > 2).map(relative).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_that_made_the_times_comes_back() {
        let source = Source {
            name: "a test".into(),
            licence: "none".into(),
        };
        let (latency, rate) = (12e-6, 300e9);
        let mut all = AllReduces::default();
        for ranks in [2u32, 8] {
            let share = 2.0 * (f64::from(ranks) - 1.0) / f64::from(ranks);
            let slower = f64::from(ranks) / 2.0;
            for bytes in [0.0, 8.0 * 1024.0, 1e6, 16e6, 64e6] {
                all.add(ranks, bytes, slower * latency + share * bytes / rate);
            }
        }
        let link = all.link(&source).unwrap();
        let near = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-3;
        assert!(near(link.latency.value, latency), "{:?}", link.latency);
        assert!(near(link.rate.value, rate), "{:?}", link.rate);
        let eight = link.groups[0];
        assert!(eight.ranks == 8 && near(eight.latency, 4.0) && near(eight.rate, 1.0));
        assert!(near(
            link.all_reduce(8, 16e6),
            4.0 * latency + 1.75 * 16e6 / rate
        ));
        assert_eq!(AllReduces::default().link(&source), None);
    }
}
