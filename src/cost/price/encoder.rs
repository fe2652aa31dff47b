//! The vision tower: its products over the patches of all images of a step, attention within each image, its kernels launched one by
//! one, for towers run without graphs.
use super::dense::Dense;
use super::elementwise::Passes;
use crate::cost::ImagesAtEnd;
use crate::device::{Curve, DeviceProfile, EngineProfile};
use crate::model::{Encoder, Model};
use crate::workload::{ImageCost, Images};

/// Passes of a layer over its rows, in rows of the stream that are read or written: two norms and two additions of three each, and the
/// rotary embedding of q and k.
const ROWS_PER_LAYER: f64 = 16.0;

/// What images of one size cost.
#[derive(Clone, Debug)]
pub struct EncoderPrice {
    encoder: Encoder,
    image: ImageCost,
    model: Model,
    dense: Dense,
    passes: Passes,
    curve: Curve,
    efficiency: f64,
    /// Seconds to launch all of its kernels.
    launch: f64,
}

impl EncoderPrice {
    /// As the engine runs the tower on the device; `None`: the load has no images.
    pub fn new(
        model: &Model,
        device: &DeviceProfile,
        engine: &EngineProfile,
        images: Option<&Images>,
    ) -> Option<Self> {
        let encoder = model.config().encoder.clone()?;
        let each = device.launch.value.max(engine.host.launch_eager.value);
        Some(Self {
            image: images?.each,
            dense: Dense::new(device, engine),
            passes: Passes::new(model, device, engine),
            curve: device.attention_prefill.clone(),
            efficiency: engine.attention_compute.value * device.curves.library(),
            launch: f64::from(encoder.kernels()) * each,
            model: model.clone(),
            encoder,
        })
    }

    /// Seconds of so many images, computed together.
    pub fn seconds(&self, images: u32) -> f64 {
        if images == 0 {
            return 0.0;
        }
        let (n, dtype) = (f64::from(images), self.model.precision().dtype);
        let patches = u64::from(images) * u64::from(self.image.patches);
        // Devices that share the model share the tower's heads and columns (`--mm-encoder-tp-mode weights`, the default).
        let devices = f64::from(self.model.parallel().tensor.max(1));
        let products = self.encoder.products(patches, dtype);
        let dense: f64 = products
            .map(|(g, rows, times)| f64::from(times) * self.dense.seconds(&g, rows))
            .sum();
        let seen = self.image.patches / self.image.tiles.max(1);
        let rate = self.curve.at(f64::from(seen.max(1))).y * self.efficiency;
        let attention = n * self
            .encoder
            .attention_ops(self.image.patches, self.image.tiles)
            / rate;
        let row = f64::from(self.encoder.width) * dtype.bytes() as f64;
        let bytes = ROWS_PER_LAYER * row * patches as f64;
        let passes = f64::from(self.encoder.layers) * self.passes.seconds(bytes);
        let computed = (dense + attention) / devices + passes;
        computed.max(self.launch)
    }
}

/// The images of a prompt as a scheduler sees them. The tower's budget in a step is the largest step, or the largest image if that is
/// more (`compute_mm_encoder_budget`, vLLM 0.32.0, `v1/core/encoder_cache_manager.py`).
pub fn at_end(images: &Images, model: &Model, max_num_batched_tokens: u32) -> ImagesAtEnd {
    let encoder = model.config().encoder.as_ref();
    let largest = encoder.and_then(Encoder::largest).map_or(0, |i| i.embeds);
    ImagesAtEnd {
        count: images.count,
        tokens: images.each.tokens,
        embeds: images.each.embeds,
        budget: max_num_batched_tokens.max(largest).max(images.each.embeds),
    }
}
