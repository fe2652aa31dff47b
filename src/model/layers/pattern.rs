//! Which kind of layer stands where: what the config's patterns, lists and periods say.
use super::{Ffn, Layer, Mixer};
use crate::model::architecture::MixerRule;
use crate::model::config::{MAX_HEADS, MAX_WIDTH, Reader};
use crate::model::error::ModelError;

impl Reader<'_> {
    /// The layer's entry of `layer_types`; of `layers_block_type` or `block_types`, where older configs have that.
    pub(super) fn layer_type(&self, layer: u32) -> Result<Option<&str>, ModelError> {
        let names = ["layer_types", "layers_block_type", "block_types"];
        let Some(name) = names.into_iter().find(|n| self.f.get(n).is_some()) else {
            return Ok(None);
        };
        let list = self.f.list(name)?.unwrap_or_default();
        if list.is_empty() {
            return Ok(None);
        }
        if list.len() != self.layers as usize {
            // Gemma and GLM list the layers of drafts, too.
            if list.len() < self.layers as usize || self.f.get("num_nextn_predict_layers").is_none()
            {
                return Err(self.f.invalid(
                    name,
                    format!("has {} entries for {} layers", list.len(), self.layers),
                ));
            }
        }
        match &list[layer as usize] {
            serde_json::Value::String(kind) => Ok(Some(kind)),
            other => Err(self.f.invalid(
                &format!("{name}[{layer}]"),
                format!(
                    "is {}, no kind of layer",
                    other.to_string().chars().take(80).collect::<String>()
                ),
            )),
        }
    }

    /// A layer.
    pub(in crate::model) fn layer(&self, layer: u32) -> Result<Layer, ModelError> {
        let (mixer, beside) = match self.rules.mixer {
            MixerRule::Pattern => return self.of_pattern(layer),
            MixerRule::Blocks => return self.of_blocks(layer),
            MixerRule::Attention => (Mixer::Attention(self.attention_at(layer)?), None),
            MixerRule::Latent => (Mixer::Latent(self.latent_at(layer)?), None),
            MixerRule::Compressed => (Mixer::Compressed(self.compressed_at(layer)?), None),
            MixerRule::Delta if self.is_delta(layer)? => (Mixer::Delta(self.delta()?), None),
            MixerRule::Kda => match self.kda_at(layer)? {
                Some(kda) => (Mixer::Kda(kda), None),
                None => (Mixer::Latent(self.latent_at(layer)?), None),
            },
            MixerRule::MambaTypes if self.layer_type(layer)? == Some("mamba") => {
                (Mixer::Mamba(self.mamba2()?), None)
            }
            MixerRule::Conv if self.is_convolution(layer)? => {
                (Mixer::ShortConv(self.short_conv()?), None)
            }
            MixerRule::MambaPeriod if !self.in_period(layer)? => {
                (Mixer::Mamba(self.mamba1()?), None)
            }
            MixerRule::MambaBeside => (
                Mixer::Attention(self.attention_at(layer)?),
                Some(self.mamba2()?),
            ),
            MixerRule::Delta | MixerRule::MambaTypes | MixerRule::Conv | MixerRule::MambaPeriod => {
                (Mixer::Attention(self.attention_at(layer)?), None)
            }
        };
        let ffn = match self.experts_at(layer)? {
            Some(moe) => Ffn::Experts(moe),
            None => Ffn::Dense(self.dense_at(layer)?),
        };
        Ok(Layer {
            mixer: Some(mixer),
            beside,
            ffn: Some(ffn),
            norms: self.rules.norms_per_layer,
        })
    }

    /// LFM2: "conv" in `layer_types`, else all but those in `full_attn_idxs`.
    fn is_convolution(&self, layer: u32) -> Result<bool, ModelError> {
        if let Some(kind) = self.layer_type(layer)? {
            return Ok(kind == "conv");
        }
        match self.f.numbers("full_attn_idxs")? {
            Some(list) => Ok(!list.contains(&layer)),
            None => Err(self.missing("layer_types")),
        }
    }

    /// Jamba (`JambaConfig`: attn_layer_period 8, attn_layer_offset 4).
    fn in_period(&self, layer: u32) -> Result<bool, ModelError> {
        let period = self.size("attn_layer_period", Some(8), 1 << 13)?;
        let offset = self.f.number("attn_layer_offset")?.unwrap_or(4);
        Ok(layer % period == offset % period)
    }

    /// Nemotron-H: a letter per layer, which has a mixer or an MLP: M Mamba, * attention, - MLP, E experts.
    fn of_pattern(&self, layer: u32) -> Result<Layer, ModelError> {
        let name = "hybrid_override_pattern";
        let kind = match self.f.word(name)? {
            Some(pattern) => {
                let letters = pattern.bytes().filter(|b| *b != b'|').collect::<Vec<_>>();
                if letters.len() != self.layers as usize {
                    return Err(self.f.invalid(
                        name,
                        format!("has {} letters for {} layers", letters.len(), self.layers),
                    ));
                }
                letters[layer as usize]
            }
            None => match self.layer_type(layer)? {
                Some("mamba" | "mamba2") => b'M',
                Some("attention" | "full_attention") => b'*',
                Some("mlp") => b'-',
                Some("moe") => b'E',
                Some(_) => b'?',
                None => return Err(self.missing(name)),
            },
        };
        let (mixer, ffn) = match kind {
            b'M' => (Some(Mixer::Mamba(self.mamba_of_pattern()?)), None),
            b'*' => (Some(Mixer::Attention(self.attention_at(layer)?)), None),
            b'-' => (None, Some(Ffn::Dense(self.dense_at(layer)?))),
            b'E' => (None, Some(Ffn::Experts(self.routed(layer)?))),
            other => {
                let problem = format!("layers of kind \"{}\"", char::from(other));
                return Err(self.f.unsupported(name, problem));
            }
        };
        Ok(Layer {
            mixer,
            beside: None,
            ffn,
            norms: 1,
        })
    }

    /// Nemotron-NAS: `block_configs`, with as many key/value heads as `n_heads_in_group` gives, or `no_op`; the MLP's width is
    /// two thirds of `ffn_mult` times the stream's, to a multiple of 256 (`_ffn_mult_to_intermediate_size` of vLLM 0.33.0,
    /// `model_executor/models/nemotron_nas.py`).
    fn of_blocks(&self, layer: u32) -> Result<Layer, ModelError> {
        let name = "block_configs";
        let Some(block) = self.f.item(name, layer)? else {
            return Err(self.missing(&format!("{name}[{layer}]")));
        };
        let part = |kind: &str| match block.inner(kind)? {
            Some(part) => Ok(part),
            None => Err(self.missing(&format!("{name}[{layer}].{kind}"))),
        };
        let gone = |part: &crate::model::raw::Fields| -> Result<bool, ModelError> {
            let replaced = part.flag("replace_with_linear")? == Some(true);
            if replaced {
                return Err(part.unsupported("replace_with_linear", "a linear layer".into()));
            }
            Ok(part.flag("no_op")? == Some(true))
        };
        let (attention, ffn) = (part("attention")?, part("ffn")?);
        let mixer = if gone(&attention)? {
            None
        } else {
            let q_heads = self.size("num_attention_heads", None, MAX_HEADS)?;
            let group = attention.number("n_heads_in_group")?;
            let group = attention.checked("n_heads_in_group", group.unwrap_or(1), MAX_HEADS)?;
            if !q_heads.is_multiple_of(group) {
                let problem = format!("{group} does not divide num_attention_heads = {q_heads}");
                return Err(attention.invalid("n_heads_in_group", problem));
            }
            let head_dim = match self.f.number("head_dim")? {
                Some(d) => self.f.checked("head_dim", d, MAX_WIDTH)?,
                None => (self.hidden_size / q_heads).max(1),
            };
            Some(Mixer::Attention(super::Attention {
                q_heads,
                kv_heads: q_heads / group,
                head_dim,
                value_dim: head_dim,
                window: None,
                shared_kv: false,
                v_is_k: false,
                qkv_bias: false,
                o_bias: false,
                qk_norm: None,
                gate: 0,
                sinks: false,
                index: None,
            }))
        };
        let mlp = if gone(&ffn)? {
            None
        } else {
            let inner = match (ffn.number("intermediate_size"), ffn.get("ffn_mult")) {
                (Ok(Some(n)), _) => n,
                (_, Some(mult)) => {
                    let mult = mult.as_f64().unwrap_or(0.0).clamp(0.0, 1024.0);
                    let wide = (2.0 * mult * f64::from(self.hidden_size) / 3.0) as u64;
                    u32::try_from(wide.next_multiple_of(256)).unwrap_or(u32::MAX)
                }
                (Err(e), None) => return Err(e),
                (_, None) => return Err(self.missing(&format!("{name}[{layer}].ffn.ffn_mult"))),
            };
            Some(Ffn::Dense(super::Mlp {
                inner: ffn.checked("ffn_mult", inner, MAX_WIDTH)?,
                gated: true,
                bias: false,
            }))
        };
        Ok(Layer {
            norms: u32::from(mixer.is_some()) + u32::from(mlp.is_some()),
            mixer,
            beside: None,
            ffn: mlp,
        })
    }
}
