//! The vision tower of a multimodal model: its weights, and what an image costs it.
//!
//! vLLM runs the tower apart from the language model: without graphs, all images of a step together, each image attending to itself
//! (vLLM 0.33.0, `v1/worker/gpu_model_runner.py: _execute_mm_encoder`).
mod families;
mod tokens;

pub(super) use families::read;
use tokens::TokenRule;
pub use tokens::{Image, ImageTokens};

use super::op::Gemm;
use super::precision::Dtype;
use serde::Serialize;

/// A matrix of the tower.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Matrix {
    /// Outputs and inputs.
    out: u32,
    inner: u32,
    /// How often it stands in the tower.
    times: u32,
    /// Patches that become one of its rows.
    patches: u32,
}

/// A vision tower with what joins it to the language model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Encoder {
    /// The family whose tower it is.
    pub family: &'static str,
    /// All parameters, the projector's included.
    pub parameters: u64,
    /// Layers.
    pub layers: u32,
    /// Width of the stream.
    pub width: u32,
    /// Heads times their width.
    pub attention_width: u32,
    /// Inner width of the MLP.
    pub inner: u32,
    /// Kernels of a layer.
    kernels: u32,
    matrices: Vec<Matrix>,
    /// Patches of a window and the number of layers that see no more, where some do.
    window: Option<(u32, u32)>,
    /// Vectors of the language model's width that each token of an image brings: more than one where layers in the middle of the tower
    /// feed layers of the language model.
    pub vectors: u32,
    rule: Option<TokenRule>,
}

impl Encoder {
    /// Tokens and patches of an image.
    ///
    /// # Errors
    /// The family's rule is not known, or the image is of a shape that its processor refuses.
    pub fn image(&self, image: Image) -> Result<ImageTokens, String> {
        match &self.rule {
            Some(rule) => rule.tokens(image),
            None => Err(format!(
                "how {} turns an image into tokens is not known to capsim",
                self.family
            )),
        }
    }

    /// The largest image, for which the profiling run is made.
    pub fn largest(&self) -> Option<ImageTokens> {
        self.rule.as_ref().map(TokenRule::largest)
    }

    /// Bytes of the weights, which no checkpoint's format changes: towers stay in 16 bits.
    pub fn weight_bytes(&self, dtype: Dtype) -> f64 {
        self.parameters as f64 * dtype.bytes() as f64
    }

    /// Bytes alive at the peak of a run over so many patches: the stream and its residual, and the widest of q, k, v with attention's
    /// result and the MLP's inner rows with their product.
    pub fn activation_bytes(&self, patches: u64, dtype: Dtype) -> f64 {
        let widest = (4 * u64::from(self.attention_width)).max(2 * u64::from(self.inner));
        let row = 2 * u64::from(self.width) + widest;
        patches as f64 * row as f64 * dtype.bytes() as f64
    }

    /// Its products over the rows of so many patches: each with its rows and how often it is computed.
    pub fn products(&self, patches: u64, dtype: Dtype) -> impl Iterator<Item = (Gemm, u32, u32)> {
        self.matrices.iter().map(move |m| {
            let rows = patches.div_ceil(m.patches.into());
            let rows = u32::try_from(rows).unwrap_or(u32::MAX);
            (Gemm::plain(m.out, m.inner, dtype), rows, m.times)
        })
    }

    /// Operations of attention over an image of so many patches in so many tiles: each patch sees those of its own tile, or of its
    /// window.
    pub fn attention_ops(&self, patches: u32, tiles: u32) -> f64 {
        let each = f64::from(patches) / f64::from(tiles.max(1));
        let pairs = |seen: f64| f64::from(patches) * seen * 4.0 * f64::from(self.attention_width);
        let (seen, windowed) = self.window.unwrap_or((u32::MAX, 0));
        let full = f64::from(self.layers - windowed.min(self.layers));
        full * pairs(each) + f64::from(windowed) * pairs(each.min(f64::from(seen)))
    }

    /// Kernels that one run launches.
    pub fn kernels(&self) -> u32 {
        self.kernels * self.layers
    }
}
