//! Values that fit a JSON Schema (json-schema.org, draft 2020-12: what vLLM's grammar back ends support of it), drawn from a seed.
use super::{identity::mix, regex};
use serde_json::{Map, Value, json};

/// Deepest nesting of a value.
const DEEPEST: u32 = 24;
/// Depth from which on nothing optional is written.
const PLAIN: u32 = 3;
/// Most members or elements that a schema may demand.
const MOST: u64 = 10_000;

/// How values are made.
struct Draw<'a> {
    root: &'a Value,
    seed: u64,
    /// Nothing that may be left out.
    least: bool,
    /// Values made so far.
    made: u64,
}

/// A value that fits `schema`; `least`: with nothing in it that may be left out.
///
/// # Errors
/// What cannot be satisfied or is not supported, with its keyword.
pub fn value(schema: &Value, seed: u64, least: bool) -> Result<Value, String> {
    let mut draw = Draw {
        root: schema,
        seed: mix(seed),
        least,
        made: 0,
    };
    draw.value(schema, 0)
}

const WORDS: [&str; 12] = [
    "alpha", "bridge", "copper", "delta", "ember", "forest", "garden", "harbor", "island",
    "lantern", "meadow", "river",
];

impl Draw<'_> {
    /// A number below `n`.
    fn below(&mut self, n: u64) -> u64 {
        self.seed = mix(self.seed);
        self.seed % n.max(1)
    }

    fn word(&mut self) -> &'static str {
        WORDS[self.below(WORDS.len() as u64) as usize]
    }

    fn value(&mut self, schema: &Value, depth: u32) -> Result<Value, String> {
        self.made += 1;
        if depth > DEEPEST || self.made > MOST {
            return Err("the schema has no value that is small enough".into());
        }
        let o = match schema {
            Value::Bool(true) => return Ok(json!(self.word())),
            Value::Object(o) => o,
            other => return Err(format!("`{other}` is no schema that has a value")),
        };
        if let Some(reference) = o.get("$ref") {
            let path = reference.as_str().and_then(|r| r.strip_prefix('#'));
            let target = path.and_then(|p| self.root.pointer(p));
            let target =
                target.ok_or_else(|| format!("$ref {reference} leads nowhere in the schema"))?;
            return self.value(target, depth + 1);
        }
        if let Some(one) = o.get("const") {
            return Ok(one.clone());
        }
        if let Some(all) = o.get("enum") {
            let all = all
                .as_array()
                .filter(|a| !a.is_empty())
                .ok_or("`enum` must be a list of values")?;
            return Ok(all[self.below(all.len() as u64) as usize].clone());
        }
        if let Some(Value::Array(all)) = o.get("allOf") {
            let merged = self.merged(o, all)?;
            return self.value(&merged, depth + 1);
        }
        for key in ["anyOf", "oneOf"] {
            if let Some(Value::Array(all)) = o.get(key) {
                return self.one_of(all, depth);
            }
        }
        self.typed(o, depth)
    }

    /// The first alternative that has a value, from a drawn one on.
    fn one_of(&mut self, all: &[Value], depth: u32) -> Result<Value, String> {
        let begin = self.below(all.len() as u64) as usize;
        let mut why = "an empty list of alternatives has no value".to_string();
        for i in 0..all.len() {
            match self.value(&all[(begin + i) % all.len()], depth + 1) {
                Ok(v) => return Ok(v),
                Err(e) => why = e,
            }
        }
        Err(why)
    }

    /// A schema with the keywords of all parts: their properties and required names together.
    fn merged(&self, o: &Map<String, Value>, all: &[Value]) -> Result<Value, String> {
        let mut merged = o.clone();
        merged.remove("allOf");
        for part in all {
            let mut part = part;
            let mut steps = 0;
            while let Some(r) = part.get("$ref").and_then(Value::as_str) {
                steps += 1;
                let target = r.strip_prefix('#').and_then(|p| self.root.pointer(p));
                part = target
                    .filter(|_| steps < DEEPEST)
                    .ok_or_else(|| format!("$ref {r} leads nowhere in the schema"))?;
            }
            for (key, value) in part
                .as_object()
                .ok_or("`allOf` must be a list of schemas")?
            {
                match (merged.get_mut(key), value) {
                    (Some(Value::Object(a)), Value::Object(b)) => a.extend(b.clone()),
                    (Some(Value::Array(a)), Value::Array(b))
                        if key == "required" || key == "allOf" =>
                    {
                        a.extend(b.clone())
                    }
                    _ => {
                        merged.insert(key.clone(), value.clone());
                    }
                }
            }
        }
        Ok(Value::Object(merged))
    }

    fn typed(&mut self, o: &Map<String, Value>, depth: u32) -> Result<Value, String> {
        let has = |keys: &[&str]| keys.iter().any(|k| o.contains_key(*k));
        let kind = match o.get("type") {
            Some(Value::String(t)) => t.clone(),
            Some(Value::Array(all)) => {
                let named: Vec<&str> = all.iter().filter_map(Value::as_str).collect();
                let real: Vec<&str> = named.iter().copied().filter(|t| *t != "null").collect();
                let from = if real.is_empty() { named } else { real };
                if from.is_empty() {
                    return Err("`type` must name a type".into());
                }
                from[self.below(from.len() as u64) as usize].into()
            }
            Some(other) => return Err(format!("`type` must be a name, not {other}")),
            None if has(&[
                "properties",
                "required",
                "additionalProperties",
                "minProperties",
            ]) =>
            {
                "object".into()
            }
            None if has(&["items", "prefixItems", "minItems"]) => "array".into(),
            None if has(&[
                "minimum",
                "maximum",
                "exclusiveMinimum",
                "exclusiveMaximum",
                "multipleOf",
            ]) =>
            {
                "number".into()
            }
            None => "string".into(),
        };
        match kind.as_str() {
            "object" => self.object(o, depth),
            "array" => self.array(o, depth),
            "string" => self.string(o),
            "integer" => self.number(o, true),
            "number" => self.number(o, false),
            "boolean" => Ok((self.below(2) == 1).into()),
            "null" => Ok(Value::Null),
            other => Err(format!("`type`: `{other}` is no type of JSON")),
        }
    }

    fn object(&mut self, o: &Map<String, Value>, depth: u32) -> Result<Value, String> {
        let empty = Map::new();
        let properties = o
            .get("properties")
            .and_then(Value::as_object)
            .unwrap_or(&empty);
        let required: Vec<&str> = o
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let others = o.get("additionalProperties").unwrap_or(&Value::Bool(true));
        let mut all = Map::new();
        for (name, schema) in properties {
            let must = required.contains(&name.as_str());
            if must {
                all.insert(name.clone(), self.value(schema, depth + 1)?);
            } else if !self.least && depth < PLAIN && self.below(2) == 0 {
                // What is optional and has no value is left out.
                if let Ok(v) = self.value(schema, depth + 1) {
                    all.insert(name.clone(), v);
                }
            }
        }
        for name in required.iter().filter(|n| !properties.contains_key(**n)) {
            all.insert((*name).into(), self.value(others, depth + 1)?);
        }
        let least = o.get("minProperties").and_then(Value::as_u64).unwrap_or(0);
        if least > MOST {
            return Err(format!("`minProperties`: more than {MOST}"));
        }
        for (name, schema) in properties {
            if (all.len() as u64) < least && !all.contains_key(name) {
                all.insert(name.clone(), self.value(schema, depth + 1)?);
            }
        }
        let mut n = 0;
        while (all.len() as u64) < least {
            n += 1;
            let v = self.value(others, depth + 1)?;
            all.insert(format!("key{n}"), v);
        }
        Ok(Value::Object(all))
    }

    fn array(&mut self, o: &Map<String, Value>, depth: u32) -> Result<Value, String> {
        let limit = |key: &str| o.get(key).and_then(Value::as_u64);
        let first = o
            .get("prefixItems")
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        let rest = o.get("items").unwrap_or(&Value::Bool(true));
        let least = limit("minItems").unwrap_or(0);
        if least > MOST {
            return Err(format!("`minItems`: more than {MOST}"));
        }
        let most = limit("maxItems").unwrap_or(u64::MAX);
        let more = if self.least || depth >= PLAIN {
            0
        } else {
            self.below(3)
        };
        let open = *rest != Value::Bool(false);
        let wanted = (least.max(first.len() as u64) + if open { more } else { 0 })
            .min(most)
            .max(least);
        let unique = o.get("uniqueItems") == Some(&Value::Bool(true));
        let mut all: Vec<Value> = vec![];
        let mut tries = 0;
        while (all.len() as u64) < wanted {
            let v = self.value(first.get(all.len()).unwrap_or(rest), depth + 1)?;
            tries += 1;
            if !unique || !all.contains(&v) {
                all.push(v);
            } else if tries > 20 * wanted {
                if all.len() as u64 >= least {
                    break;
                }
                return Err("`uniqueItems`: there are too few different values".into());
            }
        }
        Ok(Value::Array(all))
    }

    fn string(&mut self, o: &Map<String, Value>) -> Result<Value, String> {
        if let Some(pattern) = o.get("pattern") {
            let pattern = pattern.as_str().ok_or("`pattern` must be a text")?;
            let seed = self.below(u64::MAX);
            return regex::text(pattern, seed)
                .map(Value::String)
                .map_err(|e| format!("`pattern` {pattern}: {e}"));
        }
        let n = self.below(28) + 1;
        if let Some(format) = o.get("format").and_then(Value::as_str) {
            let word = self.word();
            let hex = self.below(1 << 48);
            let text = match format {
                "date-time" => Some(format!("2026-01-{n:02}T12:00:00Z")),
                "date" => Some(format!("2026-01-{n:02}")),
                "time" => Some(format!("12:{n:02}:00Z")),
                "duration" => Some(format!("P{n}D")),
                "email" => Some(format!("{word}@example.com")),
                "hostname" => Some(format!("{word}.example.com")),
                "ipv4" => Some(format!("192.0.2.{n}")),
                "ipv6" => Some(format!("2001:db8::{n}")),
                "uri" => Some(format!("https://example.com/{word}")),
                "uuid" => Some(format!("00000000-0000-4000-8000-{hex:012x}")),
                _ => None,
            };
            if let Some(text) = text {
                return Ok(text.into());
            }
        }
        let limit = |key: &str| o.get(key).and_then(Value::as_u64);
        let least = limit("minLength").unwrap_or(0);
        if least > MOST {
            return Err(format!("`minLength`: more than {MOST}"));
        }
        let mut text = String::from(self.word());
        while (text.len() as u64) < least {
            text.push(' ');
            let word = self.word();
            text.push_str(word);
        }
        // Words are of ASCII letters.
        text.truncate(
            limit("maxLength")
                .unwrap_or(u64::MAX)
                .min(text.len() as u64)
                .max(least) as usize,
        );
        Ok(text.into())
    }

    fn number(&mut self, o: &Map<String, Value>, whole: bool) -> Result<Value, String> {
        let get = |key: &str| o.get(key).and_then(Value::as_f64);
        let step = get("multipleOf")
            .filter(|s| *s > 0.0)
            .unwrap_or(if whole { 1.0 } else { 0.0 });
        let grain = if step > 0.0 { step } else { 1e-3 };
        let above = get("exclusiveMinimum").map(|v| v + grain);
        let beneath = get("exclusiveMaximum").map(|v| v - grain);
        let low = [get("minimum"), above]
            .into_iter()
            .flatten()
            .reduce(f64::max);
        let high = [get("maximum"), beneath]
            .into_iter()
            .flatten()
            .reduce(f64::min);
        let (low, high) = match (low, high) {
            (Some(l), Some(h)) => (l, h),
            (Some(l), None) => (l, l + 100.0 * grain.max(1.0)),
            (None, Some(h)) => (h - 100.0 * grain.max(1.0), h),
            (None, None) => (0.0, 100.0 * grain.max(1.0)),
        };
        let share = self.below(1 << 20) as f64 / (1 << 20) as f64;
        let drawn = low + share * (high - low);
        let v = match step > 0.0 {
            // The nearest multiple that is not below the least.
            true => {
                let n = (drawn / step).round();
                let n = if n * step > high {
                    (high / step).floor()
                } else {
                    n
                };
                let n = if n * step < low {
                    (low / step).ceil()
                } else {
                    n
                };
                n * step
            }
            false => (drawn * 1e3).round() / 1e3,
        };
        if !v.is_finite() || v < low - 1e-9 || v > high + 1e-9 {
            return Err(format!(
                "no number lies between {low} and {high} as `minimum`, `maximum` and `multipleOf` want it"
            ));
        }
        Ok(match whole && v.abs() < 9e15 {
            true => json!(v as i64),
            false => json!(v.clamp(low, high)),
        })
    }
}
