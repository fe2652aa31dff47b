//! A launch as a native kernel sees it.
use crate::backend::Kernel;
use rayon::prelude::*;

/// A native kernel.
pub(super) type Function = fn(Call);

/// Arguments of one launch. Buffers come apart by access, each kind in the kernel's order.
pub(super) struct Call<'a> {
    pub arch: pulp::Arch,
    pub kernel: &'a Kernel,
    pub numbers: &'a [u32],
    pub groups: [u32; 3],
    pub reads: Vec<&'a [u32]>,
    pub writes: Vec<&'a mut [u32]>,
}

impl<'a> Call<'a> {
    /// A compile-time constant.
    pub fn define(&self, name: &str) -> usize {
        let found = self.kernel.defines.iter().find(|(n, _)| *n == name);
        found.and_then(|(_, v)| v.parse().ok()).unwrap_or(0)
    }

    /// A run-time argument.
    pub fn number(&self, i: usize) -> usize {
        self.numbers[i] as usize
    }

    /// A read-only buffer as floats.
    pub fn floats(&self, i: usize) -> &'a [f32] {
        bytemuck::cast_slice(self.reads[i])
    }

    /// Work-items of the whole launch.
    pub fn items(&self) -> usize {
        let group = self.kernel.group[0] * self.kernel.group[1];
        self.groups.iter().product::<u32>() as usize * group as usize
    }

    /// Splits the first `len` words of written buffer `i` into rows of `width` words and runs `row` on each, on all threads.
    pub fn rows<T: bytemuck::AnyBitPattern + bytemuck::NoUninit + Send>(
        &mut self,
        i: usize,
        len: usize,
        width: usize,
        row: impl Fn(usize, &mut [T]) + Sync,
    ) {
        let arch = self.arch;
        let out: &mut [T] = bytemuck::cast_slice_mut(&mut self.writes[i][..len]);
        out.par_chunks_mut(width.max(1))
            .enumerate()
            .for_each(|(r, out)| arch.dispatch(|| row(r, out)));
    }
}
