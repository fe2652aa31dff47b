//! The most loaded device when whole experts are divided among several: all wait for it in every layer.
//!
//! With tokens spread evenly over E experts of which each of r devices holds E/r, a device's distinct experts and rows
//! are sums of nearly independent indicators. The largest of r such sums lies about m_r standard deviations above the
//! mean, m_r being the expected maximum of r standard normal variables (H. L. Harter, Biometrika 48 (1961), table 1).

/// How experts are divided.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    experts: f64,
    ranks: f64,
    above: f64,
}

/// m_r for r = 1, 2, 4, 8, … 64.
const MAXIMA: [f64; 7] = [0.0, 0.564, 1.029, 1.424, 1.766, 2.070, 2.343];

impl Load {
    pub fn new(experts: u32, ranks: u32) -> Self {
        let at = libm::log2(f64::from(ranks.max(1))).min(MAXIMA.len() as f64 - 1.0);
        let i = libm::floor(at) as usize;
        let next = MAXIMA[(i + 1).min(MAXIMA.len() - 1)];
        Self {
            experts: f64::from(experts),
            ranks: f64::from(ranks.max(1)),
            above: MAXIMA[i] + (next - MAXIMA[i]) * (at - i as f64),
        }
    }

    /// Distinct experts on the most loaded device, of `touched` in all.
    pub fn experts(&self, touched: f64) -> f64 {
        if self.ranks == 1.0 {
            return touched;
        }
        let held = self.experts / self.ranks;
        let p = (touched / self.experts).clamp(0.0, 1.0);
        (held * p + self.above * libm::sqrt(held * p * (1.0 - p)))
            .min(held)
            .min(touched)
    }

    /// Rows on the most loaded device, of `slots` in all.
    pub fn slots(&self, slots: f64) -> f64 {
        if self.ranks == 1.0 {
            return slots;
        }
        let share = 1.0 / self.ranks;
        (slots * share + self.above * libm::sqrt(slots * share * (1.0 - share))).min(slots)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_device_has_everything_and_many_share_almost_evenly() {
        let one = Load::new(128, 1);
        assert_eq!((one.experts(50.0), one.slots(800.0)), (50.0, 800.0));
        let four = Load::new(128, 4);
        assert!(four.experts(50.0) > 12.5 && four.experts(50.0) < 18.0);
        assert_eq!(four.experts(128.0), 32.0);
        assert!(four.slots(800.0) > 200.0 && four.slots(800.0) < 220.0);
        assert!(Load::new(8, 8).experts(1.0) <= 1.0);
    }
}
