//! What all families share: memory with random contents, rings, and the comparison of answers.
use crate::backend::{
    Access, Backend, BufferId, DeviceInfo, Kernel, KernelId, Launch, Slice, Work,
};
use crate::family::{Effort, Family, Point, Prepared, ProbeError, Scope, Variant};
pub(super) use capsim::device::CurveId;
use half::{bf16, f16};

/// Slices begin at multiples of this: the largest alignment that any device asks of a binding.
const ALIGN: u64 = crate::backend::SLICE_ALIGN;
/// Bytes sent to the device at once while filling.
const CHUNK_WORDS: usize = 1 << 20;

/// A family, told in terms of this module; [`Family`] follows.
pub(super) trait Bench {
    fn name(&self) -> &'static str;
    fn about(&self) -> &'static str;
    fn feeds(&self) -> &'static [CurveId];
    fn points(&self, scope: &Scope) -> Vec<Point>;
    fn variants(&self, scope: &Scope, point: &Point) -> Vec<Variant>;
    /// A small point at which a variant is checked.
    fn small(&self, variant: &Variant) -> Point;
    /// Fills memory and lists the launches; with the right answers if `arena.keep`.
    fn build(
        &self,
        arena: &mut Arena,
        point: &Point,
        variant: &Variant,
    ) -> Result<Built, ProbeError>;
}

/// A point in memory.
#[derive(Default)]
pub(super) struct Built {
    pub pass: Vec<Launch>,
    pub answers: Vec<Answer>,
}

/// What must stand in memory after one pass.
pub(super) struct Answer {
    pub at: Slice,
    pub expect: Expect,
}

pub(super) enum Expect {
    /// Floats, to a relative L2 error.
    Floats(Format, Vec<f64>, f64),
    /// Words, exactly.
    Words(Vec<u32>),
    /// The sum of all words, modulo 2³².
    Sum(u32),
}

/// Relative L2 error allowed where sums are kept in f32.
pub(super) const F32_TOLERANCE: f64 = 1e-5;

/// How numbers lie in memory. The discriminants are the value of the define `FORMAT` in the kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    F32 = 0,
    F16 = 1,
    Bf16 = 2,
    Int8 = 3,
    Int4 = 4,
}

/// Weights that share a scale.
pub(super) const QUANT_GROUP: usize = 128;

impl Format {
    pub fn of(code: u32) -> Self {
        [Self::F32, Self::F16, Self::Bf16, Self::Int8, Self::Int4][code as usize % 5]
    }

    pub fn label(self) -> &'static str {
        ["f32", "f16", "bf16", "int8", "int4"][self as usize]
    }

    /// Numbers in a 32-bit word.
    pub fn per_word(self) -> usize {
        [1, 2, 2, 4, 8][self as usize]
    }

    pub fn quantised(self) -> bool {
        matches!(self, Self::Int8 | Self::Int4)
    }

    /// Number `i` of a row-major array, without its scale.
    pub fn decode(self, words: &[u32], i: usize) -> f64 {
        let word = words[i / self.per_word()];
        let shift = (i % self.per_word()) as u32;
        match self {
            Self::F32 => f32::from_bits(word).into(),
            Self::F16 => f16::from_bits((word >> (16 * shift)) as u16).into(),
            Self::Bf16 => bf16::from_bits((word >> (16 * shift)) as u16).into(),
            Self::Int8 => f64::from((word >> (8 * shift)) as u8 as i8),
            Self::Int4 => f64::from((word >> (4 * shift)) & 15) - 8.0,
        }
    }

    /// Masks that turn random bits into numbers of either sign and of sizes 2⁻⁷ … 2⁻³ (all bits for integers): no
    /// infinities, and sums of thousands stay small.
    fn masks(self) -> (u32, u32) {
        match self {
            Self::F32 => (0x81ff_ffff, 0x3c00_0000),
            Self::F16 => (0x8fff_8fff, 0x2000_2000),
            Self::Bf16 => (0x81ff_81ff, 0x3c00_3c00),
            Self::Int8 | Self::Int4 => (u32::MAX, 0),
        }
    }
}

/// Splitmix64 (Steele, Lea, Flood, OOPSLA 2014) of a counter: contents that no compression shortens, from any position.
fn random(seed: u64, counter: u64) -> u64 {
    let z = seed.wrapping_add(counter.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Contents on the device, and on the host if they are kept.
#[derive(Clone)]
pub(super) struct Data {
    pub at: Slice,
    pub words: Vec<u32>,
}

/// Memory of one point; all of it is given back if something goes wrong.
pub(super) struct Arena<'a> {
    pub device: &'a mut dyn Backend,
    pub scope: &'a Scope<'a>,
    /// Whether contents stay on the host and answers are wanted.
    pub keep: bool,
    buffers: Vec<BufferId>,
    used: u64,
    fills: u64,
}

impl<'a> Arena<'a> {
    fn new(device: &'a mut dyn Backend, scope: &'a Scope<'a>, keep: bool) -> Self {
        Self {
            device,
            scope,
            keep,
            buffers: vec![],
            used: 0,
            fills: 0,
        }
    }

    pub fn compile(&mut self, kernel: &Kernel) -> Result<KernelId, ProbeError> {
        Ok(self.device.compile(kernel)?)
    }

    /// A buffer of its own.
    pub fn alloc(&mut self, bytes: u64) -> Result<Slice, ProbeError> {
        let len = bytes.max(4).next_multiple_of(ALIGN);
        if self.used + len > self.scope.budget_bytes {
            return Err(crate::backend::BackendError::Memory {
                bytes: len,
                reason: format!(
                    "{} of the {} bytes that the memory guard allows are in use",
                    self.used, self.scope.budget_bytes
                ),
            }
            .into());
        }
        let buffer = self.device.alloc(len)?;
        self.used += len;
        self.buffers.push(buffer);
        Ok(Slice {
            buffer,
            offset: 0,
            len,
        })
    }

    /// A buffer for results of `words` words. NaN in every format while answers are checked.
    pub fn output(&mut self, words: usize) -> Result<Slice, ProbeError> {
        let at = self.alloc(words as u64 * 4)?;
        if self.keep {
            self.device.write(at, &vec![0xff; at.len as usize])?;
        }
        Ok(Slice {
            len: words as u64 * 4,
            ..at
        })
    }

    /// The given words.
    pub fn upload(&mut self, words: &[u32]) -> Result<Slice, ProbeError> {
        let at = self.alloc(words.len() as u64 * 4)?;
        let at = Slice {
            len: words.len().max(1) as u64 * 4,
            ..at
        };
        if words.is_empty() {
            self.device.write(at, &[0; 4])?;
        } else {
            self.device.write(at, bytemuck::cast_slice(words))?;
        }
        Ok(at)
    }

    fn fill(&mut self, at: Slice, format: Format) -> Result<Vec<u32>, ProbeError> {
        let (and, or) = format.masks();
        self.fills += 1;
        let seed = random(self.scope.seed, self.fills);
        let words = at.len as usize / 4;
        let mut kept = Vec::with_capacity(if self.keep { words } else { 0 });
        let mut chunk = Vec::with_capacity(words.min(CHUNK_WORDS));
        for from in (0..words).step_by(CHUNK_WORDS) {
            let n = CHUNK_WORDS.min(words - from);
            chunk.clear();
            chunk.extend((from..from + n).map(|i| random(seed, i as u64) as u32 & and | or));
            let part = Slice {
                buffer: at.buffer,
                offset: at.offset + from as u64 * 4,
                len: n as u64 * 4,
            };
            self.device.write(part, bytemuck::cast_slice(&chunk))?;
            if self.keep {
                kept.extend_from_slice(&chunk);
            }
        }
        Ok(kept)
    }

    /// Random numbers in a buffer of their own.
    pub fn random(&mut self, numbers: usize, format: Format) -> Result<Data, ProbeError> {
        let words = numbers.div_ceil(format.per_word());
        let at = self.alloc(words as u64 * 4)?;
        let at = Slice {
            len: words as u64 * 4,
            ..at
        };
        let words = self.fill(at, format)?;
        Ok(Data { at, words })
    }

    /// `slots` slots of random numbers in as few buffers as the device allows.
    pub fn ring(
        &mut self,
        numbers: usize,
        format: Format,
        slots: usize,
    ) -> Result<Vec<Data>, ProbeError> {
        let len = numbers.div_ceil(format.per_word()) as u64 * 4;
        let stride = len.next_multiple_of(ALIGN);
        let per_buffer = (largest_buffer(self.scope.device) / stride).max(1) as usize;
        let mut ring = Vec::with_capacity(slots);
        while ring.len() < slots {
            let here = per_buffer.min(slots - ring.len());
            let whole = self.alloc(stride * here as u64)?;
            for i in 0..here {
                let at = Slice {
                    buffer: whole.buffer,
                    offset: stride * i as u64,
                    len,
                };
                let words = self.fill(at, format)?;
                ring.push(Data { at, words });
            }
        }
        Ok(ring)
    }

    /// How many slots of so many bytes make a ring that no cache holds; one while answers are checked.
    pub fn slots(&self, slot_bytes: u64) -> usize {
        if self.keep {
            return 1;
        }
        let ring = self.scope.ring_bytes.min(self.scope.budget_bytes / 2);
        ring.div_ceil(slot_bytes.max(1)).max(1) as usize
    }

    /// Like [`Arena::slots`] for what is bound by arithmetic: a software device does only `few` of them, since one pass
    /// would take seconds there.
    pub fn compute_slots(&self, slot_bytes: u64, few: usize) -> usize {
        let slots = self.slots(slot_bytes);
        if self.scope.device.software {
            slots.min(few)
        } else {
            slots
        }
    }

    fn compare(&mut self, answer: &Answer) -> Result<(), ProbeError> {
        let mut words = vec![0u32; answer.at.len as usize / 4];
        self.device
            .read(answer.at, bytemuck::cast_slice_mut(&mut words))?;
        let wrong = |what: String| Err(ProbeError::Wrong(what));
        match &answer.expect {
            Expect::Sum(total) => {
                let got = words.iter().fold(0u32, |a, b| a.wrapping_add(*b));
                if got != *total {
                    return wrong(format!("the words sum to {got:#x}, expected {total:#x}"));
                }
            }
            Expect::Words(expected) => {
                let pairs = || expected.iter().zip(&words).enumerate();
                let bad = pairs().filter(|(_, (e, g))| e != g).count();
                if let Some((i, (e, g))) = pairs().find(|(_, (e, g))| e != g) {
                    let n = expected.len();
                    return wrong(format!(
                        "{bad} of {n} words differ, first at {i}: {g:#x}, expected {e:#x}"
                    ));
                }
            }
            Expect::Floats(format, expected, tolerance) => {
                let got = |i: usize| format.decode(&words, i);
                let (mut error, mut norm, mut worst) = (0.0, 0.0, (0, -1.0));
                for (i, e) in expected.iter().enumerate() {
                    let d = got(i) - e;
                    if d.is_nan() {
                        return wrong(format!("element {i} is NaN, expected {e:e}"));
                    }
                    error += d * d;
                    norm += e * e;
                    if d.abs() > worst.1 {
                        worst = (i, d.abs());
                    }
                }
                let relative = (error / norm).sqrt();
                // An infinite result makes the quotient NaN, which is wrong too.
                if relative.is_nan() || relative > *tolerance {
                    let i = worst.0;
                    return wrong(format!(
                        "relative L2 error {relative:.2e} > {tolerance:.0e}, worst at element {i}: {:e}, expected {:e}",
                        got(i),
                        expected[i]
                    ));
                }
            }
        }
        Ok(())
    }

    fn give_back(&mut self) {
        for buffer in self.buffers.drain(..) {
            self.device.free(buffer);
        }
    }
}

/// Bytes that one buffer may have: devices state more than they like to give.
pub(super) fn largest_buffer(device: &DeviceInfo) -> u64 {
    device.max_buffer_bytes.clamp(1 << 20, 1 << 30) / ALIGN * ALIGN
}

/// Bytes that one argument may cover.
pub(super) fn largest_binding(device: &DeviceInfo) -> u64 {
    largest_buffer(device).min(device.max_binding_bytes.max(1 << 20)) / ALIGN * ALIGN
}

impl<T: Bench> Family for T {
    fn name(&self) -> &'static str {
        Bench::name(self)
    }

    fn about(&self) -> &'static str {
        Bench::about(self)
    }

    fn feeds(&self) -> &'static [CurveId] {
        Bench::feeds(self)
    }

    fn points(&self, scope: &Scope) -> Vec<Point> {
        Bench::points(self, scope)
    }

    fn variants(&self, scope: &Scope, point: &Point) -> Vec<Variant> {
        Bench::variants(self, scope, point)
    }

    fn check(
        &self,
        device: &mut dyn Backend,
        scope: &Scope,
        variant: &Variant,
    ) -> Result<(), ProbeError> {
        let mut arena = Arena::new(device, scope, true);
        let result = self
            .build(&mut arena, &self.small(variant), variant)
            .and_then(|built| {
                arena.device.run(&built.pass)?;
                if built.answers.is_empty() {
                    return Err(ProbeError::Wrong("nothing to compare".into()));
                }
                built.answers.iter().try_for_each(|a| arena.compare(a))
            });
        arena.give_back();
        result
    }

    fn prepare(
        &self,
        device: &mut dyn Backend,
        scope: &Scope,
        point: &Point,
        variant: &Variant,
    ) -> Result<Prepared, ProbeError> {
        let mut arena = Arena::new(device, scope, false);
        match self.build(&mut arena, point, variant) {
            Ok(built) => Ok(Prepared {
                work: total(&built.pass),
                pass: built.pass,
                buffers: std::mem::take(&mut arena.buffers),
                transfer: None,
                companion: None,
            }),
            Err(e) => {
                arena.give_back();
                Err(e)
            }
        }
    }
}

/// What several launches do together.
fn total(pass: &[Launch]) -> Work {
    pass.iter().fold(Work::default(), |sum, l| Work {
        bytes: sum.bytes + l.work.bytes,
        flops: sum.flops + l.work.flops,
        working_set: sum.working_set.max(l.work.working_set),
    })
}

/// A point, briefly.
pub(super) fn point(id: String, axes: Vec<(&'static str, f64)>, required: bool) -> Point {
    Point { id, axes, required }
}

/// An axis of a point as a whole number, 0 if it has no such axis.
pub(super) fn axis(point: &Point, name: &str) -> usize {
    let found = point.axes.iter().find(|(n, _)| *n == name);
    found.map_or(0, |(_, v)| *v as usize)
}

/// An option of a variant, 0 if it has no such option.
pub(super) fn option(variant: &Variant, name: &str) -> u32 {
    let found = variant.options.iter().find(|(n, _)| *n == name);
    found.map_or(0, |(_, v)| *v)
}

/// How the work-items of a kernel share its data; the value of the define `SHAPE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Neighbouring work-items read neighbouring elements: what GPUs want.
    Lanes = 0,
    /// Each work-item has a contiguous share of its own: what CPUs want.
    Items = 1,
}

impl Shape {
    pub fn label(self) -> &'static str {
        ["lanes", "items"][self as usize]
    }
}

/// Whether this is the CPU device, whose kernels have no work-groups.
pub(super) fn native(device: &DeviceInfo) -> bool {
    device.max_group <= 1
}

/// Compute units, or a middling number where the driver does not tell.
pub(super) fn units(device: &DeviceInfo) -> u32 {
    match device.compute_units {
        0 => 32,
        n => n.clamp(1, 256),
    }
}

/// Whether more than what a profile needs is asked for.
pub(super) fn thorough(scope: &Scope) -> bool {
    scope.effort > Effort::Quick
}

/// A kernel, briefly.
pub(super) fn kernel(
    name: &'static str,
    defines: &[(&'static str, u32)],
    group: [u32; 2],
    buffers: &str,
    numbers: usize,
) -> Kernel {
    Kernel {
        name,
        defines: defines.iter().map(|(n, v)| (*n, v.to_string())).collect(),
        group,
        buffers: buffers
            .chars()
            .map(|c| match c {
                'w' => Access::ReadWrite,
                _ => Access::Read,
            })
            .collect(),
        numbers,
        needs: vec![],
    }
}

/// A size for people: `64KiB`.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        b if b >= 1 << 30 && b % (1 << 30) == 0 => format!("{}GiB", b >> 30),
        b if b >= 1 << 20 && b % (1 << 20) == 0 => format!("{}MiB", b >> 20),
        b => format!("{}KiB", b >> 10),
    }
}

/// The numbers below `n` in random order.
pub(super) fn shuffled(n: u32, seed: u64) -> Vec<u32> {
    let mut all: Vec<u32> = (0..n).collect();
    for i in (1..all.len()).rev() {
        all.swap(
            i,
            (random(seed ^ 0x5u64, i as u64) % (i as u64 + 1)) as usize,
        );
    }
    all
}
