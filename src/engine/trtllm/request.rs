//! A request that the executor has fetched, with its KV blocks.
use crate::engine::EngineConfig;
use crate::engine::content::BlockHashes;
use crate::engine::sequence::Sequence;
use crate::engine::vllm::kv::{BlockPool, BlockTable};

/// A request, with the blocks that it holds.
#[derive(Clone, Debug)]
pub(super) struct Active {
    pub sequence: Sequence,
    /// Empty until its first chunk.
    pub table: BlockTable,
    hashes: BlockHashes,
}

impl Active {
    pub fn new(sequence: Sequence) -> Self {
        Self {
            sequence,
            table: vec![],
            hashes: BlockHashes::default(),
        }
    }

    /// Whether it has computed anything (`is_started_request`).
    pub fn started(&self) -> bool {
        !self.table.is_empty()
    }

    fn hashes(&mut self, tokens: u32, block_size: u32) -> &[u64] {
        let full = tokens / block_size;
        let request = &self.sequence.request;
        self.hashes
            .extend(full, block_size, &request.prompt, &request.answer);
        &self.hashes.list()[..full as usize]
    }

    /// Full blocks of its beginning that the pool holds, at most all but its last token, and how many of them others use now; and the
    /// content of the first block that it does not hold (`analyze_prefix_reuse`).
    pub fn prefix(&mut self, pool: &BlockPool, config: &EngineConfig) -> Prefix {
        let mut found = Prefix::default();
        if !config.enable_prefix_caching {
            return found;
        }
        let tokens = self.sequence.known().saturating_sub(1);
        for &hash in self.hashes(tokens, config.block_size) {
            let Some(id) = pool.lookup(hash) else {
                found.first_new = Some(hash);
                break;
            };
            found.hits += 1;
            found.in_use += u32::from(!pool.is_free(id));
        }
        found
    }

    /// Takes the blocks of its prompt, and of what it had answered when it was paused; how many of them are computed already.
    pub fn take_prompt_blocks(&mut self, pool: &mut BlockPool, config: &EngineConfig) -> u32 {
        let hits = self.prefix(pool, config).hits;
        let hashes = self.hashes(hits * config.block_size, config.block_size);
        let found: BlockTable = hashes.iter().filter_map(|h| pool.lookup(*h)).collect();
        found.iter().for_each(|id| pool.touch(*id));
        self.table = found;
        self.grow(pool, self.sequence.known(), config.block_size);
        hits
    }

    /// Takes blocks for so many tokens; whether there were enough.
    pub fn grow(&mut self, pool: &mut BlockPool, tokens: u32, block_size: u32) -> bool {
        while (self.table.len() as u32) < tokens.div_ceil(block_size) {
            if pool.free() == 0 {
                return false;
            }
            self.table.push(pool.pop());
        }
        true
    }

    /// Blocks that it takes in all, as far as its answer may reach: never more than there are, for a server takes no request that
    /// does not fit (`get_remaining_blocks_to_completion`).
    fn whole(&self, config: &EngineConfig) -> u32 {
        let beyond = config.speculation.as_ref().map_or(0, |s| s.most_slots());
        let tokens = self.sequence.known() + self.sequence.room(config.max_model_len) + beyond;
        let blocks = tokens.div_ceil(config.block_size);
        blocks.min(config.num_gpu_blocks - 1)
    }

    /// Blocks that it may still need; `in_use` of its prompt are there and used by others.
    pub fn to_completion(&self, in_use: u32, config: &EngineConfig) -> u32 {
        let there = self.table.len() as u32 + in_use;
        self.whole(config).saturating_sub(there)
    }

    /// Blocks that it needs for the next step (`get_needed_blocks_one_step`): all of its prompt, or what `tokens` more fill.
    pub fn for_one_step(&self, in_use: u32, tokens: u32, block_size: u32) -> u32 {
        let upto = match self.started() {
            true => self.sequence.computed + tokens,
            false => self.sequence.known(),
        };
        let there = self.table.len() as u32 + in_use;
        upto.div_ceil(block_size).saturating_sub(there)
    }

    /// Offers its full blocks to others. Content that another block holds is not offered twice.
    pub fn offer(&mut self, pool: &mut BlockPool, config: &EngineConfig) {
        if !config.enable_prefix_caching {
            return;
        }
        let tokens = self.sequence.computed;
        let ids = self.table.clone();
        for (&hash, id) in self.hashes(tokens, config.block_size).iter().zip(ids) {
            if pool.lookup(hash).is_none() {
                pool.register(id, hash);
            }
        }
    }

    /// Blocks that it alone uses.
    pub fn alone(&self, pool: &BlockPool) -> u32 {
        let alone = self.table.iter().filter(|id| pool.users(**id) == 1);
        alone.count() as u32
    }

    /// Gives its blocks back, after offering them; what it computed is forgotten.
    pub fn release(&mut self, pool: &mut BlockPool, config: &EngineConfig) {
        self.offer(pool, config);
        pool.release(&self.table);
        self.table.clear();
        self.sequence.computed = 0;
        self.sequence.shared = 0;
    }
}

/// What the pool holds of a request's beginning.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Prefix {
    /// Full blocks.
    pub hits: u32,
    /// Those of them that requests use now.
    pub in_use: u32,
    /// Content of the first full block that is not there.
    pub first_new: Option<u64>,
}
