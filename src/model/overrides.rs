//! What a user says over a config: keys with other values, and the class whose layers are taken.
use super::error::ModelError;
use serde_json::{Map, Value};

/// Keys with other values, and the class whose layers are taken.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// The class, or `model_type`, whose layers are taken whatever the config names.
    pub architecture: Option<String>,
    /// Paths of keys (`text_config.num_hidden_layers`) with their values.
    pub keys: Vec<(String, Value)>,
}

/// What separates the keys of a text with several.
pub const SEPARATOR: char = ';';

impl Overrides {
    /// Reads `KEY=VALUE`, several separated by `;`. A value is JSON, else a text; `null` takes the key out.
    ///
    /// # Errors
    /// A part without `=`, or without a key before it.
    ///
    /// ```
    /// use capsim::model::Overrides;
    /// let keys = Overrides::keys("text_config.num_hidden_layers=2;dtype=float16").unwrap();
    /// assert_eq!(keys[0], ("text_config.num_hidden_layers".to_owned(), 2.into()));
    /// assert_eq!(keys[1].1, "float16");
    /// assert!(Overrides::keys("num_hidden_layers").is_err());
    /// ```
    pub fn keys(text: &str) -> Result<Vec<(String, Value)>, String> {
        let parts = text.split(SEPARATOR).filter(|p| !p.trim().is_empty());
        let read = |part: &str| {
            let shown = || -> String { part.trim().chars().take(80).collect() };
            let (key, value) = part.split_once('=').ok_or_else(|| {
                format!(
                    "`{}` is not KEY=VALUE, such as num_hidden_layers=2",
                    shown()
                )
            })?;
            let (key, value) = (key.trim(), value.trim());
            if key.is_empty() || key.split('.').any(str::is_empty) {
                return Err(format!("`{}`: the key is empty, or a part of it", shown()));
            }
            let value =
                serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
            Ok((key.to_owned(), value))
        };
        parts.map(read).collect()
    }

    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        self.architecture.is_none() && self.keys.is_empty()
    }

    /// The same without one of the keys.
    pub(super) fn without(&self, at: usize) -> Self {
        let mut fewer = self.clone();
        fewer.keys.remove(at);
        fewer
    }

    /// Sets the keys. One without a path that stands in the text part alone, or nowhere, is set in the text part, which is what is read.
    pub(super) fn apply(
        &self,
        map: &mut Map<String, Value>,
        text_part: Option<&str>,
        file: &str,
    ) -> Result<(), ModelError> {
        for (key, value) in &self.keys {
            let outer = key.contains('.') || map.contains_key(key);
            let path = match text_part.filter(|_| !outer) {
                Some(part) => format!("{part}.{key}"),
                None => key.clone(),
            };
            set(map, &path, value).map_err(|at| ModelError::Invalid {
                file: file.to_owned(),
                field: at,
                problem: format!("is no object, and --set {key} names a key inside it"),
            })?;
        }
        Ok(())
    }
}

/// Sets a key by its path; objects on the way that are not there are made. The error is the path of what is no object.
fn set(map: &mut Map<String, Value>, path: &str, value: &Value) -> Result<(), String> {
    let (mut here, mut rest, mut walked) = (map, path, String::new());
    while let Some((first, more)) = rest.split_once('.') {
        walked += first;
        let inner = here
            .entry(first)
            .and_modify(|v| {
                if v.is_null() {
                    *v = Value::Object(Map::new());
                }
            })
            .or_insert_with(|| Value::Object(Map::new()));
        here = inner.as_object_mut().ok_or_else(|| walked.clone())?;
        walked.push('.');
        rest = more;
    }
    match value {
        Value::Null => here.remove(rest),
        value => here.insert(rest.to_owned(), value.clone()),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn changed(config: Value, text: &str, part: Option<&str>) -> Result<Value, String> {
        let Value::Object(mut map) = config else {
            panic!("an object");
        };
        let over = Overrides {
            architecture: None,
            keys: Overrides::keys(text).unwrap(),
        };
        over.apply(&mut map, part, "f").map_err(|e| e.to_string())?;
        Ok(Value::Object(map))
    }

    #[test]
    fn a_key_is_set_where_it_is_read() {
        let config = json!({"a": 1, "text_config": {"b": 2}, "c": "x"});
        let part = Some("text_config");
        let got = changed(
            config,
            "a=5;b=6;text_config.d={\"e\": 1};f.g=true;c=null",
            part,
        );
        let want = json!({"a": 5, "text_config": {"b": 6, "d": {"e": 1}}, "f": {"g": true}});
        assert_eq!(got.unwrap(), want);
        let e = changed(json!({"a": 1}), "a.b=2", None).unwrap_err();
        assert!(e.contains("`a`: is no object"), "{e}");
        for bad in ["x", "=1", "a..b=1", ".=1"] {
            assert!(Overrides::keys(bad).is_err(), "{bad}");
        }
    }
}
