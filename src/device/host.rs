//! The machine that the device sits in, as far as weights in its memory matter: its memory's rate, its processor's, the bus between.
use super::{DeviceProfile, Origin, ProfileError, Provenance, Quantity, sheet};
use serde::{Deserialize, Serialize};

/// What is known of the host. What is absent is assumed ([`DeviceProfile::host_rates`]).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Bytes per second that the processor streams weights with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Quantity>,
    /// Matrix operations per second of the processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arithmetic: Option<Quantity>,
    /// Bytes per second from the host's memory to the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bus: Option<Quantity>,
    /// Bytes per second that one device sends to other nodes while it receives as many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Quantity>,
}

impl Host {
    pub(super) fn check(&self) -> Result<(), ProfileError> {
        for (field, q) in [
            ("host.memory", &self.memory),
            ("host.arithmetic", &self.arithmetic),
            ("host.bus", &self.bus),
            ("host.network", &self.network),
        ] {
            if let Some(q) = q {
                q.check(field, 1e18)?;
            }
        }
        Ok(())
    }
}

/// The same with what is assumed in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct HostRates {
    /// See [`Host::memory`].
    pub memory: Quantity,
    /// See [`Host::arithmetic`].
    pub arithmetic: Quantity,
    /// See [`Host::bus`].
    pub bus: Quantity,
    /// See [`Host::network`].
    pub network: Quantity,
}

/// Two channels of DDR5-5600, 8 bytes wide: 89.6 GB/s. Servers have eight and more, laptops' are slower.
const MEMORY: f64 = 2.0 * 5600e6 * 8.0;

/// Of the memory's and of the bus's rate, what streams and copies reach: as much as the device of the profiles do of theirs on average.
const REACHED: f64 = 0.8;

/// Eight cores at 4 GHz with two 256-bit units that multiply and add eight 32-bit numbers each: 32 operations per cycle.
const ARITHMETIC: f64 = 8.0 * 4e9 * 32.0;

/// PCIe 4.0 ×16: 16 GT/s · 16 lanes · 128/130 bits.
const BUS: f64 = 16e9 * 16.0 / 8.0 * 128.0 / 130.0;

/// A port of 400 Gb/s for each device (eight ConnectX-7 in a node of eight: NVIDIA DGX BasePOD reference architecture, core components of
/// DGX H100, H200 and B200).
const NETWORK: f64 = 400e9 / 8.0;

/// Seconds in which a step goes from the device to the processor or back: a copy, a hand-shake, threads that wake up. Assumed, as
/// much as a collective of two devices through host memory takes (NVIDIA/nccl-tests#117).
pub const CROSSING: f64 = 30e-6;

/// The spread of what nothing is known of: a desktop with slow memory and a server with eight channels lie a factor of two and more
/// away.
const UNKNOWN: f64 = 0.5;

/// The bus that a data sheet states, as copies reach it.
pub(super) fn bus_of(stated: &sheet::Stated) -> Quantity {
    Quantity {
        value: REACHED * stated.value * 1e9,
        rel_sd: 0.25,
        provenance: Provenance {
            origin: Origin::Datasheet,
            source: stated.source.clone(),
            note:
                "0.8 of the stated rate, assumed; copies from memory that is not pinned are slower"
                    .into(),
        },
    }
}

impl DeviceProfile {
    /// The host's rates: the profile's, the data sheet's, or assumed. A device that shares the host's memory has its rate, and copies
    /// read and write there.
    pub fn host_rates(&self) -> HostRates {
        let known = self.host.clone().unwrap_or_default();
        let from = |value, rel_sd, origin, source: &str, note: &str| Quantity {
            value,
            rel_sd,
            provenance: Provenance {
                origin,
                source: source.into(),
                note: note.into(),
            },
        };
        let assumed = |value, source: &str| {
            let note = "nothing is known of the host";
            from(value, UNKNOWN, Origin::Assumed, source, note)
        };
        let shared = |share: f64| {
            let p = &self.stream_read.provenance;
            let note = "the device shares the host's memory";
            from(share * self.dram_read(), 0.25, p.origin, &p.source, note)
        };
        let unified = self.memory.unified;
        let stated = sheet::bus(&self.id);
        HostRates {
            memory: known.memory.unwrap_or_else(|| match unified {
                true => shared(REACHED),
                false => assumed(REACHED * MEMORY, "0.8 of two channels of DDR5-5600"),
            }),
            arithmetic: known.arithmetic.unwrap_or_else(|| {
                assumed(ARITHMETIC, "8 cores, 4 GHz, 32 operations per cycle (AVX2)")
            }),
            bus: known.bus.unwrap_or_else(|| match (unified, stated) {
                (true, _) => shared(0.5),
                (false, Some(s)) => bus_of(&s),
                (false, None) => assumed(REACHED * BUS, "0.8 of PCIe 4.0 x16"),
            }),
            network: known.network.unwrap_or_else(|| {
                assumed(REACHED * NETWORK, "0.8 of one 400 Gb/s port per device")
            }),
        }
    }

    /// With the rate of the network that was said, in GB/s per device.
    ///
    /// # Errors
    /// A value that no network has.
    pub fn with_network(mut self, gbs: Option<f64>) -> Result<Self, ProfileError> {
        let Some(v) = gbs else { return Ok(self) };
        let host = self.host.get_or_insert_default();
        host.network = Some(said("network_gbs", v, 1e9)?);
        Ok(self)
    }

    /// With a rate that was said: GB/s of the host's memory and of the bus, 10¹² operations per second of its processor.
    ///
    /// # Errors
    /// Names the value that no machine has.
    pub fn with_host(
        mut self,
        memory_gbs: Option<f64>,
        tflops: Option<f64>,
        bus_gbs: Option<f64>,
    ) -> Result<Self, ProfileError> {
        let mut host = self.host.take().unwrap_or_default();
        for (field, slot, given, unit) in [
            ("host_bandwidth_gbs", &mut host.memory, memory_gbs, 1e9),
            ("host_tflops", &mut host.arithmetic, tflops, 1e12),
            ("bus_gbs", &mut host.bus, bus_gbs, 1e9),
        ] {
            let Some(v) = given else { continue };
            *slot = Some(said(field, v, unit)?);
        }
        self.host = Some(host).filter(|h| *h != Host::default());
        Ok(self)
    }
}

/// A value that was said, in `unit`s.
fn said(field: &str, v: f64, unit: f64) -> Result<Quantity, ProfileError> {
    if !(v.is_finite() && v > 0.0 && v <= 1e6) {
        return Err(ProfileError::Value {
            field: field.into(),
            problem: format!("{v} must lie above 0 and at most 1e6"),
        });
    }
    Ok(Quantity {
        value: v * unit,
        rel_sd: 0.1,
        provenance: Provenance {
            origin: Origin::Datasheet,
            source: "as given".into(),
            note: String::new(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::builtin;

    #[test]
    fn what_is_said_counts_and_what_is_not_is_assumed_or_stated() {
        let d = builtin::device("rtx-4090").unwrap();
        let r = d.host_rates();
        assert_eq!(r.memory.provenance.origin, Origin::Assumed);
        assert_eq!(r.memory.value, 0.8 * 89.6e9);
        assert_eq!(r.bus.provenance.origin, Origin::Datasheet);
        assert_eq!(r.bus.value, 0.8 * 32e9);
        let said = d.with_host(Some(300.0), None, Some(50.0)).unwrap();
        let s = said.host_rates();
        assert_eq!((s.memory.value, s.bus.value), (300e9, 50e9));
        assert_eq!(s.arithmetic, r.arithmetic);
        let e = said.with_host(None, Some(-1.0), None).unwrap_err();
        assert!(e.to_string().contains("host_tflops"));
        let shared = builtin::device("gfx1151").unwrap();
        assert!(shared.memory.unified);
        assert_eq!(shared.host_rates().memory.value, 0.8 * shared.dram_read());
    }
}
