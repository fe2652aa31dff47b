//! The process that measures. It is this same program with a hidden command: a driver that crashes or hangs takes it down, and
//! [`supervise`](super::supervise) records the point and goes on with a new one.
use super::backend::{
    Api, Backend, BackendError, BufferId, DeviceInfo, Kernel, KernelId, Launch, Slice, Timing,
};
use super::clock::{Clock, HostClock, SimulatedClock};
use super::cpu::Cpu;
use super::environment::Root;
use super::family::Family;
use super::power::Meter;
use super::protocol::{self, Event, SessionError};
use super::samples::{PointRecord, SamplesFile};
use super::synthetic::{self, Synthetic, Truth};
use super::torch::Torch;
use super::{discover, families};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// Device calls closer together than this are one sign of life.
const BEAT: Duration = Duration::from_millis(500);

/// Points between two savings where measuring takes no time.
const RARELY: usize = 8;

/// What a worker is told, in one line of JSON on its standard input.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// The device's number within its API.
    pub index: usize,
    /// Threads of the CPU device; `None`: all.
    pub threads: Option<usize>,
    /// The Python of `--backend torch`; `None`: the usual one.
    #[serde(default)]
    pub python: Option<PathBuf>,
    /// Seconds that are left; `None`: as many as it takes.
    pub left_s: Option<f64>,
    /// Where to save.
    pub samples: PathBuf,
    /// What to measure, and what was measured already.
    pub file: SamplesFile,
}

/// What a worker says, a line of JSON each on its standard output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Message {
    /// A point begins.
    Begin {
        /// The point.
        record: Box<PointRecord>,
        /// Points dealt with.
        done: usize,
        /// Points in all.
        total: usize,
        /// Seconds left.
        left_s: Option<f64>,
    },
    /// A variant is tried.
    Try(String),
    /// Ready to measure points.
    Ready,
    /// A point was dealt with and saved.
    Settled,
    /// The device rests.
    Pause,
    /// The device still answers.
    Alive,
    /// It cannot go on: why.
    Lost(String),
}

impl Message {
    fn of(event: &Event) -> Self {
        match event {
            Event::Begin {
                record,
                done,
                total,
                left,
            } => Message::Begin {
                record: record.clone(),
                done: *done,
                total: *total,
                left_s: left.map(|l| l.as_secs_f64()),
            },
            Event::Try(variant) => Message::Try(variant.clone()),
            Event::Ready => Message::Ready,
            Event::End => Message::Settled,
            Event::Pause => Message::Pause,
        }
    }
}

/// A device, the clock it lives by, and what is measured on it.
type Opened = (Box<dyn Backend>, Box<dyn Clock>, Vec<Box<dyn Family>>);

/// Opens the device of a job.
fn open(api: Api, job: &Job) -> Result<Opened, BackendError> {
    if api == Api::Synthetic {
        let clock = SimulatedClock::default();
        let device = Synthetic::new(Truth::default(), job.file.seed, clock.clone(), None);
        return Ok((Box::new(device), Box::new(clock), synthetic::families()));
    }
    if api == Api::Torch {
        let device = Torch::open(job.python.as_deref(), job.index, job.threads)?;
        return Ok((
            Box::new(device),
            Box::new(HostClock::start()),
            families::torch(),
        ));
    }
    let device: Box<dyn Backend> = match api {
        Api::Cpu => Box::new(Cpu::with_threads(job.threads)?),
        api => discover::open(api, job.index)?,
    };
    Ok((device, Box::new(HostClock::start()), families::all()))
}

/// Measures what the job asks for. `save` writes the file; `say` passes a message on and may not return.
///
/// # Errors
/// In words, after which no further point can be measured in this process.
pub fn work(
    mut job: Job,
    save: &mut dyn FnMut(&SamplesFile) -> Result<(), String>,
    say: &dyn Fn(&Message),
) -> Result<(), String> {
    let api = job.file.api;
    let (mut device, clock, families) = open(api, &job).map_err(|e| e.to_string())?;
    let pulse = HostClock::start();
    let mut device = Beating {
        inner: device.as_mut(),
        say,
        last: pulse.now(),
        pulse,
        meter: match api {
            Api::Synthetic => None,
            _ => Meter::of(&job.file.device, &Root::default()).ok(),
        },
    };
    // Rewriting the file after each point is cheap beside the point, but not beside a simulated one.
    let every = if api == Api::Synthetic { RARELY } else { 1 };
    let mut unsaved = 0;
    protocol::run(
        &mut device,
        clock.as_ref(),
        &families,
        job.left_s.map(Duration::from_secs_f64),
        &mut job.file,
        &mut |event, file| {
            if *event == Event::End {
                unsaved += 1;
                if unsaved >= every || file.complete {
                    unsaved = 0;
                    save(file)?;
                }
            }
            say(&Message::of(event));
            Ok(())
        },
    )
    .map_err(|e| match e {
        SessionError::Stopped(why) => why,
        SessionError::Device(e) => e.to_string(),
    })
}

/// A device that gives a sign of life with every call, and reports at once when it is lost.
struct Beating<'a> {
    inner: &'a mut dyn Backend,
    say: &'a dyn Fn(&Message),
    pulse: HostClock,
    last: Duration,
    /// The device's power sensor, if it has one.
    meter: Option<Meter>,
}

impl Beating<'_> {
    fn beat<T>(&mut self, result: Result<T, BackendError>) -> Result<T, BackendError> {
        if let Err(e @ BackendError::Lost(_)) = &result {
            (self.say)(&Message::Lost(e.to_string()));
        }
        let now = self.pulse.now();
        if now >= self.last + BEAT {
            self.last = now;
            (self.say)(&Message::Alive);
        }
        result
    }
}

impl Backend for Beating<'_> {
    fn api(&self) -> Api {
        self.inner.api()
    }
    fn info(&self) -> &DeviceInfo {
        self.inner.info()
    }
    fn compile(&mut self, kernel: &Kernel) -> Result<KernelId, BackendError> {
        let r = self.inner.compile(kernel);
        self.beat(r)
    }
    fn alloc(&mut self, bytes: u64) -> Result<BufferId, BackendError> {
        let r = self.inner.alloc(bytes);
        self.beat(r)
    }
    fn free(&mut self, buffer: BufferId) {
        self.inner.free(buffer);
    }
    fn write(&mut self, to: Slice, data: &[u8]) -> Result<Duration, BackendError> {
        let r = self.inner.write(to, data);
        self.beat(r)
    }
    fn read(&mut self, from: Slice, data: &mut [u8]) -> Result<Duration, BackendError> {
        let r = self.inner.read(from, data);
        self.beat(r)
    }
    fn run(&mut self, launches: &[Launch]) -> Result<Timing, BackendError> {
        let r = self.inner.run(launches);
        self.beat(r)
    }
    fn meter(&self) -> Option<String> {
        match &self.meter {
            Some(meter) => Some(meter.source().into()),
            None => self.inner.meter(),
        }
    }
    fn watts(&mut self) -> Option<f64> {
        match &self.meter {
            Some(meter) => meter.watts().ok(),
            None => self.inner.watts(),
        }
    }
}
