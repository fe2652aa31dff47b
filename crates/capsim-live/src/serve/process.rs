//! What `prometheus_client`'s `ProcessCollector` (0.25: `process_collector.py`) tells of the process, from `/proc`; nothing where there is
//! none, as there.
use crate::openai::metrics::PROCESS_START;
use crate::openai::prometheus::Writer;

/// Clock ticks per second in `/proc/self/stat` and bytes per page: Linux's on every machine that capsim runs on (`USER_HZ`, proc(5)).
const TICKS: f64 = 100.0;
const PAGE: f64 = 4096.0;

/// The process's figures, as they stand in `/proc`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Figures {
    virtual_bytes: f64,
    resident_bytes: f64,
    start: f64,
    cpu_seconds: f64,
}

/// From `/proc/self/stat` and `/proc/stat`; fields are counted after the command's name, which may hold anything.
fn figures(own: &str, machine: &str) -> Option<Figures> {
    let fields: Vec<f64> = own
        .rsplit_once(')')?
        .1
        .split_whitespace()
        .map(|f| f.parse().unwrap_or(f64::NAN))
        .collect();
    let at = |i: usize| fields.get(i).copied().filter(|v| v.is_finite());
    let boot: f64 = machine
        .lines()
        .find_map(|l| l.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()?;
    Some(Figures {
        virtual_bytes: at(20)?,
        resident_bytes: at(21)? * PAGE,
        start: boot + at(19)? / TICKS,
        cpu_seconds: (at(11)? + at(12)?) / TICKS,
    })
}

/// The soft limit of open files, from `/proc/self/limits`.
fn most_files(limits: &str) -> Option<f64> {
    let line = limits.lines().find(|l| l.starts_with("Max open files"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

/// Writes the families.
pub fn write(w: &mut Writer) {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let Some(f) = figures(&read("/proc/self/stat"), &read("/proc/stat")) else {
        return;
    };
    let mut gauge = |name: &str, help: &str, v: f64| w.gauge(name, help, &[(&[], v)]);
    gauge(
        "process_virtual_memory_bytes",
        "Virtual memory size in bytes.",
        f.virtual_bytes,
    );
    gauge(
        "process_resident_memory_bytes",
        "Resident memory size in bytes.",
        f.resident_bytes,
    );
    gauge(
        PROCESS_START,
        "Start time of the process since unix epoch in seconds.",
        f.start,
    );
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        gauge(
            "process_open_fds",
            "Number of open file descriptors.",
            open.count() as f64,
        );
    }
    if let Some(most) = most_files(&read("/proc/self/limits")) {
        gauge(
            "process_max_fds",
            "Maximum number of open file descriptors.",
            most,
        );
    }
    w.counter_of_seconds(
        "process_cpu_seconds",
        "Total user and system CPU time spent in seconds.",
        f.cpu_seconds,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_of_proc() {
        // Fields 3 to 24 of proc(5), after a name with a bracket in it.
        let own = "42 (a) b) S 1 1 1 0 -1 0 0 0 0 0 250 50 0 0 20 0 4 0 1000 8192 3";
        let f = figures(own, "cpu 1 2\nbtime 1700000000\n").unwrap();
        assert_eq!(
            f,
            Figures {
                virtual_bytes: 8192.0,
                resident_bytes: 3.0 * 4096.0,
                start: 1_700_000_010.0,
                cpu_seconds: 3.0
            }
        );
        assert_eq!(figures("", ""), None);
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 4096                 files\n";
        assert_eq!(most_files(limits), Some(1024.0));
    }
}
