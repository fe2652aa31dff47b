//! How points are measured (docs/calibration.md): warm-up, choice of variant, samples, sentinel, plausibility, budget.
mod budget;
mod guard;
pub mod order;
pub mod plausible;
mod power;
mod ring;
pub mod sampling;
pub mod sentinel;

pub use budget::{memory_budget, ring_bytes, time_budget};
pub use guard::Guarded;

use super::backend::{Backend, BackendError, DeviceInfo};
use super::clock::Clock;
use super::family::{Effort, Family, Point, Prepared, Scope, Variant};
use super::samples::{Flag, Outcome, PointRecord, SamplesFile, Trial};
use sampling::{ClockFacts, Samples};
use sentinel::Sentinel;
use std::collections::BTreeMap;
use std::time::Duration;

/// Points between two readings of the sentinel.
const BLOCK: usize = 20;
/// With more than this left, a point gets a sixth of it at most.
const PLENTY: Duration = Duration::from_secs(30);
/// Readings that are kept of a soak.
const SOAK_READINGS: u32 = 120;
/// Warm-up of the session.
const WARM_UP: Duration = Duration::from_millis(500);

/// What happens while measuring.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A point is about to be measured.
    Begin {
        /// Its family, name and axes.
        record: Box<PointRecord>,
        /// Points dealt with.
        done: usize,
        /// Points in all.
        total: usize,
        /// Time that is left; `None`: unlimited.
        left: Option<Duration>,
    },
    /// A variant of the point is about to be checked and tried.
    Try(String),
    /// The device is warm and the sentinel stands: the points begin.
    Ready,
    /// A point was dealt with: time to save.
    End,
    /// The device slowed down; waiting for it to recover.
    Pause,
}

/// Why measuring ended early.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The observer could not go on: its words.
    #[error("{0}")]
    Stopped(String),
    /// The device failed in a way that no further point can survive.
    #[error(transparent)]
    Device(#[from] BackendError),
}

type Observer<'a> = &'a mut dyn FnMut(&Event, &SamplesFile) -> Result<(), String>;

struct Session<'a, 'b, 'c> {
    observe: Observer<'c>,
    device: Guarded<'b>,
    clock: &'a dyn Clock,
    families: &'a [Box<dyn Family>],
    /// Points by (family, place).
    begin: Duration,
    budget: Option<Duration>,
    facts: ClockFacts,
    /// Verdicts on variants: (family, variant) → wrong or refused.
    checked: BTreeMap<(usize, String), Result<(), String>>,
    /// The variants of a family, best first, as far as they were tried.
    winners: BTreeMap<usize, Vec<String>>,
    sentinel: Sentinel,
    reruns: u32,
}

/// A point to be measured: of which family, until when and with which ring.
#[derive(Clone, Copy)]
struct Job<'p> {
    file: &'p SamplesFile,
    f: usize,
    point: &'p Point,
    deadline: Duration,
    ring: u64,
}

/// Why a variant was not timed.
struct Missed {
    why: String,
    /// Whether one pass would not fit into the time.
    too_long: bool,
}

impl From<String> for Missed {
    fn from(why: String) -> Self {
        Self {
            why,
            too_long: false,
        }
    }
}

/// Points by which a session learns about its device, each with its family.
struct Landmarks<'t> {
    /// The smallest read that comes from memory.
    cold: Option<&'t (usize, Point)>,
    /// The product with the fewest rows: quick on anything.
    gemm: Option<&'t (usize, Point)>,
    /// The longest chain of empty launches.
    cheap: Option<&'t (usize, Point)>,
}

/// Measures what `file` asks for and does not have yet.
///
/// # Errors
/// The observer's, or a device that is lost.
pub fn run(
    device: &mut dyn Backend,
    clock: &dyn Clock,
    families: &[Box<dyn Family>],
    budget: Option<Duration>,
    file: &mut SamplesFile,
    observe: Observer,
) -> Result<(), SessionError> {
    let mut session = Session {
        observe,
        device: Guarded::new(device, file.budget_bytes),
        clock,
        families,
        begin: clock.now(),
        budget,
        facts: ClockFacts {
            tick_s: file.timer_tick_s,
            submit_s: file.submit_s,
        },
        checked: BTreeMap::new(),
        winners: BTreeMap::new(),
        sentinel: Sentinel::default(),
        reruns: 0,
    };
    session.condemn(file);
    session.idle_power(file);
    session.settle_ring(file);
    let todo = plan(families, &session.device.info().clone(), file);
    let total = todo.len();
    session.start(file, &todo)?;
    let mut block: Vec<usize> = vec![];
    for (done, (f, point)) in todo.iter().enumerate() {
        if file
            .find(families[*f].name(), &point.id)
            .is_none_or(unsettled)
        {
            let event = Event::Begin {
                record: Box::new(PointRecord::blank(families[*f].name(), point)),
                done,
                total,
                left: session.left(),
            };
            session.tell(&event, file)?;
            let rest = &todo[done..];
            let same = rest.iter().filter(|(_, p)| p.required == point.required);
            let share = session.share(same.count());
            let record = session.measure(file, *f, point, share);
            file.put(record);
            block.push(done);
            session.tell(&Event::End, file)?;
        }
        let last = done + 1 == total;
        if !block.is_empty() && (block.len() >= BLOCK || last) {
            session.close_block(file, &todo, &block)?;
            block.clear();
            session.tell(&Event::End, file)?;
        }
    }
    order::mark(file);
    session.loaded_power(file)?;
    session.soak(file)?;
    file.complete = true;
    session.tell(&Event::End, file)
}

/// Whether a point of an earlier session has to be measured again.
fn unsettled(r: &PointRecord) -> bool {
    matches!(r.outcome, Outcome::Dropped(_))
}

fn scope<'a>(device: &'a DeviceInfo, file: &SamplesFile, ring_bytes: u64) -> Scope<'a> {
    Scope {
        device,
        effort: file.effort,
        ring_bytes,
        budget_bytes: file.budget_bytes,
        seed: file.seed,
    }
}

/// All points: the required ones first, families taking turns, so that whatever time is left is spent evenly.
fn plan(
    families: &[Box<dyn Family>],
    device: &DeviceInfo,
    file: &SamplesFile,
) -> Vec<(usize, Point)> {
    let scope = scope(device, file, file.ring_bytes);
    let mut todo = vec![];
    for required in [true, false] {
        let mut queues: Vec<(usize, std::vec::IntoIter<Point>)> = families
            .iter()
            .enumerate()
            .filter(|(_, f)| match file.only.as_slice() {
                [] => file.effort == Effort::Full || !f.feeds().is_empty(),
                named => named.iter().any(|o| o == f.name()),
            })
            .map(|(i, f)| {
                let mut points = f.points(&scope);
                points.retain(|p| p.required == required);
                (i, points.into_iter())
            })
            .collect();
        while !queues.is_empty() {
            queues.retain_mut(|(i, q)| match q.next() {
                Some(p) => {
                    todo.push((*i, p));
                    true
                }
                None => false,
            });
        }
    }
    todo
}

impl Session<'_, '_, '_> {
    fn tell(&mut self, event: &Event, file: &SamplesFile) -> Result<(), SessionError> {
        (self.observe)(event, file).map_err(SessionError::Stopped)
    }

    fn left(&self) -> Option<Duration> {
        self.budget
            .map(|b| b.saturating_sub(self.clock.now() - self.begin))
    }

    /// What a point may take: a fair share with room for those that need more, all that is left at most.
    fn share(&self, points: usize) -> Duration {
        match self.left() {
            None => Duration::from_secs(120),
            Some(left) => {
                // While there is plenty, no slow point takes it from all others.
                let most = if left > PLENTY { left / 6 } else { left };
                (left * 3 / points.max(1) as u32)
                    .max(Duration::from_millis(400))
                    .min(most)
            }
        }
    }

    /// The observer learns of the variant first, so that a crash can be assigned to it. An observer that gives up is heard at the point's end.
    fn trying(&mut self, file: &SamplesFile, f: usize, variant: &Variant) {
        let key = (f, variant.id.clone());
        if !matches!(self.checked.get(&key), Some(Err(_))) {
            let _ = self.tell(&Event::Try(key.1), file);
        }
    }

    /// Variants that brought the driver down in an earlier process are not tried again, at any point.
    fn condemn(&mut self, file: &SamplesFile) {
        for record in &file.points {
            let Outcome::Crashed(why) = &record.outcome else {
                continue;
            };
            let Some(f) = self.families.iter().position(|f| f.name() == record.family) else {
                continue;
            };
            for trial in record.trials.iter().filter(|t| t.error.is_some()) {
                self.checked
                    .insert((f, trial.variant.clone()), Err(why.clone()));
            }
        }
    }

    fn check(
        &mut self,
        file: &SamplesFile,
        f: usize,
        variant: &Variant,
        ring: u64,
    ) -> Result<(), String> {
        let key = (f, variant.id.clone());
        if let Some(verdict) = self.checked.get(&key) {
            return verdict.clone();
        }
        let info = self.device.info().clone();
        let keep = self.device.live();
        let verdict = self.families[f]
            .check(&mut self.device, &scope(&info, file, ring), variant)
            .map_err(|e| e.to_string());
        self.device.sweep(&keep);
        self.checked.insert(key, verdict.clone());
        verdict
    }

    fn prepare(
        &mut self,
        file: &SamplesFile,
        f: usize,
        point: &Point,
        variant: &Variant,
        ring: u64,
    ) -> Result<Prepared, String> {
        let info = self.device.info().clone();
        let keep = self.device.live();
        let prepared =
            self.families[f].prepare(&mut self.device, &scope(&info, file, ring), point, variant);
        match prepared {
            Ok(p) if p.pass.is_empty() && p.transfer.is_none() => {
                self.device.sweep(&keep);
                Err("the family gave no launches".into())
            }
            Ok(p) => Ok(p),
            Err(e) => {
                self.device.sweep(&keep);
                Err(e.to_string())
            }
        }
    }

    /// Variants in the order in which they are worth trying: earlier winners, then those not tried yet, then the rest.
    fn candidates(&self, file: &SamplesFile, f: usize, point: &Point, ring: u64) -> Vec<Variant> {
        let info = self.device.info().clone();
        let mut all = self.families[f].variants(&scope(&info, file, ring), point);
        let tried = self.winners.get(&f);
        let rank = |v: &Variant| match tried.and_then(|t| t.iter().position(|w| *w == v.id)) {
            Some(0) => 0,
            None => 1,
            Some(n) => n + 1,
        };
        all.sort_by_key(rank);
        let bad = |v: &Variant| matches!(self.checked.get(&(f, v.id.clone())), Some(Err(_)));
        all.sort_by_key(bad);
        all.truncate(match file.effort {
            Effort::Quick => 3,
            Effort::Standard => 6,
            Effort::Full => usize::MAX,
        });
        all
    }

    /// Seconds that the pass would take at the pace of the family's earlier points, to spare what cannot be afforded.
    fn foreseen(&self, file: &SamplesFile, f: usize, prepared: &Prepared) -> Option<f64> {
        file.measured(self.families[f].name())
            .filter(|p| p.work.flops > 0.0 || p.work.bytes > 0.0)
            .filter_map(|p| {
                let s = p.stats?.median;
                let by_flops = prepared.work.flops / (p.work.flops / s);
                let by_bytes = prepared.work.bytes / (p.work.bytes / s);
                let t = if by_flops.is_finite() { by_flops } else { 0.0 }
                    .max(if by_bytes.is_finite() { by_bytes } else { 0.0 });
                Some(t)
            })
            .reduce(f64::min)
    }

    fn measure(
        &mut self,
        file: &SamplesFile,
        f: usize,
        point: &Point,
        share: Duration,
    ) -> PointRecord {
        let mut record = PointRecord::blank(self.families[f].name(), point);
        if self.left().is_some_and(|l| l < Duration::from_millis(50)) {
            record.outcome = Outcome::Dropped("the time was used up".into());
            return record;
        }
        let job = Job {
            file,
            f,
            point,
            deadline: self.clock.now() + share,
            ring: file.ring_bytes,
        };
        record.outcome = match self.best_of(job, &mut record) {
            Ok(()) => Outcome::Measured,
            Err(o) => o,
        };
        let Some(stats) = record.stats else {
            return record;
        };
        if let Some(first) =
            plausible::objection(&record.work, stats.median, file.ring_bytes, &file.limits)
        {
            record.trials.clear();
            record.samples_s.clear();
            let again = Job {
                deadline: self.clock.now() + share,
                ring: 2 * file.ring_bytes,
                ..job
            };
            let result = self.best_of(again, &mut record);
            record.flags.push(Flag::RingDoubled);
            record.outcome = match (result, record.stats) {
                (Ok(()), Some(s)) => {
                    match plausible::objection(
                        &record.work,
                        s.median,
                        file.ring_bytes,
                        &file.limits,
                    ) {
                        None => Outcome::Measured,
                        Some(why) => Outcome::Failed(format!("{why}, with twice the ring as well")),
                    }
                }
                _ => Outcome::Failed(first),
            };
        }
        record
    }

    /// Tries the variants, samples the best, writes both into the record.
    fn best_of(&mut self, job: Job<'_>, record: &mut PointRecord) -> Result<(), Outcome> {
        let Job {
            file,
            f,
            point,
            deadline,
            ring,
        } = job;
        let variants = self.candidates(file, f, point, ring);
        if variants.is_empty() {
            return Err(Outcome::Unsupported(
                "no kernel of this family runs on this device".into(),
            ));
        }
        let keep = self.device.live();
        let mut best: Option<(f64, usize)> = None;
        let mut held: Option<(usize, Prepared)> = None;
        let mut too_long = false;
        let began = self.clock.now();
        for (i, v) in variants.iter().enumerate() {
            // A third of the time is for finding the best variant; what was found first then has to do.
            if best.is_some() && self.clock.now() >= began + (deadline - began) / 3 {
                break;
            }
            held = None;
            self.device.sweep(&keep);
            let mut trial = Trial {
                variant: v.id.clone(),
                seconds: None,
                error: None,
            };
            self.trying(file, f, v);
            let result = self.estimate(job, v, began);
            match result {
                Ok((s, p)) => {
                    trial.seconds = Some(s);
                    if best.is_none_or(|(b, _)| s < b) {
                        best = Some((s, i));
                    }
                    held = Some((i, p));
                }
                Err(missed) => {
                    too_long |= missed.too_long;
                    trial.error = Some(missed.why);
                }
            }
            record.trials.push(trial);
        }
        let Some((estimate, i)) = best else {
            self.device.sweep(&keep);
            let words = record
                .trials
                .iter()
                .find_map(|t| t.error.clone())
                .unwrap_or_default();
            return Err(match too_long {
                true => Outcome::Dropped(words),
                false => Outcome::Failed(words),
            });
        };
        self.rank(f, &record.trials);
        let prepared = match held.filter(|(j, _)| *j == i) {
            Some((_, p)) => p,
            None => {
                self.device.sweep(&keep);
                self.prepare(file, f, point, &variants[i], ring)
                    .map_err(Outcome::Failed)?
            }
        };
        let result = sampling::sample(
            &mut self.device,
            self.clock,
            &prepared,
            estimate,
            self.facts,
            deadline,
        );
        self.device.sweep(&keep);
        let samples = result.map_err(|e| Outcome::Failed(e.to_string()))?;
        record.variant = Some(variants[i].id.clone());
        keep_samples(record, &prepared, samples);
        Ok(())
    }

    /// Checks and prepares a variant and times a pass of it, if that is not too long.
    fn estimate(
        &mut self,
        job: Job<'_>,
        variant: &Variant,
        began: Duration,
    ) -> Result<(f64, Prepared), Missed> {
        let Job { file, f, ring, .. } = job;
        self.check(file, f, variant, ring)?;
        let p = self.prepare(file, f, job.point, variant, ring)?;
        let foreseen = self.foreseen(file, f, &p);
        let time = job.deadline.saturating_sub(self.clock.now()).as_secs_f64();
        if let Some(s) = foreseen
            && s > time.max(0.2)
        {
            return Err(Missed {
                why: format!(
                    "one pass would take {s:.1} s at the pace of the points before, and there are {time:.1} s"
                ),
                too_long: true,
            });
        }
        let mut s = sampling::estimate(&mut self.device, &p).map_err(|e| e.to_string())?;
        if s < 0.05 * (job.deadline - began).as_secs_f64() {
            for _ in 0..2 {
                let t = p.once(&mut self.device).map_err(|e| e.to_string())?;
                s = s.min(sampling::seconds(&t).max(1e-9));
            }
        }
        Ok((s, p))
    }

    fn rank(&mut self, f: usize, trials: &[Trial]) {
        let mut timed: Vec<(f64, &str)> = trials
            .iter()
            .filter_map(|t| Some((t.seconds?, t.variant.as_str())))
            .collect();
        timed.sort_by(|a, b| a.0.total_cmp(&b.0));
        let list = self.winners.entry(f).or_default();
        let mut new: Vec<String> = timed.iter().map(|(_, v)| v.to_string()).collect();
        let old = list.iter().filter(|v| !new.contains(v)).cloned();
        let old: Vec<String> = old.collect();
        new.extend(old);
        *list = new;
    }

    /// Warms up, learns about the clocks and sets the sentinel: with a point of the stream family and one of a matrix family.
    fn start(
        &mut self,
        file: &mut SamplesFile,
        todo: &[(usize, Point)],
    ) -> Result<(), SessionError> {
        // Neither a point nor a variant that brought the driver down before.
        let sound: Vec<(usize, Point)> = todo
            .iter()
            .filter(|(f, p)| {
                let record = file.find(self.families[*f].name(), &p.id);
                !record.is_some_and(|r| matches!(r.outcome, Outcome::Crashed(_)))
            })
            .cloned()
            .collect();
        let todo = &sound[..];
        let Landmarks { cold, gemm, cheap } = self.landmarks(file, todo);
        let ready = |s: &mut Self, of: Option<&(usize, Point)>| {
            let (f, point) = of?;
            let begin = Event::Begin {
                record: Box::new(PointRecord::blank(s.families[*f].name(), point)),
                done: 0,
                total: todo.len(),
                left: s.left(),
            };
            let _ = s.tell(&begin, file);
            let v = s
                .candidates(file, *f, point, file.ring_bytes)
                .into_iter()
                .find(|v| {
                    s.trying(file, *f, v);
                    s.check(file, *f, v, file.ring_bytes).is_ok()
                })?;
            s.prepare(file, *f, point, &v, file.ring_bytes).ok()
        };
        if let Some(p) = ready(self, cheap) {
            self.facts = sampling::clock_facts(&mut self.device, &p.pass[..1], 200)?;
            self.device.sweep(&[]);
        }
        let (stream, gemm) = (ready(self, cold), ready(self, gemm));
        let until = self.clock.now()
            + match self.left() {
                Some(left) => WARM_UP.min(left / 20),
                None => WARM_UP,
            };
        let warm: Vec<_> = [&stream, &gemm].into_iter().flatten().collect();
        while !warm.is_empty() && self.clock.now() < until {
            for p in &warm {
                self.device.run(&p.pass)?;
            }
        }
        if cheap.is_none()
            && let Some(p) = warm.first()
        {
            self.facts = sampling::clock_facts(&mut self.device, &p.pass[..1], 30)?;
        }
        let stream = self.modest(stream, file.budget_bytes / 4);
        let gemm = self.modest(gemm, file.budget_bytes / 4);
        file.timer_tick_s = self.facts.tick_s;
        file.submit_s = self.facts.submit_s;
        self.sentinel = Sentinel::new(&mut self.device, stream, gemm)?;
        let first = self.sentinel.read(&mut self.device, self.clock)?;
        file.sentinel.push(first);
        self.tell(&Event::Ready, file)
    }

    /// The points that tell how fast the device is.
    fn landmarks<'t>(&self, file: &SamplesFile, todo: &'t [(usize, Point)]) -> Landmarks<'t> {
        let cold = todo
            .iter()
            .filter(|(f, p)| {
                self.families[*f].name() == "stream_read" && size(p) >= file.ring_bytes as f64
            })
            .min_by(|a, b| size(&a.1).total_cmp(&size(&b.1)));
        let rows = |p: &Point| {
            let m = p.axes.iter().find(|(name, _)| *name == "m");
            m.map_or(f64::INFINITY, |(_, v)| *v)
        };
        let gemm = todo
            .iter()
            .filter(|(f, p)| p.required && self.families[*f].name().starts_with("gemm"))
            .min_by(|a, b| rows(&a.1).total_cmp(&rows(&b.1)));
        let cheap = todo
            .iter()
            .filter(|(f, p)| p.required && self.families[*f].name() == "launch")
            .max_by(|a, b| size(&a.1).total_cmp(&size(&b.1)));
        Landmarks { cold, gemm, cheap }
    }

    /// What the sentinel may keep: its buffers stay, so they must be a modest part of what may be held, `most` bytes.
    fn modest(&mut self, p: Option<Prepared>, most: u64) -> Option<Prepared> {
        let p = p?;
        let bytes: u64 = p.buffers.iter().filter_map(|b| self.device.bytes(*b)).sum();
        // Nor may reading it eat the time: a reading takes six passes or more.
        let slow = self.left().is_some_and(|left| {
            self.device
                .run(&p.pass)
                .map_or(true, |t| sampling::seconds(&t) > left.as_secs_f64() / 150.0)
        });
        if bytes > most || slow {
            p.buffers.iter().for_each(|b| self.device.free(*b));
            return None;
        }
        Some(p)
    }

    /// Reads the sentinel; if the device slowed down, waits and measures the block again.
    fn close_block(
        &mut self,
        file: &mut SamplesFile,
        todo: &[(usize, Point)],
        block: &[usize],
    ) -> Result<(), SessionError> {
        let now = self.sentinel.read(&mut self.device, self.clock)?;
        file.sentinel.push(now);
        if !self.sentinel.slow(&now) {
            return Ok(());
        }
        let mark = |file: &mut SamplesFile, flag: Flag| {
            for &i in block {
                let (f, p) = &todo[i];
                let name = self.families[*f].name();
                for r in file.points.iter_mut() {
                    if r.family == name && r.id == p.id && r.outcome == Outcome::Measured {
                        r.flags.push(flag);
                        r.flags.sort_unstable();
                        r.flags.dedup();
                    }
                }
            }
        };
        // A pause and the block once more must fit into what is left, and the rest has to be measured as well.
        let affordable = match self.left() {
            None => self.reruns < 5,
            Some(left) => self.reruns < 2 && left > 3 * sentinel::PAUSE,
        };
        if !affordable {
            mark(file, Flag::Drifted);
            return Ok(());
        }
        self.reruns += 1;
        self.tell(&Event::Pause, file)?;
        let rested = self.sentinel.recover(&mut self.device, self.clock)?;
        file.sentinel.push(rested);
        if self.sentinel.slow(&rested) {
            mark(file, Flag::Throttled);
            return Ok(());
        }
        for &i in block {
            let (f, point) = &todo[i];
            let share = self.share(todo.len() - i);
            let record = self.measure(file, *f, point, share);
            // A point that there is no time for keeps its first record.
            if matches!(record.outcome, Outcome::Measured) {
                file.put(record);
            }
            self.tell(&Event::End, file)?;
        }
        let after = self.sentinel.read(&mut self.device, self.clock)?;
        file.sentinel.push(after);
        if self.sentinel.slow(&after) {
            mark(file, Flag::Throttled);
        }
        Ok(())
    }
}

impl Session<'_, '_, '_> {
    /// Keeps the device busy for as long as the file asks, on top of the time for the points, and writes down how fast it is
    /// meanwhile: an integrated GPU shares its power limit, and what it reaches for seconds it may not hold for minutes.
    fn soak(&mut self, file: &mut SamplesFile) -> Result<(), SessionError> {
        if file.soak_s <= 0.0 || !file.soak.is_empty() || self.sentinel.buffers().is_empty() {
            return Ok(());
        }
        let begin = self.clock.now();
        let end = begin + Duration::from_secs_f64(file.soak_s);
        let step = (end - begin) / SOAK_READINGS;
        let mut next = begin;
        loop {
            let now = self.sentinel.read(&mut self.device, self.clock)?;
            let time = self.clock.now();
            if time >= next || time >= end {
                file.soak.push(now);
                next = time + step;
                self.tell(&Event::End, file)?;
            }
            if time >= end {
                return Ok(());
            }
        }
    }
}

/// How much a point works with, roughly: to find the largest.
fn size(p: &Point) -> f64 {
    p.axes
        .iter()
        .filter(|(name, _)| matches!(*name, "bytes" | "launches"))
        .map(|(_, v)| *v)
        .fold(0.0, f64::max)
}

/// Writes samples into a record.
fn keep_samples(record: &mut PointRecord, prepared: &Prepared, samples: Samples) {
    let Samples {
        passes,
        samples_s,
        host_s,
        stats,
        flags,
    } = samples;
    record.work = prepared.work;
    record.launches = prepared.pass.len() as u32;
    record.passes = passes;
    record.samples_s = samples_s;
    record.host_s = host_s;
    record.stats = Some(stats);
    record.flags = flags;
}
