//! Moving bytes: the limit of everything that a decode step does.
use super::harness::*;
use crate::backend::{KernelId, Launch, Slice, Work};
use crate::family::{Effort, Point, ProbeError, Scope, Variant};

#[derive(Clone, Copy, PartialEq)]
enum Op {
    /// Reads the same bytes in every launch: what a cache of that size gives.
    Read,
    /// Reads pieces of that size of a ring that no cache holds.
    Cold,
    Write,
    Copy,
    /// Reads whole blocks of that size in shuffled order, as the experts of a mixture are read.
    Gather,
}

impl Op {
    const ALL: [Op; 5] = [Op::Read, Op::Cold, Op::Write, Op::Copy, Op::Gather];

    fn label(self) -> &'static str {
        ["read", "cold", "write", "copy", "gather"][self as usize]
    }

    fn of(point: &Point) -> Self {
        Self::ALL[axis(point, "op") % Self::ALL.len()]
    }
}

/// Reads of one working set alone (`stream_read`), or everything else (`stream`).
pub(super) struct Stream {
    pub read: bool,
}

fn sized(op: Op, bytes: u64, required: bool) -> Point {
    let axes = vec![("bytes", bytes as f64), ("op", f64::from(op as u8))];
    point(format!("{}-{}", op.label(), size(bytes)), axes, required)
}

impl Bench for Stream {
    fn name(&self) -> &'static str {
        if self.read { "stream_read" } else { "stream" }
    }

    fn about(&self) -> &'static str {
        "Reading, writing, copying and gathering: how fast weights and KV cache reach the compute units, from cache and from memory"
    }

    fn feeds(&self) -> &'static [CurveId] {
        if self.read {
            &[CurveId::StreamRead]
        } else {
            &[]
        }
    }

    fn points(&self, scope: &Scope) -> Vec<Point> {
        let most = scope.budget_bytes / 2;
        let dram = scope.ring_bytes.min(most) >> 20 << 20;
        let cached = match scope.device.cache_bytes {
            0 => 1 << 20,
            c => (c / 4).next_power_of_two().clamp(256 << 10, 16 << 20),
        };
        if self.read {
            let mut points = vec![sized(Op::Read, dram, true), sized(Op::Read, cached, true)];
            let step = if scope.effort == Effort::Full { 1 } else { 2 };
            for shift in (16..=31).step_by(step) {
                let bytes = 1u64 << shift;
                if thorough(scope) && bytes <= most && bytes != dram && bytes != cached {
                    points.push(sized(Op::Read, bytes, false));
                }
            }
            return points;
        }
        let mut points = vec![];
        if !thorough(scope) {
            return points;
        }
        for mib in [1, 4, 16, 64] {
            points.push(sized(Op::Cold, mib << 20, false));
        }
        for op in [Op::Write, Op::Copy] {
            for bytes in [4 << 20, dram / 2] {
                points.push(sized(op, bytes, false));
            }
        }
        // An expert of Qwen3-30B-A3B has 3 · 768 · 2048 weights: 9 MiB in bf16, 2.25 MiB in int4.
        for bytes in [9 << 20, 9 << 18] {
            points.push(sized(Op::Gather, bytes, false));
        }
        points
    }

    fn variants(&self, scope: &Scope, point: &Point) -> Vec<Variant> {
        let op = Op::of(point);
        let cu = units(scope.device);
        let mut choices = match (native(scope.device), scope.device.software) {
            (true, _) => vec![
                (Shape::Items, 1, 4 * cu),
                (Shape::Items, 1, 32 * cu),
                (Shape::Items, 1, cu),
            ],
            (_, true) => vec![
                (Shape::Items, 1, 8 * cu),
                (Shape::Lanes, 64, 8 * cu),
                (Shape::Items, 16, 4 * cu),
                (Shape::Lanes, 256, 32 * cu),
            ],
            _ => vec![
                (Shape::Lanes, 256, 16 * cu),
                (Shape::Lanes, 256, 64 * cu),
                (Shape::Lanes, 64, 32 * cu),
                (Shape::Items, 256, 16 * cu),
                (Shape::Lanes, 1024, 8 * cu),
                (Shape::Lanes, 128, 128 * cu),
            ],
        };
        choices.retain(|(_, group, _)| *group <= scope.device.max_group.max(1));
        choices.truncate(match scope.effort {
            Effort::Quick => 2,
            Effort::Standard => 4,
            Effort::Full => 6,
        });
        let (name, buffers, numbers) = match op {
            Op::Read | Op::Cold => ("stream_read", "rw", 1),
            Op::Write => ("stream_write", "w", 2),
            Op::Copy => ("stream_copy", "rw", 1),
            Op::Gather => ("stream_gather", "rrw", 2),
        };
        choices
            .into_iter()
            .map(|(shape, group, groups)| Variant {
                id: format!(
                    "{}-{}-{group}x{groups}",
                    name.trim_start_matches("stream_"),
                    shape.label()
                ),
                kernels: vec![kernel(
                    name,
                    &[("SHAPE", shape as u32)],
                    [group, 1],
                    buffers,
                    numbers,
                )],
                options: vec![("groups", groups), ("op", op as u32)],
            })
            .collect()
    }

    fn small(&self, variant: &Variant) -> Point {
        let op = Op::ALL[option(variant, "op") as usize];
        match op {
            // No multiple of any number of work-items.
            Op::Gather => sized(op, 16 * 331, false),
            _ => sized(op, 16 * 16411, false),
        }
    }

    fn build(
        &self,
        arena: &mut Arena,
        point: &Point,
        variant: &Variant,
    ) -> Result<Built, ProbeError> {
        let bytes = (axis(point, "bytes") / 16 * 16) as u64;
        let groups = option(variant, "groups");
        // A piece larger than a binding is read by several launches.
        let binding = largest_binding(arena.scope.device);
        let pieces = bytes.div_ceil(binding).max(1);
        let moves = Moves {
            kernel: arena.compile(&variant.kernels[0])?,
            groups,
            items: (groups * variant.kernels[0].group[0]) as usize,
            bytes,
            binding,
            pieces,
            piece: (bytes / pieces / 16).max(1) * 16,
        };
        match Op::of(point) {
            Op::Read => moves.read(arena, pieces as usize),
            Op::Cold => moves.read(arena, arena.slots(moves.piece)),
            Op::Write => moves.write(arena),
            Op::Copy => moves.copy(arena),
            Op::Gather => moves.gather(arena),
        }
    }
}

/// What moves, and by which launches.
struct Moves {
    kernel: KernelId,
    groups: u32,
    /// Work-items together.
    items: usize,
    /// Bytes of the working set, or of a block.
    bytes: u64,
    /// Bytes that one argument may cover.
    binding: u64,
    /// Launches that a working set takes, and bytes of each.
    pieces: u64,
    piece: u64,
}

impl Moves {
    /// A launch that moves so many bytes; repeated, launches cycle through `set` bytes.
    fn launch(&self, buffers: Vec<Slice>, numbers: Vec<u32>, moved: u64, set: u64) -> Launch {
        Launch {
            kernel: self.kernel,
            buffers,
            numbers,
            groups: [self.groups, 1, 1],
            work: Work {
                bytes: moved as f64,
                flops: 0.0,
                working_set: set as f64,
            },
        }
    }

    /// Reads every slot of a ring.
    fn read(&self, arena: &mut Arena, slots: usize) -> Result<Built, ProbeError> {
        let mut built = Built::default();
        let set = self.piece * slots as u64;
        let ring = arena.ring(self.piece as usize, Format::Int8, slots)?;
        let out = arena.output(self.items)?;
        for slot in &ring {
            let n = (self.piece / 16) as u32;
            let buffers = vec![slot.at, out];
            built
                .pass
                .push(self.launch(buffers, vec![n], self.piece, set));
        }
        if arena.keep {
            let expect = Expect::Sum(sum(ring[0].words.iter()));
            built.answers.push(Answer { at: out, expect });
        }
        Ok(built)
    }

    fn write(&self, arena: &mut Arena) -> Result<Built, ProbeError> {
        let mut built = Built::default();
        let words = self.piece as usize / 4;
        for i in 0..self.pieces {
            let out = arena.output(words)?;
            let seed = 0x1234_5678 + i as u32;
            let numbers = vec![(self.piece / 16) as u32, seed];
            let set = self.piece * self.pieces;
            built
                .pass
                .push(self.launch(vec![out], numbers, self.piece, set));
            if arena.keep {
                let words = (0..words as u32).map(|i| seed.wrapping_add(i));
                built.answers.push(Answer {
                    at: out,
                    expect: Expect::Words(words.collect()),
                });
            }
        }
        Ok(built)
    }

    fn copy(&self, arena: &mut Arena) -> Result<Built, ProbeError> {
        let mut built = Built::default();
        let ring = arena.ring(self.piece as usize, Format::Int8, self.pieces as usize)?;
        for slot in &ring {
            let out = arena.output(self.piece as usize / 4)?;
            let numbers = vec![(self.piece / 16) as u32];
            let buffers = vec![slot.at, out];
            let set = 2 * self.piece * self.pieces;
            built
                .pass
                .push(self.launch(buffers, numbers, 2 * self.piece, set));
            if arena.keep {
                built.answers.push(Answer {
                    at: out,
                    expect: Expect::Words(slot.words.clone()),
                });
            }
        }
        Ok(built)
    }

    /// Reads blocks in shuffled order.
    fn gather(&self, arena: &mut Arena) -> Result<Built, ProbeError> {
        let mut built = Built::default();
        let total = match arena.keep {
            true => 7 * self.bytes,
            false => arena.slots(self.bytes) as u64 * self.bytes,
        };
        let blocks = (self.binding.min(total) / self.bytes).max(1);
        let pieces = (total / self.bytes).div_ceil(blocks).max(1);
        let index = arena.upload(&shuffled(blocks as u32, arena.scope.seed))?;
        let ring = arena.ring(
            (self.bytes * blocks) as usize,
            Format::Int8,
            pieces as usize,
        )?;
        let out = arena.output(self.items)?;
        for slot in &ring {
            let numbers = vec![blocks as u32, (self.bytes / 16) as u32];
            let buffers = vec![slot.at, index, out];
            let moved = self.bytes * blocks;
            built
                .pass
                .push(self.launch(buffers, numbers, moved, moved * pieces));
        }
        if arena.keep {
            let expect = Expect::Sum(sum(ring[0].words.iter()));
            built.answers.push(Answer { at: out, expect });
        }
        Ok(built)
    }
}

fn sum<'a>(words: impl Iterator<Item = &'a u32>) -> u32 {
    words.fold(0u32, |a, b| a.wrapping_add(*b))
}
