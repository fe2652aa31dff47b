//! Tables of values: a header, and a row per line, each as an object.
use super::{Item, Lines, TextError, Values};
use serde_json::{Map, Value, json};

/// The separator of a line: of comma, semicolon and tab the one that divides it most often.
pub fn separator(line: &str) -> Option<u8> {
    let count = |c: char| line.matches(c).count();
    let used = [',', ';', '\t'].into_iter().filter(|c| count(*c) > 0);
    used.max_by_key(|c| count(*c)).map(|c| c as u8)
}

/// A number, a truth value, nothing, or the text itself.
fn value(text: &str) -> Value {
    if let Ok(n) = text.parse::<i64>() {
        return json!(n);
    }
    match text.parse::<f64>() {
        Ok(n) if n.is_finite() => json!(n),
        _ => match text {
            "" | "nan" | "NaN" => Value::Null,
            "True" | "true" => true.into(),
            "False" | "false" => false.into(),
            _ => text.into(),
        },
    }
}

/// The rows of a table with a header whose columns `wanted` accepts; `None`: the text is no such table.
///
/// # Errors
/// A row with fewer or more columns than the header.
pub fn table(text: &str, wanted: impl Fn(&[&str]) -> bool) -> Result<Option<Values>, TextError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let first = text
        .lines()
        .find(|l| !l.trim().is_empty())
        .unwrap_or_default();
    let Some(separator) = separator(first) else {
        return Ok(None);
    };
    let mut rows = csv::ReaderBuilder::new()
        .delimiter(separator)
        .trim(csv::Trim::All)
        .flexible(true)
        .from_reader(text.as_bytes());
    let Ok(header) = rows.headers().cloned() else {
        return Ok(None);
    };
    if !wanted(&header.iter().collect::<Vec<_>>()) {
        return Ok(None);
    }
    let mut found = Values::default();
    let mut lines = Lines::of(text);
    for row in rows.records() {
        let fail = |line: u64, problem: String| TextError {
            place: format!("line {line}"),
            problem,
        };
        let mut line = |at: Option<&csv::Position>| lines.at(at.map_or(0, |p| p.byte() as usize));
        let row = row.map_err(|e| fail(line(e.position()), e.to_string()))?;
        let line = line(row.position());
        if row.len() != header.len() {
            return Err(fail(
                line,
                format!(
                    "{} columns where the header has {} (is the line cut off?)",
                    row.len(),
                    header.len()
                ),
            ));
        }
        let object: Map<String, Value> = header
            .iter()
            .zip(&row)
            .map(|(k, v)| (k.into(), value(v)))
            .collect();
        found.items.push(Item {
            value: Value::Object(object),
            place: format!("line {line}"),
        });
    }
    Ok(Some(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_objects_whatever_divides_them() {
        for text in [
            "a,b c\n1,x\n,true\n",
            "\u{feff}a;b c\r\n1;x\r\n;true\r\n",
            "a\tb c\n1\tx\n\ttrue",
        ] {
            let rows = table(text, |h| h == ["a", "b c"]).unwrap().unwrap();
            let values: Vec<&Value> = rows.items.iter().map(|i| &i.value).collect();
            assert_eq!(
                values,
                [
                    &json!({"a": 1, "b c": "x"}),
                    &json!({"a": null, "b c": true})
                ],
                "{text}"
            );
            assert_eq!(rows.items[1].place, "line 3");
        }
        assert!(
            table("a,b\n1\n", |_| true)
                .unwrap_err()
                .to_string()
                .contains("line 2")
        );
        assert_eq!(table("a,b\n1,2\n", |_| false).unwrap(), None);
        assert_eq!(table("nothing", |_| true).unwrap(), None);
    }
}
