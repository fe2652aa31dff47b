//! A deployment as text: its pools, how busy they are, and KV that travelled.
use super::prediction::labelled;
use super::table::three;
use capsim::predict::deployment::{Travel, role_name};
use capsim::predict::{PoolRun, Prediction, Scenario};

/// One line per pool, and one for what connects them; empty for one engine.
pub(super) fn lines(scenario: &Scenario, p: &Prediction) -> String {
    let (Some(f), Some(d)) = (&p.run.fleet, &scenario.deployment) else {
        return String::new();
    };
    let mut o = String::new();
    for (pool, &(least, most)) in f.pools.iter().zip(&f.routed) {
        o += &labelled("Pool", &line(pool, p.run.summary.duration, (least, most)));
    }
    let s = &p.run.summary;
    let n = f64::from(f.devices().max(1));
    let each = format!(
        "{} devices, {} output and {} total tokens/s each; router {}",
        f.devices(),
        three(s.output_throughput() / n),
        three(s.total_throughput() / n),
        d.policy.name()
    );
    o += &labelled("Together", &each);
    if d.is_apart() {
        o += &labelled("Transfer", &transfer(&d.travel, p));
    }
    if f.retried > 0 {
        o += &labelled(
            "Failures",
            &format!("{} requests were sent again", f.retried),
        );
    }
    o
}

fn line(p: &PoolRun, duration: f64, (least, most): (u64, u64)) -> String {
    let o = &p.occupancy;
    let requests = match least == most {
        true => format!("{least} requests each"),
        false => format!("{least} to {most} requests each"),
    };
    let waiting = match o.waiting {
        w if w < 0.05 => String::new(),
        w => format!(", {} waiting", three(w)),
    };
    let preempted = match p.engine.preemptions {
        0 => String::new(),
        n => format!(", {n} preemptions"),
    };
    format!(
        "{} × {} on {} {}: {requests}, busy {:.0} % of the time, {} sequences on average{waiting}, KV cache {:.1} % used on average, \
         {:.1} % at most{preempted}",
        p.replicas,
        role_name(p.role),
        p.devices / p.replicas.max(1),
        p.device.name,
        100.0 * o.busy / duration,
        three(o.batch),
        100.0 * o.kv_mean,
        100.0 * o.kv_max,
    )
}

fn transfer(travel: &Travel, p: &Prediction) -> String {
    let Some(f) = &p.run.fleet else {
        return String::new();
    };
    let t = &f.transfer;
    let way = match (travel.way, travel.layers) {
        (capsim::engine::fleet::Way::Pull, _) => "pull",
        (_, false) => "push",
        (_, true) => "push by layer",
    };
    let alone = match f.local {
        0 => String::new(),
        n => format!("; {n} requests prefilled by decoders"),
    };
    if t.count == 0 {
        return format!("{way}: none{alone}");
    }
    let mean = |s: f64| three(1e3 * s / t.count as f64);
    format!(
        "{way}: {} of {} MB on average, there {} ms after the prefill, of which {} ms until the decoder took it in{alone}",
        t.count,
        three(t.bytes as f64 / t.count as f64 / 1e6),
        mean(t.time.secs()),
        mean(t.waiting.secs()),
    )
}
