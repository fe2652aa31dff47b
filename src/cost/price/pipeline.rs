//! A pipeline: a price for each stage, and the way between two.
use super::comm::link_of;
use super::{CostError, CostOptions, StepPrice};
use crate::device::{DeviceProfile, EngineProfile, Link};
use crate::model::Model;

/// Tensors that go from one stage to the next: the hidden states and the residual (`IntermediateTensors` of the decoder models,
/// `model_executor/models/llama.py`@0.32.0).
const TENSORS: f64 = 2.0;

/// The ways from each stage to the next.
#[derive(Clone, Debug)]
pub(super) struct Hop {
    link: Link,
    /// Through the network, by the number of the later stage.
    far: Vec<Option<Link>>,
    /// Devices that share each layer: each sends its part of a row, and those that receive gather them
    /// (`GroupCoordinator.isend_tensor_dict` with `all_gather_group`, `distributed/parallel_state.py`@0.32.0).
    ranks: u32,
    bytes_per_row: f64,
}

impl Hop {
    fn new(model: &Model, device: &DeviceProfile) -> Self {
        let width = f64::from(model.hidden_size());
        let parallel = model.parallel();
        let link = link_of(device);
        // Each device of a stage has a port of its own.
        let far = link.across(1, device.host_rates().network.value);
        let across = |to: u32| (to > 0 && parallel.crosses_to(to)).then(|| far.clone());
        Self {
            far: (0..parallel.pipeline).map(across).collect(),
            link,
            ranks: model.parallel().tensor.max(1),
            bytes_per_row: width * model.precision().dtype.bytes() as f64,
        }
    }

    /// Seconds for so many rows to stage number `to`.
    pub fn seconds(&self, to: usize, rows: u32) -> f64 {
        let way = self.far.get(to).and_then(Option::as_ref);
        let bytes = f64::from(rows) * self.bytes_per_row;
        let part = bytes / f64::from(self.ranks);
        TENSORS * (way.unwrap_or(&self.link).send(part) + self.link.all_gather(self.ranks, bytes))
    }
}

impl StepPrice {
    /// As [`new`](Self::new), of a pipeline whose stages have so many layers each; without numbers: of the whole model.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn in_stages(
        model: &Model,
        layers: &[u32],
        device: &DeviceProfile,
        engine: &EngineProfile,
        options: CostOptions,
    ) -> Result<Self, CostError> {
        if layers.len() < 2 {
            return Self::new(model, device, engine, options);
        }
        let mut stages = vec![];
        for stage in model.stages(layers) {
            stages.push(Self::new(&stage, device, engine, options.clone())?);
        }
        let mut later = stages.split_off(1);
        let mut first = stages.remove(0);
        for stage in &mut later {
            stage.host = stage.host.clone().of_later_stage();
            // The first one has the vision tower.
            stage.encoder = None;
            first.tables.also(&stage.tables);
        }
        first.hop = Some(Hop::new(model, device));
        first.later = later;
        Ok(first)
    }
}
