//! Which weights lie in the device's memory and which in the host's.
//!
//! - llama.cpp (`src/llama-model.cpp: load_tensors`, 2026): of n layers those from n + 1 − `-ngl` on are on the device, the output head
//!   being number n; the embedding is always the host's. Keys and values lie where their layer does. A pattern of `-ot`, and the one that
//!   `--cpu-moe` stands for (`common/common.h: LLM_FFN_EXPS_REGEX`), decides before that, tensor by tensor; the first one that is found
//!   in a tensor's name counts.
//! - vLLM (0.32.0, `model_executor/offloader/uva.py`): parameters of the decoder layers in their order until `--cpu-offload-gb` is
//!   reached, the last one whole. Keys and values stay on the device.
use super::op::{Op, OpKind};
use super::pattern::Regex;
use super::{Model, WeightFormat};
use crate::units::Bytes;

/// Where weights lie.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Placement {
    /// All on the device.
    #[default]
    Device,
    /// Layer by layer and tensor by tensor, as llama.cpp does it. What lies in the host's memory is the processor's work.
    Layers(Split),
    /// The first parameters of the layers, up to so many bytes, in the host's memory; the device reads them over the bus.
    Streamed(Bytes),
}

/// llama.cpp's settings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Split {
    /// The layers that are the host's: the first ones. All and one more: the head, too.
    pub host_layers: u32,
    /// The first so many layers' experts are the host's.
    pub host_experts: u32,
    /// Patterns, the first of which that is found in a tensor's name decides.
    pub overrides: Vec<Override>,
}

/// One pattern of `--override-tensor`.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    pattern: Regex,
    host: bool,
}

impl Override {
    /// Reads `PATTERN=BUFFER,…`: `CPU` is the host, `CUDA0`, `ROCm0`, `Vulkan0` and the like the device.
    ///
    /// # Errors
    /// What is no such list, a pattern that is not understood, a second device.
    pub fn list(text: &str) -> Result<Vec<Self>, String> {
        let one = |entry: &str| {
            let (pattern, buffer) = entry.rsplit_once('=').ok_or_else(|| {
                format!(
                    "`{entry}` is no PATTERN=BUFFER, such as `\\.ffn_.*_exps\\.=CPU`; several stand with commas between them"
                )
            })?;
            let kind = buffer.trim_end_matches(|c: char| c.is_ascii_digit());
            let number = &buffer[kind.len()..];
            let host = match kind.to_ascii_lowercase().as_str() {
                "cpu" if number.is_empty() => true,
                "cuda" | "rocm" | "hip" | "vulkan" | "sycl" | "metal" | "mtl" | "opencl"
                    if matches!(number, "" | "0") =>
                {
                    false
                }
                _ => {
                    return Err(format!(
                        "`{buffer}` is neither the host (CPU) nor the first device (such as CUDA0, ROCm0, Vulkan0)"
                    ));
                }
            };
            let pattern = Regex::new(pattern)
                .filter(|_| !pattern.is_empty())
                .ok_or_else(|| format!("`{pattern}` is no pattern that is understood"))?;
            Ok(Self { pattern, host })
        };
        text.split(',').map(str::trim).map(one).collect()
    }
}

/// What stands where in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Before the layers.
    Input,
    /// A layer.
    Layer(u32),
    /// Behind them.
    Output,
}

/// The two parts of an operator: the device's, the host's.
pub(super) type Parts = (Option<Op>, Option<Op>);

/// Decides operator by operator, in the order of a step.
#[derive(Debug)]
pub(super) struct Placer<'a> {
    placement: &'a Placement,
    layers: u32,
    /// Bytes that are the host's so far.
    streamed: u64,
}

impl<'a> Placer<'a> {
    pub fn new(placement: &'a Placement, layers: u32) -> Self {
        Self {
            placement,
            layers,
            streamed: 0,
        }
    }

    /// Where an operator is computed and its weights are.
    pub fn parts(&mut self, place: Place, op: Op) -> Parts {
        match self.placement {
            Placement::Device => (Some(op), None),
            Placement::Layers(split) => self.by_layer(split, place, op),
            Placement::Streamed(most) => self.streamed(most.0, place, op),
        }
    }

    fn by_layer(&self, split: &Split, place: Place, op: Op) -> Parts {
        let (number, whole) = match place {
            Place::Input => return (None, Some(op)),
            Place::Output => (self.layers, "output"),
            Place::Layer(i) => (i, ""),
        };
        let with_layer = number < split.host_layers;
        let tensors = tensors(&op);
        let total: u64 = tensors.iter().map(|t| t.1.0).sum();
        let host = |name: &str| {
            let name = match whole {
                "" => format!("blk.{number}.{name}.weight"),
                head => format!("{head}.weight"),
            };
            let said = split.overrides.iter().find(|o| o.pattern.is_in(&name));
            let experts = number < split.host_experts && matches!(op.kind, OpKind::Experts(_));
            said.map_or(with_layer || experts, |o| o.host)
        };
        if total == 0 {
            return all(op, with_layer);
        }
        let bytes: u64 = tensors.iter().filter(|t| host(t.0)).map(|t| t.1.0).sum();
        divided(op, bytes, total)
    }

    fn streamed(&mut self, most: u64, place: Place, op: Op) -> Parts {
        let matrix = matches!(
            op.kind,
            OpKind::Gemm(_) | OpKind::Router(_) | OpKind::Experts(_)
        );
        if !matrix || !matches!(place, Place::Layer(_)) {
            return (Some(op), None);
        }
        let (mut bytes, mut total) = (0, 0);
        for parameter in parameters(&op) {
            total += parameter;
            if self.streamed < most {
                self.streamed += parameter;
                bytes += parameter;
            }
        }
        divided(op, bytes, total)
    }
}

fn all(op: Op, host: bool) -> Parts {
    if host {
        (None, Some(op))
    } else {
        (Some(op), None)
    }
}

/// An operator of which `host` of `total` bytes are the host's.
fn divided(op: Op, host: u64, total: u64) -> Parts {
    if host == 0 || host >= total {
        return all(op, host > 0);
    }
    let (there, here) = op.split(host, total);
    (Some(here), Some(there))
}

/// Bytes of gate, up and down of all experts.
fn expert_tensors(op: &Op) -> Vec<(&'static str, Bytes)> {
    let OpKind::Experts(e) = op.kind else {
        return vec![];
    };
    let of = |f: WeightFormat, out, inner| f.matrix_bytes(out, inner) * e.num_experts.into();
    let first = of(e.gate_up_format, e.intermediate, e.hidden);
    let mut all = vec![("ffn_up_exps", first)];
    all.extend(e.gated.then_some(("ffn_gate_exps", first)));
    all.push(("ffn_down_exps", of(e.down_format, e.hidden, e.intermediate)));
    all
}

/// The parameters of an operator as vLLM holds them: `w13_weight` and `w2_weight` of experts, else one.
fn parameters(op: &Op) -> Vec<u64> {
    let all = op.weight_bytes().0;
    let down = expert_tensors(op).last().map_or(0, |t| t.1.0).min(all);
    match down {
        0 => vec![all],
        down => vec![all - down, down],
    }
}

/// The tensors of an operator under llama.cpp's names (`src/llama-arch.cpp: LLM_TENSOR_NAMES`), and their bytes where the parts may lie
/// apart; none for an operator without weights. One whose names there are not listed here has its own name.
fn tensors(op: &Op) -> Vec<(&'static str, Bytes)> {
    let whole = op.weight_bytes();
    if whole.0 == 0 {
        return vec![];
    }
    let halves = |a, b| vec![(a, Bytes(whole.0 / 2)), (b, Bytes(whole.0 - whole.0 / 2))];
    let one = |name| vec![(name, whole)];
    match (op.name, op.kind) {
        (_, OpKind::Experts(_)) => expert_tensors(op),
        ("gate_up_proj", _) => halves("ffn_gate", "ffn_up"),
        ("shared_gate_up_proj", _) => halves("ffn_gate_shexp", "ffn_up_shexp"),
        ("down_proj", _) => one("ffn_down"),
        ("shared_down_proj", _) => one("ffn_down_shexp"),
        ("router", _) => one("ffn_gate_inp"),
        ("o_proj", _) => one("attn_output"),
        ("qkv_proj", _) => one("attn_qkv"),
        ("q_b_proj", _) => one("attn_q_b"),
        ("kv_b_proj", _) => one("attn_kv_b"),
        ("qkv_a_proj", _) => one("attn_kv_a_mqa"),
        (name, _) => one(name),
    }
}

/// A model's two parts.
#[derive(Clone, Debug)]
pub struct Placed {
    /// What the device's memory holds.
    pub device: Model,
    /// What the host's does; `None`: nothing.
    pub host: Option<Model>,
    /// How often a step goes from the processor to the device or back.
    pub crossings: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Precision, builtin};

    fn model(name: &str) -> Model {
        let config = builtin::find(name).unwrap().config();
        Model::new(&config, Precision::by_name("q4_k_m", &config).unwrap())
    }

    fn bytes(p: &Placed) -> (u64, u64) {
        let host = p.host.as_ref().map_or(0, |h| h.total_weight_bytes().0);
        (p.device.total_weight_bytes().0, host)
    }

    #[test]
    fn both_parts_together_are_the_whole_and_layers_take_their_cache_along() {
        for name in ["qwen3-30b-a3b", "qwen3-8b", "qwen3-0.6b"] {
            let m = model(name);
            let mut last = (u64::MAX, u64::MAX);
            for host_layers in 0..=m.num_layers() + 1 {
                let split = Split {
                    host_layers,
                    ..Split::default()
                };
                let p = m.placed(&Placement::Layers(split));
                let (here, there) = bytes(&p);
                assert_eq!(
                    here + there,
                    m.total_weight_bytes().0,
                    "{name} {host_layers}"
                );
                assert!(here <= last.0);
                let kv = |m: &Model| m.kv_bytes_per_token().0;
                let host_kv = p.host.as_ref().map_or(0, kv);
                assert_eq!(kv(&p.device) + host_kv, kv(&m));
                assert!(kv(&p.device) <= last.1);
                last = (here, kv(&p.device));
            }
            assert_eq!(last, (0, 0), "{name}");
        }
    }

    #[test]
    fn patterns_mean_the_tensors_that_they_are_found_in() {
        let m = model("qwen3-30b-a3b");
        let host = |list: &str| {
            let overrides = Override::list(list).unwrap();
            let split = Split {
                overrides,
                ..Split::default()
            };
            bytes(&m.placed(&Placement::Layers(split))).1
        };
        let nothing = host("no_such=CPU");
        let experts = |n| {
            let split = Split {
                host_experts: n,
                ..Split::default()
            };
            bytes(&m.placed(&Placement::Layers(split))).1
        };
        assert_eq!(nothing, experts(0));
        assert_eq!(
            host(r"\.ffn_(up|down|gate|gate_up)_(ch|)exps=CPU"),
            experts(48)
        );
        assert_eq!(host(r"blk\.[0-9]\.ffn_.*_exps\.=CPU"), experts(10));
        assert_eq!(host("exps=CPU"), experts(48));
        // The first that is found counts.
        assert_eq!(
            host(r"blk\.[0-9]\.=CUDA0,exps=CPU"),
            experts(48) - experts(10) + nothing
        );
        // Up alone is a third of it but for the wider down matrices.
        let up = (host("ffn_up_exps=CPU") - nothing) as f64;
        let share = up / (experts(48) - nothing) as f64;
        assert!((0.25..0.34).contains(&share), "{share}");
        for (list, says) in [
            ("exps", "PATTERN=BUFFER"),
            ("exps=CUDA1", "CUDA1"),
            ("exps=RPC0", "RPC0"),
            ("(exps=CPU", "(exps"),
            ("=CPU", "``"),
        ] {
            assert!(Override::list(list).unwrap_err().contains(says), "{list}");
        }
    }

    /// `uva.py`: the parameter that reaches the limit is taken whole, and none after it.
    #[test]
    fn parameters_are_streamed_in_order_until_the_limit() {
        let config = builtin::find("qwen3-30b-a3b").unwrap().config();
        let m = Model::new(&config, Precision::of(&config));
        let there = |gib: f64| {
            let most = Bytes((gib * 1_073_741_824.0) as u64);
            let p = m.placed(&Placement::Streamed(most));
            assert_eq!(p.device.kv_bytes_per_token(), m.kv_bytes_per_token());
            let (here, there) = bytes(&p);
            assert_eq!(here + there, m.total_weight_bytes().0);
            (there, most.0)
        };
        assert_eq!(there(0.0).0, 0);
        // The largest parameter: gate and up of 128 experts.
        let largest = 128 * 2 * 768 * 2048 * 2;
        for gib in [0.1, 1.0, 7.3, 20.0] {
            let (there, most) = there(gib);
            assert!((most..most + largest).contains(&there), "{gib}: {there}");
        }
        // The layers are all that is ever moved.
        let (all, _) = there(1000.0);
        assert!(all < m.total_weight_bytes().0);
    }
}
