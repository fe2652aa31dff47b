//! TensorRT-LLM: its scheduler against a slow twin that keeps every token, and laws.
use capsim::cost::Routing;
use capsim::device::builtin;
use capsim::engine::settings::*;
use capsim::engine::trtllm::Scheduler as Trtllm;
use capsim::engine::{CapacityPolicy, EngineConfig, Scheduler, SubmitError, Tracking, command};
use capsim::model::{Model, Precision, builtin as models};
use capsim::predict::{Run, Scenario, simulate_once};
use capsim::units::{SimTime, Span};
use capsim::workload::{Answer, Prompt, Request, RequestId, Segment, StreamId, WorkloadSpec};
use proptest::prelude::*;

type Token = (u64, u32);

/// A block: the tokens up to its end, where others may use it, and who uses it.
#[derive(Clone, Default)]
struct Block {
    content: Option<Vec<Token>>,
    users: Vec<u64>,
}

struct Req {
    id: u64,
    prompt: usize,
    tokens: Vec<Token>,
    answer: u64,
    want: usize,
    computed: usize,
    table: Vec<usize>,
}

impl Req {
    fn outputs(&self) -> usize {
        self.tokens.len() - self.prompt
    }
    fn decodes(&self) -> bool {
        self.outputs() > 0 && self.computed + 1 == self.tokens.len()
    }
}

/// The slow twin, written from the rules: no counts kept, everything looked for again in every step.
struct Twin {
    c: EngineConfig,
    blocks: Vec<Block>,
    /// Free blocks, next victim first.
    free: Vec<usize>,
    waiting: Vec<Req>,
    active: Vec<Req>,
    batch: Vec<(u64, usize)>,
}

/// What a step decided: requests with their tokens, and who was paused.
type Decided = (Vec<(u64, usize)>, Vec<u64>);

impl Twin {
    fn new(c: EngineConfig) -> Self {
        Self {
            blocks: vec![Block::default(); c.num_gpu_blocks as usize],
            free: (1..c.num_gpu_blocks as usize).collect(),
            c,
            waiting: vec![],
            active: vec![],
            batch: vec![],
        }
    }
    fn size(&self) -> usize {
        self.c.block_size as usize
    }
    fn holding(&self, tokens: &[Token]) -> Option<usize> {
        (0..self.blocks.len()).find(|&b| self.blocks[b].content.as_deref() == Some(tokens))
    }
    /// Blocks of the beginning that are there, and the content of the next one.
    fn prefix(&self, r: &Req) -> (Vec<usize>, Option<Vec<Token>>) {
        let mut found = vec![];
        if !self.c.enable_prefix_caching {
            return (found, None);
        }
        for end in (self.size()..r.tokens.len()).step_by(self.size()) {
            match self.holding(&r.tokens[..end]) {
                Some(b) => found.push(b),
                None => return (found, Some(r.tokens[..end].to_vec())),
            }
        }
        (found, None)
    }
    fn whole(&self, r: &Req) -> usize {
        let most = (self.c.max_model_len as usize).saturating_sub(r.prompt);
        let end = r.prompt + r.want.min(most);
        end.div_ceil(self.size()).min(self.blocks.len() - 1)
    }
    fn in_use(&self, blocks: &[usize]) -> usize {
        blocks
            .iter()
            .filter(|b| !self.blocks[**b].users.is_empty())
            .count()
    }
    fn offer(&mut self, at: usize) {
        let (size, r) = (self.size(), &self.active[at]);
        if !self.c.enable_prefix_caching {
            return;
        }
        let all: Vec<(usize, Vec<Token>)> = (1..=r.computed / size)
            .map(|n| (r.table[n - 1], r.tokens[..n * size].to_vec()))
            .collect();
        for (block, tokens) in all {
            if self.holding(&tokens).is_none() {
                self.blocks[block].content = Some(tokens);
            }
        }
    }
    fn release(&mut self, at: usize) {
        self.offer(at);
        let r = &mut self.active[at];
        r.computed = 0;
        let (id, table) = (r.id, std::mem::take(&mut r.table));
        // Tails first; what holds nothing for others goes before everything else.
        let mut first = vec![];
        for b in table.into_iter().rev() {
            self.blocks[b].users.retain(|u| *u != id);
            if self.blocks[b].users.is_empty() {
                match self.blocks[b].content {
                    Some(_) => self.free.push(b),
                    None => first.push(b),
                }
            }
        }
        first.append(&mut self.free);
        self.free = first;
    }
    fn coming(&self) -> Vec<Vec<Token>> {
        let begun = |r: &&Req| !r.table.is_empty() && !r.decodes();
        let all = self.active.iter().filter(begun);
        all.filter_map(|r| self.prefix(r).1).collect()
    }
    /// Requests that fit, with the blocks found of those that begin, and those that are paused.
    fn capacity(&self) -> (Vec<(usize, usize)>, Vec<usize>) {
        let mut coming = self.coming();
        let mut skip = |r: &Req| {
            let next = self.prefix(r).1.filter(|_| r.table.is_empty());
            let wait = next.as_ref().is_some_and(|n| coming.contains(n));
            coming.extend(next.filter(|_| !wait));
            wait
        };
        let (mut fits, mut paused) = (vec![], vec![]);
        let mut left = self.free.len() as i64;
        if self.c.capacity_policy == CapacityPolicy::GuaranteedNoEvict {
            let decodes = |i: &usize| self.active[*i].decodes();
            for i in (0..self.active.len()).filter(decodes) {
                let r = &self.active[i];
                left -= self.whole(r).saturating_sub(r.table.len()) as i64;
                fits.push((i, 0));
            }
            for i in (0..self.active.len()).filter(|i| !decodes(i)) {
                let r = &self.active[i];
                if skip(r) {
                    continue;
                }
                let hits = match r.table.is_empty() {
                    true => self.prefix(r).0,
                    false => vec![],
                };
                let there = r.table.len() + self.in_use(&hits);
                let need = self.whole(r).saturating_sub(there) as i64;
                if need > left {
                    break;
                }
                left -= need;
                fits.push((i, hits.len()));
            }
            return (fits, paused);
        }
        let (mut i, mut end) = (0, self.active.len());
        while i < end {
            let r = &self.active[i];
            if skip(r) {
                i += 1;
                continue;
            }
            let begins = r.table.is_empty();
            let hits = if begins { self.prefix(r).0 } else { vec![] };
            let upto = match (begins, r.decodes()) {
                (true, _) => r.tokens.len(),
                (false, true) => r.computed + 1,
                (false, false) => r.computed,
            };
            let there = r.table.len() + self.in_use(&hits);
            let need = upto.div_ceil(self.size()).saturating_sub(there) as i64;
            if need <= left {
                left -= need;
                fits.push((i, hits.len()));
                i += 1;
            } else if let Some(last) = (i..end).rev().find(|&j| !self.active[j].table.is_empty()) {
                let alone = |b: &&usize| self.blocks[**b].users.len() == 1;
                left += self.active[last].table.iter().filter(alone).count() as i64;
                paused.push(last);
                end = last;
            } else {
                break;
            }
        }
        (fits, paused)
    }
    /// The batch stage: places and tokens, prompts first.
    fn choose(&self, fits: &[(usize, usize)]) -> Vec<(usize, usize)> {
        let most = self.c.max_num_batched_tokens as usize;
        let (mut prompts, mut decodes, mut used) = (vec![], vec![], 0);
        for &(i, hits) in fits {
            let r = &self.active[i];
            let begins = r.table.is_empty();
            let done = if begins {
                hits * self.size()
            } else {
                r.computed
            };
            let tokens = r.tokens.len() - done;
            if r.decodes() || self.c.whole_prompts {
                if used > 0 && used + tokens > most {
                    break;
                }
                used += tokens;
            }
            if r.decodes() {
                decodes.push((i, tokens));
            } else {
                prompts.push((i, tokens));
            }
            if prompts.len() + decodes.len() >= self.c.max_num_seqs as usize {
                break;
            }
        }
        if !self.c.whole_prompts {
            let mut left = most - used;
            for p in &mut prompts {
                if p.1 > left {
                    p.1 = left - left % self.size();
                }
                left -= p.1;
            }
            prompts.retain(|p| p.1 > 0);
        }
        prompts.append(&mut decodes);
        prompts
    }
    fn schedule(&mut self) -> Decided {
        while self.active.len() < self.c.max_num_seqs as usize && !self.waiting.is_empty() {
            let r = self.waiting.remove(0);
            self.active.push(r);
        }
        let (fits, paused) = self.capacity();
        let names = paused.iter().map(|i| self.active[*i].id).collect();
        paused.into_iter().for_each(|i| self.release(i));
        let chosen = self.choose(&fits);
        self.batch.clear();
        for (i, tokens) in chosen {
            if self.active[i].table.is_empty() {
                let (hits, _) = self.prefix(&self.active[i]);
                self.free.retain(|b| !hits.contains(b));
                let id = self.active[i].id;
                hits.iter().for_each(|b| self.blocks[*b].users.push(id));
                self.active[i].computed = hits.len() * self.size();
                self.active[i].table = hits;
                self.grow(i, self.active[i].tokens.len());
            }
            let r = &self.active[i];
            let left = r.tokens.len() - r.computed;
            let tokens = match self.c.whole_prompts && !r.decodes() {
                true => left,
                false => tokens.min(left),
            };
            let upto = r.computed + tokens;
            self.grow(i, upto);
            self.batch.push((self.active[i].id, tokens));
        }
        (self.batch.clone(), names)
    }
    fn grow(&mut self, i: usize, tokens: usize) {
        while self.active[i].table.len() < tokens.div_ceil(self.size()) {
            let b = self.free.remove(0);
            self.blocks[b] = Block {
                content: None,
                users: vec![self.active[i].id],
            };
            self.active[i].table.push(b);
        }
    }
    /// Requests that ended.
    fn complete(&mut self) -> Vec<u64> {
        let mut ended = vec![];
        for (id, tokens) in std::mem::take(&mut self.batch) {
            let i = self.active.iter().position(|r| r.id == id).unwrap();
            let r = &mut self.active[i];
            let prompt = !r.decodes();
            r.computed += tokens;
            if r.computed < r.tokens.len() {
                continue;
            }
            r.tokens.push((r.answer, r.outputs() as u32));
            let most = (self.c.max_model_len as usize).saturating_sub(r.prompt);
            if r.outputs() >= r.want.min(most) {
                ended.push(id);
            } else if prompt {
                self.offer(i);
            }
        }
        // The last in the list gives its blocks back first.
        for i in (0..self.active.len()).rev() {
            if ended.contains(&self.active[i].id) {
                self.release(i);
                self.active.remove(i);
            }
        }
        ended
    }
}

fn request(id: u64, shared: u32, own: u32, output: u32) -> Request {
    let part = |stream, len| Segment {
        stream: StreamId(stream),
        start: 0,
        len,
    };
    let all = [part(1, shared), part(100 + 2 * id, own)];
    Request {
        id: RequestId(id),
        arrival: SimTime::ZERO,
        prompt: Prompt::new(all.into_iter().filter(|s| s.len > 0)),
        max_tokens: output,
        answer: Answer {
            stream: StreamId(101 + 2 * id),
            stop_at: None,
        },
        priority: 0,
    }
}

fn twins(r: &Request) -> Req {
    let of = |s: &Segment| {
        (s.start..s.start + s.len)
            .map(|p| (s.stream.0, p))
            .collect()
    };
    let tokens: Vec<Vec<Token>> = r.prompt.segments().iter().map(of).collect();
    Req {
        id: r.id.0,
        prompt: r.prompt.len() as usize,
        tokens: tokens.concat(),
        answer: r.answer.stream.0,
        want: r.max_tokens as usize,
        computed: 0,
        table: vec![],
    }
}

fn config(seqs: u32, tokens: u32, blocks: u32, policy: CapacityPolicy) -> EngineConfig {
    EngineConfig {
        block_size: 4,
        num_gpu_blocks: blocks + 1,
        max_num_seqs: seqs,
        max_num_batched_tokens: tokens,
        max_model_len: 4096,
        capacity_policy: policy,
        ..EngineConfig::default()
    }
}

/// Runs both, comparing every step; arrivals by step. Returns the pauses and the steps.
fn compare(c: &EngineConfig, load: &[(u32, Request)]) -> Result<(usize, u32), TestCaseError> {
    let mut real = Trtllm::new(c.clone(), Tracking::default()).unwrap();
    let mut twin = Twin::new(c.clone());
    let (mut pauses, mut answered) = (0, 0);
    for step in 0..5000u32 {
        let now = SimTime::ZERO + Span::from_millis(u64::from(step));
        for (_, r) in load.iter().filter(|(at, _)| *at == step) {
            real.submit(r.clone()).unwrap();
            twin.waiting.push(twins(r));
        }
        let decided = real.schedule(now);
        let paused: Vec<u64> = decided.preempted.iter().map(|r| r.0).collect();
        let shape = decided.shape.copied();
        let (batch, twin_paused) = twin.schedule();
        prop_assert_eq!(&paused, &twin_paused, "step {}", step);
        pauses += paused.len();
        let decodes = |b: &&(u64, usize)| twin.active.iter().any(|r| r.id == b.0 && r.decodes());
        let seqs = shape.map_or((0, 0, 0), |s| {
            (s.prefill_seqs, s.prefill_tokens, s.decode_seqs)
        });
        let prompts: Vec<_> = batch.iter().filter(|b| !decodes(b)).collect();
        let theirs = (
            prompts.len() as u32,
            prompts.iter().map(|b| b.1 as u32).sum(),
            batch.iter().filter(decodes).count() as u32,
        );
        prop_assert_eq!(seqs, theirs, "step {}", step);
        prop_assert!(seqs.1 + seqs.2 <= c.max_num_batched_tokens.max(c.max_model_len));
        let later = load.iter().any(|(at, _)| *at > step);
        prop_assert!(shape.is_some() || later || !real.has_work(), "stuck");
        if shape.is_some() {
            let output = real.complete(now).unwrap();
            let ended: Vec<u64> = output.finished.iter().map(|r| r.id.0).collect();
            prop_assert_eq!(&ended, &twin.complete(), "step {}", step);
            answered += ended.len();
        }
        prop_assert_eq!(real.state().free_blocks as usize, twin.free.len());
        if answered == load.len() {
            return Ok((pauses, step));
        }
    }
    Err(TestCaseError::fail("not all were answered"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: Some(Box::new(proptest::test_runner::FileFailurePersistence::WithSource("proptest-regressions"))), ..ProptestConfig::default() })]

    #[test]
    fn every_step_is_the_slow_twins(
        seqs in 1u32..6,
        tokens in 70u32..120,
        blocks in 25u32..60,
        caching: bool,
        whole: bool,
        evicts: bool,
        load in prop::collection::vec((0u32..40, 0u32..20, 1u32..45, 1u32..35), 1..20),
    ) {
        let policy = [CapacityPolicy::GuaranteedNoEvict, CapacityPolicy::MaxUtilization][usize::from(evicts)];
        let c = EngineConfig {
            enable_prefix_caching: caching,
            whole_prompts: whole,
            max_num_batched_tokens: if whole { tokens } else { tokens / 4 },
            ..config(seqs, tokens, blocks, policy)
        };
        let load: Vec<(u32, Request)> = load.iter().enumerate()
            .map(|(i, &(at, shared, own, out))| (at, request(i as u64, shared, own, out)))
            .collect();
        let (pauses, _) = compare(&c, &load)?;
        prop_assert!(evicts || pauses == 0, "guaranteed no evict");
    }
}

/// By hand: blocks for one whole answer of two. Without eviction the second waits; with most use both begin, and the later is paused.
#[test]
fn what_a_request_needs_to_begin_is_the_policys() {
    let load = [(0, request(0, 0, 8, 24)), (0, request(1, 0, 8, 24))];
    let of = |policy| compare(&config(4, 64, 10, policy), &load).unwrap();
    let (none, slow) = of(CapacityPolicy::GuaranteedNoEvict);
    let (some, fast) = of(CapacityPolicy::MaxUtilization);
    assert_eq!(none, 0);
    assert!(some > 0);
    // One after the other: 24 steps each.
    assert_eq!(slow, 47);
    assert!(fast < slow);
}

/// A prompt that begins like one that is being computed waits for it, and then computes its own end only.
#[test]
fn a_prompt_waits_for_the_one_that_it_begins_like() {
    let mut real = Trtllm::new(
        config(4, 64, 60, CapacityPolicy::default()),
        Tracking::default(),
    )
    .unwrap();
    real.submit(request(0, 20, 5, 4)).unwrap();
    real.submit(request(1, 20, 5, 4)).unwrap();
    let at = SimTime::ZERO;
    assert_eq!(real.schedule(at).shape.unwrap().prefill_tokens, 25);
    real.complete(at);
    let shape = *real.schedule(at).shape.unwrap();
    assert_eq!((shape.prefill_tokens, shape.decode_seqs), (5, 1));
    assert_eq!(real.prefix_counters().hits, 20);
}

#[test]
fn a_prompt_beyond_a_step_is_refused_unless_it_is_computed_in_chunks() {
    let c = config(4, 64, 200, CapacityPolicy::default());
    let whole = EngineConfig {
        whole_prompts: true,
        ..c.clone()
    };
    let submit = |c: EngineConfig| {
        let mut s = Trtllm::new(c, Tracking::default()).unwrap();
        s.submit(request(0, 0, 65, 4))
    };
    let refused = SubmitError::PromptExceedsStep {
        prompt: 65,
        most: 64,
    };
    assert_eq!(submit(whole), Err(refused));
    assert_eq!(submit(c), Ok(()));
}

/// A request that is given up leaves the others as they were.
#[test]
fn a_request_may_be_given_up_at_any_time() {
    for steps in 0..6 {
        let c = config(2, 64, 60, CapacityPolicy::default());
        let mut s = Trtllm::new(c, Tracking::default()).unwrap();
        for id in 0..3 {
            s.submit(request(id, 0, 9, 6)).unwrap();
        }
        let at = SimTime::ZERO;
        for _ in 0..steps {
            s.schedule(at);
            s.complete(at);
        }
        s.schedule(at);
        assert!(s.abort(RequestId(0)).is_some() || steps > 5);
        assert!(s.abort(RequestId(7)).is_none());
        let mut ended = vec![];
        for _ in 0..40 {
            if let Some(o) = s.complete(at) {
                ended.extend(o.finished.iter().map(|r| (r.id.0, r.output_tokens)));
            }
            s.schedule(at);
        }
        assert_eq!(ended.iter().filter(|e| e.1 == 6).count(), 2, "{ended:?}");
        assert_eq!(s.state().free_blocks, 60);
        assert!(s.reset_prefix_cache());
    }
}

fn scenario(serve: SettingValues, users: u32) -> Scenario {
    let config = models::find("qwen3-30b-a3b").unwrap().config();
    Scenario {
        speculation: Default::default(),
        model_name: "m".into(),
        model: Model::new(&config, Precision::of(&config)),
        engine: builtin::engine("trtllm-h200").unwrap(),
        device: builtin::device("h200-sxm").unwrap(),
        release: None,
        serve: serve.with(MAX_MODEL_LEN, 4096).with(MAX_NUM_SEQS, 64),
        moe_path: None,
        routing: Routing::Uniform,
        workload: WorkloadSpec::closed_loop(4 * users, users, 128, 32),
        engines: None,
        deployment: None,
        notes: Default::default(),
    }
}

fn predicted(serve: SettingValues, users: u32) -> Run {
    simulate_once(&scenario(serve, users)).unwrap()
}

/// Sizes of 1 are none; the fraction counts what weights and activations leave; ranks of attention share the experts.
#[test]
fn devices_and_memory_are_divided_as_the_engine_does() {
    let none = SettingValues::default;
    let plain = predicted(none(), 8);
    let m = &plain.settings.memory;
    let used = m.weights + m.activations + m.non_torch;
    let free = m.total.as_f64() - used.as_f64();
    assert!((m.kv_cache.as_f64() / free - 0.9).abs() < 0.01);
    assert_eq!(m.block_size, 32);
    let half = predicted(none().with(GPU_MEMORY_UTILIZATION, 0.45), 8);
    let kv = |r: &Run| r.settings.memory.kv_cache.as_f64();
    assert!((kv(&half) / kv(&plain) - 0.5).abs() < 0.01);
    let ones = none()
        .with(TENSOR_PARALLEL_SIZE, 1)
        .with(ENABLE_EXPERT_PARALLEL, true)
        .with(ENABLE_DP_ATTENTION, true);
    assert_eq!(predicted(ones, 8).summary, plain.summary);
    let four = none().with(TENSOR_PARALLEL_SIZE, 4);
    let ranks = predicted(four.clone().with(ENABLE_DP_ATTENTION, true), 8);
    assert_eq!(ranks.settings.devices(), 4);
    assert_eq!(ranks.settings.group.engines, 4);
    let four = predicted(four, 8);
    assert_eq!(four.settings.devices(), 4);
    assert!(four.summary.output_throughput() > plain.summary.output_throughput());
    for (serve, field) in [
        (none().with(TENSOR_PARALLEL_SIZE, 5), "tensor_parallel_size"),
        (
            none().with(PIPELINE_PARALLEL_SIZE, 2),
            "pipeline_parallel_size",
        ),
        (none().with(BLOCK_SIZE, 24), "block_size"),
        (
            none().with(CAPACITY_SCHEDULER_POLICY, "static_batch".to_string()),
            "capacity_scheduler_policy",
        ),
    ] {
        let e = simulate_once(&scenario(serve, 8)).unwrap_err();
        assert!(e.to_string().starts_with(field), "{e}");
    }
}

/// Messages of ten tokens leave first tokens and TPOT as they are, and lengthen ITL; of SGLang, too.
#[test]
fn tokens_in_a_message_change_what_lies_between_messages_only() {
    for profile in ["trtllm-h200", "sglang-h200"] {
        let of = |interval| {
            let serve = SettingValues::default().with(STREAM_INTERVAL, interval);
            let mut s = scenario(serve, 4);
            s.engine = builtin::engine(profile).unwrap();
            simulate_once(&s).unwrap().summary
        };
        let (one, ten) = (of(1u32), of(10u32));
        assert_eq!(one.ttft, ten.ttft, "{profile}");
        assert_eq!(one.tpot, ten.tpot, "{profile}");
        let ratio = ten.itl_mean / one.itl_mean;
        // 31 gaps become those behind tokens 10, 20, 30 and 32.
        assert!((ratio - 31.0 / 4.0).abs() < 1e-6, "{profile}: {ratio}");
    }
}

/// What has no flag stands in the file of options, and the line is read back as the same settings.
#[test]
fn a_printed_line_is_read_back() {
    let s = SettingValues::default()
        .with(MAX_NUM_SEQS, 64)
        .with(TENSOR_PARALLEL_SIZE, 8)
        .with(ENABLE_EXPERT_PARALLEL, true)
        .with(ENABLE_PREFIX_CACHING, false)
        .with(CAPACITY_SCHEDULER_POLICY, "max_utilization".to_string())
        .with(SPECULATIVE_METHOD, "mtp".to_string())
        .with(NUM_SPECULATIVE_TOKENS, 3);
    let line = command(capsim::device::EngineId::Trtllm, "m", &s).join(" ");
    assert_eq!(
        line,
        "trtllm-serve m --max_batch_size 64 --tp_size 8 --ep_size 8 --config <(echo '{\"kv_cache_config\":{\"enable_block_reuse\":false},\
         \"scheduler_config\":{\"capacity_scheduler_policy\":\"MAX_UTILIZATION\"},\"speculative_config\":{\"decoding_type\":\"MTP\",\
         \"num_nextn_predict_layers\":3}}')"
    );
    let yaml = line.split('\'').nth(1).unwrap().to_string();
    let typed = line.split(" --config").next().unwrap().to_string() + " --config f.yaml";
    let read = capsim::line::read(capsim::line::Source::Text(&typed), &|_| Ok(yaml.clone()));
    let read = read.unwrap().settings;
    assert_eq!(read.get(ENABLE_PREFIX_CACHING), Some(false));
    assert_eq!(read.get(ENABLE_EXPERT_PARALLEL), Some(true));
    assert_eq!(read.get(NUM_SPECULATIVE_TOKENS), Some(3));
}
