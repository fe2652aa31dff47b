//! NumPy's random numbers, to the last bit: MT19937 behind `numpy.random.seed` (legacy `RandomState`) and PCG64 behind
//! `numpy.random.default_rng`, as far as `vllm bench serve` uses them.
//!
//! Algorithms: M. Matsumoto and T. Nishimura, ACM TOMACS 8 (1998); M. E. O'Neill, PCG (2014), XSL-RR 128/64;
//! NumPy's SeedSequence (`numpy/random/bit_generator.pyx`), legacy distributions
//! (`numpy/random/src/legacy/legacy-distributions.c`) and bounded integers (D. Lemire, ACM TOMACS 29, 2019). Checked
//! against vectors computed with NumPy (`tests/data/numpy`).

/// `numpy.random.RandomState(seed)`.
#[derive(Clone, Debug)]
pub struct LegacyRandom {
    state: [u32; 624],
    at: usize,
    gauss: Option<f64>,
}

impl LegacyRandom {
    /// As `numpy.random.seed(seed)`.
    pub fn new(seed: u32) -> Self {
        let mut state = [0u32; 624];
        state[0] = seed;
        for i in 1..624 {
            let last = state[i - 1];
            state[i] = (last ^ (last >> 30))
                .wrapping_mul(1_812_433_253)
                .wrapping_add(i as u32);
        }
        Self {
            state,
            at: 624,
            gauss: None,
        }
    }

    fn next_u32(&mut self) -> u32 {
        if self.at == 624 {
            for i in 0..624 {
                let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % 624] & 0x7fff_ffff);
                let mag = if y & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[i] = self.state[(i + 397) % 624] ^ (y >> 1) ^ mag;
            }
            self.at = 0;
        }
        let mut y = self.state[self.at];
        self.at += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// Uniform in [0, 1) with 53 bits.
    pub fn double(&mut self) -> f64 {
        let (a, b) = (self.next_u32() >> 5, self.next_u32() >> 6);
        (f64::from(a) * 67_108_864.0 + f64::from(b)) / 9_007_199_254_740_992.0
    }

    fn exponential(&mut self) -> f64 {
        -libm::log(1.0 - self.double())
    }

    fn gaussian(&mut self) -> f64 {
        if let Some(g) = self.gauss.take() {
            return g;
        }
        loop {
            let x1 = 2.0 * self.double() - 1.0;
            let x2 = 2.0 * self.double() - 1.0;
            let r2 = x1 * x1 + x2 * x2;
            if r2 < 1.0 && r2 != 0.0 {
                let f = libm::sqrt(-2.0 * libm::log(r2) / r2);
                self.gauss = Some(f * x1);
                return f * x2;
            }
        }
    }

    /// `RandomState.gamma(shape, scale)`.
    pub fn gamma(&mut self, shape: f64, scale: f64) -> f64 {
        scale * self.standard_gamma(shape)
    }

    fn standard_gamma(&mut self, shape: f64) -> f64 {
        if shape == 1.0 {
            return self.exponential();
        }
        if shape < 1.0 {
            loop {
                let u = self.double();
                let v = self.exponential();
                if u <= 1.0 - shape {
                    let x = libm::pow(u, 1.0 / shape);
                    if x <= v {
                        return x;
                    }
                } else {
                    let y = -libm::log((1.0 - u) / shape);
                    let x = libm::pow(1.0 - shape + shape * y, 1.0 / shape);
                    if x <= v + y {
                        return x;
                    }
                }
            }
        }
        let b = shape - 1.0 / 3.0;
        let c = 1.0 / libm::sqrt(9.0 * b);
        loop {
            let (x, mut v) = loop {
                let x = self.gaussian();
                let v = 1.0 + c * x;
                if v > 0.0 {
                    break (x, v);
                }
            };
            v = v * v * v;
            let u = self.double();
            if u < 1.0 - 0.0331 * (x * x) * (x * x)
                || libm::log(u) < 0.5 * x * x + b * (1.0 - v + libm::log(v))
            {
                return b * v;
            }
        }
    }
}

/// `numpy.random.default_rng(seed)`: PCG64.
#[derive(Clone, Debug)]
pub struct DefaultRng {
    state: u128,
    inc: u128,
    half: Option<u32>,
}

const PCG_MULTIPLIER: u128 = 0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645;

/// NumPy's SeedSequence for a non-negative integer: eight 32-bit words of state.
fn seed_sequence(seed: u64) -> [u32; 8] {
    let entropy = [seed as u32, (seed >> 32) as u32, 0, 0];
    let mut constant = 0x43b0_d7e5u32;
    let mut hash = |value: u32| {
        let mut v = value ^ constant;
        constant = constant.wrapping_mul(0x931e_8875);
        v = v.wrapping_mul(constant);
        v ^ (v >> 16)
    };
    let mix = |x: u32, y: u32| {
        let r = x
            .wrapping_mul(0xca01_f9dd)
            .wrapping_sub(y.wrapping_mul(0x4973_f715));
        r ^ (r >> 16)
    };
    let mut pool = entropy.map(&mut hash);
    for source in 0..4 {
        for target in 0..4 {
            if source != target {
                pool[target] = mix(pool[target], hash(pool[source]));
            }
        }
    }
    let mut constant = 0x8b51_f9ddu32;
    std::array::from_fn(|i| {
        let mut v = pool[i % 4] ^ constant;
        constant = constant.wrapping_mul(0x58f3_8ded);
        v = v.wrapping_mul(constant);
        v ^ (v >> 16)
    })
}

impl DefaultRng {
    /// As `numpy.random.default_rng(seed)`.
    pub fn new(seed: u64) -> Self {
        let w = seed_sequence(seed).map(u128::from);
        let word = |i: usize| w[2 * i] | (w[2 * i + 1] << 32);
        let (init, sequence) = (word(0) << 64 | word(1), word(2) << 64 | word(3));
        let mut rng = Self {
            state: 0,
            inc: (sequence << 1) | 1,
            half: None,
        };
        rng.step();
        rng.state = rng.state.wrapping_add(init);
        rng.step();
        rng
    }

    fn step(&mut self) {
        self.state = self
            .state
            .wrapping_mul(PCG_MULTIPLIER)
            .wrapping_add(self.inc);
    }

    fn next_u64(&mut self) -> u64 {
        self.step();
        let folded = (self.state >> 64) as u64 ^ self.state as u64;
        folded.rotate_right((self.state >> 122) as u32)
    }

    /// The low half of a 64-bit draw first, then its high half.
    fn next_u32(&mut self) -> u32 {
        if let Some(high) = self.half.take() {
            return high;
        }
        let n = self.next_u64();
        self.half = Some((n >> 32) as u32);
        n as u32
    }

    /// `rng.integers(low, high_exclusive)`, one value; the range must be below 2³².
    pub fn integer(&mut self, low: u32, high_exclusive: u32) -> u32 {
        let range = high_exclusive - low;
        if range <= 1 {
            // NumPy draws nothing where there is nothing to choose.
            return low;
        }
        let mut m = u64::from(self.next_u32()) * u64::from(range);
        if (m as u32) < range {
            let threshold = range.wrapping_neg() % range;
            while (m as u32) < threshold {
                m = u64::from(self.next_u32()) * u64::from(range);
            }
        }
        low + (m >> 32) as u32
    }
}
