//! Loads: when a request is sent, which requests are lost, what an unsaid load is.
use capsim::cost::Routing;
use capsim::device::builtin;
use capsim::engine::observe::{Observer, RequestRecord};
use capsim::engine::settings::*;
use capsim::model::{Model, Precision};
use capsim::predict::{Scenario, simulate_observed};
use capsim::units::SimTime;
use capsim::workload::{RequestId, WorkloadSpec};
use std::collections::BTreeMap;

/// A dense model on a datacentre device under a closed loop.
pub fn scenario() -> Scenario {
    let name = "Qwen/Qwen3-8B";
    let config = capsim::model::builtin::find(name).unwrap().config();
    let device = builtin::device("h100-sxm").unwrap();
    Scenario {
        model_name: name.into(),
        model: Model::new(&config, Precision::of(&config)),
        engine: builtin::engine_for(&device),
        device,
        release: None,
        serve: SettingValues::default().with(MAX_MODEL_LEN, 4096),
        moe_path: None,
        routing: Routing::Uniform,
        workload: WorkloadSpec::closed_loop(64, 8, 128, 32),
    }
}

/// Requests open at each moment, and when each was sent.
#[derive(Default)]
struct Open {
    sent: BTreeMap<u64, SimTime>,
    spans: Vec<(SimTime, SimTime)>,
}

impl Observer for Open {
    fn on_arrival(&mut self, id: RequestId, at: SimTime) {
        self.sent.insert(id.0, at);
    }
    fn on_request(&mut self, r: &RequestRecord) {
        assert_eq!(self.sent[&r.id.0], r.arrival);
        self.spans.push((r.arrival, r.finish));
    }
}

impl Open {
    /// Most requests open at once; a place that becomes free can be taken at the same time.
    fn most(&self) -> i64 {
        let mut changes: Vec<(SimTime, i64)> = vec![];
        for (sent, end) in &self.spans {
            changes.extend([(*sent, 1), (*end, -1)]);
        }
        changes.sort_unstable();
        let (mut open, mut most) = (0, 0);
        for (_, change) in changes {
            open += change;
            most = most.max(open);
        }
        most
    }
}

/// `--request-rate R --max-concurrency N` above capacity: the client lets go of a request when a place is free, and its
/// clock starts then. Held requests carried their planned times: 66 requests were open for a limit of 32.
#[test]
fn a_client_with_a_limit_keeps_it_and_starts_its_clock_behind_it() {
    for (limit, rate, input, output) in
        [(8, 200.0, 128, 32), (32, 100.0, 1024, 32), (1, 30.0, 64, 8)]
    {
        let mut s = scenario();
        s.workload.max_concurrency = Some(limit);
        s.workload.request_rate = Some(rate);
        s.workload.num_prompts = 6 * limit + 30;
        (s.workload.input_len, s.workload.output_len) = (input, output);
        let mut open = Open::default();
        let run = simulate_observed(&s, &mut open).unwrap();
        let what = format!("limit {limit}, {rate} requests/s");
        assert!(
            open.most() <= i64::from(limit),
            "{what}: {} open",
            open.most()
        );
        let sum = &run.summary;
        let little = sum.request_throughput() * sum.e2el.mean();
        assert!(
            little <= f64::from(limit),
            "{what}: {little} by Little's law"
        );
        // Above capacity every place is taken nearly all the time.
        assert!(
            little > 0.8 * f64::from(limit),
            "{what}: {little} by Little's law"
        );
        // Several end in one step, and those sent in their places wait for a step, not since their planned times.
        let mut closed = s.clone();
        closed.workload.request_rate = None;
        let closed = simulate_observed(&closed, &mut ()).unwrap().summary;
        let (held, sent) = (sum.ttft.mean(), closed.ttft.mean());
        assert!(
            held <= 2.0 * sent,
            "{what}: TTFT {held} s, of clients without a rate {sent} s"
        );
    }
}
