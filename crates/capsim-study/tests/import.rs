//! Profiles from other people's measurements: laws of what is kept, parsers that survive damage, public runs predicted.
#![allow(
    clippy::disallowed_methods,
    reason = "tests look for data that may not be in the repository"
)]
use capsim::cost::{CostOptions, Routing, StepCost, StepPrice, StepShape};
use capsim::device::{DeviceProfile, EngineId, builtin};
use capsim::engine::observe::{Observer, RequestRecord};
use capsim::engine::{EngineConfig, Group, Router, Runtime, simulate};
use capsim::model::{self, Model, Parallel, Precision};
use capsim::units::{SimTime, Span};
use capsim::workload::trace::Trace;
use capsim::workload::{Answer, ListSource, Prompt, Request, RequestId, StreamId};
use capsim_study::import::{
    self, Source, aiconfigurator, gpus, llama_bench, llamacpp, llmservingsim, vidur,
};
use capsim_study::validate::compare::candidates;
use capsim_study::validate::hypothesis::Basis;
use capsim_study::validate::runs::RunsFile;
use proptest::prelude::*;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).to_path_buf()
}

fn sample(path: &str) -> String {
    std::fs::read_to_string(root().join("tests/data/import").join(path)).unwrap()
}

fn bf16(name: &str) -> Model {
    let config = model::builtin::find(name).unwrap().config();
    Model::new(&config, Precision::by_name("bf16", &config).unwrap())
}

fn source() -> Source {
    Source {
        name: "made by hand".into(),
        licence: "none".into(),
    }
}

fn tables() -> llmservingsim::Tables {
    let read = |f: &str| sample(&format!("llmservingsim/{f}.csv"));
    let moe = read("moe");
    llmservingsim::Tables::parse(
        "sample",
        &read("dense"),
        &read("per_sequence"),
        &read("attention"),
        Some(&moe),
    )
    .unwrap()
}

/// A device with the sample's kernel times for `model`.
fn device(model: &Model) -> DeviceProfile {
    let (k, _) = llmservingsim::kernel_times(&tables(), model, "sample", "made by hand");
    let gpu = gpus::find("rtx-4090").unwrap();
    import::device_of(gpu, vec![k], &source()).unwrap()
}

fn cost(model: &Model, device: &DeviceProfile) -> StepPrice {
    let engine = builtin::engine("vllm-0.19-cuda").unwrap();
    let options = CostOptions {
        draft: None,
        enforce_eager: false,
        async_scheduling: true,
        max_num_seqs: 256,
        max_num_batched_tokens: 2048,
        moe_path: None,
        routing: Routing::Uniform,
        micro_batch: None,
        images: None,
        placement: Default::default(),
        op_offload: true,
    };
    StepPrice::new(model, device, &engine, options).unwrap()
}

fn decode(n: u32, kv: u64) -> StepShape {
    StepShape {
        decode_seqs: n,
        decode_context: u64::from(n) * kv,
        decode_context_windowed: u64::from(n) * kv,
        sampled: n,
        distinct_tokens: n,
        ..StepShape::default()
    }
}

fn chunk(tokens: u32, before: u64) -> StepShape {
    let q = u64::from(tokens);
    StepShape {
        prefill_seqs: 1,
        prefill_tokens: tokens,
        prefill_context: before + q,
        prefill_pairs: q * before + q * (q + 1) / 2,
        prefill_pairs_windowed: q * before + q * (q + 1) / 2,
        sampled: 1,
        distinct_tokens: tokens,
        ..StepShape::default()
    }
}

#[test]
fn the_sample_is_met_and_comes_back_from_its_file() {
    let m = bf16("llama-3.1-8b");
    let d = device(&m);
    for k in &d.kernels {
        for r in &k.rows {
            assert!(
                r.residual.unwrap().p90 < 0.02,
                "{:?} {:?}",
                r.covers,
                r.residual
            );
        }
        for r in &k.attention[0].residual {
            assert!(r.median < 0.05, "{r:?}");
        }
    }
    let text = import::compact::text(&serde_json::to_value(&d).unwrap());
    assert_eq!(DeviceProfile::parse(&text, "d").unwrap(), d);
}

#[test]
fn attention_is_linear_in_sequences_times_context() {
    let m = bf16("llama-3.1-8b");
    let d = device(&m);
    let a = &d.kernels[0].attention[0];
    // The law of the sample: 8 + 0.3 n + 0.004 n k microseconds.
    for (n, k) in [(3.0, 700.0), (20.0, 3000.0), (100.0, 900.0)] {
        let law = (8.0 + 0.3 * n + 0.004 * n * k) * 1e-6;
        let got = a.at(n, k, 0.0, 0.0);
        assert!(
            (got.value / law - 1.0).abs() < 0.02,
            "{n} {k}: {got:?} {law}"
        );
        assert!(!got.extrapolated);
    }
    assert!(a.at(10.0, 50_000.0, 0.0, 0.0).extrapolated);
    assert!(a.at(500.0, 100.0, 0.0, 0.0).extrapolated);
    // Beside a chunk they run in another kernel: 0.5 n + 0.008 n k on top.
    let alone = a.at(0.0, 0.0, 512.0, 512.0).value;
    let both = a.at(16.0, 2048.0, 512.0, 512.0).value;
    let law = (0.5 * 16.0 + 0.008 * 16.0 * 2048.0) * 1e-6;
    assert!(
        ((both - alone) / law - 1.0).abs() < 0.05,
        "{}",
        both - alone
    );
}

#[test]
fn experts_are_linear_in_distinct_ones() {
    let m = bf16("qwen3-30b-a3b");
    let d = device(&m);
    let e = &d.kernels[0].experts[0];
    let t = |x: f64| e.at(16.0, x).value;
    let slope = t(65.0) - t(64.0);
    assert!((slope / 6e-6 - 1.0).abs() < 0.02, "{slope}");
    for x in [10.0, 33.0, 100.0, 127.0] {
        assert!((t(x + 1.0) - t(x) - slope).abs() < 1e-9, "{x}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: Some(Box::new(proptest::test_runner::FileFailurePersistence::WithSource("proptest-regressions"))), ..ProptestConfig::default() })]

    /// More sequences, longer contexts and longer chunks never take less time.
    #[test]
    fn steps_are_monotone(n in 1u32..250, k in 1u64..16_000, more_n in 0u32..6, more_k in 0u64..400, c in 2u32..1900) {
        thread_local! {
            static COST: StepPrice = {
                let m = bf16("llama-3.1-8b");
                cost(&m, &device(&m))
            };
        }
        COST.with(|cost| {
            let (a, b) = (cost.step(&decode(n, k)), cost.step(&decode(n + more_n, k + more_k)));
            prop_assert!(b.0 as f64 >= a.0 as f64 * 0.999, "{n} {k} {a:?} {b:?}");
            let (a, b) = (cost.step(&chunk(c, k)), cost.step(&chunk(c + 128, k + more_k)));
            prop_assert!(b.0 as f64 >= a.0 as f64 * 0.99, "{c} {k} {a:?} {b:?}");
            Ok(())
        })?;
    }

    /// Damaged files are refused or read, never a panic.
    #[test]
    fn damage_is_refused(kind in 0usize..7, at in 0.0f64..1.0, with in "[-0-9.,|e{}\\[\\]a ]{0,6}", cut in 0usize..12) {
        let damage = |text: &str| {
            let mut i = (text.len() as f64 * at) as usize;
            while !text.is_char_boundary(i) { i -= 1; }
            let mut j = (i + cut).min(text.len());
            while !text.is_char_boundary(j) { j += 1; }
            format!("{}{with}{}", &text[..i], &text[j..])
        };
        let t = |f: &str| sample(&format!("llmservingsim/{f}.csv"));
        let m = bf16("llama-3.1-8b");
        match kind {
            0..=3 => {
                let mut f = [t("dense"), t("per_sequence"), t("attention"), t("moe")];
                f[kind] = damage(&f[kind]);
                if let Ok(tables) = llmservingsim::Tables::parse("s", &f[0], &f[1], &f[2], Some(&f[3])) {
                    let (k, _) = llmservingsim::kernel_times(&tables, &m, "s", "s");
                    // What was read gives a profile that reads back, or none.
                    if let Some(d) = import::device_of(gpus::find("rtx-4090").unwrap(), vec![k], &source()) {
                        DeviceProfile::parse(&serde_json::to_string(&d).unwrap(), "d").unwrap();
                    }
                }
            }
            4 => { let _ = vidur::tables((&damage(&sample("vidur/mlp.csv")), "mlp.csv"), None, 1); }
            5 => {
                let text = "| model | test | t/s |\n| --- | --- | --- |\n| m | pp512 | 100.0 ± 1 |\n| m | tg128 | 10.0 ± 1 |\n";
                if let Ok(all) = llama_bench::read(&damage(text), "b.md").map(|o| o.measures()) {
                    let gpu = gpus::find("rtx-4090").unwrap();
                    if let Ok(d) = llamacpp::device(gpu, &m, &all, &source(), "b.md") {
                        DeviceProfile::parse(&serde_json::to_string(&d).unwrap(), "d").unwrap();
                    }
                }
            }
            _ => {
                let text = "  MUL_MAT(type_a=q4_K,type_b=f32,m=4096,n=1,k=14336,bs=[1,1],nr=[1,1],per=[0,1,2,3],v=0):  2 runs -  45.22 us/run - 1 MFLOP/run\n";
                let _ = llamacpp::operators(&damage(text), "ops.txt");
            }
        }
    }

    #[test]
    fn a_damaged_parquet_file_is_refused(at in 0usize..4000, with in any::<[u8; 4]>()) {
        let path = root().join(PARQUET);
        let mut bytes = std::fs::read(path).unwrap();
        let at = at % (bytes.len() - 4);
        bytes[at..at + 4].copy_from_slice(&with);
        // The reader may panic inside; that must not come out.
        let result = aiconfigurator::Database::default().add_gemm(&bytes, "gemm_perf.parquet");
        if let Err(e) = result {
            prop_assert!(e.to_string().starts_with("gemm_perf.parquet: "), "{e}");
        }
    }
}

const PARQUET: &str =
    "tests/data/import/aiconfigurator/systems/data/h100_sxm/gemm/vllm/0.0.1/gemm_perf.parquet";

#[test]
fn products_between_measured_sizes_follow_the_law() {
    let mut db = aiconfigurator::Database::default();
    db.add_gemm(&std::fs::read(root().join(PARQUET)).unwrap(), "gemm")
        .unwrap();
    let m = bf16("llama-3.1-8b");
    let k = db.kernel_times(&[m], "sample", &source());
    assert!(!k.rows.is_empty());
    for r in &k.rows {
        let capsim::device::RowShape::Matrix {
            out_features: n,
            in_features: inner,
        } = r.shape
        else {
            panic!("no pass was measured");
        };
        let (n, inner) = (n as f64, inner as f64);
        for rows in [1u32, 100, 700, 2048] {
            let law = 2.0 * n * inner / 3e12 + 2.0 * f64::from(rows) * n * inner / 8e14;
            let got = r.at(rows).value;
            assert!(
                (got / law - 1.0).abs() < 0.06,
                "{n} x {inner}, {rows}: {got} {law}"
            );
        }
    }
}

#[test]
fn vidur_tables_give_kernel_times_per_worker() {
    let m = bf16("llama-2-7b");
    let mlp = sample("vidur/mlp.csv");
    for tp in [1, 2] {
        let t = vidur::tables((&mlp, "mlp.csv"), None, tp).unwrap();
        let part = m.shared(Parallel::tensor(tp)).unwrap();
        let (k, unknown) = llmservingsim::kernel_times(&t, &part, "Vidur", "made by hand");
        assert!(unknown.is_empty(), "{unknown:?}");
        let qkv = k.rows.iter().find(|r| r.covers[0] == "qkv_proj").unwrap();
        let law = (0.01 + 0.0001 * 500.0) / f64::from(tp) * 1e-3;
        assert!((qkv.at(500).value / law - 1.0).abs() < 0.02);
    }
}

#[test]
fn devices_share_what_the_model_has() {
    for (name, tp) in [("qwen3-32b", 2), ("llama-3.1-8b", 8), ("qwen3-30b-a3b", 4)] {
        let whole = bf16(name);
        let part = whole.shared(Parallel::tensor(tp)).unwrap();
        let (w, p) = (
            whole.total_weight_bytes().as_f64(),
            part.total_weight_bytes().as_f64(),
        );
        // Norms and routers are everywhere; nothing else is there twice.
        assert!(
            p * f64::from(tp) >= w && p * f64::from(tp) < 1.02 * w,
            "{name}"
        );
        assert_eq!(
            part.kv_bytes_per_token() * tp.min(whole.config().num_key_value_heads).into(),
            whole.kv_bytes_per_token(),
            "{name}"
        );
        assert_eq!(whole.shared(Parallel::default()).unwrap(), whole);
    }
    let e = bf16("llama-3.1-8b")
        .shared(Parallel::tensor(3))
        .unwrap_err();
    assert!(e.contains("num_attention_heads"), "{e}");
    // Whole experts on devices: the same bytes as slices of all.
    let moe = bf16("qwen3-30b-a3b");
    let experts = Parallel {
        tensor: 1,
        data: 2,
        expert: true,
        ..Parallel::default()
    };
    let slices = Parallel {
        expert: false,
        ..experts
    };
    assert_eq!(
        moe.shared(experts).unwrap().total_weight_bytes(),
        moe.shared(slices).unwrap().total_weight_bytes()
    );
}

/// All requests of a run, by number.
#[derive(Default)]
struct Log(Vec<RequestRecord>);

impl Observer for Log {
    fn on_request(&mut self, r: &RequestRecord) {
        self.0.push(*r);
    }
}

fn requests(n: u64, gap_us: u64) -> Vec<Request> {
    (0..n)
        .map(|i| Request {
            id: RequestId(i),
            arrival: SimTime(i * gap_us * 1000),
            prompt: Prompt::of_stream(StreamId(100 + i), 20 + (i * 37 % 300) as u32),
            max_tokens: 5 + (i * 13 % 60) as u32,
            answer: Answer {
                stream: StreamId(10_000 + i),
                stop_at: None,
            },
            priority: 0,
        })
        .collect()
}

fn grouped(
    config: &EngineConfig,
    group: Group,
    cost: &impl StepCost,
    list: &[Request],
) -> Vec<RequestRecord> {
    let mut log = Log::default();
    let mut source = ListSource::new(list.to_vec());
    let runtime = Runtime::new(EngineId::Vllm, config, group, cost, false).unwrap();
    let s = runtime.run(&mut source, &mut log).unwrap();
    assert_eq!(s.completed, list.len() as u64);
    log.0.sort_by_key(|r| r.id.0);
    log.0
}

#[test]
fn replicas_in_turn_are_engines_on_their_own() {
    let cost = capsim::cost::LinearCost {
        base: Span::from_millis(5),
        per_token: Span::from_micros(40),
        per_seq: Span::from_micros(100),
    };
    for async_scheduling in [false, true] {
        for gap in [0, 900, 40_000] {
            let config = EngineConfig {
                num_gpu_blocks: 150,
                max_num_seqs: 8,
                async_scheduling,
                ..EngineConfig::default()
            };
            let list = requests(60, gap);
            let group = Group {
                engines: 3,
                lockstep: false,
                router: Router::RoundRobin,
            };
            let together = grouped(&config, group, &cost, &list);
            for rank in 0..3 {
                let own: Vec<Request> = list
                    .iter()
                    .filter(|r| r.id.0 % 3 == rank)
                    .cloned()
                    .collect();
                let mut log = Log::default();
                simulate(&config, &cost, &mut ListSource::new(own), &mut log).unwrap();
                for r in log.0 {
                    assert_eq!(
                        together[r.id.0 as usize], r,
                        "async {async_scheduling}, gap {gap}"
                    );
                }
            }
        }
    }
}

#[test]
fn lockstep_is_never_faster_than_replicas() {
    let cost = capsim::cost::LinearCost {
        base: Span::from_millis(5),
        per_token: Span::from_micros(40),
        per_seq: Span::from_micros(100),
    };
    let config = EngineConfig {
        num_gpu_blocks: 400,
        max_num_seqs: 16,
        ..EngineConfig::default()
    };
    let list = requests(80, 3_000);
    let group = |lockstep| Group {
        engines: 2,
        lockstep,
        router: Router::RoundRobin,
    };
    let apart = grouped(&config, group(false), &cost, &list);
    let tied = grouped(&config, group(true), &cost, &list);
    let mean = |v: &[RequestRecord]| {
        v.iter()
            .map(|r| r.finish.since(r.arrival).secs())
            .sum::<f64>()
            / v.len() as f64
    };
    assert!(
        mean(&tied) > mean(&apart),
        "{} {}",
        mean(&tied),
        mean(&apart)
    );
    // The same twice over: chance has no part in it.
    assert_eq!(tied, grouped(&config, group(true), &cost, &list));
}

/// The folder of data that may not be in the repository, or `None` with the reason on standard output.
fn shared() -> Option<PathBuf> {
    let base =
        std::env::var_os("CAPSIM_SHARED").map_or_else(|| root().join("../shared"), PathBuf::from);
    let data = base.join("data/llmservingsim");
    if !data.is_dir() {
        println!(
            "SKIP: {} is not there; CAPSIM_SHARED names the folder that holds data/llmservingsim",
            data.display()
        );
        return None;
    }
    Some(base)
}

/// Public runs of vLLM 0.19 on discrete GPUs, with shipped profiles and nothing fitted to them: within 5 % with the run's own
/// number of KV blocks, within 10 % with capsim's sizing.
#[test]
fn public_runs_are_predicted() {
    let Some(base) = shared() else {
        return;
    };
    for folder in ["rtx-4090-llama-3.1-8b", "rtx-pro-6000-qwen3-32b-tp2"] {
        let path = root()
            .join("validation/llmservingsim")
            .join(folder)
            .join("runs.json");
        let mut file =
            RunsFile::parse(&std::fs::read_to_string(&path).unwrap(), "runs.json").unwrap();
        for run in &mut file.runs {
            let trace = run.workload.trace.as_mut().unwrap();
            let at = base.join(trace.file.strip_prefix("shared:").unwrap());
            let text = std::fs::read_to_string(&at).unwrap();
            trace.data = Some(std::sync::Arc::new(
                Trace::parse(&text, "requests.jsonl", &trace.options).unwrap(),
            ));
        }
        let config = model::builtin::find(&file.model).unwrap().config();
        let basis = Basis {
            model_name: file.model.clone(),
            model: Model::new(&config, Precision::by_name("bf16", &config).unwrap()),
            device: builtin::device(&file.device).unwrap(),
            engine: builtin::engine(&file.engine).unwrap(),
            release: None,
            moe_path: None,
        };
        assert!(basis.engine.fit.is_none(), "nothing is fitted");
        for run in &file.runs {
            let limit = if run
                .engine_args
                .as_ref()
                .unwrap()
                .get(capsim::engine::settings::NUM_GPU_BLOCKS_OVERRIDE)
                .is_some()
            {
                0.05
            } else {
                0.10
            };
            let all = candidates(&file, &basis, run).unwrap();
            let judged = all[0].metrics.iter().filter(|m| {
                m.metric.as_str().starts_with("mean_") || m.metric.as_str().starts_with("p90_")
            });
            let mut n = 0;
            for m in judged {
                n += 1;
                println!(
                    "{folder} {} {}: {:+.1} %",
                    run.id,
                    m.metric,
                    m.error * 100.0
                );
                assert!(m.error.abs() <= limit, "{folder} {} {m:?}", run.id);
            }
            assert_eq!(n, 6);
        }
    }
}

/// No shipped profile beats its data sheet: a lone sequence's step streams every weight, and a long chunk computes them all.
#[test]
fn shipped_profiles_obey_their_data_sheets() {
    let mut seen = 0;
    for gpu in gpus::ALL {
        let d = builtin::device(gpu.id).unwrap();
        assert!(!d.kernels.is_empty() && d.link.is_some(), "{}", gpu.id);
        for (name, tp) in [
            ("llama-3.1-8b", 1),
            ("llama-3.1-8b", 4),
            ("qwen3-30b-a3b", 1),
        ] {
            seen += 1;
            let m = bf16(name).shared(Parallel::tensor(tp)).unwrap();
            let c = cost(&m, &d);
            let secs = |s: &StepShape| c.step(s).secs();
            let one = secs(&decode(1, 1000));
            let roof = m.weight_bytes_per_token().as_f64() / gpu.bandwidth;
            assert!(
                one > roof && one < 12.0 * roof,
                "{} {name} tp{tp}: {one} {roof}",
                gpu.id
            );
            // 256 sequences at once cost less than one after the other, and a chunk less than decoding it.
            assert!(secs(&decode(256, 1000)) < 128.0 * one, "{} {name}", gpu.id);
            assert!(secs(&chunk(2048, 0)) < 512.0 * one, "{} {name}", gpu.id);
            // No kernel computes faster than 1.2 · 10¹⁵ operations per second in 16 bit.
            let ops = 2.0 * m.parameters().multiplied() as f64 / f64::from(tp) * 2048.0;
            assert!(ops / secs(&chunk(2048, 0)) < 1.2e15, "{} {name}", gpu.id);
        }
    }
    assert_eq!(seen, 3 * gpus::ALL.len());
}

/// What a benchmark of the whole model measured comes out again.
#[test]
fn a_whole_model_is_predicted_as_it_was_measured() {
    let config = model::builtin::find("llama-2-7b").unwrap().config();
    let m = Model::new(&config, Precision::by_name("q4_k_m", &config).unwrap());
    let text = "| model | test | t/s |\n| --- | --- | --- |\n| m | pp512 | 4000.0 ± 1 |\n| m | tg128 | 100.0 ± 1 |\n";
    let all = llama_bench::read(text, "b.md").unwrap().measures();
    let gpu = gpus::find("rtx-4090").unwrap();
    let mut d = llamacpp::device(gpu, &m, &all, &source(), "b.md").unwrap();
    d.launch.value = 1e-12;
    let like = builtin::engine("vllm-0.19-cuda").unwrap();
    let e = llamacpp::engine(&like, &d, &source());
    let options = CostOptions {
        draft: None,
        enforce_eager: true,
        async_scheduling: true,
        max_num_seqs: 8,
        max_num_batched_tokens: 512,
        moe_path: None,
        routing: Routing::Uniform,
        micro_batch: None,
        images: None,
        placement: Default::default(),
        op_offload: true,
    };
    let c = StepPrice::new(&m, &d, &e, options).unwrap();
    let step = c.step(&decode(1, 64)).secs();
    assert!((step * 100.0 - 1.0).abs() < 0.02, "{step}");
    let prompt = c.step(&chunk(512, 0)).secs();
    assert!((prompt * 4000.0 / 512.0 - 1.0).abs() < 0.10, "{prompt}");
}
