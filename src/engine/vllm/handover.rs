//! KV that goes to another engine, or comes from one, as vLLM's connectors have it.
//!
//! The engine that decodes allocates the blocks of a prompt before they are sent (`WAITING_FOR_REMOTE_KVS`), computes the last prompt token
//! itself to sample from it, and recomputes what it preempts; the engine that prefilled keeps the blocks until they were read
//! (vLLM 0.12.0, `v1/core/sched/scheduler.py: _update_waiting_for_remote_kv`, `distributed/kv_transfer/kv_connector/v1/nixl_connector.py:
//! get_num_new_matched_tokens, request_finished`).
use super::scheduler::Scheduler;
use crate::engine::accept::{SubmitError, servable};
use crate::engine::{Computed, Handover, PromptHashes};
use crate::units::SimTime;
use crate::workload::Request;

impl Handover for Scheduler {
    fn withhold(&mut self, blocks: u32) {
        self.withheld += blocks;
    }

    fn restore(&mut self, blocks: u32) {
        self.withheld -= blocks;
    }

    fn submit_computed(
        &mut self,
        request: Request,
        computed: Computed,
        now: SimTime,
    ) -> Result<(), SubmitError> {
        servable(&self.config, &request)?;
        let slot = self.state_of(request);
        let s = &mut self.states[slot as usize];
        s.withheld = computed.blocks;
        if computed.first {
            s.num_tokens += 1;
            s.first_token = Some(now);
            s.last_token = now;
        }
        // The last known token is always computed here.
        s.transferred = computed.tokens.min(s.num_tokens - 1);
        self.waiting.push_arrived(slot);
        Ok(())
    }

    fn others_wait(&self) -> bool {
        self.waiting.others() > 0
    }

    fn cached(&mut self, request: &Request, hashes: &mut PromptHashes) -> u32 {
        if !self.config.enable_prefix_caching {
            return 0;
        }
        let bs = self.config.block_size;
        let hashes = hashes.of(bs);
        let most = (request.prompt.len().max(1) - 1) / bs;
        let known = |k: &u32| {
            hashes.extend(k + 1, bs, &request.prompt, &request.answer);
            self.pool.lookup(hashes.list()[*k as usize]).is_some()
        };
        (0..most).take_while(known).count() as u32 * bs
    }
}
