//! A buffer of the CPU device.
use crate::backend::{BackendError, Slice};

/// Words of a cache line: kernels read whole lines, so buffers begin at one.
const LINE: usize = 16;

pub(super) struct Memory {
    words: Vec<u32>,
    begin: usize,
    len: usize,
}

impl Memory {
    /// A buffer with every page touched. All bits are set: a NaN in every format, so that a word that was never written is seen.
    pub fn new(bytes: u64) -> Result<Self, BackendError> {
        let refuse = |reason: String| BackendError::Memory { bytes, reason };
        let len = usize::try_from(bytes.div_ceil(4)).map_err(|e| refuse(e.to_string()))?;
        let mut words: Vec<u32> = vec![];
        words
            .try_reserve_exact(len + LINE)
            .map_err(|e| refuse(e.to_string()))?;
        words.resize(len + LINE, u32::MAX);
        let begin = words.as_ptr().align_offset(LINE * 4);
        let begin = if begin < LINE { begin } else { 0 };
        Ok(Self { words, begin, len })
    }

    pub fn bytes(&self) -> u64 {
        self.len as u64 * 4
    }

    pub fn words(&self, slice: Slice) -> &[u32] {
        let (from, to) = self.range(slice);
        &self.words[from..to]
    }

    pub fn words_mut(&mut self, slice: Slice) -> &mut [u32] {
        let (from, to) = self.range(slice);
        &mut self.words[from..to]
    }

    pub fn bytes_mut(&mut self, slice: Slice) -> &mut [u8] {
        let whole = &mut self.words[self.begin..self.begin + self.len];
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(whole);
        &mut bytes[slice.offset as usize..(slice.offset + slice.len) as usize]
    }

    fn range(&self, slice: Slice) -> (usize, usize) {
        let from = self.begin + slice.offset as usize / 4;
        (from, from + (slice.len as usize).div_ceil(4))
    }
}
