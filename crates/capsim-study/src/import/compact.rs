//! JSON that people can read and that stays short: what fits on a line stands on one.
use serde_json::Value;

const WIDTH: usize = 120;

/// The text of a value, with a final line break.
pub fn text(value: &Value) -> String {
    let mut o = String::new();
    put(value, 0, 0, &mut o);
    o.push('\n');
    o
}

/// Appends a value that begins `used` characters into its line.
fn put(value: &Value, depth: usize, used: usize, o: &mut String) {
    let flat = value.to_string();
    let open = match value {
        Value::Array(a) if !a.is_empty() => '[',
        Value::Object(m) if !m.is_empty() => '{',
        _ => {
            o.push_str(&flat);
            return;
        }
    };
    if depth > 0 && used + flat.len() <= WIDTH {
        o.push_str(&flat);
        return;
    }
    o.push(open);
    let indent = depth + 1;
    let mut first = true;
    let mut line = |o: &mut String| {
        if !std::mem::take(&mut first) {
            o.push(',');
        }
        o.push('\n');
        o.push_str(&" ".repeat(indent));
    };
    match value {
        Value::Array(a) => {
            for v in a {
                line(o);
                put(v, indent, indent, o);
            }
        }
        Value::Object(m) => {
            for (k, v) in m {
                line(o);
                let key = format!("{}: ", Value::String(k.clone()));
                o.push_str(&key);
                put(v, indent, indent + key.len(), o);
            }
        }
        _ => {}
    }
    o.push('\n');
    o.push_str(&" ".repeat(depth));
    o.push(if open == '[' { ']' } else { '}' });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_the_value() {
        let long: Vec<f64> = (0..200).map(|i| f64::from(i) * 1e-6).collect();
        let v = serde_json::json!({"a": long, "b": {"c": [1, 2, {"d": "ü\"x"}]}, "e": [], "f": {}});
        let t = text(&v);
        assert_eq!(serde_json::from_str::<Value>(&t).unwrap(), v);
        assert!(t.contains("\"b\": {\"c\":[1,2,{\"d\":\"ü\\\"x\"}]}"), "{t}");
    }
}
