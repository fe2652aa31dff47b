//! The fields of a `config.json` as they stand there, read by name: each kind of layer asks for its own.
use super::error::ModelError;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Other names of a field, as transformers' `attribute_map`s and the classes of `transformers_modules` have them: what is read is the
/// first that is there.
const ALIASES: &[(&str, &[&str])] = &[
    ("hidden_size", &["d_model", "n_embd", "dim"]),
    ("num_hidden_layers", &["n_layer", "n_layers", "num_layers"]),
    ("num_attention_heads", &["n_head", "n_heads"]),
    (
        "num_key_value_heads",
        &[
            "kv_n_heads",
            "num_kv_heads",
            "n_kv_heads",
            "num_attention_groups",
            "multi_query_group_num",
        ],
    ),
    ("head_dim", &["attention_head_dim", "kv_channels"]),
    ("vocab_size", &["padded_vocab_size"]),
    (
        "max_position_embeddings",
        &[
            "max_seq_len",
            "n_positions",
            "seq_length",
            "max_sequence_length",
        ],
    ),
    (
        "intermediate_size",
        &["n_inner", "ffn_dim", "ffn_hidden_size", "ffn_inner_dim"],
    ),
    (
        "num_experts",
        &["num_local_experts", "n_routed_experts", "moe_num_experts"],
    ),
    (
        "num_experts_per_tok",
        &[
            "experts_per_token",
            "top_k_experts",
            "moe_k",
            "moe_topk",
            "moe_top_k",
            "num_experts_per_token",
        ],
    ),
    ("moe_intermediate_size", &["expert_ffn_hidden_size"]),
    (
        "n_shared_experts",
        &[
            "num_shared_experts",
            "moe_num_shared_experts",
            "num_shared_expert",
        ],
    ),
    (
        "shared_expert_intermediate_size",
        &["moe_shared_expert_intermediate_size", "share_expert_dim"],
    ),
    ("sliding_window", &["sliding_window_size"]),
    ("tie_word_embeddings", &["tie_embedding"]),
];

/// An object of the file with what leads to it.
#[derive(Clone)]
pub(super) struct Fields<'a> {
    map: &'a Map<String, Value>,
    prefix: String,
    file: &'a str,
}

/// Parses the text. Python writes `NaN` and `Infinity`, which JSON does not know: they count as absent.
pub(super) fn object(json: &str, file: &str) -> Result<Map<String, Value>, ModelError> {
    let problem = |e: serde_json::Error| ModelError::Json {
        file: file.to_owned(),
        field: ".".to_owned(),
        problem: e.to_string(),
    };
    let value: Value = match serde_json::from_str(json) {
        Ok(value) => value,
        Err(e) => match without_infinities(json) {
            Some(text) => serde_json::from_str(&text).map_err(problem)?,
            None => return Err(problem(e)),
        },
    };
    Map::<String, Value>::deserialize(value).map_err(problem)
}

/// The text with `null` for the numbers that only Python writes; `None`: there are none.
fn without_infinities(json: &str) -> Option<String> {
    let (mut out, mut rest, mut changed) = (String::with_capacity(json.len()), json, false);
    let mut quoted = false;
    while let Some(c) = rest.chars().next() {
        if !quoted {
            let word = ["-Infinity", "Infinity", "NaN"]
                .into_iter()
                .find(|w| rest.starts_with(w));
            if let Some(word) = word {
                out.push_str("null");
                rest = &rest[word.len()..];
                changed = true;
                continue;
            }
        }
        let mut taken = c.len_utf8();
        match c {
            '"' => quoted = !quoted,
            // An escaped character is part of its string.
            '\\' if quoted => taken += rest[1..].chars().next().map_or(0, char::len_utf8),
            _ => {}
        }
        out.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    changed.then_some(out)
}

impl<'a> Fields<'a> {
    pub fn new(map: &'a Map<String, Value>, file: &'a str) -> Self {
        Self {
            map,
            prefix: String::new(),
            file,
        }
    }

    /// The name given to the text.
    pub fn file(&self) -> &'a str {
        self.file
    }

    /// A field's path.
    pub fn path(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A field's value and the name that it has here; null counts as absent.
    fn find(&self, name: &str) -> Option<(&'a str, &'a Value)> {
        // DBRX keeps some in objects of their own.
        let inside = |part: &str, n: &str| match self.map.get(part) {
            Some(Value::Object(o)) => o.get_key_value(n),
            _ => None,
        };
        let there = |n: &str| {
            let here = self.map.get_key_value(n);
            here.or_else(|| inside("attn_config", n))
                .or_else(|| inside("ffn_config", n))
                .filter(|(_, v)| !v.is_null())
        };
        there(name)
            .or_else(|| {
                let (_, others) = ALIASES.iter().find(|(n, _)| *n == name)?;
                others.iter().find_map(|n| there(n))
            })
            .map(|(k, v)| (k.as_str(), v))
    }

    /// The value as it stands there.
    pub fn get(&self, name: &str) -> Option<&'a Value> {
        self.find(name).map(|(_, v)| v)
    }

    /// The name under which a field stands here.
    pub fn called<'b>(&self, name: &'b str) -> &'b str
    where
        'a: 'b,
    {
        self.find(name).map_or(name, |(k, _)| k)
    }

    fn read<T: DeserializeOwned>(&self, path: &str, value: &Value) -> Result<T, ModelError> {
        // A whole number written as a float counts as the number.
        let whole = value
            .as_f64()
            .filter(|f| !value.is_u64() && f.fract() == 0.0 && (0.0..1e15).contains(f));
        let read = match whole {
            Some(f) => T::deserialize(Value::from(f as u64)),
            None => T::deserialize(value),
        };
        read.map_err(|e| {
            let text: String = e.to_string().chars().take(200).collect();
            ModelError::Json {
                file: self.file.to_owned(),
                field: self.path(path),
                problem: text,
            }
        })
    }

    fn opt<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, ModelError> {
        let found = self.find(name);
        found.map(|(k, v)| self.read(k, v)).transpose()
    }

    /// A number, which may be 0.
    pub fn number(&self, name: &str) -> Result<Option<u32>, ModelError> {
        self.opt(name)
    }

    /// A number that is the same for all layers, or a list of one for each.
    pub fn number_of(&self, name: &str, layer: u32) -> Result<Option<u32>, ModelError> {
        match self.find(name) {
            Some((k, Value::Array(list))) => match list.get(layer as usize) {
                Some(v) => self.read(&format!("{k}[{layer}]"), v).map(Some),
                None => Err(self.invalid(
                    k,
                    format!("has {} entries, too few for the layers", list.len()),
                )),
            },
            _ => self.number(name),
        }
    }

    pub fn flag(&self, name: &str) -> Result<Option<bool>, ModelError> {
        self.opt(name)
    }

    pub fn word(&self, name: &str) -> Result<Option<&'a str>, ModelError> {
        match self.find(name) {
            Some((_, Value::String(s))) => Ok(Some(s)),
            Some((k, v)) => self.read::<String>(k, v).map(|_| None),
            None => Ok(None),
        }
    }

    /// A list, whatever is in it.
    pub fn list(&self, name: &str) -> Result<Option<&'a [Value]>, ModelError> {
        match self.find(name) {
            Some((_, Value::Array(list))) => Ok(Some(list)),
            Some((k, v)) => self.read::<Vec<Value>>(k, v).map(|_| None),
            None => Ok(None),
        }
    }

    /// The words of a list.
    pub fn words(&self, name: &str) -> Result<Vec<&'a str>, ModelError> {
        let list = self.list(name)?.unwrap_or_default();
        let word = |(i, v): (usize, &'a Value)| match v {
            Value::String(s) => Ok(s.as_str()),
            other => self
                .read::<String>(&format!("{name}[{i}]"), other)
                .map(|_| ""),
        };
        list.iter().enumerate().map(word).collect()
    }

    /// The numbers of a list.
    pub fn numbers(&self, name: &str) -> Result<Option<Vec<u32>>, ModelError> {
        let Some(list) = self.list(name)? else {
            return Ok(None);
        };
        let number = |(i, v)| self.read(&format!("{name}[{i}]"), v);
        list.iter()
            .enumerate()
            .map(number)
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// An object inside this one.
    pub fn inner(&self, name: &str) -> Result<Option<Fields<'a>>, ModelError> {
        match self.find(name) {
            Some((k, Value::Object(map))) => Ok(Some(Fields {
                map,
                prefix: format!("{}{k}.", self.prefix),
                file: self.file,
            })),
            Some((k, v)) => self.read::<Map<String, Value>>(k, v).map(|_| None),
            None => Ok(None),
        }
    }

    /// The object's entries.
    pub fn entries(&self) -> impl Iterator<Item = (&'a str, &'a Value)> + use<'a> {
        self.map.iter().map(|(k, v)| (k.as_str(), v))
    }

    /// An entry of a list of objects.
    pub fn item(&self, name: &str, index: u32) -> Result<Option<Fields<'a>>, ModelError> {
        let list = self.list(name)?.unwrap_or_default();
        Ok(match list.get(index as usize) {
            Some(Value::Object(map)) => Some(Fields {
                map,
                prefix: format!("{}{name}[{index}].", self.prefix),
                file: self.file,
            }),
            _ => None,
        })
    }

    pub fn invalid(&self, name: &str, problem: String) -> ModelError {
        ModelError::Invalid {
            file: self.file.to_owned(),
            field: self.path(name),
            problem,
        }
    }

    pub fn unsupported(&self, name: &str, problem: String) -> ModelError {
        ModelError::Unsupported {
            file: self.file.to_owned(),
            field: self.path(name),
            problem,
        }
    }

    /// A size: at least 1 and at most `max`.
    pub fn checked(&self, name: &str, value: u32, max: u32) -> Result<u32, ModelError> {
        match value {
            0 => Err(self.invalid(name, "is 0; it must be at least 1".to_owned())),
            v if v > max => Err(self.invalid(name, format!("is {v}; capsim takes at most {max}"))),
            v => Ok(v),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_python_writes_is_absent_and_strings_stay_as_they_are() {
        let map = object(
            r#"{"a": [0.0, Infinity], "b": NaN, "c": "NaN\" Infinity"}"#,
            "f",
        )
        .unwrap();
        let f = Fields::new(&map, "f");
        assert_eq!(f.number("b").unwrap(), None);
        assert_eq!(f.word("c").unwrap(), Some("NaN\" Infinity"));
        assert!(object("{\"a\": Infinite}", "f").is_err());
        assert!(object("[1]", "f").is_err());
    }

    #[test]
    fn another_name_of_a_field_is_named_in_errors() {
        let map = object(r#"{"n_layer": "x", "num_local_experts": 3.0}"#, "f").unwrap();
        let f = Fields::new(&map, "f");
        let e = f.number("num_hidden_layers").unwrap_err().to_string();
        assert!(e.contains("`n_layer`: invalid type: string"), "{e}");
        assert_eq!(f.number("num_experts").unwrap(), Some(3));
        assert_eq!(f.called("num_experts"), "num_local_experts");
    }
}
