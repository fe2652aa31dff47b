//! Which kinds of matrix a list of module names and patterns means, in which layers.
use super::layers::{Ffn, Layer, Mixer};
use super::pattern::Regex;

/// Kinds of matrix that checkpoints store in formats of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Attention,
    Recurrent,
    Mlp,
    Shared,
    Experts,
}

pub(super) const KINDS: [Kind; 5] = [
    Kind::Attention,
    Kind::Recurrent,
    Kind::Mlp,
    Kind::Shared,
    Kind::Experts,
];

impl Kind {
    /// Whether a layer has it.
    pub fn stands_in(self, layer: &Layer) -> bool {
        let recurrent = layer.mixer.as_ref().map(Mixer::is_recurrent);
        match self {
            Self::Attention => recurrent == Some(false),
            Self::Recurrent => recurrent == Some(true) || layer.beside.is_some(),
            Self::Mlp => match &layer.ffn {
                Some(Ffn::Dense(_)) => true,
                Some(Ffn::Experts(moe)) => moe.dense_beside,
                None => false,
            },
            Self::Shared => layer
                .moe()
                .is_some_and(|m| m.shared_expert_intermediate_size > 0 && !m.dense_beside),
            Self::Experts => layer.moe().is_some(),
        }
    }

    /// The names that its matrices have in a layer, by the habit of different classes.
    fn families(self, dense_beside: bool) -> Families {
        match self {
            Self::Attention => ATTENTION,
            Self::Recurrent => RECURRENT,
            Self::Mlp => MLP,
            Self::Shared => SHARED,
            Self::Experts if dense_beside => EXPERTS_BESIDE,
            Self::Experts => EXPERTS,
        }
    }
}

/// Names that belong together, once for each habit.
type Families = &'static [&'static [&'static str]];

const ATTENTION: Families = &[
    &[
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.o_proj",
    ],
    &["self_attn.qkv_proj", "self_attn.o_proj"],
    &["self_attn.W_pack", "self_attn.o_proj"],
    &[
        "self_attn.q_a_proj",
        "self_attn.q_b_proj",
        "self_attn.kv_a_proj_with_mqa",
        "self_attn.kv_b_proj",
        "self_attn.o_proj",
    ],
    &[
        "attn.wq_a",
        "attn.wq_b",
        "attn.wkv",
        "attn.wo_a",
        "attn.wo_b",
    ],
    &[
        "mixer.q_proj",
        "mixer.k_proj",
        "mixer.v_proj",
        "mixer.o_proj",
    ],
    &[
        "attention.q_proj",
        "attention.k_proj",
        "attention.v_proj",
        "attention.o_proj",
    ],
];

const RECURRENT: Families = &[
    &[
        "linear_attn.in_proj_qkv",
        "linear_attn.in_proj_z",
        "linear_attn.out_proj",
    ],
    &["linear_attn.in_proj_qkvz", "linear_attn.out_proj"],
    &["mamba.in_proj", "mamba.out_proj"],
    &["mixer.in_proj", "mixer.out_proj"],
    &["conv.in_proj", "conv.out_proj"],
    &[
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.o_proj",
    ],
];

const MLP: Families = &[
    &["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"],
    &["mlp.gate_up_proj", "mlp.down_proj"],
    &[
        "feed_forward.gate_proj",
        "feed_forward.up_proj",
        "feed_forward.down_proj",
    ],
    &["feed_forward.w1", "feed_forward.w2", "feed_forward.w3"],
    &["mixer.up_proj", "mixer.down_proj"],
    &["mlp.fc1", "mlp.fc2"],
];

const SHARED: Families = &[
    &[
        "mlp.shared_expert.gate_proj",
        "mlp.shared_expert.up_proj",
        "mlp.shared_expert.down_proj",
    ],
    &[
        "mlp.shared_experts.gate_proj",
        "mlp.shared_experts.up_proj",
        "mlp.shared_experts.down_proj",
    ],
    &[
        "mixer.shared_experts.up_proj",
        "mixer.shared_experts.down_proj",
    ],
    &[
        "feed_forward.shared_expert.gate_proj",
        "feed_forward.shared_expert.up_proj",
        "feed_forward.shared_expert.down_proj",
    ],
    &[
        "ffn.shared_experts.w1",
        "ffn.shared_experts.w2",
        "ffn.shared_experts.w3",
    ],
    &["block_sparse_moe.shared_experts.gate_proj"],
    &["shared_mlp.input_linear", "shared_mlp.output_linear"],
];

/// Beside a dense MLP they are not inside it (Gemma 4).
const EXPERTS_BESIDE: Families = &[
    &[
        "experts.0.gate_proj",
        "experts.0.up_proj",
        "experts.0.down_proj",
    ],
    &["experts.gate_up_proj", "experts.down_proj"],
    &["moe.experts"],
];

const EXPERTS: Families = &[
    &[
        "mlp.experts.0.gate_proj",
        "mlp.experts.0.up_proj",
        "mlp.experts.0.down_proj",
    ],
    &["mlp.experts"],
    &[
        "block_sparse_moe.experts.0.w1",
        "block_sparse_moe.experts.0.w2",
        "block_sparse_moe.experts.0.w3",
    ],
    &["mixer.experts.0.up_proj", "mixer.experts.0.down_proj"],
    &[
        "feed_forward.experts.gate_up_proj",
        "feed_forward.experts.down_proj",
    ],
    &["ffn.experts.0.w1", "ffn.experts.0.w2", "ffn.experts.0.w3"],
    &[
        "block_sparse_moe.input_linear",
        "block_sparse_moe.output_linear",
    ],
];

/// What may stand before a layer's number.
const PREFIXES: [&str; 6] = [
    "model.layers.",
    "model.language_model.layers.",
    "language_model.model.layers.",
    "language_model.layers.",
    "backbone.layers.",
    "layers.",
];

/// A name or pattern of a list.
pub(super) enum Pattern<'a> {
    Expression(Regex, &'a str),
    /// A name; whole parts of it may be left out at both ends.
    Name(&'a str),
}

impl<'a> Pattern<'a> {
    /// As it stands in a list: `re:` before an expression, `*` in a wildcard. `None`: not understood.
    pub fn listed(text: &'a str) -> Option<Self> {
        if let Some(expression) = text.strip_prefix("re:") {
            return Self::expression(expression);
        }
        if text.contains('*') {
            return Some(Self::Expression(Regex::wildcard(text), text));
        }
        Some(Self::Name(text))
    }

    pub fn expression(text: &'a str) -> Option<Self> {
        Some(Self::Expression(Regex::new(text)?, text))
    }

    fn text(&self) -> &'a str {
        match self {
            Self::Expression(_, text) | Self::Name(text) => text,
        }
    }

    /// What stands behind the layer's number, where it names one: a pattern of the same kind.
    fn tail(&self) -> Option<Pattern<'a>> {
        let (_, _, rest) = layer_of(self.text())?;
        match self {
            Self::Name(_) => Some(Self::Name(rest)),
            Self::Expression(..) if self.is_wildcard() => {
                Some(Self::Expression(Regex::wildcard(rest), rest))
            }
            Self::Expression(..) => None,
        }
    }

    /// Whether it is a wildcard rather than an expression: those escape their dots, or are marked as such.
    fn is_wildcard(&self) -> bool {
        matches!(self, Self::Expression(regex, text) if *regex == Regex::wildcard(text))
    }

    fn means(&self, module: &str) -> bool {
        match self {
            Self::Expression(regex, _) => regex.matches(module),
            Self::Name(name) => {
                let (name, module) = (name.as_bytes(), module.as_bytes());
                let part = |at: usize| {
                    let end = at + name.len();
                    (at == 0 || module[at - 1] == b'.')
                        && module.get(at..end) == Some(name)
                        && module.get(end).is_none_or(|c| *c == b'.')
                };
                !name.is_empty()
                    && name.len() <= module.len()
                    && (0..=module.len() - name.len()).any(part)
            }
        }
    }

    /// Whether it means a module by the whole of its name behind the layer's number.
    fn begins(&self, name: &str) -> bool {
        match self {
            Self::Expression(regex, _) => regex.matches(name),
            Self::Name(own) => {
                let rest = name.strip_prefix(own);
                rest.is_some_and(|r| r.is_empty() || r.starts_with('.'))
            }
        }
    }

    /// Whether the output head is meant.
    pub fn means_head(&self) -> bool {
        let heads = ["lm_head", "model.lm_head", "language_model.lm_head"];
        heads.into_iter().any(|n| self.means(n))
    }

    /// The layers in which it may mean something: the one that it names, all, or, where no layer's number is in it, any one for all.
    fn reach(&self) -> Reach {
        let text = self.text();
        let layers = text.contains("layers.") || text.contains(r"layers\.");
        match (layer_of(text), self) {
            (Some((n, _, _)), _) => Reach::One(n),
            (None, Self::Name(_)) => Reach::Same,
            (None, Self::Expression(..))
                if !layers && !text.contains(|c: char| c.is_ascii_digit()) =>
            {
                Reach::Same
            }
            (None, Self::Expression(..)) => Reach::Each,
        }
    }
}

/// The layer's number in `model.layers.12.self_attn`, also where the dots are escaped, with what stands before and behind it. In
/// `layers.1*` it may be 12, too: none.
fn layer_of(text: &str) -> Option<(u32, &str, &str)> {
    let (before, after) = text
        .split_once("layers.")
        .or_else(|| text.split_once(r"layers\."))?;
    let digits = after
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(after.len());
    let rest = &after[digits..];
    let number = after[..digits].parse().ok()?;
    if rest.is_empty() {
        return Some((number, before, rest));
    }
    let rest = rest.strip_prefix('\\').unwrap_or(rest);
    Some((number, before, rest.strip_prefix('.')?))
}

enum Reach {
    One(u32),
    Same,
    Each,
}

/// Marks on the matrices of each kind in each layer.
pub(super) struct Marks<'a> {
    layers: &'a [Layer],
    dense_beside: bool,
    /// By kind, family and name: a mark per layer.
    marks: Vec<Vec<Vec<Vec<Option<u16>>>>>,
    /// Tests left: a list that needs more is not one of module names.
    left: u32,
}

impl<'a> Marks<'a> {
    pub fn new(layers: &'a [Layer]) -> Self {
        let dense_beside = layers
            .iter()
            .any(|l| l.moe().is_some_and(|m| m.dense_beside));
        let blank = |kind: &Kind| {
            let families = kind.families(dense_beside).iter();
            families
                .map(|names| vec![vec![None; layers.len()]; names.len()])
                .collect()
        };
        Self {
            layers,
            dense_beside,
            marks: KINDS.iter().map(blank).collect(),
            left: 400_000,
        }
    }

    /// Marks what a pattern means, over other marks.
    pub fn mark(&mut self, pattern: &Pattern, with: u16) {
        let n = self.layers.len() as u32;
        // Lists that name each expert: the first speaks for all.
        let expert = pattern
            .text()
            .split_once("experts.")
            .map_or("0", |(_, rest)| rest);
        if expert.starts_with(|c: char| c.is_ascii_digit())
            && !expert.starts_with("0.")
            && expert != "0"
        {
            return;
        }
        match pattern.reach() {
            Reach::One(layer) if layer < n => self.mark_in(pattern, with, layer, layer..layer + 1),
            Reach::One(_) => {}
            Reach::Same => self.mark_in(pattern, with, 0, 0..n),
            Reach::Each => (0..n).for_each(|i| self.mark_in(pattern, with, i, i..i + 1)),
        }
    }

    fn mark_in(&mut self, pattern: &Pattern, with: u16, tried: u32, all: std::ops::Range<u32>) {
        // The whole layer.
        let whole = layer_of(pattern.text()).is_some_and(|(_, _, rest)| rest.is_empty());
        let tail = pattern.tail().filter(|_| !whole);
        for (kind, families) in KINDS.iter().zip(&mut self.marks) {
            let names = kind.families(self.dense_beside);
            for (family, marks) in names.iter().zip(families) {
                for (name, layers) in family.iter().zip(marks) {
                    if self.left == 0 {
                        return;
                    }
                    self.left -= 1;
                    let module = |p: &&str| pattern.means(&format!("{p}{tried}.{name}"));
                    let meant = match &tail {
                        Some(tail) => tail.begins(name),
                        None => PREFIXES.iter().any(module),
                    };
                    if meant {
                        for layer in all.clone() {
                            layers[layer as usize] = Some(with);
                        }
                    }
                }
            }
        }
    }

    /// The mark that most of a kind's matrices have in a layer, of the family of which the largest part is marked.
    fn of<T: PartialEq + Copy>(
        &self,
        kind: usize,
        layer: usize,
        meaning: impl Fn(u16) -> T,
    ) -> Option<T> {
        let mut best: Option<(f64, T)> = None;
        for family in &self.marks[kind] {
            let marks: Vec<T> = family
                .iter()
                .filter_map(|l| l[layer])
                .map(&meaning)
                .collect();
            let Some(&first) = marks.first() else {
                continue;
            };
            let mode = marks
                .iter()
                .copied()
                .max_by_key(|m| marks.iter().filter(|o| *o == m).count())
                .unwrap_or(first);
            let share = marks.iter().filter(|o| **o == mode).count() as f64 / family.len() as f64;
            if share >= 0.5 && best.is_none_or(|(s, _)| share > s) {
                best = Some((share, mode));
            }
        }
        best.map(|(_, mark)| mark)
    }

    /// What each layer that has the kind is marked with, by what marks mean; None: it is not marked.
    pub fn by_layer<T: PartialEq + Copy>(
        &self,
        kind: Kind,
        meaning: impl Fn(u16) -> T,
    ) -> Vec<(usize, Option<T>)> {
        let k = KINDS.iter().position(|o| *o == kind).unwrap_or(0);
        let with =
            |(i, l): (usize, &Layer)| kind.stands_in(l).then(|| (i, self.of(k, i, &meaning)));
        self.layers.iter().enumerate().filter_map(with).collect()
    }
}

/// What occurs most often.
pub(super) fn most<T: PartialEq + Copy>(all: impl Iterator<Item = T>) -> Option<T> {
    let mut counts: Vec<(T, usize)> = vec![];
    for one in all {
        match counts.iter_mut().find(|(k, _)| *k == one) {
            Some((_, n)) => *n += 1,
            None => counts.push((one, 1)),
        }
    }
    counts.into_iter().max_by_key(|(_, n)| *n).map(|(k, _)| k)
}
