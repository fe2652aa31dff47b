//! What was given of a section's fields.
use super::{Field, FieldError, Value};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

/// A list of fields that belong together: an engine's settings, a load.
pub trait Section: 'static {
    /// What its fields are called in errors: `engine setting`.
    const WHAT: &'static str;
    /// How many fields there are.
    const LEN: usize;
    /// The field at a place of the list.
    fn field(at: usize) -> &'static Field;

    /// All fields, in order.
    fn fields() -> impl Iterator<Item = &'static Field> {
        (0..Self::LEN).map(Self::field)
    }

    /// The place of the field of this name.
    ///
    /// # Errors
    /// There is none; the error names the most similar one.
    fn place(name: &str) -> Result<usize, FieldError> {
        if let Some(at) = Self::fields().position(|f| f.is(name)) {
            return Ok(at);
        }
        let near = Self::fields()
            .map(|f| (strsim::jaro_winkler(f.name, name), f.name))
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .filter(|(likeness, _)| *likeness > 0.8);
        let what = Self::WHAT;
        Err(FieldError {
            field: name.into(),
            problem: match near {
                Some((_, other)) => format!("is no {what}; did you mean `{other}`?"),
                None => format!("is no {what}"),
            },
        })
    }
}

/// The names of a table's fields, in its order.
pub const fn names<const N: usize>(rows: &[super::Field; N]) -> [&'static str; N] {
    let mut names = [""; N];
    let mut at = 0;
    while at < N {
        names[at] = rows[at].name;
        at += 1;
    }
    names
}

/// A key for each field of a section: `keys! { Section, NAMES, "TABLE"; KEY: Type = "field"; … }`.
macro_rules! keys {
    ($section:ty, $names:ident, $table:literal; $($key:ident: $of:ty = $name:literal;)*) => {
        $(
            #[doc = concat!("`", $name, "`; its row in [`", $table, "`] says what it is.")]
            pub const $key: $crate::fields::Key<$section, $of> =
                $crate::fields::Key::at($crate::fields::position(&$names, $name));
        )*
    };
}
pub(crate) use keys;

/// The place of a field in a list, found when the program is compiled.
///
/// # Panics
/// At compile time, if there is no field of that name.
pub const fn position(names: &[&str], name: &str) -> usize {
    let mut at = 0;
    while at < names.len() {
        if same(names[at].as_bytes(), name.as_bytes()) {
            return at;
        }
        at += 1;
    }
    panic!("no field of that name")
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}

/// A field of a section, and the type of its value.
pub struct Key<S, T> {
    at: usize,
    of: PhantomData<fn() -> (S, T)>,
}

impl<S, T> Clone for Key<S, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<S, T> Copy for Key<S, T> {}

impl<S: Section, T> Key<S, T> {
    /// The field at a place of the section's list.
    pub const fn at(at: usize) -> Self {
        Self {
            at,
            of: PhantomData,
        }
    }
    /// Its place in the section's list.
    pub const fn place(self) -> usize {
        self.at
    }
    /// The field.
    pub fn field(self) -> &'static Field {
        S::field(self.at)
    }
    /// Its name, with underscores.
    pub fn name(self) -> &'static str {
        self.field().name
    }
}

/// A type that a value can have.
pub trait Typed: Sized {
    /// The value as this type, if it is one.
    fn of(value: &Value) -> Option<Self>;
    /// As a value.
    fn value(self) -> Value;
}

impl Typed for bool {
    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Switch(on) => Some(*on),
            _ => None,
        }
    }
    fn value(self) -> Value {
        Value::Switch(self)
    }
}
impl Typed for u64 {
    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Count(n) => Some(*n),
            _ => None,
        }
    }
    fn value(self) -> Value {
        Value::Count(self)
    }
}
impl Typed for u32 {
    fn of(value: &Value) -> Option<Self> {
        u64::of(value).and_then(|n| n.try_into().ok())
    }
    fn value(self) -> Value {
        Value::Count(self.into())
    }
}
impl Typed for f64 {
    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Number(v) => Some(*v),
            Value::Count(n) => Some(*n as f64),
            _ => None,
        }
    }
    fn value(self) -> Value {
        Value::Number(self)
    }
}
impl Typed for String {
    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        }
    }
    fn value(self) -> Value {
        Value::Text(self)
    }
}

/// What was given of a section's fields. What is not in it takes its default.
pub struct Values<S> {
    map: BTreeMap<usize, Value>,
    of: PhantomData<fn() -> S>,
}

impl<S> Default for Values<S> {
    fn default() -> Self {
        Self {
            map: BTreeMap::new(),
            of: PhantomData,
        }
    }
}
impl<S> Clone for Values<S> {
    fn clone(&self) -> Self {
        Self {
            map: self.map.clone(),
            of: PhantomData,
        }
    }
}
impl<S> PartialEq for Values<S> {
    fn eq(&self, other: &Self) -> bool {
        self.map == other.map
    }
}
impl<S: Section> fmt::Debug for Values<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.iter().map(|(field, v)| (field.name, v)))
            .finish()
    }
}

impl<S: Section> Values<S> {
    /// The value of a field, if one was given.
    pub fn get<T: Typed>(&self, key: Key<S, T>) -> Option<T> {
        self.map.get(&key.at).and_then(T::of)
    }

    /// Gives a field a value, or, with `None`, its default.
    pub fn set<T: Typed>(&mut self, key: Key<S, T>, value: impl Into<Option<T>>) {
        match value.into() {
            Some(v) => self.map.insert(key.at, v.value()),
            None => self.map.remove(&key.at),
        };
    }

    /// The same values and one more.
    #[must_use]
    pub fn with<T: Typed>(mut self, key: Key<S, T>, value: impl Into<Option<T>>) -> Self {
        self.set(key, value);
        self
    }

    /// The value at a place of the section's list.
    pub fn at(&self, place: usize) -> Option<&Value> {
        self.map.get(&place)
    }

    /// Gives the field at a place a value that its [`Field`] has read.
    pub fn put(&mut self, place: usize, value: Value) {
        self.map.insert(place, value);
    }

    /// Takes the value at a place away.
    pub fn clear(&mut self, place: usize) {
        self.map.remove(&place);
    }

    /// Whether nothing was given.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Fields with their values, in the section's order.
    pub fn iter(&self) -> impl Iterator<Item = (&'static Field, &Value)> {
        self.map.iter().map(|(&at, v)| (S::field(at), v))
    }

    /// Takes over what `other` gives.
    pub fn overlay(&mut self, other: &Self) {
        for (&at, value) in &other.map {
            self.map.insert(at, value.clone());
        }
    }
}

/// An object with the fields' names.
impl<S: Section> Serialize for Values<S> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        let mut map = serializer.serialize_map(Some(self.map.len()))?;
        for (field, value) in self.iter() {
            map.serialize_entry(field.name, value)?;
        }
        map.end()
    }
}

/// An object with the fields' names; `null` stands for what was not given.
impl<'de, S: Section> Deserialize<'de> for Values<S> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object<S>(PhantomData<fn() -> S>);
        impl<'de, S: Section> Visitor<'de> for Object<S> {
            type Value = Values<S>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an object of {}s", S::WHAT)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Values<S>, A::Error> {
                let mut values = Values::default();
                while let Some(name) = map.next_key::<String>()? {
                    let wrong =
                        |e: FieldError| A::Error::custom(format!("{}: {}", e.field, e.problem));
                    let at = S::place(&name).map_err(wrong)?;
                    let value: serde_json::Value = map.next_value()?;
                    if value.is_null() {
                        continue;
                    }
                    if values.at(at).is_some() {
                        return Err(A::Error::custom(format!("{name}: is there twice")));
                    }
                    let value = S::field(at).from_json(&value).map_err(wrong)?;
                    values.put(at, value);
                }
                Ok(values)
            }
        }
        deserializer.deserialize_map(Object(PhantomData))
    }
}

#[cfg(feature = "schema")]
impl<S: Section> schemars::JsonSchema for Values<S> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        S::WHAT.into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        use super::Kind;
        use serde_json::json;
        let properties: serde_json::Map<String, serde_json::Value> = S::fields()
            .map(|f| {
                let mut one = match f.kind {
                    Kind::Count(most) => {
                        json!({ "type": ["integer", "null"], "minimum": 0, "maximum": most })
                    }
                    Kind::Number => json!({ "type": ["number", "string", "null"] }),
                    Kind::Switch => json!({ "type": ["boolean", "null"] }),
                    Kind::Choice(words) => {
                        let null = std::iter::once(json!(null));
                        let all: Vec<_> = words.iter().map(|w| json!(w)).chain(null).collect();
                        json!({ "enum": all })
                    }
                    Kind::Text => json!({ "type": ["string", "number", "null"] }),
                };
                one["description"] = f.help.into();
                (f.name.to_string(), one)
            })
            .collect();
        schemars::json_schema!({
            "type": "object",
            "properties": properties,
            "additionalProperties": false,
        })
    }
}
