//! TensorRT-LLM's scheduler, the PyTorch backend's (`tensorrt_llm/_torch/pyexecutor/scheduler/scheduler.py`@002f3cc).
//!
//! A step is composed in two stages: the [capacity stage](super::capacity) says which requests may hold KV blocks, the
//! [batch stage](super::batch) which of them take part under the token budget. Where it differs from vLLM:
//!
//! - a request waits until there are blocks for all that it may ever need (`GUARANTEED_NO_EVICT`, the default), so that none is ever
//!   preempted; under `MAX_UTILIZATION` until there are blocks for its prompt, and the last ones that began are paused when blocks run out;
//! - a prompt gets all of its blocks with its first chunk; without chunked context it is computed whole, and one longer than
//!   `max_num_tokens` is refused;
//! - a prompt that shares its next block with one that is being computed waits for it, so that it may use it;
//! - blocks are offered to others once a prompt is complete and again when a request ends, not as they fill up.
//!
//! One batch at a time is decided from what the last one brought; that the overlap scheduler hides the host behind the device is
//! part of a step's price, as for SGLang.
use super::batch::{self, Candidate};
use super::capacity;
use super::request::Active;
use crate::engine::accept::SubmitError;
use crate::engine::observe::RequestRecord;
use crate::engine::sequence::{Part, Sequence, StepState};
use crate::engine::speculation::SpeculationCounters;
use crate::engine::vllm::kv::BlockPool;
use crate::engine::{
    ConfigError, EngineConfig, EngineState, Output, PrefixCounters, Step, Tracking,
};
use crate::units::SimTime;
use crate::workload::{Request, RequestId};
use std::collections::VecDeque;

/// TensorRT-LLM's scheduler with its KV blocks.
#[derive(Clone, Debug)]
pub struct Scheduler {
    step: StepState,
    pool: BlockPool,
    /// Not yet fetched: `max_batch_size` requests are active at most (`py_executor.py: _fetch_new_requests`).
    waiting: VecDeque<Sequence>,
    /// In order of arrival, whether they hold blocks or not.
    active: Vec<Active>,
}

impl Scheduler {
    /// A scheduler with nothing to do.
    ///
    /// # Errors
    /// As [`EngineConfig::validate`].
    pub fn new(config: EngineConfig, tracking: Tracking) -> Result<Self, ConfigError> {
        let pool = BlockPool::new(config.num_gpu_blocks, true);
        Ok(Self {
            step: StepState::new(config, tracking)?,
            pool,
            waiting: VecDeque::new(),
            active: vec![],
        })
    }

    fn fetch(&mut self) {
        while self.active.len() < self.step.config.max_num_seqs as usize {
            let Some(r) = self.waiting.pop_front() else {
                return;
            };
            self.active.push(Active::new(r));
        }
    }

    /// Takes the blocks of a paused request; it is computed again from its beginning (`py_executor.py: _pause_requests`).
    fn pause(&mut self, at: usize) {
        let r = &mut self.active[at];
        r.release(&mut self.pool, &self.step.config);
        r.sequence.preemptions += 1;
        self.step.preempted.push(r.sequence.request.id);
    }

    /// Gives a prompt that begins its blocks: those that hold its beginning, and new ones for the rest.
    fn begin(&mut self, at: usize) {
        let config = &self.step.config;
        let r = &mut self.active[at];
        let hits = r.take_prompt_blocks(&mut self.pool, config);
        let hits = hits * config.block_size;
        self.step.looked_up(&mut r.sequence, hits);
        r.sequence.shared = hits;
        r.sequence.computed = hits;
        let id = r.sequence.request.id;
        match r.sequence.preemptions {
            0 => self.step.admitted.push(id),
            _ => self.step.resumed.push(id),
        }
    }

    /// What a fitting request would add to a batch.
    fn candidate(&self, at: usize, hits: u32) -> Candidate {
        let r = &self.active[at];
        let context = !r.sequence.decodes();
        let tokens = match r.table.is_empty() {
            true => r.sequence.known() - hits * self.step.config.block_size,
            false => r.sequence.left(),
        };
        Candidate {
            at,
            context,
            tokens,
            drafts: self.step.drafts(&r.sequence),
        }
    }

    fn batch(&mut self, chosen: &[Candidate], now: SimTime) {
        let mut parts = self.step.begin();
        for c in chosen {
            if self.active[c.at].table.is_empty() {
                self.begin(c.at);
            }
            let r = &mut self.active[c.at];
            // Blocks that were counted as hits may be gone: a request before this one got them.
            let whole = self.step.config.whole_prompts && c.context;
            let tokens = match whole {
                true => r.sequence.left(),
                false => c.tokens.min(r.sequence.left()),
            };
            let upto = r.sequence.computed + tokens + c.drafts;
            if !r.grow(&mut self.pool, upto, self.step.config.block_size) {
                continue;
            }
            let with = (tokens, c.drafts);
            self.step
                .join_with(&mut parts, c.at, &mut r.sequence, with, now);
        }
        self.step.batch = (!parts.is_empty()).then_some(parts);
    }

    /// Ends a request: what it computed stays for others.
    fn end(&mut self, at: usize) -> Sequence {
        let mut r = self.active.remove(at);
        r.release(&mut self.pool, &self.step.config);
        r.sequence
    }

    /// Takes a request out of the batch in flight, and closes the gap that it leaves in the list.
    fn leave(parts: &mut Vec<Part>, at: usize) {
        parts.retain(|p| p.at != at);
        for p in parts.iter_mut().filter(|p| p.at > at) {
            p.at -= 1;
        }
    }
}

impl crate::engine::Scheduler for Scheduler {
    fn config(&self) -> &EngineConfig {
        &self.step.config
    }

    fn submit(&mut self, request: Request) -> Result<(), SubmitError> {
        let request = self.step.accept(request)?;
        self.waiting.push_back(request);
        Ok(())
    }

    fn abort(&mut self, id: RequestId) -> Option<RequestRecord> {
        if let Some(i) = self.waiting.iter().position(|r| r.request.id == id) {
            return self.waiting.remove(i).map(|r| r.aborted());
        }
        let is = |r: &Active| r.sequence.request.id == id;
        let at = self.active.iter().position(is)?;
        if let Some(parts) = &mut self.step.batch {
            Self::leave(parts, at);
        }
        let record = self.active[at].sequence.aborted();
        self.end(at);
        Some(record)
    }

    fn reset_prefix_cache(&mut self) -> bool {
        self.pool.forget()
    }

    fn cache_granularity(&self) -> u32 {
        self.step.config.block_size
    }

    fn schedule(&mut self, now: SimTime) -> Step<'_> {
        self.step.clear_moves();
        self.fetch();
        let plan = capacity::plan(&mut self.active, &self.pool, &self.step);
        for &at in &plan.paused {
            self.pause(at);
        }
        let all: Vec<Candidate> = plan
            .fitting
            .iter()
            .map(|f| self.candidate(f.at, f.hits))
            .collect();
        let chosen = batch::choose(&all, &self.step.config);
        self.batch(&chosen, now);
        self.step.step()
    }

    fn complete(&mut self, now: SimTime) -> Option<Output<'_>> {
        let parts = self.step.landed()?;
        let mut ended = vec![];
        for part in parts {
            let r = &mut self.active[part.at];
            let context = !r.sequence.decodes();
            if self.step.deliver(&mut r.sequence, part, now) {
                ended.push(part.at);
            } else if context && part.sampled {
                r.offer(&mut self.pool, &self.step.config);
            }
        }
        ended.sort_unstable();
        for at in ended.into_iter().rev() {
            self.end(at);
        }
        Some(self.step.output())
    }

    fn has_work(&self) -> bool {
        !self.waiting.is_empty() || !self.active.is_empty()
    }

    fn state(&self) -> EngineState {
        let running = self.active.iter().filter(|r| !r.table.is_empty()).count();
        EngineState {
            running: running as u32,
            waiting: (self.waiting.len() + self.active.len() - running) as u32,
            free_blocks: self.pool.free(),
        }
    }

    fn prefix_counters(&self) -> PrefixCounters {
        self.step.counters
    }

    fn speculation_counters(&self) -> SpeculationCounters {
        self.step.speculated
    }
}
