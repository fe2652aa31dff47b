//! A device through the user's own PyTorch: the operators of an engine, and the engine's own kernels where it can be imported.
//!
//! The binary carries two scripts ([`python`]). A child process runs them under the user's Python and holds tensors for capsim's
//! buffers; kernels are operators by name, launches are calls, and the time is taken there, so that the pipe costs nothing that counts.
//! Everything else (warm-up, checks against float64, spread, sentinel, plausibility) is the protocol that every backend goes through.
pub mod python;
mod wire;

use crate::backend::{
    Api, Backend, BackendError, BufferId, DeviceInfo, Kernel, KernelId, Launch, Slice, Timing,
};
use crate::child;
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long `import torch` and the first look at a device may take: a cold start from a slow disk.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// The define by which a kernel asks to be captured and replayed with its pass.
pub const GRAPH: &str = "GRAPH";

#[derive(Debug, Deserialize)]
struct Described {
    name: String,
    vendor: String,
    memory: u64,
    units: u32,
    clock: u32,
    cache: u64,
    software: bool,
    unified: bool,
    timestamps: bool,
    #[serde(default)]
    pci: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Listed {
    device: Described,
    kind: String,
}

#[derive(Debug, Deserialize)]
struct List {
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    devices: Vec<Listed>,
    #[serde(default)]
    libraries: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct Hello {
    device: Described,
    threads: usize,
    libraries: BTreeMap<String, String>,
    features: Vec<String>,
    missing: BTreeMap<String, String>,
    context_bytes: Option<u64>,
}

/// What a session found beside the device: versions, what could not be imported, and the memory of the context.
pub type Facts = BTreeMap<String, String>;

fn versions(libraries: &BTreeMap<String, String>) -> String {
    let order = ["torch", "cuda", "hip", "vllm"];
    let named = order.iter().filter_map(|n| libraries.get_key_value(*n));
    let words: Vec<String> = named.map(|(n, v)| format!("{n} {v}")).collect();
    words.join(", ")
}

fn describe(d: Described, libraries: &BTreeMap<String, String>) -> DeviceInfo {
    let host = crate::environment::Root::default().host();
    let memory = match d.memory {
        0 => host.memory_total.value().copied().unwrap_or(0),
        bytes => bytes,
    };
    DeviceInfo {
        name: match d.software {
            true => host.cpu.value().cloned().unwrap_or(d.name),
            false => d.name,
        },
        vendor: d.vendor,
        driver: versions(libraries),
        api_version: format!(
            "Python {}",
            libraries.get("python").map_or("?", String::as_str)
        ),
        software: d.software,
        unified_memory: d.unified,
        memory_bytes: memory,
        max_buffer_bytes: memory,
        max_binding_bytes: memory,
        local_memory_bytes: 0,
        // Operators have no work-groups.
        max_group: 1,
        compute_units: match d.units {
            0 => host.cores.value().copied().unwrap_or(1),
            n => n,
        },
        clock_mhz: d.clock,
        cache_bytes: d.cache,
        // What `torch.cuda.Event.elapsed_time` states as its resolution: around half a microsecond.
        timestamp_ns: d.timestamps.then_some(500.0),
        features: d.pci.iter().map(|p| format!("pci-{p}")).collect(),
    }
}

/// All devices of a Python's torch, in its order. The script runs in a process of its own, with a deadline.
///
/// # Errors
/// In one line: no such Python, no torch, no answer.
pub fn list(named: Option<&Path>, deadline: Duration) -> Result<Vec<DeviceInfo>, String> {
    let python = python::interpreter(named);
    let scripts = python::Scripts::write().map_err(|e| format!("a folder for scripts: {e}"))?;
    let mut command = scripts.command(&python, &["list".into()]);
    let out = child::run(&mut command, deadline).map_err(|e| {
        // Started at all? A message of the system says less than what to do.
        match std::process::Command::new(&python).arg("-V").output() {
            Err(why) => python::cannot_start(&python, &why),
            Ok(_) => format!("`{}`: {e}", python.display()),
        }
    })?;
    let line = out.lines().rev().find(|l| !l.trim().is_empty());
    let list: List = serde_json::from_str(line.unwrap_or("")).map_err(|_| {
        format!(
            "`{}` gives no answer: is it Python 3.10 or later?",
            python.display()
        )
    })?;
    if let Some(why) = list.error {
        return Err(format!(
            "`{}`: {why}. Name the Python of your engine with --python",
            python.display()
        ));
    }
    let libraries = list.libraries;
    Ok(list
        .devices
        .into_iter()
        .map(|d| {
            let mut info = describe(d.device, &libraries);
            info.features.push(format!("torch-{}", d.kind));
            info
        })
        .collect())
}

/// A device of torch.
pub struct Torch {
    info: DeviceInfo,
    facts: Facts,
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    last_words: Arc<Mutex<String>>,
    kernels: Vec<Kernel>,
    buffers: usize,
    _scripts: python::Scripts,
}

impl Torch {
    /// The device of this number, with so many threads where it is the processor.
    ///
    /// # Errors
    /// No such Python, no torch, no such device.
    pub fn open(
        named: Option<&Path>,
        index: usize,
        threads: Option<usize>,
    ) -> Result<Self, BackendError> {
        let lost = BackendError::Unavailable;
        let python = python::interpreter(named);
        let scripts = python::Scripts::write()
            .map_err(|e| lost(format!("a folder for the scripts of --backend torch: {e}")))?;
        let words = ["serve".to_string(), index.to_string()];
        let threads_word = threads.unwrap_or(0).to_string();
        let mut command =
            scripts.command(&python, &[words[0].clone(), words[1].clone(), threads_word]);
        if let Some(n) = threads {
            command.env("OMP_NUM_THREADS", n.to_string());
        }
        let mut child = command
            .spawn()
            .map_err(|e| lost(python::cannot_start(&python, &e)))?;
        let missing = || lost("the pipes of Python".into());
        let to = child.stdin.take().ok_or_else(missing)?;
        let mut from = BufReader::new(child.stdout.take().ok_or_else(missing)?);
        let last_words = Arc::new(Mutex::new(String::new()));
        if let Some(pipe) = child.stderr.take() {
            listen(pipe, Arc::clone(&last_words));
        }
        let line = wire::line(&mut from).ok().flatten();
        let said = line.as_deref().unwrap_or("");
        let hello: Hello = serde_json::from_str(said).map_err(|_| {
            let reply: Option<wire::Reply> = serde_json::from_str(said).ok();
            let why = reply.and_then(|r| r.error);
            let heard = last_words.lock().map(|w| w.clone()).unwrap_or_default();
            let _ = child.kill();
            let _ = child.wait();
            lost(format!(
                "`{}` does not answer: {}",
                python.display(),
                why.unwrap_or(heard)
            ))
        })?;
        let mut facts = Facts::new();
        for (name, version) in &hello.libraries {
            facts.insert(format!("library.{name}"), version.clone());
        }
        for (name, why) in &hello.missing {
            facts.insert(format!("library.{name}"), format!("unknown: {why}"));
        }
        facts.insert("torch.threads".into(), hello.threads.to_string());
        if let Some(bytes) = hello.context_bytes {
            facts.insert("torch.context_bytes".into(), bytes.to_string());
        }
        let mut info = describe(hello.device, &hello.libraries);
        info.features.extend(hello.features);
        if let (Some(n), true) = (threads, info.software) {
            let s = if n == 1 { "" } else { "s" };
            info.name = format!("{n} thread{s} of {}", info.name);
            info.compute_units = n as u32;
        }
        Ok(Self {
            info,
            facts,
            child,
            to,
            from,
            last_words,
            kernels: vec![],
            buffers: 0,
            _scripts: scripts,
        })
    }

    /// Versions of libraries and what else is worth recording.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    fn ask(
        &mut self,
        request: serde_json::Value,
        payload: &[u8],
        about: (&'static str, u64),
    ) -> Result<wire::Reply, BackendError> {
        let reply =
            wire::send(&mut self.to, request, payload).and_then(|()| wire::receive(&mut self.from));
        match reply {
            Ok(Some(reply)) => reply.checked(about.0, about.1),
            Ok(None) | Err(_) => {
                let words = self.last_words.lock().map(|w| w.clone());
                Err(BackendError::Lost(format!(
                    "Python ended: {}",
                    words.unwrap_or_default()
                )))
            }
        }
    }
}

/// Keeps the last line of what Python prints.
fn listen(pipe: impl Read + Send + 'static, last: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        use std::io::BufRead;
        let mut pipe = BufReader::new(pipe);
        let mut bytes = vec![];
        while matches!(pipe.read_until(b'\n', &mut bytes), Ok(n) if n > 0) {
            let text = String::from_utf8_lossy(&bytes).trim().to_string();
            bytes.clear();
            if let (false, Ok(mut last)) = (text.is_empty(), last.lock()) {
                *last = text.chars().take(300).collect();
            }
        }
    });
}

impl Drop for Torch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

impl Backend for Torch {
    fn api(&self) -> Api {
        Api::Torch
    }

    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn compile(&mut self, kernel: &Kernel) -> Result<KernelId, BackendError> {
        let need = |n: &&&str| !self.info.features.iter().any(|f| f == *n);
        if let Some(need) = kernel.needs.iter().find(need) {
            return Err(BackendError::Unsupported {
                kernel: kernel.name,
                feature: (*need).into(),
            });
        }
        let id = self.kernels.len();
        let request =
            json!({"op": "compile", "id": id, "name": kernel.name, "defines": kernel.defines});
        self.ask(request, &[], (kernel.name, 0))?;
        self.kernels.push(kernel.clone());
        Ok(KernelId(id))
    }

    fn alloc(&mut self, bytes: u64) -> Result<BufferId, BackendError> {
        let id = self.buffers;
        let request = json!({"op": "alloc", "id": id, "size": bytes});
        self.ask(request, &[], ("", bytes))?;
        self.buffers += 1;
        Ok(BufferId(id))
    }

    fn free(&mut self, buffer: BufferId) {
        // A worker that is gone has no buffers.
        let _ = self.ask(json!({"op": "free", "id": buffer.0}), &[], ("", 0));
    }

    fn write(&mut self, to: Slice, data: &[u8]) -> Result<Duration, BackendError> {
        if data.len() as u64 != to.len {
            return Err(BackendError::Device("data of another length".into()));
        }
        let request = json!({"op": "write", "buffer": to.buffer.0, "offset": to.offset});
        Ok(duration(self.ask(request, data, ("", to.len))?.host))
    }

    fn read(&mut self, from: Slice, data: &mut [u8]) -> Result<Duration, BackendError> {
        let request =
            json!({"op": "read", "buffer": from.buffer.0, "offset": from.offset, "size": from.len});
        let reply = self.ask(request, &[], ("", from.len))?;
        if data.len() != reply.payload.len() {
            return Err(BackendError::Device("data of another length".into()));
        }
        data.copy_from_slice(&reply.payload);
        Ok(duration(reply.host))
    }

    fn run(&mut self, launches: &[Launch]) -> Result<Timing, BackendError> {
        let known = |l: &Launch| self.kernels.get(l.kernel.0).map(|k| k.name);
        let Some(name) = launches.first().map_or(Some(""), known) else {
            return Err(BackendError::Device("no such kernel".into()));
        };
        let graph = launches.iter().any(|l| {
            let kernel = self.kernels.get(l.kernel.0);
            kernel.is_some_and(|k| k.defines.iter().any(|(d, _)| *d == GRAPH))
        });
        let list: Vec<serde_json::Value> = launches
            .iter()
            .map(|l| {
                let parts: Vec<_> = l
                    .buffers
                    .iter()
                    .map(|s| (s.buffer.0, s.offset, s.len))
                    .collect();
                json!([l.kernel.0, parts, l.numbers])
            })
            .collect();
        let request = json!({"op": "run", "launches": list, "graph": graph});
        let reply = self.ask(request, &[], (name, 0))?;
        Ok(Timing {
            device: reply.device.map(duration),
            host: duration(reply.host),
        })
    }
}
