//! `quantization_config`: one weight format out of the many ways to write it down.
use super::config::Quantization;
use super::format::WeightFormat;
use super::kept::{Kept, kept};
use super::raw::RawQuantization;

impl RawQuantization {
    /// What the checkpoint leaves in floats, and whether it names more than is understood.
    fn kept(&self) -> (Kept, bool) {
        let lists = [
            &self.modules_to_not_convert,
            &self.ignore,
            &self.ignored_layers,
            &self.llm_int8_skip_modules,
        ];
        let listed = lists.into_iter().flatten().flatten().map(String::as_str);
        let dynamic = self.dynamic.iter().flat_map(|d| d.keys());
        let left_out = dynamic.filter_map(|k| k.strip_prefix("-:"));
        kept(listed.chain(left_out))
    }

    /// The format, with a caveat; or the field that is not understood and why.
    pub(super) fn read(&self) -> Result<(Quantization, Option<String>), (&'static str, String)> {
        let (kept, unclear) = self.kept();
        let all = |format| Quantization {
            format,
            experts_only: false,
            kept,
        };
        let caveat = unclear.then(|| {
            "The checkpoint leaves some linear layers unquantised; they are counted as quantised.".to_owned()
        });
        let int = |bits: Option<u32>, group: Option<i64>, zero_point: bool| {
            match (bits, group.unwrap_or(-1)) {
                // One scale per output row; its few bytes are those of the int8 format.
                (Some(8), ..=0) => Ok(WeightFormat::Int8),
                (Some(bits @ (4 | 8)), g @ 1..=1_048_576) => {
                    let group = g as u32;
                    Ok(if bits == 8 {
                        WeightFormat::Int8Group { group }
                    } else {
                        WeightFormat::Int4 { group, zero_point }
                    })
                }
                // A group longer than any row: one scale per row.
                (Some(4), ..=0) => Ok(WeightFormat::Int4 {
                    group: 1 << 24,
                    zero_point,
                }),
                (Some(b @ (4 | 8)), g) => Err(("group_size", format!("{g} with {b} bits"))),
                (Some(b), _) => Err(("bits", format!("{b}-bit weights"))),
                (None, _) => Err(("bits", "absent".to_owned())),
            }
        };
        match self.quant_method.as_deref() {
            // AutoRound packs as GPTQ does, zero points included.
            Some("awq" | "gptq" | "auto-round") => Ok((
                all(int(self.bits, self.group_size.or(self.q_group_size), true)?),
                caveat,
            )),
            Some("fp8") => match self.weight_block_size.as_deref() {
                None => Ok((all(WeightFormat::Fp8), caveat)),
                Some([128, 128]) => Ok((all(WeightFormat::Fp8Block), caveat)),
                Some(other) => Err(("weight_block_size", format!("blocks of {other:?}"))),
            },
            // Such checkpoints list attention as not converted, which is what experts_only means.
            Some("mxfp4") => Ok((
                Quantization {
                    format: WeightFormat::Mxfp4,
                    experts_only: true,
                    kept,
                },
                None,
            )),
            Some("compressed-tensors") => {
                let groups = self
                    .config_groups
                    .as_ref()
                    .ok_or(("config_groups", "absent".into()))?;
                let mut found = None;
                for group in groups.values() {
                    let w = group
                        .weights
                        .as_ref()
                        .ok_or(("config_groups", "no weights".into()))?;
                    let symmetric = w.symmetric.unwrap_or(true);
                    let format = match (w.r#type.as_deref(), w.num_bits) {
                        (Some("float"), Some(8)) if w.strategy.as_deref() == Some("block") => {
                            WeightFormat::Fp8Block
                        }
                        (Some("float"), Some(8)) => WeightFormat::Fp8,
                        (Some("int") | None, bits) => int(bits, w.group_size, !symmetric)?,
                        (t, bits) => {
                            return Err((
                                "config_groups",
                                format!("weights of type {t:?}, {bits:?} bits"),
                            ));
                        }
                    };
                    if found.replace(format).is_some_and(|f| f != format) {
                        return Err(("config_groups", "groups of different formats".to_owned()));
                    }
                }
                let format = found.ok_or(("config_groups", "is empty".to_owned()))?;
                Ok((all(format), caveat))
            }
            // NF4 with double quantisation: 4 bits and 1/8.
            Some("bitsandbytes") if self.load_in_4bit == Some(true) => Ok((
                all(WeightFormat::Int4 {
                    group: 128,
                    zero_point: false,
                }),
                caveat,
            )),
            Some("bitsandbytes") if self.load_in_8bit == Some(true) => {
                Ok((all(WeightFormat::Int8), caveat))
            }
            Some(other) => {
                let other: String = other.chars().take(80).collect();
                Err(("quant_method", format!("\"{other}\"")))
            }
            None => Err(("quant_method", "absent".to_owned())),
        }
    }
}
