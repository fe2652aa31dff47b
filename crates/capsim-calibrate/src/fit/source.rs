//! Where a profile's numbers come from, in words.
use super::super::samples::{Outcome, PointRecord, SamplesFile};
use super::kernels::is_library;
use super::{FitError, Kind, of};
use capsim::device::{Origin, ProcessorKernels, Provenance};

/// The samples and the name of their file.
pub(super) struct Source<'a> {
    pub file: &'a SamplesFile,
    pub name: &'a str,
}

impl Source<'_> {
    pub fn measured(&self, note: &str) -> Provenance {
        let soft = if self.file.device.software {
            "; a software device: no GPU's speed"
        } else {
            ""
        };
        Provenance {
            origin: Origin::Measured,
            source: format!(
                "capsim {} calibrate on {} ({}), {}: {}",
                self.file.capsim,
                self.file.device.name,
                self.file.device.driver,
                self.file.started,
                self.name
            ),
            note: format!("{note}{soft}"),
        }
    }
    /// Whose kernels measured a processor; `None`: an accelerator.
    pub fn processor(&self) -> Option<ProcessorKernels> {
        let mut products = of(self.file, Kind::Gemm).into_iter();
        let by_library = products.all(is_library);
        self.file.device.software.then_some(match by_library {
            true => ProcessorKernels::Library,
            false => ProcessorKernels::Capsim,
        })
    }
    pub fn assumed(&self, note: &str) -> Provenance {
        Provenance {
            origin: Origin::Assumed,
            source: "capsim calibrate".into(),
            note: note.into(),
        }
    }
    /// The error that nothing was measured of something, with what became of its points.
    pub fn missing(&self, what: &'static str, is: fn(&PointRecord) -> bool) -> FitError {
        let mut why: Vec<String> = self
            .file
            .points
            .iter()
            .filter(|p| is(p))
            .filter_map(|p| match &p.outcome {
                Outcome::Measured => None,
                Outcome::Unsupported(w)
                | Outcome::Failed(w)
                | Outcome::Crashed(w)
                | Outcome::Dropped(w) => Some(format!("{}: {w}", p.key())),
            })
            .take(3)
            .collect();
        if why.is_empty() {
            why.push("no such point is in the file; was --family given?".into());
        }
        FitError::Missing {
            what,
            why: why.join("; "),
        }
    }
}
