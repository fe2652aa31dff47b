//! What a log tells of the load, and what of it follows.
use super::{Moment, ServerLog};
use crate::report::json::log::LoadSeen;
use crate::report::json::validation::Claim;

/// Part of the KV cache in use from which on it is called full: the last blocks are what requests that run still grow into.
const FULL: f64 = 0.9;

fn mean(all: &[&Moment], of: impl Fn(&Moment) -> Option<f64>) -> Option<f64> {
    let values: Vec<f64> = all.iter().filter_map(|m| of(m)).collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn most(all: &[&Moment], of: impl Fn(&Moment) -> Option<f64>) -> Option<f64> {
    all.iter().filter_map(|m| of(m)).reduce(f64::max)
}

impl ServerLog {
    /// How busy the server was; `None`: no line says so.
    pub fn load(&self) -> Option<LoadSeen> {
        let all = self.busy();
        (!all.is_empty()).then(|| LoadSeen {
            lines: all.len() as u64,
            running: mean(&all, |m| m.running),
            running_max: most(&all, |m| m.running),
            waiting: mean(&all, |m| m.waiting),
            waiting_max: most(&all, |m| m.waiting),
            kv_max: most(&all, |m| m.kv),
            prompt_throughput: mean(&all, |m| m.prompt),
            output_throughput: mean(&all, |m| m.generation),
            predicted_output_throughput: None,
        })
    }

    /// What limits the server, and what to change. `max_num_seqs`: the limit in force.
    pub fn findings(&self, max_num_seqs: Option<u32>) -> Vec<Claim> {
        let mut all = vec![];
        let mut add = |claim: String, evidence: String| all.push(Claim { claim, evidence });
        if let Some(line) = self.out_of_memory {
            add(
                "The server ran out of memory: lower --gpu-memory-utilization or --max-model-len, or use fewer bits for the weights".into(),
                format!("line {line}"),
            );
        }
        let busy = self.busy();
        let waits: Vec<&&Moment> = busy
            .iter()
            .filter(|m| m.waiting.unwrap_or(0.0) > 0.0)
            .collect();
        let share = |n: usize| format!("{n} of {} lines", busy.len());
        let full: Vec<&&&Moment> = waits
            .iter()
            .filter(|m| m.kv.is_some_and(|k| k >= FULL))
            .collect();
        let at_limit: Vec<&&&Moment> = waits
            .iter()
            .filter(|m| {
                m.running
                    .zip(max_num_seqs)
                    .is_some_and(|(r, most)| r >= f64::from(most))
            })
            .collect();
        if busy.is_empty() {
            return all;
        }
        if !full.is_empty() || self.preemptions > 0 {
            let mut evidence = format!(
                "requests wait while the KV cache is at {:.0} % or more in {}",
                100.0 * FULL,
                share(full.len())
            );
            if let Some(m) = full.first() {
                evidence += &format!(", first in line {}", m.line);
            }
            if self.preemptions > 0 {
                evidence += &format!("; {} lines tell of preempted requests", self.preemptions);
            }
            add(
                "The KV cache binds: more of it (a higher --gpu-memory-utilization, an FP8 KV cache, fewer bits for the weights, more devices), or \
                 shorter requests"
                    .into(),
                evidence,
            );
        } else if !at_limit.is_empty() {
            add(
                format!(
                    "--max-num-seqs {} binds: a higher one lets more requests run, each more slowly",
                    max_num_seqs.unwrap_or(0)
                ),
                format!(
                    "as many run while others wait in {}, first in line {}",
                    share(at_limit.len()),
                    at_limit[0].line
                ),
            );
        } else if !waits.is_empty() {
            add(
                "Prompts bind: requests wait although there is room for them; a larger --max-num-batched-tokens takes more prompt tokens per step"
                    .into(),
                format!("requests wait below every known limit in {}, first in line {}", share(waits.len()), waits[0].line),
            );
        } else {
            let running = most(&busy, |m| m.running);
            add(
                "Nothing of the server binds: it has what its clients send, and each request runs at the speed of its steps".into(),
                match running {
                    Some(r) => format!("no request waits in {}; at most {r:.0} run", share(busy.len())),
                    None => format!("{} requests were timed, one after another", busy.len()),
                },
            );
        }
        if let Some(hits) = busy.last().and_then(|m| m.hits).filter(|h| *h > 0.05) {
            add(
                format!(
                    "The prefix cache saves {:.0} % of the prompt tokens: a prediction with distinct prompts is slower",
                    100.0 * hits
                ),
                format!("line {}", busy.last().map_or(0, |m| m.line)),
            );
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(running: f64, waiting: f64, kv: f64) -> ServerLog {
        let moment = Moment {
            line: 7,
            running: Some(running),
            waiting: Some(waiting),
            kv: Some(kv),
            generation: Some(100.0),
            ..Moment::default()
        };
        ServerLog {
            moments: vec![moment, Moment::default()],
            ..ServerLog::default()
        }
    }

    #[test]
    fn what_binds_is_named() {
        let says = |l: ServerLog, most| l.findings(most)[0].claim.clone();
        assert!(says(log(20.0, 3.0, 0.97), Some(256)).starts_with("The KV cache binds"));
        assert!(says(log(8.0, 3.0, 0.2), Some(8)).starts_with("--max-num-seqs 8 binds"));
        assert!(says(log(20.0, 3.0, 0.2), Some(256)).starts_with("Prompts bind"));
        assert!(says(log(20.0, 0.0, 0.2), Some(256)).starts_with("Nothing of the server binds"));
        let seen = log(20.0, 3.0, 0.5).load().unwrap();
        assert_eq!(
            (seen.lines, seen.running, seen.kv_max),
            (1, Some(20.0), Some(0.5))
        );
        assert!(ServerLog::default().load().is_none());
    }
}
