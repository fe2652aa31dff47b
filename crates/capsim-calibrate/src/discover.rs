//! Which devices there are, through which APIs, and why one cannot be used.
//!
//! Each device is opened in a child process of its own with a deadline: a driver that crashes or hangs costs one line. The child
//! is this same program with the hidden command `probe-device`, which calls [`answer`] and prints JSON.
use super::backend::{Api, Backend, BackendError, DeviceInfo};
use super::child;
use super::environment::{Reading, Root, nvidia_gpus};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

/// How long a device may take to open. ROCm's first start takes seconds.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// A device, usable or not; or an API that cannot even list its devices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Found {
    /// The API.
    pub api: Api,
    /// Its number within the API, from 0. `None`: the API itself, which has no device.
    pub index: Option<usize>,
    /// What the driver tells.
    pub info: Option<DeviceInfo>,
    /// Why it cannot be used, if so.
    pub unusable: Option<String>,
}

impl Found {
    /// How a user names it: `opencl:0`.
    pub fn id(&self) -> String {
        match self.index {
            Some(index) => format!("{}:{index}", name(self.api)),
            None => name(self.api).into(),
        }
    }
}

/// The API's name on the command line.
pub fn name(api: Api) -> &'static str {
    match api {
        Api::Opencl => "opencl",
        Api::Wgpu => "wgpu",
        Api::Cpu => "cpu",
        Api::Torch => "torch",
        Api::Synthetic => "synthetic",
    }
}

/// The APIs of real devices, built in or not.
pub const APIS: [Api; 3] = [Api::Opencl, Api::Wgpu, Api::Cpu];

/// What `--device` may name: these and PyTorch, which is looked for on request only, since it takes seconds to start.
const NAMED: [Api; 4] = [Api::Opencl, Api::Wgpu, Api::Cpu, Api::Torch];

/// What a child says, in JSON on its standard output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// To "how many?": so many, and if none, why.
    Count {
        /// Number of devices.
        devices: usize,
        /// Why there is none.
        why: Option<String>,
    },
    /// To "what is number i?".
    Device(Box<DeviceInfo>),
    /// Not to be used, and why.
    Unusable(String),
}

/// What the child process does: lists, or opens one device, in this very process.
pub fn answer(api: Api, index: Option<usize>) -> Answer {
    match index {
        None => match count(api) {
            Ok((devices, why)) => Answer::Count { devices, why },
            Err(why) => Answer::Unusable(why),
        },
        Some(index) => match describe(api, index) {
            Ok(info) => Answer::Device(Box::new(info)),
            Err(e) => Answer::Unusable(e.to_string()),
        },
    }
}

fn not_built(api: Api) -> String {
    format!(
        "this capsim was built without the feature `{0}`: build it with --features {0}",
        name(api)
    )
}

fn count(api: Api) -> Result<(usize, Option<String>), String> {
    let (devices, why): (usize, String) = match api {
        #[cfg(feature = "opencl")]
        Api::Opencl => super::opencl::count().map_err(|e| e.to_string())?,
        #[cfg(feature = "wgpu")]
        Api::Wgpu => (
            super::wgpu::count().map_err(|e| e.to_string())?,
            "no driver for Vulkan, Metal or DX12".into(),
        ),
        Api::Cpu => (1, String::new()),
        _ => return Err(not_built(api)),
    };
    Ok((devices, (devices == 0).then_some(why)))
}

/// Opens a device in this process. One that has not been probed in a child process may crash or hang it.
///
/// # Errors
/// Not built in, no such device, or the driver refuses.
pub fn open(api: Api, index: usize) -> Result<Box<dyn Backend>, BackendError> {
    match api {
        #[cfg(feature = "opencl")]
        Api::Opencl => Ok(Box::new(super::opencl::OpenCl::open(index)?)),
        #[cfg(feature = "wgpu")]
        Api::Wgpu => Ok(Box::new(super::wgpu::Wgpu::open(index)?)),
        _ => Err(BackendError::Unavailable(format!(
            "{}:{index}: {}",
            name(api),
            not_built(api)
        ))),
    }
}

fn describe(api: Api, index: usize) -> Result<DeviceInfo, BackendError> {
    let mut info = match api {
        Api::Cpu if index == 0 => host_device(),
        Api::Cpu => return Err(BackendError::Unavailable("there is one CPU".into())),
        _ => open(api, index)?.info().clone(),
    };
    if info.memory_bytes == 0 {
        info.memory_bytes = memory(&info);
    }
    Ok(info)
}

/// A device's PCI address, `0000:c5:00.0`, where its driver tells: to find its clocks in
/// `Environment::gpu`.
pub fn pci(info: &DeviceInfo) -> Option<&str> {
    info.features.iter().find_map(|f| f.strip_prefix("pci-"))
}

/// Memory of a device whose API does not tell: amdgpu's or `nvidia-smi`'s by PCI address, or the host's where it is shared.
/// 0 if unknown.
fn memory(info: &DeviceInfo) -> u64 {
    let pci = pci(info);
    let root = Root::default();
    let mut gpus = root.amd_gpus();
    if info.name.to_lowercase().contains("nvidia") {
        gpus.extend(nvidia_gpus().unwrap_or_default());
    }
    let known = gpus.into_iter().find(|g| match (g.pci.value(), pci) {
        (Some(theirs), Some(ours)) => theirs.eq_ignore_ascii_case(ours),
        _ => false,
    });
    if let Some(gpu) = known {
        let of = |r: &Reading<u64>| r.value().copied().unwrap_or(0);
        // An APU's GPU uses its carve-out and, beyond it, the host's memory.
        let gtt = if info.unified_memory {
            of(&gpu.gtt_total)
        } else {
            0
        };
        return of(&gpu.vram_total).saturating_add(gtt);
    }
    if !info.unified_memory {
        return 0;
    }
    root.host().memory_total.value().copied().unwrap_or(0)
}

/// The host's processor, as the CPU backend's device.
fn host_device() -> DeviceInfo {
    let host = Root::default().host();
    let memory = host.memory_total.value().copied().unwrap_or(0);
    DeviceInfo {
        name: host
            .cpu
            .value()
            .cloned()
            .unwrap_or_else(|| std::env::consts::ARCH.into()),
        vendor: std::env::consts::ARCH.into(),
        driver: "native code".into(),
        api_version: format!("capsim {}", env!("CARGO_PKG_VERSION")),
        software: true,
        unified_memory: true,
        memory_bytes: memory,
        max_buffer_bytes: memory,
        max_binding_bytes: memory,
        max_group: 1,
        compute_units: host.cores.value().copied().unwrap_or(1),
        ..DeviceInfo::default()
    }
}

/// Asks a child process.
fn ask(
    program: &Path,
    api: Api,
    index: Option<usize>,
    deadline: Duration,
) -> Result<Answer, String> {
    let mut command = Command::new(program);
    command.args(["probe-device", "--api", name(api)]);
    if let Some(index) = index {
        command.args(["--index", &index.to_string()]);
    }
    let out = child::run(&mut command, deadline).map_err(|e| format!("the driver failed: {e}"))?;
    // Drivers may print as well: the answer is the last line.
    let line = out
        .lines()
        .rev()
        .find(|l| !l.trim().is_empty())
        .unwrap_or("");
    serde_json::from_str(line).map_err(|_| "the driver failed: no answer".into())
}

/// The program that a library was started as, where that is not the file of the process: a script that an interpreter runs.
static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Says which program to start when another process of this program is wanted. The first call counts.
pub fn set_program(path: PathBuf) {
    let _ = PROGRAM.set(path);
}

/// The file of this program, for [`discover`]. Where there is no `/proc`, the name that it was called by.
///
/// # Errors
/// Neither is known.
pub fn this_program() -> std::io::Result<PathBuf> {
    if let Some(path) = PROGRAM.get() {
        return Ok(path.clone());
    }
    std::env::current_exe().or_else(|e| {
        let called = std::env::args_os().next().map(PathBuf::from);
        called.filter(|p| p.components().count() > 1).ok_or(e)
    })
}

/// All devices of these APIs, in order; an API without any device is one entry without index. `program` is [`this_program`].
pub fn discover(program: &Path, apis: &[Api], deadline: Duration) -> Vec<Found> {
    let mut all = vec![];
    for &api in apis {
        let none = |why: String| Found {
            api,
            index: None,
            info: None,
            unusable: Some(why),
        };
        match ask(program, api, None, deadline) {
            Ok(Answer::Count { devices: 0, why }) => {
                all.push(none(why.unwrap_or_else(|| "no device".into())));
            }
            Ok(Answer::Count { devices, .. }) => {
                all.extend((0..devices).map(|index| probe(program, api, index, deadline)));
            }
            Ok(Answer::Unusable(why)) | Err(why) => all.push(none(why)),
            Ok(Answer::Device(_)) => all.push(none("the driver failed: not an answer".into())),
        }
    }
    all
}

/// All devices of the torch of this Python (`None`: the usual one), or why there is none.
pub fn torch(python: Option<&Path>, deadline: Duration) -> Vec<Found> {
    let found = |index, info, unusable| Found {
        api: Api::Torch,
        index,
        info,
        unusable,
    };
    match super::torch::list(python, deadline) {
        Ok(all) => all
            .into_iter()
            .enumerate()
            .map(|(i, info)| found(Some(i), Some(info), None))
            .collect(),
        Err(why) => vec![found(None, None, Some(why))],
    }
}

/// One device, in a child process.
pub fn probe(program: &Path, api: Api, index: usize, deadline: Duration) -> Found {
    let (info, unusable) = match ask(program, api, Some(index), deadline) {
        Ok(Answer::Device(info)) => (Some(*info), None),
        Ok(Answer::Unusable(why)) | Err(why) => (None, Some(why)),
        Ok(Answer::Count { .. }) => (None, Some("the driver failed: not an answer".into())),
    };
    Found {
        api,
        index: Some(index),
        info,
        unusable,
    }
}

/// What a user asks for with `--device`: `opencl:0`, `wgpu`, or part of a device's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// A device by API and number.
    Index(Api, usize),
    /// Any device of an API.
    Api(Api),
    /// Part of the name, without regard to case.
    Name(String),
}

impl std::str::FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Selector, String> {
        let text = text.trim();
        if text.is_empty() {
            return Err("say which device: `opencl:0`, `wgpu`, or part of its name".into());
        }
        let api = |word: &str| {
            NAMED
                .into_iter()
                .find(|a| name(*a).eq_ignore_ascii_case(word))
        };
        if let Some(api) = api(text) {
            return Ok(Selector::Api(api));
        }
        if let Some((word, index)) = text.split_once(':')
            && let Some(api) = api(word)
        {
            return index
                .parse()
                .map(|index| Selector::Index(api, index))
                .map_err(|_| format!("`{index}` in `{text}` is not a device number"));
        }
        Ok(Selector::Name(text.to_string()))
    }
}

impl Selector {
    fn fits(&self, found: &Found) -> bool {
        match self {
            Selector::Index(api, index) => found.api == *api && found.index == Some(*index),
            Selector::Api(api) => found.api == *api && found.index.is_some(),
            Selector::Name(part) => found
                .info
                .as_ref()
                .is_some_and(|i| i.name.to_lowercase().contains(&part.to_lowercase())),
        }
    }
}

/// The best of all backends: a GPU before a processor, and on each the engine's own kernels before capsim's.
///
/// # Errors
/// None can be used.
pub fn select_auto(all: &[Found]) -> Result<&Found, String> {
    let usable = |f: &&Found| f.info.is_some() && f.unusable.is_none();
    let rank = |f: &&Found| {
        let software = f.info.as_ref().is_some_and(|i| i.software);
        (software, f.api != Api::Torch, software && f.api != Api::Cpu)
    };
    match all.iter().filter(usable).min_by_key(rank) {
        Some(found) => Ok(found),
        None => select(all, None),
    }
}

/// The device to measure: the first usable one that fits. Without a selector a GPU before a software device, OpenCL before wgpu
/// before the CPU.
///
/// # Errors
/// Nothing fits, or what fits cannot be used; the message says what there is.
pub fn select<'a>(all: &'a [Found], selector: Option<&Selector>) -> Result<&'a Found, String> {
    let fits: Vec<&Found> = all
        .iter()
        .filter(|f| selector.is_none_or(|s| s.fits(f)))
        .collect();
    let usable = |f: &&&Found| f.info.is_some() && f.unusable.is_none();
    let software = |f: &&&Found| f.info.as_ref().is_some_and(|i| i.software);
    // Of software devices the CPU backend is the honest one.
    let best = fits
        .iter()
        .filter(usable)
        .min_by_key(|f| (software(f), software(f) && f.api != Api::Cpu));
    if let Some(found) = best {
        return Ok(found);
    }
    let list = |which: &[&Found]| {
        let lines: Vec<String> = which
            .iter()
            .map(|f| match (&f.unusable, &f.info) {
                (Some(why), _) => format!("{}: {why}", f.id()),
                (None, Some(info)) => format!("{}: {}", f.id(), info.name),
                (None, None) => f.id(),
            })
            .collect();
        lines.join("; ")
    };
    Err(if fits.is_empty() {
        format!(
            "no such device; there are: {}",
            list(&all.iter().collect::<Vec<_>>())
        )
    } else {
        format!("cannot be used: {}", list(&fits))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(api: Api, index: usize, name: &str, software: bool) -> Found {
        Found {
            api,
            index: Some(index),
            info: Some(DeviceInfo {
                name: name.into(),
                software,
                ..DeviceInfo::default()
            }),
            unusable: None,
        }
    }

    #[test]
    fn devices_are_selected_as_users_expect() {
        let mut all = vec![
            found(Api::Opencl, 0, "pthread-skylake", true),
            found(Api::Opencl, 1, "AMD Radeon 8060S (gfx1151)", false),
            found(Api::Wgpu, 0, "AMD Radeon 8060S (RADV GFX1151)", false),
            found(Api::Cpu, 0, "AMD RYZEN AI MAX+ 395", true),
        ];
        let id = |all: &[Found], s: Option<&str>| {
            let selector: Option<Selector> = s.map(|s| s.parse().unwrap());
            select(all, selector.as_ref()).map(Found::id)
        };
        assert_eq!(id(&all, None).unwrap(), "opencl:1");
        assert_eq!(id(&all, Some("wgpu")).unwrap(), "wgpu:0");
        assert_eq!(id(&all, Some("OpenCL:0")).unwrap(), "opencl:0");
        assert_eq!(id(&all, Some("radv")).unwrap(), "wgpu:0");
        assert_eq!(id(&all, Some("ryzen")).unwrap(), "cpu:0");
        assert!(
            id(&all, Some("opencl:7"))
                .unwrap_err()
                .contains("opencl:1: AMD")
        );
        assert!("opencl:x".parse::<Selector>().unwrap_err().contains("`x`"));
        assert!("".parse::<Selector>().is_err());
        all[2].unusable = Some("crashed".into());
        assert_eq!(
            id(&all, Some("wgpu")).unwrap_err(),
            "cannot be used: wgpu:0: crashed"
        );
        all.remove(1);
        assert_eq!(id(&all, None).unwrap(), "cpu:0");
    }
}
