//! The JSON values of a text, whatever stands around them.
use super::{Item, TextError, Values, whole_file};
use serde_json::Value;

/// Most beginnings of a value that are tried in a text that does not begin with one.
const MOST_BEGINNINGS: usize = 200;

/// The values of a text: a JSON document (the elements of a list), JSON Lines, or JSON with a program's chatter around it. No value:
/// the text holds no JSON.
///
/// # Errors
/// JSON that is cut off or damaged, with its line.
pub fn values(text: &str) -> Result<Values, TextError> {
    let text = &without_nan(text.strip_prefix('\u{feff}').unwrap_or(text));
    let text = text.trim();
    if text.is_empty() {
        return Err(whole_file("is empty"));
    }
    let whole = match serde_json::from_str::<Value>(text) {
        Ok(value) => return of_value(value, 0),
        Err(e) => e,
    };
    let rows = lines(text)?;
    if !rows.items.is_empty() {
        return Ok(rows);
    }
    if text.starts_with(['{', '[']) {
        if let Some(several) = one_after_another(text) {
            return Ok(several);
        }
        if whole.is_eof() {
            return Err(whole_file(format!(
                "is no JSON: {whole} (is the file cut off?)"
            )));
        }
    }
    if let Some((value, chatter)) = embedded(text) {
        return of_value(value, chatter);
    }
    match text.starts_with('{') {
        true => Err(whole_file(format!("is no JSON: {whole}"))),
        false => Ok(Values::default()),
    }
}

/// Objects over several lines each, one after another.
fn one_after_another(text: &str) -> Option<Values> {
    let stream = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let all: Vec<Value> = stream.collect::<Result<_, _>>().ok()?;
    all.iter().all(Value::is_object).then(|| Values {
        items: (1..)
            .zip(all)
            .map(|(i, value)| Item {
                value,
                place: format!("object {i}"),
            })
            .collect(),
        chatter: 0,
    })
}

fn of_value(value: Value, chatter: usize) -> Result<Values, TextError> {
    let items = match value {
        Value::Array(all) if all.is_empty() => {
            return Err(whole_file("is an empty list: it holds no result"));
        }
        Value::Array(all) if all.iter().all(Value::is_object) => all
            .into_iter()
            .enumerate()
            .map(|(i, value)| Item {
                value,
                place: format!("[{i}]"),
            })
            .collect(),
        value => vec![Item {
            value,
            place: String::new(),
        }],
    };
    Ok(Values { items, chatter })
}

/// One object per line; other lines are chatter. Nothing, if the first object is no whole line.
fn lines(text: &str) -> Result<Values, TextError> {
    let mut found = Values::default();
    for (i, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        if !line.starts_with('{') {
            found.chatter += 1;
            continue;
        }
        match serde_json::from_str::<Value>(line) {
            Ok(value) => found.items.push(Item {
                value,
                place: format!("line {}", i + 1),
            }),
            Err(_) if found.items.is_empty() => return Ok(Values::default()),
            Err(e) => {
                return Err(TextError {
                    place: format!("line {}", i + 1),
                    problem: format!("is no JSON: {e}"),
                });
            }
        }
    }
    Ok(found)
}

/// The first list or object that begins a line, and how many lines stand around it.
fn embedded(text: &str) -> Option<(Value, usize)> {
    let mut start = 0;
    let mut tried = 0;
    for (i, line) in text.split_inclusive('\n').enumerate() {
        let begins = line.trim_start().starts_with(['[', '{']);
        if begins && i > 0 {
            tried += 1;
            if tried > MOST_BEGINNINGS {
                return None;
            }
            let mut stream =
                serde_json::Deserializer::from_str(&text[start..]).into_iter::<Value>();
            if let Some(Ok(value)) = stream.next()
                && (value.is_object()
                    || value
                        .as_array()
                        .is_some_and(|a| a.iter().any(Value::is_object)))
            {
                let rest = &text[start + stream.byte_offset()..];
                let after = rest.lines().filter(|l| !l.trim().is_empty()).count();
                return Some((value, i + after));
            }
        }
        start += line.len();
    }
    None
}

/// Python writes numbers that JSON has not, for a mean of nothing or a burstiness without end: they become `null`.
pub fn without_nan(text: &str) -> std::borrow::Cow<'_, str> {
    const ODD: [&str; 3] = ["-Infinity", "Infinity", "NaN"];
    if !ODD[1..].iter().any(|w| text.contains(w)) {
        return text.into();
    }
    let (mut out, mut rest, mut quoted) = (String::with_capacity(text.len()), text, false);
    while let Some(c) = rest.chars().next() {
        if !quoted && let Some(word) = ODD.iter().find(|w| rest.starts_with(**w)) {
            out.push_str("null");
            rest = &rest[word.len()..];
            continue;
        }
        let mut n = c.len_utf8();
        match c {
            '"' => quoted = !quoted,
            // What is escaped ends no string.
            '\\' if quoted => n += rest[1..].chars().next().map_or(0, char::len_utf8),
            _ => {}
        }
        out.push_str(&rest[..n]);
        rest = &rest[n..];
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(text: &str) -> (Vec<Value>, usize) {
        let v = values(text).unwrap();
        (v.items.into_iter().map(|i| i.value).collect(), v.chatter)
    }

    #[test]
    fn values_are_found_whatever_stands_around_them() {
        let two = vec![json!({"a": 1}), json!({"a": 2})];
        for (text, chatter) in [
            ("[{\"a\":1},{\"a\":2}]", 0),
            ("{\"a\":1}\n\n{\"a\":2}\r\n", 0),
            ("\u{feff}{\n\"a\":1}\n{\n\"a\":2\n}", 0),
            (
                "[INFO] hello\n  Device 0: x\n[\n{\"a\":1},\n{\"a\":2}\n]\ndone\n",
                3,
            ),
            ("hello\n{\"a\":1}\nand\n{\"a\":2}\n", 2),
        ] {
            assert_eq!(found(text), (two.clone(), chatter), "{text}");
        }
        assert_eq!(
            found("{\"a\": NaN, \"b\": \"NaN\"}").0,
            [json!({"a": null, "b": "NaN"})]
        );
        assert_eq!(found("just words\nand more").0, [] as [Value; 0]);
    }

    #[test]
    fn damage_is_refused_with_its_line() {
        let says = |text: &str| values(text).unwrap_err().to_string();
        assert!(says("").contains("empty") && says("[]").contains("empty list"));
        assert!(says("{\"a\":1}\n{\"a\":\n").contains("line 2"));
        assert!(says("{\n \"a\": [\n {\"b\": 1},\n").contains("cut off"));
        assert!(says("{\"a\" 1}").contains("no JSON"));
        // Nested beyond all measure: no value, and no end of the stack.
        let deep = values(&"[".repeat(100_000));
        assert!(deep.is_err() || deep.is_ok_and(|v| v.items.is_empty()));
    }
}
