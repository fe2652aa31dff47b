//! `quantization_config`, and ModelOpt's file beside the config: the format of each kind of matrix out of the many ways to write it down.
mod groups;

use super::error::ModelError;
use super::format::WeightFormat;
use super::layers::Layer;
use super::modules::{KINDS, Kind, Marks, Pattern, most};
use super::precision::KvDtype;
use super::raw::Fields;
use serde::Serialize;

/// How a checkpoint's matrices are stored, by kind; None: in the model's own type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Quantization {
    /// QKV and O projections.
    pub attention: Option<WeightFormat>,
    /// Projections of recurrent layers.
    pub recurrent: Option<WeightFormat>,
    /// Dense MLPs.
    pub mlp: Option<WeightFormat>,
    /// Shared experts.
    pub shared: Option<WeightFormat>,
    /// Routed experts.
    pub experts: Option<WeightFormat>,
    /// Output head.
    pub lm_head: Option<WeightFormat>,
    /// The KV cache that the checkpoint asks for.
    pub kv: Option<KvDtype>,
}

impl Quantization {
    /// All linear layers in one format.
    pub fn all(format: WeightFormat) -> Self {
        let f = Some(format);
        Self {
            attention: f,
            recurrent: f,
            mlp: f,
            shared: f,
            experts: f,
            lm_head: None,
            kv: None,
        }
    }

    /// Routed experts alone.
    pub fn experts(format: WeightFormat) -> Self {
        Self {
            experts: Some(format),
            ..Self::default()
        }
    }

    /// The format of most of its weights: the experts' where they are quantised.
    pub fn format(&self) -> Option<WeightFormat> {
        let all = [self.experts, self.mlp, self.attention, self.recurrent];
        all.into_iter().flatten().next()
    }

    fn set(&mut self, kind: Kind, format: Option<WeightFormat>) {
        *match kind {
            Kind::Attention => &mut self.attention,
            Kind::Recurrent => &mut self.recurrent,
            Kind::Mlp => &mut self.mlp,
            Kind::Shared => &mut self.shared,
            Kind::Experts => &mut self.experts,
        } = format;
    }
}

/// Formats of the groups that a checkpoint has, and the names that they go by.
#[derive(Default)]
struct Stated<'a> {
    /// The format of what no list names; None: it is not quantised.
    rest: Option<WeightFormat>,
    /// Patterns with the format of what they mean.
    named: Vec<(Pattern<'a>, Option<WeightFormat>)>,
    kv: Option<KvDtype>,
    /// Entries of lists that are not understood.
    unclear: Vec<&'a str>,
    /// What was taken for a method that is not known.
    guessed: Option<String>,
}

/// The formats of a checkpoint.
pub(super) struct Read {
    /// Those of most layers.
    pub most: Quantization,
    /// Those of each layer, where some differ.
    pub by_layer: Vec<Quantization>,
    /// What was taken for a method that is not known.
    pub guessed: Option<String>,
}

impl<'a> Stated<'a> {
    fn name(&mut self, pattern: Option<Pattern<'a>>, text: &'a str, format: Option<WeightFormat>) {
        match pattern {
            Some(p) => self.named.push((p, format)),
            None => self.unclear.push(text),
        }
    }

    /// What the patterns mean in these layers: in most of them, and in each where some differ.
    fn settle(self, layers: &[Layer], caveats: &mut Vec<String>) -> Read {
        let mut marks = Marks::new(layers);
        let mut found = Quantization {
            kv: self.kv,
            ..Quantization::default()
        };
        for (i, (pattern, format)) in self.named.iter().enumerate() {
            marks.mark(pattern, i as u16);
            if pattern.means_head() {
                found.lm_head = *format;
            }
        }
        let mut each: Vec<(Kind, usize, Option<WeightFormat>)> = vec![];
        for kind in KINDS {
            let all = marks.by_layer(kind, |m| self.named[m as usize].1);
            let formats = || all.iter().map(|(i, mark)| (*i, mark.unwrap_or(self.rest)));
            if let Some(format) = most(formats().map(|(_, f)| f)) {
                found.set(kind, format);
                let others = formats().filter(|(_, f)| *f != format);
                each.extend(others.map(|(i, f)| (kind, i, f)));
            }
        }
        let mut by_layer = vec![];
        if !each.is_empty() {
            by_layer = vec![found; layers.len()];
            for (kind, layer, format) in each {
                by_layer[layer].set(kind, format);
            }
        }
        if let Some(first) = self.unclear.first() {
            let first: String = first.chars().take(80).collect();
            caveats.push(format!(
                "The checkpoint's list of modules has {} entries that are not understood, such as `{first}`: they are left out.",
                self.unclear.len()
            ));
        }
        Read {
            most: found,
            by_layer,
            guessed: self.guessed,
        }
    }
}

/// Reads the object `q` for a model of these layers: the formats of most layers and, where some differ, of each layer.
///
/// # Errors
/// A method or format that is not known.
pub(super) fn read(
    q: &Fields,
    layers: &[Layer],
    caveats: &mut Vec<String>,
) -> Result<Read, ModelError> {
    let stated = groups::stated(q)?;
    Ok(stated.settle(layers, caveats))
}
