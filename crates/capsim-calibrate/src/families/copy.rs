//! Between host and device, both ways: uploads of inputs, downloads of sampled tokens; on unified memory what mapping costs.
//!
//! Bytes per pass: the size, once. FLOPs: none. Timed by the host's clock, from the call until the bytes are there.
use super::harness::{axis, point, size};
use crate::backend::{Backend, Slice, Work};
use crate::family::{
    Direction, Effort, Family, Point, Prepared, ProbeError, Scope, Transfer, Variant,
};
use capsim::device::CurveId;
use std::cell::RefCell;

/// Copies of one buffer.
pub(super) struct HostCopy;

const WAYS: [Direction; 2] = [Direction::ToDevice, Direction::ToHost];

/// Bytes that no compression shortens (Knuth's multiplicative hash of the place).
fn contents(bytes: usize, seed: u64) -> Vec<u8> {
    let word = |i: u32| (i ^ seed as u32).wrapping_mul(2_654_435_761).to_le_bytes();
    (0..bytes as u32 / 4).flat_map(word).collect()
}

fn allocate(device: &mut dyn Backend, bytes: usize) -> Result<Slice, ProbeError> {
    Ok(Slice {
        buffer: device.alloc(bytes as u64)?,
        offset: 0,
        len: bytes as u64,
    })
}

impl Family for HostCopy {
    fn name(&self) -> &'static str {
        "copy"
    }

    fn about(&self) -> &'static str {
        "Copies from host to device and back, small to large: inputs of a step, sampled tokens, swapped KV blocks"
    }

    fn feeds(&self) -> &'static [CurveId] {
        &[]
    }

    fn points(&self, scope: &Scope) -> Vec<Point> {
        let step = match scope.effort {
            Effort::Quick => return vec![],
            Effort::Standard => 4,
            Effort::Full => 2,
        };
        // The host holds the bytes a second time.
        let most = (scope.budget_bytes / 4).min(scope.device.max_buffer_bytes);
        let mut points = vec![];
        for shift in (12..=28).step_by(step) {
            for (way, name) in ["write", "read"].into_iter().enumerate() {
                if 1u64 << shift <= most {
                    let axes = vec![("bytes", f64::from(1u32 << shift)), ("way", way as f64)];
                    points.push(point(format!("{name}-{}", size(1 << shift)), axes, false));
                }
            }
        }
        points
    }

    fn variants(&self, _: &Scope, point: &Point) -> Vec<Variant> {
        vec![Variant {
            id: ["write", "read"][axis(point, "way") % 2].into(),
            kernels: vec![],
            options: vec![],
        }]
    }

    /// Bytes come back as they went, and not because nothing was done: other bytes went in between.
    fn check(
        &self,
        device: &mut dyn Backend,
        scope: &Scope,
        _: &Variant,
    ) -> Result<(), ProbeError> {
        let bytes = 68 << 10;
        let at = allocate(device, bytes)?;
        let mut compare = |seed: u64| {
            let sent = contents(bytes, seed);
            let mut got = vec![0xff; bytes];
            device.write(at, &sent)?;
            device.read(at, &mut got)?;
            match sent.iter().zip(&got).position(|(a, b)| a != b) {
                None => Ok(()),
                Some(i) => Err(ProbeError::Wrong(format!(
                    "byte {i} came back as {:#x}, {:#x} was sent",
                    got[i], sent[i]
                ))),
            }
        };
        let result = compare(!scope.seed).and_then(|()| compare(scope.seed));
        device.free(at.buffer);
        result
    }

    fn prepare(
        &self,
        device: &mut dyn Backend,
        scope: &Scope,
        point: &Point,
        _: &Variant,
    ) -> Result<Prepared, ProbeError> {
        let bytes = axis(point, "bytes");
        let slice = allocate(device, bytes)?;
        let data = contents(bytes, scope.seed);
        if let Err(e) = device.write(slice, &data) {
            device.free(slice.buffer);
            return Err(e.into());
        }
        Ok(Prepared {
            pass: vec![],
            work: Work {
                bytes: bytes as f64,
                flops: 0.0,
                working_set: bytes as f64,
            },
            buffers: vec![slice.buffer],
            transfer: Some(Transfer {
                direction: WAYS[axis(point, "way") % 2],
                slice,
                data: RefCell::new(data),
            }),
            companion: None,
        })
    }
}
