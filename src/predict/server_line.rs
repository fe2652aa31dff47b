//! The line that starts a server as a scenario describes it.
use super::Scenario;
use super::deployment::{Pool, role_name};
use crate::device::EngineId;
use crate::engine::fleet::Role;
use crate::engine::settings::QUANTIZATION;
use crate::engine::{command, kind};
use crate::model::{Precision, WeightFormat, builtin, checkpoint};
use std::fmt;

/// A line that runs as it is, and what it cannot say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerLine {
    /// The program, the model and the flags; a flag and its value are one word.
    pub words: Vec<String>,
    /// The checkpoint that must stand in the model's place.
    pub comment: Option<String>,
}

impl fmt::Display for ServerLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words.join(" "))?;
        match &self.comment {
            Some(comment) => write!(f, "   # {comment}"),
            None => Ok(()),
        }
    }
}

/// What servers and clients call a model: a built-in name's Hugging Face id, any other name as it is.
pub fn public_name(name: &str) -> &str {
    match builtin::find(name) {
        Ok(model) if !name.contains('/') => model.id,
        _ => name,
    }
}

impl Scenario {
    /// The line that starts a server with these settings.
    pub fn server_line(&self) -> ServerLine {
        let id = public_name(&self.model_name);
        let other = self.other_weights();
        let (model, comment) = if self.engine.scheduler == EngineId::LlamaServer {
            self.gguf_file(id)
        } else {
            let comment =
                other.map(|format| format!("in the place of {id}: its checkpoint in {format}"));
            (id.to_string(), comment)
        };
        ServerLine {
            words: command(self.engine.scheduler, &model, &self.serve),
            comment,
        }
    }

    /// The line, or, of a deployment, one for each pool behind a comment that says how many servers it starts.
    pub fn server_lines(&self) -> String {
        let Some(d) = &self.deployment else {
            return self.server_line().to_string();
        };
        let pool = |(p, s): (&Pool, Scenario)| {
            let role = match p.role {
                Role::Serve => String::new(),
                role => format!(" {}", kind(s.engine.scheduler).half(role_name(role))),
            };
            let line = s.server_line();
            let comment = line.comment.map(|c| format!("; {c}")).unwrap_or_default();
            format!(
                "# {} × {} on {}{comment}\n{}{role}",
                p.replicas,
                role_name(p.role),
                s.device.name,
                line.words.join(" ")
            )
        };
        let all: Vec<String> = d.pools.iter().zip(d.scenarios(self)).map(pool).collect();
        all.join("\n")
    }

    /// The format of the weights, where the named checkpoint has another and the engine does not convert it.
    fn other_weights(&self) -> Option<String> {
        let plain = |f: WeightFormat| {
            matches!(
                f,
                WeightFormat::Fp32 | WeightFormat::Fp16 | WeightFormat::Bf16
            )
        };
        let own = Precision::of(&checkpoint::find(&self.model_name).ok()?.config().ok()?);
        let own = [own.mlp, own.experts];
        let here = self.model.precision();
        let here = [here.mlp, here.experts];
        let same = own == here || [own, here].concat().into_iter().all(plain);
        let converted = self.serve.get(QUANTIZATION).is_some();
        (!same && !converted).then(|| self.weights())
    }

    /// The name of a GGUF file in the format of the weights.
    fn gguf_file(&self, id: &str) -> (String, Option<String>) {
        if builtin::find(id).is_err() {
            return (id.trim_end_matches(".gguf").into(), None);
        }
        let short = id.rsplit('/').next().unwrap_or(id);
        let weights = self.weights();
        (
            format!("{short}-{}", weights.to_uppercase()),
            Some(format!("a GGUF file of {id} in {weights}")),
        )
    }

    /// The format of the weights by the name that `--weights` takes.
    fn weights(&self) -> String {
        let p = self.model.precision();
        let format = match self.model.experts() {
            Some(_) => p.experts,
            None => p.mlp,
        };
        match format {
            WeightFormat::GgufQ4K | WeightFormat::GgufQ5K if p.more_bits.is_some() => {
                format!("{format}_m")
            }
            WeightFormat::Int4 {
                group: 128,
                zero_point: true,
            } => "awq or gptq".into(),
            format => format.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_built_in_name_is_no_name_on_hugging_face() {
        assert_eq!(public_name("qwen3-30b-a3b"), "Qwen/Qwen3-30B-A3B");
        for name in [
            "Qwen/Qwen3-32B-AWQ",
            "./my/config.json",
            "unsloth/Qwen3-8B",
            "RedHatAI/Qwen3-8B-FP8-dynamic",
        ] {
            assert_eq!(public_name(name), name);
        }
    }
}
