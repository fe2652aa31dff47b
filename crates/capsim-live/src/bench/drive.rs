//! Sends a load in real time.
use super::client::{Client, stopped};
use super::clock::Clock;
use super::outcome::{Failure, FailureKind, Outcome};
use super::prompt::PromptMaker;
use super::scrape::{self, Sample, Watched};
use crate::openai::prometheus::Scrape;
use capsim::units::Span;
use capsim::workload::{Request, Source, WorkloadError, WorkloadSpec};
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// Where a run stands, for a live display.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// Seconds since the start.
    pub seconds: f64,
    /// Measured requests answered whole.
    pub done: u64,
    /// Failed.
    pub failed: u64,
    /// In flight.
    pub open: u64,
    /// Waiting at the client for a free place.
    pub held: u64,
    /// Output tokens of finished requests.
    pub output_tokens: u64,
    /// Requests planned, warm-up included.
    pub planned: u64,
}

/// A load and how it is sent.
pub struct Drive<'a> {
    /// The load.
    pub spec: &'a WorkloadSpec,
    /// The connection.
    pub client: Arc<Client>,
    /// What prompts say.
    pub prompts: Arc<PromptMaker>,
    /// The run's clock.
    pub clock: Clock,
    /// Whether `/metrics` is looked at.
    pub scrape: bool,
}

/// All that was sent.
#[derive(Clone, Debug, Default)]
pub struct Driven {
    /// Every request that was created, in order of creation.
    pub outcomes: Vec<Outcome>,
    /// Requests that the load would have had in all, warm-up included.
    pub planned: u64,
    /// Whether the run was interrupted.
    pub interrupted: bool,
    /// The server refused the first request in a way that holds for all, so that no more were sent.
    pub refused: Option<Failure>,
    /// What `/metrics` said about the measured part.
    pub watched: Watched,
}

/// Whether requests arrive by themselves, not when an answer is there.
pub fn open_loop(spec: &WorkloadSpec) -> bool {
    spec.request_rate.is_some() || spec.arrival.is_some() || spec.trace.is_some()
}

/// Whether prompts quote earlier answers.
pub fn conversations(spec: &WorkloadSpec) -> bool {
    spec.users.as_ref().is_some_and(|u| u.turns > 1)
}

/// Time that a server gets to count what it has just answered.
const SETTLE: std::time::Duration = std::time::Duration::from_millis(150);

/// Looks at `/metrics` from the end of the warm-up to the end of the run.
struct Looker {
    start: Scrape,
    stop: watch::Sender<bool>,
    series: tokio::task::JoinHandle<Vec<Sample>>,
}

impl Looker {
    async fn start(client: &Arc<Client>, clock: Clock) -> Option<Self> {
        let start = scrape::look(client).await?;
        let (stop, stopped) = watch::channel(false);
        let series = tokio::spawn(scrape::watch(client.clone(), start.clone(), clock, stopped));
        Some(Self {
            start,
            stop,
            series,
        })
    }

    async fn finish(self, client: &Client) -> Watched {
        tokio::time::sleep(SETTLE).await;
        let end = scrape::look(client).await;
        // The looker listens until it is told.
        let _ = self.stop.send(true);
        Watched {
            deltas: end.map_or_else(Default::default, |end| scrape::deltas(&self.start, &end)),
            series: self.series.await.unwrap_or_default(),
        }
    }
}

/// How long an interrupted run waits for its requests to say how far they got.
const FAREWELL: std::time::Duration = std::time::Duration::from_secs(2);

impl Drive<'_> {
    /// The load as the client must see it: nothing is added between answer and next request, since the real
    /// client adds its own time; and where requests arrive by themselves, the concurrency limit is held here, so that the
    /// wait for it is seen.
    fn wire(&self) -> (WorkloadSpec, usize) {
        let mut spec = self.spec.clone();
        spec.turnaround = Some(Span::ZERO);
        let limit = match spec.max_concurrency {
            Some(c) if open_loop(&spec) => {
                spec.max_concurrency = None;
                c as usize
            }
            _ => usize::MAX,
        };
        (spec, limit)
    }

    /// Sends everything, or as much as there is before `stop` turns true.
    ///
    /// # Errors
    /// A load that makes no sense.
    pub async fn run(
        &self,
        mut stop: watch::Receiver<bool>,
        mut report: impl FnMut(&Progress),
    ) -> Result<Driven, WorkloadError> {
        let (spec, limit) = self.wire();
        let mut source = spec.source()?;
        let warmup = u64::from(spec.warmup);
        let planned = warmup + u64::from(spec.num_prompts);
        let (tell, mut told) = mpsc::unbounded_channel::<Outcome>();
        let mut held: VecDeque<Request> = VecDeque::new();
        let mut open = 0usize;
        let mut outcomes: Vec<Outcome> = vec![];
        let mut progress = Progress {
            planned,
            ..Progress::default()
        };
        let mut tick = tokio::time::interval(std::time::Duration::from_millis(250));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut interrupted = false;
        let mut refused = None;
        let mut looker = None;
        if self.scrape && warmup == 0 {
            looker = Looker::start(&self.client, self.clock).await;
        }
        loop {
            // Nothing is sent any more once the others were told to stop.
            interrupted |= *stop.borrow();
            if interrupted {
                break;
            }
            let now = self.clock.now();
            while source.peek().is_some_and(|t| t <= now) {
                held.extend(source.pop());
            }
            while open < limit
                && let Some(request) = held.pop_front()
            {
                open += 1;
                self.send(request, warmup, &tell, &stop);
            }
            let next = source.peek();
            if next.is_none() && open == 0 && held.is_empty() {
                break;
            }
            tokio::select! {
                Some(outcome) = told.recv(), if open > 0 => {
                    open -= 1;
                    if self.scrape && outcome.id + 1 == warmup {
                        looker = Looker::start(&self.client, self.clock).await;
                    }
                    source.finished(capsim::workload::RequestId(outcome.id), self.clock.now());
                    if outcome.measured {
                        progress.done += u64::from(outcome.ok());
                        progress.failed += u64::from(!outcome.ok());
                        progress.output_tokens += u64::from(outcome.output_tokens());
                    }
                    // Before anything was answered: a single path may be missing on one of several servers.
                    let lasting = outcome.failure.as_ref().filter(|f| f.kind.remedy().is_some());
                    if let Some(failure) = lasting && !outcomes.iter().any(Outcome::ok) {
                        refused = Some(failure.clone());
                    }
                    outcomes.push(outcome);
                    if refused.is_some() {
                        break;
                    }
                }
                () = self.clock.sleep_until(next.unwrap_or_default()), if next.is_some() => {}
                _ = tick.tick() => {
                    progress.seconds = self.clock.now().secs();
                    progress.open = open as u64;
                    progress.held = held.len() as u64;
                    report(&progress);
                }
                () = stopped(&mut stop) => interrupted = true,
            }
        }
        if interrupted {
            outcomes.extend(farewell(&mut told, open).await);
            let now = self.clock.now();
            outcomes.extend(held.iter().map(|request| never_sent(request, warmup, now)));
        }
        outcomes.sort_by_key(|o| o.id);
        let watched = match looker {
            Some(l) => l.finish(&self.client).await,
            None => Watched::default(),
        };
        Ok(Driven {
            watched,
            outcomes,
            planned,
            interrupted,
            refused,
        })
    }

    fn send(
        &self,
        request: Request,
        warmup: u64,
        tell: &mpsc::UnboundedSender<Outcome>,
        stop: &watch::Receiver<bool>,
    ) {
        let released = self.clock.now();
        let (client, prompts, clock) = (self.client.clone(), self.prompts.clone(), self.clock);
        let (tell, stop) = (tell.clone(), stop.clone());
        tokio::spawn(async move {
            let mut outcome = Outcome {
                released,
                ..Outcome::of(&request, warmup)
            };
            let body = prompts.make(&request.prompt);
            client
                .ask(body, &mut outcome, clock, stop, prompts.tokenizer())
                .await;
            let said = std::mem::take(&mut outcome.said);
            prompts.remember(request.answer.stream, said);
            // The receiver is gone only after an interruption.
            let _ = tell.send(outcome);
        });
    }
}

/// The outcomes of `open` requests that were told to stop, as far as they come in time.
async fn farewell(told: &mut mpsc::UnboundedReceiver<Outcome>, mut open: usize) -> Vec<Outcome> {
    let mut outcomes = vec![];
    let last = tokio::time::sleep(FAREWELL);
    tokio::pin!(last);
    while open > 0 {
        tokio::select! {
            Some(outcome) = told.recv() => {
                open -= 1;
                outcomes.push(outcome);
            }
            () = &mut last => break,
        }
    }
    outcomes
}

/// A request that still waited at the client at the end.
fn never_sent(request: &Request, warmup: u64, now: capsim::units::SimTime) -> Outcome {
    Outcome {
        released: now,
        sent: now,
        end: now,
        failure: Some(super::Failure {
            kind: FailureKind::Interrupted,
            detail: "never sent: waited at the client".into(),
        }),
        ..Outcome::of(request, warmup)
    }
}

impl Outcome {
    fn of(request: &Request, warmup: u64) -> Self {
        Self {
            id: request.id.0,
            measured: request.id.0 >= warmup,
            prompt: Some(request.prompt.clone()),
            answer: request.answer.stream,
            nominal_input: request.prompt.len(),
            max_tokens: request.max_tokens,
            intended: request.arrival,
            ..Self::default()
        }
    }
}
