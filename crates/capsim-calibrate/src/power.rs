//! What a device draws now, where its driver tells: NVML, amdgpu's hwmon, or the processor's RAPL counters.
use super::backend::DeviceInfo;
use super::environment::Root;
use std::path::PathBuf;
use std::time::Duration;

mod nvml;

/// A device's power sensor.
pub enum Meter {
    /// NVIDIA's management library.
    Nvml(nvml::Nvml),
    /// amdgpu, by the device's PCI address.
    Amdgpu {
        /// Where the files are.
        root: Root,
        /// The address.
        pci: String,
    },
    /// An energy counter in microjoules, read twice.
    Rapl(PathBuf),
}

/// Between two readings of a counter.
const COUNTED: Duration = Duration::from_millis(100);

/// RAPL's counter of the first package (Linux, `Documentation/power/powercap/powercap.rst`).
const RAPL: &str = "sys/class/powercap/intel-rapl:0/energy_uj";

impl Meter {
    /// The sensor of a device.
    ///
    /// # Errors
    /// Why there is none.
    pub fn of(info: &DeviceInfo, root: &Root) -> Result<Self, String> {
        let meter = if info.software {
            Self::Rapl(root.0.join(RAPL))
        } else {
            let pci = super::discover::pci(info)
                .ok_or("the device's PCI address is not known")?
                .to_string();
            match nvml::Nvml::open(&pci) {
                Ok(found) => Self::Nvml(found),
                Err(_) => Self::Amdgpu {
                    root: root.clone(),
                    pci,
                },
            }
        };
        meter.watts().map(|_| meter)
    }

    /// What it is, and how exact.
    pub fn source(&self) -> &'static str {
        match self {
            Self::Nvml(_) => {
                "NVML (nvmlDeviceGetPowerUsage: ± 5 %, from Ampere on an average over one second)"
            }
            Self::Amdgpu { .. } => "amdgpu's hwmon (on an APU: the whole package)",
            Self::Rapl(_) => "RAPL: the whole processor package",
        }
    }

    /// Watts now.
    ///
    /// # Errors
    /// The sensor does not answer.
    pub fn watts(&self) -> Result<f64, String> {
        match self {
            Self::Nvml(n) => n.watts(),
            Self::Amdgpu { root, pci } => {
                let gpus = root.amd_gpus();
                let same = |p: Option<&String>| p.is_some_and(|p| p.eq_ignore_ascii_case(pci));
                let gpu = gpus.iter().find(|g| same(g.pci.value()));
                let watts = gpu.and_then(|g| g.power_w.value().copied());
                watts.ok_or_else(|| format!("no power sensor of {pci}"))
            }
            Self::Rapl(path) => {
                let read = || -> Result<f64, String> {
                    let text = std::fs::read_to_string(path);
                    let text = text.map_err(|e| format!("{}: {e}", path.display()))?;
                    let number = text.trim().parse();
                    number.map_err(|_| format!("{}: no number", path.display()))
                };
                let (first, begin) = (read()?, super::clock::HostClock::start());
                std::thread::sleep(COUNTED);
                let joules = (read()? - first) / 1e6;
                // The counter starts anew when it is full.
                match joules > 0.0 {
                    true => Ok(joules / super::clock::Clock::now(&begin).as_secs_f64()),
                    false => Err("the energy counter stands still".into()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_without_a_counter_and_a_gpu_without_an_address_say_so() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root(dir.path().into());
        let software = DeviceInfo {
            software: true,
            ..DeviceInfo::default()
        };
        let why = Meter::of(&software, &root).err().unwrap();
        assert!(why.contains("energy_uj"), "{why}");
        let why = Meter::of(&DeviceInfo::default(), &root).err().unwrap();
        assert!(why.contains("PCI"), "{why}");
    }

    #[test]
    fn a_counter_that_grows_is_power() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(RAPL);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "0\n").unwrap();
        let stopped = Meter::Rapl(path.clone());
        assert!(stopped.watts().is_err());
        let (done, end) = std::sync::mpsc::channel::<()>();
        let counter = path.clone();
        // 50 W: 50 µJ each microsecond.
        let thread = std::thread::spawn(move || {
            let begin = crate::clock::HostClock::start();
            while end.try_recv().is_err() {
                let now = crate::clock::Clock::now(&begin).as_micros() as u64;
                let other = counter.with_extension("new");
                std::fs::write(&other, format!("{}\n", 50 * now)).unwrap();
                std::fs::rename(&other, &counter).unwrap();
            }
        });
        std::thread::sleep(Duration::from_millis(50));
        let watts = Meter::Rapl(path).watts();
        done.send(()).unwrap();
        thread.join().unwrap();
        let watts = watts.unwrap();
        assert!((20.0..80.0).contains(&watts), "{watts}");
    }
}
