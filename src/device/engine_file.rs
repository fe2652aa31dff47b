//! A file of engine profiles: one engine on one kind of device, with what differs by weight format and release inside.
use super::{EngineProfile, ProfileError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `calibration/engines/NAME.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct EngineFile {
    /// `"capsim.engines/1"`.
    pub schema: String,
    /// The engine and what it runs on.
    pub name: String,
    /// Its profiles.
    pub profiles: Vec<FiledProfile>,
}

/// A profile as it is filed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct FiledProfile {
    /// What was known before any run was fitted: a `capsim.engine/1` profile.
    pub prior: Value,
    /// What the fit changed of it, as a JSON merge patch (RFC 7396); absent: nothing was fitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fitted: Option<Value>,
}

impl FiledProfile {
    fn id(&self) -> &str {
        self.prior["id"].as_str().unwrap_or_default()
    }

    /// The profile with what was fitted.
    fn whole(&self) -> Value {
        let mut profile = self.prior.clone();
        if let Some(patch) = &self.fitted {
            merge(&mut profile, patch);
        }
        profile
    }
}

/// Applies a JSON merge patch (RFC 7396): objects key by key, null removes, everything else replaces.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Default::default());
    }
    let fields = target.as_object_mut().expect("made one above");
    for (key, change) in changes {
        if change.is_null() {
            fields.remove(key);
        } else {
            merge(fields.entry(key).or_insert(Value::Null), change);
        }
    }
}

/// The merge patch that makes `to` of `from`; `None` where they are equal.
fn patch(from: &Value, to: &Value) -> Option<Value> {
    if from == to {
        return None;
    }
    let (Value::Object(from), Value::Object(to)) = (from, to) else {
        return Some(to.clone());
    };
    let gone = from.keys().filter(|k| !to.contains_key(*k));
    let mut changes: serde_json::Map<String, Value> =
        gone.map(|k| (k.clone(), Value::Null)).collect();
    for (key, value) in to {
        let change = match from.get(key) {
            Some(before) => patch(before, value),
            None => Some(value.clone()),
        };
        changes.extend(change.map(|c| (key.clone(), c)));
    }
    Some(Value::Object(changes))
}

impl EngineFile {
    /// What `schema` must say.
    pub const SCHEMA: &str = "capsim.engines/1";

    /// Whether a text is such a file, and not a single profile.
    pub fn is(text: &str) -> bool {
        #[derive(Deserialize)]
        struct Head {
            schema: String,
        }
        serde_json::from_str::<Head>(text).is_ok_and(|h| h.schema == Self::SCHEMA)
    }

    /// Reads a file; `name` (its path) appears in errors.
    ///
    /// # Errors
    /// Names the field that is missing, unknown or of the wrong type, and the profile that is none.
    pub fn parse(text: &str, name: &str) -> Result<Self, ProfileError> {
        let file: Self = super::parse(text, name, Self::SCHEMA)?;
        for p in &file.profiles {
            let where_ = format!("{name}, profile `{}`", p.id());
            EngineProfile::parse(&p.prior.to_string(), &where_)?;
            EngineProfile::parse(&p.whole().to_string(), &where_)?;
        }
        Ok(file)
    }

    fn all(&self, value: impl Fn(&FiledProfile) -> Value) -> Vec<EngineProfile> {
        let read = |p: &FiledProfile| {
            let profile = serde_json::from_value(value(p));
            profile.expect("checked when the file was read")
        };
        self.profiles.iter().map(read).collect()
    }

    /// The profiles as they are used.
    pub fn profiles(&self) -> Vec<EngineProfile> {
        self.all(FiledProfile::whole)
    }

    /// The profiles before anything was fitted.
    pub fn priors(&self) -> Vec<EngineProfile> {
        self.all(|p| p.prior.clone())
    }

    /// One profile of a text that is such a file or a single profile; `name` appears in errors.
    ///
    /// # Errors
    /// As [`parse`](Self::parse) and [`EngineProfile::parse`]; a file with several profiles of which none was named with `id`.
    pub fn pick(
        text: &str,
        name: &str,
        id: Option<&str>,
        prior: bool,
    ) -> Result<EngineProfile, ProfileError> {
        if !Self::is(text) {
            return EngineProfile::parse(text, name);
        }
        let file = Self::parse(text, name)?;
        let all = if prior {
            file.priors()
        } else {
            file.profiles()
        };
        let known: Vec<String> = all.iter().map(|p| p.id.clone()).collect();
        let only = all.len() == 1;
        let found = all
            .into_iter()
            .find(|p| id.map_or(only, |id| p.id.eq_ignore_ascii_case(id)));
        found.ok_or_else(|| ProfileError::Shape {
            name: name.into(),
            field: "profiles".into(),
            problem: format!("name one of them, as in {name}#ID: {}", known.join(", ")),
        })
    }

    /// A profile with a JSON merge patch applied.
    ///
    /// # Errors
    /// If the result is no profile.
    pub fn patched(profile: &EngineProfile, change: &Value) -> Result<EngineProfile, ProfileError> {
        let mut value = serde_json::to_value(profile).expect("a profile is JSON");
        merge(&mut value, change);
        EngineProfile::parse(&value.to_string(), &profile.id)
    }

    /// Keeps a fitted profile in the place of its id; false where there is none.
    pub fn keep(&mut self, fitted: &EngineProfile) -> bool {
        let Some(filed) = self.profiles.iter_mut().find(|p| p.id() == fitted.id) else {
            return false;
        };
        let value = serde_json::to_value(fitted).expect("a profile is JSON");
        filed.fitted = patch(&filed.prior, &value);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_patch_makes_the_one_of_the_other() {
        let from = json!({"a": 1, "b": {"c": [1, 2], "d": 4}, "e": 5});
        let to = json!({"a": 1, "b": {"c": [1], "d": 4, "f": {"g": 1}}, "h": "x"});
        let change = patch(&from, &to).unwrap();
        assert_eq!(
            change,
            json!({"b": {"c": [1], "f": {"g": 1}}, "e": null, "h": "x"})
        );
        let mut made = from.clone();
        merge(&mut made, &change);
        assert_eq!(made, to);
        assert_eq!(patch(&to, &to), None);
    }

    #[test]
    fn a_fitted_profile_is_kept_beside_its_prior() {
        let prior = crate::device::builtin::engine("vllm-0.12-rocm").unwrap();
        let mut file = EngineFile {
            schema: EngineFile::SCHEMA.into(),
            name: "vLLM on ROCm".into(),
            profiles: vec![FiledProfile {
                prior: serde_json::to_value(&prior).unwrap(),
                fitted: None,
            }],
        };
        let mut fitted = prior.clone();
        fitted.host.step.value *= 2.0;
        assert!(file.keep(&fitted));
        let text = serde_json::to_string(&file).unwrap();
        assert!(EngineFile::is(&text));
        let again = EngineFile::parse(&text, "x.json").unwrap();
        assert_eq!(
            (again.profiles(), again.priors()),
            (vec![fitted.clone()], vec![prior])
        );
        fitted.id = "another".into();
        assert!(!file.keep(&fitted));
        let broken = text.replace("\"step\"", "\"stepp\"");
        let e = EngineFile::parse(&broken, "x.json")
            .unwrap_err()
            .to_string();
        assert!(e.contains("x.json, profile `vllm-0.12-rocm`"), "{e}");
    }
}
