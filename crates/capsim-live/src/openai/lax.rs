//! Numbers and truth values as vLLM takes them: its bodies are read by pydantic in its lax mode (docs.pydantic.dev, "Conversion Table"), for
//! which `4.0` and `"4"` are the integer 4, and `"true"` is true.
use serde::de::{self, Deserializer, Visitor};
use std::fmt;
use std::marker::PhantomData;

/// What can be read laxly.
pub trait Lax: Sized {
    /// For errors: `an integer`.
    const WHAT: &'static str;
    /// Of a whole number.
    fn whole(n: i128) -> Option<Self>;
    /// Of a number with a fraction.
    fn real(n: f64) -> Option<Self>;
    /// Of a text.
    fn text(text: &str) -> Option<Self> {
        let text = text.trim();
        match text.parse::<i128>() {
            Ok(n) => Self::whole(n),
            Err(_) => text.parse().ok().and_then(Self::real),
        }
    }
    /// Of a truth value.
    fn truth(on: bool) -> Option<Self> {
        Self::whole(on.into())
    }
}

/// A number without a fraction, as a whole one.
fn without_fraction(n: f64) -> Option<i128> {
    (n.is_finite() && n == n.trunc() && n.abs() < 1e18).then_some(n as i128)
}

macro_rules! integer {
    ($($type:ty),*) => {$(
        impl Lax for $type {
            const WHAT: &'static str = "an integer";
            fn whole(n: i128) -> Option<Self> {
                n.try_into().ok()
            }
            fn real(n: f64) -> Option<Self> {
                without_fraction(n)?.try_into().ok()
            }
        }
    )*};
}
integer!(i32, i64, u32);

impl Lax for f64 {
    const WHAT: &'static str = "a number";
    fn whole(n: i128) -> Option<Self> {
        Some(n as f64)
    }
    fn real(n: f64) -> Option<Self> {
        Some(n)
    }
}

impl Lax for bool {
    const WHAT: &'static str = "a boolean";
    fn whole(n: i128) -> Option<Self> {
        matches!(n, 0 | 1).then_some(n == 1)
    }
    fn real(n: f64) -> Option<Self> {
        Self::whole(without_fraction(n)?)
    }
    fn text(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "t" | "yes" | "y" | "on" | "1" => Some(true),
            "false" | "f" | "no" | "n" | "off" | "0" => Some(false),
            _ => None,
        }
    }
    fn truth(on: bool) -> Option<Self> {
        Some(on)
    }
}

struct Read<T>(PhantomData<T>);

impl<T: Lax> Read<T> {
    fn given<E: de::Error>(value: Option<T>, as_is: impl fmt::Display) -> Result<Option<T>, E> {
        match value {
            Some(v) => Ok(Some(v)),
            None => Err(E::custom(format!("must be {}, not {as_is}", T::WHAT))),
        }
    }
}

impl<'de, T: Lax> Visitor<'de> for Read<T> {
    type Value = Option<T>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::WHAT)
    }
    fn visit_unit<E: de::Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }
    fn visit_none<E: de::Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }
    fn visit_bool<E: de::Error>(self, v: bool) -> Result<Option<T>, E> {
        Self::given(T::truth(v), v)
    }
    fn visit_i64<E: de::Error>(self, v: i64) -> Result<Option<T>, E> {
        Self::given(T::whole(v.into()), v)
    }
    fn visit_u64<E: de::Error>(self, v: u64) -> Result<Option<T>, E> {
        Self::given(T::whole(v.into()), v)
    }
    fn visit_f64<E: de::Error>(self, v: f64) -> Result<Option<T>, E> {
        Self::given(T::real(v), v)
    }
    fn visit_str<E: de::Error>(self, v: &str) -> Result<Option<T>, E> {
        let shown: String = v.chars().take(40).collect();
        Self::given(T::text(v), format!("`{shown}`"))
    }
}

/// A field that may be absent or `null`.
///
/// # Errors
/// What is no such number even laxly.
pub fn option<'de, D: Deserializer<'de>, T: Lax>(d: D) -> Result<Option<T>, D::Error> {
    d.deserialize_any(Read(PhantomData))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Body {
        #[serde(deserialize_with = "super::option")]
        i: Option<i64>,
        #[serde(deserialize_with = "super::option")]
        u: Option<u32>,
        #[serde(deserialize_with = "super::option")]
        f: Option<f64>,
        #[serde(deserialize_with = "super::option")]
        b: Option<bool>,
    }

    #[test]
    fn numbers_are_taken_as_pydantic_takes_them() {
        let read = |t: &str| serde_json::from_str::<Body>(t);
        for same in [
            r#"{"i":4,"f":0.5,"b":true}"#,
            r#"{"i":4.0,"f":"0.5","b":"True"}"#,
            r#"{"i":" 4 ","f":5e-1,"b":1,"u":null}"#,
        ] {
            let b = read(same).unwrap();
            assert_eq!(
                (b.i, b.u, b.f, b.b),
                (Some(4), None, Some(0.5), Some(true)),
                "{same}"
            );
        }
        for (bad, says) in [
            (r#"{"i":4.5}"#, "an integer, not 4.5"),
            (r#"{"i":"many"}"#, "not `many`"),
            (r#"{"u":-1}"#, "an integer"),
            (r#"{"u":1e99}"#, "an integer"),
            (r#"{"b":2}"#, "a boolean"),
            (r#"{"f":[]}"#, "a number"),
        ] {
            let e = read(bad).unwrap_err().to_string();
            assert!(e.contains(says), "{bad}: {e}");
        }
    }
}
