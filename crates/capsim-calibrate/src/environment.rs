//! The state of the machine around a measurement: clocks, power, temperature, driver, who else is busy.
//!
//! Everything is optional: each value is there, or the reason why it is not. AMD is read from sysfs (amdgpu), NVIDIA from
//! `nvidia-smi`, the host from `/proc`. The parsers work on text, so that they are tested on saved files.
use super::child;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A value, or why there is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Reading<T> {
    /// Read.
    Value(T),
    /// Not read, and why.
    Missing(String),
}

impl<T> Reading<T> {
    /// The value, if there is one.
    pub fn value(&self) -> Option<&T> {
        match self {
            Reading::Value(v) => Some(v),
            Reading::Missing(_) => None,
        }
    }

    fn missing(why: &str) -> Reading<T> {
        Reading::Missing(why.into())
    }
}

impl<T> From<Result<T, String>> for Reading<T> {
    fn from(r: Result<T, String>) -> Reading<T> {
        match r {
            Ok(v) => Reading::Value(v),
            Err(why) => Reading::Missing(why),
        }
    }
}

/// The host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Host {
    /// Kernel release, as `uname -r`.
    pub kernel: Reading<String>,
    /// Processor.
    pub cpu: Reading<String>,
    /// Logical processors that this process may use.
    pub cores: Reading<u32>,
    /// Frequency governor of the first processor: `performance`, `powersave`, …
    pub governor: Reading<String>,
    /// Load average over one minute: how many threads want to run.
    pub load: Reading<f64>,
    /// Memory in bytes.
    pub memory_total: Reading<u64>,
    /// Memory that programs could still get, in bytes.
    pub memory_available: Reading<u64>,
}

/// A GPU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Gpu {
    /// Where this was read: a path, or `nvidia-smi`.
    pub source: String,
    /// PCI address, `0000:c5:00.0`.
    pub pci: Reading<String>,
    /// Driver and version.
    pub driver: Reading<String>,
    /// Core clock now, in MHz.
    pub clock_mhz: Reading<u32>,
    /// Memory clock now, in MHz.
    pub memory_clock_mhz: Reading<u32>,
    /// Power now, in watts (on an APU: of the whole package).
    pub power_w: Reading<f64>,
    /// Temperature now, in °C.
    pub temperature_c: Reading<f64>,
    /// Share of time that it was busy, in per cent.
    pub busy_percent: Reading<u32>,
    /// Its own memory in bytes; on an APU what the firmware has carved out.
    pub vram_total: Reading<u64>,
    /// Of it in use.
    pub vram_used: Reading<u64>,
    /// Host memory that the GPU may use, in bytes (amdgpu's GTT).
    pub gtt_total: Reading<u64>,
    /// Of it in use.
    pub gtt_used: Reading<u64>,
}

/// All of it, at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Environment {
    /// The host.
    pub host: Host,
    /// The GPUs whose drivers tell; if none, why.
    pub gpus: Reading<Vec<Gpu>>,
}

/// Where the kernel's files are: `/`, or a copy of some of them in tests.
#[derive(Clone, Debug)]
pub struct Root(pub PathBuf);

impl Default for Root {
    fn default() -> Root {
        Root("/".into())
    }
}

/// Busier than this and another process uses the GPU, in per cent. An idle desktop's compositor stays below.
const BUSY_PERCENT: u32 = 10;

/// Threads that want to run, per processor, above which the host is busy.
const BUSY_LOAD: f64 = 0.5;

impl Environment {
    /// Reads everything now. Takes milliseconds, or up to five seconds where `nvidia-smi` is slow.
    pub fn read() -> Environment {
        let root = Root::default();
        let mut gpus = root.amd_gpus();
        let nvidia = nvidia_gpus();
        let why = nvidia.as_ref().err().cloned();
        gpus.extend(nvidia.unwrap_or_default());
        Environment {
            host: root.host(),
            gpus: if gpus.is_empty() {
                Reading::Missing(format!(
                    "no amdgpu in sysfs; nvidia-smi: {}",
                    why.unwrap_or_else(|| "no GPU".into())
                ))
            } else {
                Reading::Value(gpus)
            },
        }
    }

    /// The GPU at a PCI address; without one, the only GPU there is.
    pub fn gpu(&self, pci: Option<&str>) -> Option<&Gpu> {
        let gpus = self.gpus.value()?;
        match pci {
            Some(pci) => gpus
                .iter()
                .find(|g| g.pci.value().is_some_and(|p| p.eq_ignore_ascii_case(pci))),
            None if gpus.len() == 1 => gpus.first(),
            None => None,
        }
    }

    /// What makes measurements here doubtful: other users of the GPU or of the host. Empty on a quiet machine.
    pub fn disturbances(&self) -> Vec<String> {
        let mut all = vec![];
        for gpu in self.gpus.value().into_iter().flatten() {
            if let Some(busy) = gpu.busy_percent.value().filter(|b| **b > BUSY_PERCENT) {
                let name = gpu.pci.value().unwrap_or(&gpu.source);
                all.push(format!(
                    "the GPU {name} is {busy} % busy: something else runs on it"
                ));
            }
        }
        if let (Some(load), Some(cores)) = (self.host.load.value(), self.host.cores.value())
            && *load > BUSY_LOAD * f64::from(*cores)
        {
            all.push(format!(
                "the load average is {load} on {cores} processors: something else runs on the host"
            ));
        }
        all
    }
}

impl Root {
    fn path(&self, at: &str) -> PathBuf {
        self.0.join(at.trim_start_matches('/'))
    }

    fn text(&self, at: &Path) -> Result<String, String> {
        let shown = at.strip_prefix(&self.0).unwrap_or(at).display();
        std::fs::read_to_string(at).map_err(|e| format!("/{shown}: {e}"))
    }

    /// The host's part.
    pub fn host(&self) -> Host {
        let read = |at: &str| self.text(&self.path(at));
        let meminfo = read("proc/meminfo");
        let memory = |key: &str| meminfo.clone().and_then(|t| parse_meminfo(&t, key)).into();
        Host {
            kernel: read("proc/sys/kernel/osrelease")
                .and_then(|t| parse_line(&t))
                .into(),
            cpu: read("proc/cpuinfo").and_then(|t| parse_cpuinfo(&t)).into(),
            cores: std::thread::available_parallelism()
                .map(|n| n.get() as u32)
                .map_err(|e| e.to_string())
                .into(),
            governor: read("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
                .and_then(|t| parse_line(&t))
                .into(),
            load: read("proc/loadavg").and_then(|t| parse_loadavg(&t)).into(),
            memory_total: memory("MemTotal"),
            memory_available: memory("MemAvailable"),
        }
    }

    /// Every GPU of the amdgpu driver.
    pub fn amd_gpus(&self) -> Vec<Gpu> {
        let Ok(cards) = std::fs::read_dir(self.path("sys/class/drm")) else {
            return vec![];
        };
        let mut devices: Vec<PathBuf> = cards
            .flatten()
            .filter(|c| {
                let name = c.file_name();
                let name = name.to_string_lossy();
                // `card0`, not its connectors `card0-HDMI-A-1`.
                name.strip_prefix("card")
                    .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
            })
            .map(|c| c.path().join("device"))
            .filter(|d| {
                self.text(&d.join("vendor"))
                    .is_ok_and(|v| v.trim() == "0x1002")
            })
            .collect();
        devices.sort();
        devices.iter().map(|d| self.amd_gpu(d)).collect()
    }

    fn amd_gpu(&self, device: &Path) -> Gpu {
        let read = |at: &str| self.text(&device.join(at));
        let number = |at: &str| read(at).and_then(|t| parse_number(&t));
        let hwmon = std::fs::read_dir(device.join("hwmon"))
            .ok()
            .and_then(|d| d.flatten().map(|e| e.path()).min());
        let sensor = |names: &[&str]| {
            let hwmon = hwmon.as_ref().ok_or("no hwmon folder")?;
            let mut last = "no such sensor".to_string();
            for name in names {
                match self.text(&hwmon.join(name)).and_then(|t| parse_number(&t)) {
                    Ok(v) => return Ok(v),
                    Err(e) => last = e,
                }
            }
            Err(last)
        };
        Gpu {
            source: device.display().to_string(),
            pci: read("uevent")
                .and_then(|t| parse_uevent(&t, "PCI_SLOT_NAME"))
                .into(),
            driver: read("uevent")
                .and_then(|t| parse_uevent(&t, "DRIVER"))
                .into(),
            clock_mhz: read("pp_dpm_sclk").and_then(|t| parse_dpm(&t)).into(),
            memory_clock_mhz: read("pp_dpm_mclk").and_then(|t| parse_dpm(&t)).into(),
            // Microwatts; newer kernels have `input`, older ones `average`.
            power_w: sensor(&["power1_average", "power1_input"])
                .map(|w| w as f64 / 1e6)
                .into(),
            temperature_c: sensor(&["temp1_input"]).map(|t| t as f64 / 1e3).into(),
            busy_percent: number("gpu_busy_percent")
                .and_then(|n| u32::try_from(n).map_err(|e| e.to_string()))
                .into(),
            vram_total: number("mem_info_vram_total").into(),
            vram_used: number("mem_info_vram_used").into(),
            gtt_total: number("mem_info_gtt_total").into(),
            gtt_used: number("mem_info_gtt_used").into(),
        }
    }
}

/// What is asked of `nvidia-smi`, in this order.
const NVIDIA_QUERY: &str = "driver_version,pci.bus_id,clocks.sm,clocks.mem,power.draw,temperature.gpu,utilization.gpu,\
memory.total,memory.used";

pub(super) fn nvidia_gpus() -> Result<Vec<Gpu>, String> {
    let text = child::run(
        std::process::Command::new("nvidia-smi").args([
            format!("--query-gpu={NVIDIA_QUERY}"),
            "--format=csv,noheader,nounits".into(),
        ]),
        Duration::from_secs(5),
    )?;
    parse_nvidia(&text)
}

/// The first line, not empty.
fn parse_line(text: &str) -> Result<String, String> {
    let line = text.lines().next().unwrap_or("").trim();
    if line.is_empty() {
        return Err("empty".into());
    }
    Ok(line.to_string())
}

/// A file that holds one whole number.
fn parse_number(text: &str) -> Result<u64, String> {
    text.trim()
        .parse()
        .map_err(|_| format!("`{}` is not a number", short(text)))
}

/// `/proc/loadavg`: the first of `0.52 0.58 0.59 1/467 12345`.
fn parse_loadavg(text: &str) -> Result<f64, String> {
    let word = text.split_whitespace().next().unwrap_or("");
    word.parse()
        .ok()
        .filter(|v: &f64| v.is_finite() && *v >= 0.0)
        .ok_or_else(|| format!("`{}` is not a load average", short(text)))
}

/// `/proc/meminfo`: a line `MemTotal:  24684084 kB`, in bytes.
fn parse_meminfo(text: &str, key: &str) -> Result<u64, String> {
    let line = text
        .lines()
        .find_map(|l| l.strip_prefix(key)?.strip_prefix(':'))
        .ok_or_else(|| format!("/proc/meminfo has no {key}"))?;
    let mut words = line.split_whitespace();
    let number: Option<u64> = words.next().and_then(|w| w.parse().ok());
    match (number.and_then(|n| n.checked_mul(1024)), words.next()) {
        (Some(bytes), Some("kB")) => Ok(bytes),
        _ => Err(format!("/proc/meminfo: `{}` is not a size", short(line))),
    }
}

/// `/proc/cpuinfo`: x86's `model name`, else what other architectures write.
fn parse_cpuinfo(text: &str) -> Result<String, String> {
    for key in ["model name", "Model", "Hardware", "cpu model", "uarch"] {
        let found = text.lines().find_map(|l| {
            let (k, v) = l.split_once(':')?;
            (k.trim() == key && !v.trim().is_empty()).then(|| v.trim().to_string())
        });
        if let Some(name) = found {
            return Ok(name);
        }
    }
    Err("/proc/cpuinfo names no model".into())
}

/// `uevent`: lines `KEY=value`.
fn parse_uevent(text: &str, key: &str) -> Result<String, String> {
    text.lines()
        .find_map(|l| l.strip_prefix(key)?.strip_prefix('='))
        .map(|v| v.trim().to_string())
        .filter(|v| !v.is_empty())
        .ok_or_else(|| format!("uevent has no {key}"))
}

/// amdgpu's `pp_dpm_sclk`: lines `1: 1100Mhz *`; the star marks the current one. In MHz.
fn parse_dpm(text: &str) -> Result<u32, String> {
    let line = text
        .lines()
        .find(|l| l.trim_end().ends_with('*'))
        .ok_or("no level is marked as current")?;
    let value = line
        .split_once(':')
        .map(|(_, v)| v.trim_end().trim_end_matches('*').trim())
        .unwrap_or("");
    let lower = value.to_ascii_lowercase();
    lower
        .strip_suffix("mhz")
        .and_then(|n| n.trim().parse().ok())
        .ok_or_else(|| format!("`{}` is not a clock", short(line)))
}

/// `nvidia-smi --format=csv,noheader,nounits`: one GPU per line; `[N/A]` where the device does not tell.
fn parse_nvidia(text: &str) -> Result<Vec<Gpu>, String> {
    let mut gpus = vec![];
    for line in text.lines().filter(|l| !l.trim().is_empty()) {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let &[driver, pci, sm, mem, power, temperature, busy, total, used] = fields.as_slice()
        else {
            return Err(format!("nvidia-smi wrote `{}`", short(line)));
        };
        fn number<T: std::str::FromStr>(word: &str) -> Result<T, String> {
            word.parse()
                .map_err(|_| format!("nvidia-smi says `{}`", short(word)))
        }
        let real = |word: &str| {
            number::<f64>(word).and_then(|v| {
                if v.is_finite() {
                    Ok(v)
                } else {
                    Err(format!("nvidia-smi says `{v}`"))
                }
            })
        };
        let mib = |word: &str| {
            number::<u64>(word)
                .and_then(|n| {
                    n.checked_mul(1 << 20)
                        .ok_or_else(|| "nvidia-smi: too large".into())
                })
                .into()
        };
        // `00000000:01:00.0` → `0000:01:00.0`, as other tools write it.
        let pci = pci.to_ascii_lowercase();
        let pci = match pci.split_once(':') {
            Some((domain, rest)) if domain.len() == 8 && domain.is_ascii() => {
                format!("{}:{rest}", &domain[4..])
            }
            _ => pci,
        };
        gpus.push(Gpu {
            source: "nvidia-smi".into(),
            pci: Reading::Value(pci),
            driver: Reading::Value(format!("nvidia {driver}")),
            clock_mhz: number(sm).into(),
            memory_clock_mhz: number(mem).into(),
            power_w: real(power).into(),
            temperature_c: real(temperature).into(),
            busy_percent: number(busy).into(),
            vram_total: mib(total),
            vram_used: mib(used),
            gtt_total: Reading::missing("not with this driver"),
            gtt_used: Reading::missing("not with this driver"),
        });
    }
    Ok(gpus)
}

/// For messages: not more than a line of what a file holds.
fn short(text: &str) -> String {
    text.trim()
        .chars()
        .take(40)
        .filter(|c| !c.is_control())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DPM: &str = "0: 600Mhz \n1: 1100Mhz *\n2: 2900Mhz \n";
    const SMI: &str = "570.86.15, 00000000:19:00.0, 1980, 2619, 118.57, 33, 0, 143771, 1\n\
                       570.86.15, 00000000:3B:00.0, 345, 2619, [N/A], 30, [N/A], 143771, 0\n";
    const MEMINFO: &str =
        "MemTotal:       24684084 kB\nMemFree:         6546372 kB\nMemAvailable:   19112080 kB\n";
    const CPUINFO: &str = "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD RYZEN AI MAX+ 395 w/ Radeon 8060S\n";
    const UEVENT: &str = "DRIVER=amdgpu\nPCI_CLASS=38000\nPCI_SLOT_NAME=0000:c5:00.0\n";

    #[test]
    fn saved_files_are_understood() {
        assert_eq!(parse_dpm(DPM), Ok(1100));
        assert_eq!(parse_loadavg("7.46 5.26 3.73 9/467 123\n"), Ok(7.46));
        assert_eq!(parse_meminfo(MEMINFO, "MemTotal"), Ok(24_684_084 * 1024));
        assert_eq!(
            parse_meminfo(MEMINFO, "MemAvailable"),
            Ok(19_112_080 * 1024)
        );
        assert!(parse_meminfo(MEMINFO, "Mem").is_err());
        assert_eq!(
            parse_cpuinfo(CPUINFO).unwrap(),
            "AMD RYZEN AI MAX+ 395 w/ Radeon 8060S"
        );
        assert_eq!(
            parse_uevent(UEVENT, "PCI_SLOT_NAME").unwrap(),
            "0000:c5:00.0"
        );
        let gpus = parse_nvidia(SMI).unwrap();
        assert_eq!(gpus.len(), 2);
        assert_eq!(gpus[0].pci, Reading::Value("0000:19:00.0".into()));
        assert_eq!(gpus[0].vram_total, Reading::Value(143_771 << 20));
        assert_eq!(gpus[0].power_w, Reading::Value(118.57));
        assert_eq!(
            gpus[1].power_w,
            Reading::Missing("nvidia-smi says `[N/A]`".into())
        );
        assert!(parse_nvidia("No devices were found\n").is_err());
    }

    #[test]
    fn a_saved_sysfs_is_understood() {
        let dir = tempfile::tempdir().unwrap();
        let put = |at: &str, text: &str| {
            let path = dir.path().join(at);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let card = "sys/class/drm/card1/device";
        for (at, text) in [
            ("vendor", "0x1002\n"),
            ("uevent", UEVENT),
            ("pp_dpm_sclk", DPM),
            ("gpu_busy_percent", "43\n"),
            ("mem_info_vram_total", "536870912\n"),
            ("mem_info_gtt_total", "66571993088\n"),
            ("hwmon/hwmon5/power1_input", "38012000\n"),
            ("hwmon/hwmon5/temp1_input", "41000\n"),
        ] {
            put(&format!("{card}/{at}"), text);
        }
        // A connector, and a card of another vendor.
        put("sys/class/drm/card1-eDP-1/device/vendor", "0x1002\n");
        put("sys/class/drm/card0/device/vendor", "0x8086\n");
        put("proc/loadavg", "0.10 0.20 0.30 1/467 123\n");
        let root = Root(dir.path().into());
        let gpus = root.amd_gpus();
        assert_eq!(gpus.len(), 1);
        let gpu = &gpus[0];
        assert_eq!(gpu.clock_mhz, Reading::Value(1100));
        assert_eq!(gpu.power_w, Reading::Value(38.012));
        assert_eq!(gpu.temperature_c, Reading::Value(41.0));
        assert_eq!(gpu.gtt_total, Reading::Value(66_571_993_088));
        let Reading::Missing(why) = &gpu.vram_used else {
            panic!("there is no such file");
        };
        assert!(why.contains("mem_info_vram_used"), "{why}");
        let mut now = Environment {
            host: root.host(),
            gpus: Reading::Value(gpus.clone()),
        };
        assert!(matches!(&now.host.kernel, Reading::Missing(why) if why.contains("osrelease")));
        assert_eq!(now.gpu(Some("0000:C5:00.0")), Some(gpu));
        assert_eq!(now.gpu(None), Some(gpu));
        // Busy, and it says so; then quiet; then a busy host.
        assert!(now.disturbances()[0].contains("43 % busy"), "{now:?}");
        now.gpus = Reading::missing("none");
        assert_eq!(now.disturbances(), Vec::<String>::new());
        now.host.load = Reading::Value(1e4);
        assert_eq!(now.disturbances().len(), 1);
        let json = serde_json::to_string(&now).unwrap();
        assert_eq!(serde_json::from_str::<Environment>(&json).unwrap(), now);
    }

    #[test]
    fn no_text_makes_a_parser_panic() {
        let mut state = 0x9E37_79B9_u32;
        let mut next = |n: usize| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as usize % n.max(1)
        };
        for text in [
            DPM,
            SMI,
            MEMINFO,
            CPUINFO,
            UEVENT,
            "7.46 5.26 3.73 9/467 123\n",
            "42\n",
            "",
        ] {
            for _ in 0..500 {
                let mut chars: Vec<char> = text.chars().collect();
                for _ in 0..=next(4) {
                    let at = next(chars.len());
                    match next(4) {
                        0 if !chars.is_empty() => drop(chars.remove(at)),
                        1 => chars.insert(at, ['*', ':', ',', '9', 'é', '\n', '\0', '-'][next(8)]),
                        2 => chars.truncate(at),
                        _ => chars.extend_from_within(..at),
                    }
                }
                let text: String = chars.into_iter().collect();
                let _ = (parse_dpm(&text), parse_nvidia(&text), parse_number(&text));
                let _ = (parse_meminfo(&text, "MemTotal"), parse_cpuinfo(&text));
                let _ = (parse_uevent(&text, "DRIVER"), parse_line(&text));
                if let Ok(load) = parse_loadavg(&text) {
                    assert!(load.is_finite());
                }
            }
        }
    }
}
