//! Request logs of gateways and servers: JSON objects, one per line or in a list, that say when a request came and how many tokens it had,
//! under whatever names ([`names`]) and however deep; spans of OpenTelemetry as OTLP/JSON has them.
use super::{Problem, Raw, Reader, names, timestamp};
use crate::text::{self, Item};
use serde_json::Value;

/// Deepest object that is looked into.
const DEEPEST: usize = 6;

/// A number or text of an object, and where it stands.
struct Leaf<'a> {
    /// Names from the outside in.
    path: Vec<String>,
    value: &'a Value,
}

/// Everything in an object but texts of conversations: the elements of lists are left alone, but for attributes of spans.
fn leaves<'a>(value: &'a Value, path: &mut Vec<String>, all: &mut Vec<Leaf<'a>>) {
    match value {
        Value::Object(o) if path.len() < DEEPEST => {
            for (key, inner) in o {
                path.push(key.clone());
                leaves(inner, path, all);
                path.pop();
            }
        }
        Value::Array(list) if path.last().is_some_and(|p| p == "attributes") => {
            for attribute in list {
                let Some(key) = attribute["key"].as_str() else {
                    continue;
                };
                let inner = attribute["value"]
                    .as_object()
                    .and_then(|o| o.values().next());
                if let Some(value) = inner {
                    all.push(Leaf {
                        path: vec!["attributes".into(), key.into()],
                        value,
                    });
                }
            }
        }
        Value::Number(_) | Value::String(_) => all.push(Leaf {
            path: path.clone(),
            value,
        }),
        _ => {}
    }
}

/// The leaf that the first of `wanted` names, the outermost of several.
fn find<'a>(wanted: &[&str], all: &'a [Leaf<'a>]) -> Option<&'a Leaf<'a>> {
    let named = |leaf: &Leaf, name: &str| {
        let last = leaf
            .path
            .last()
            .map_or("", |p| p.rsplit('.').next().unwrap_or(p));
        names::plain(last) == name
    };
    wanted.iter().find_map(|name| {
        all.iter()
            .filter(|l| named(l, name))
            .min_by_key(|l| l.path.len())
    })
}

/// Langfuse counts under `usage` or `usageDetails`, as `input` and `output`.
fn usage<'a>(what: &str, all: &'a [Leaf<'a>]) -> Option<&'a Leaf<'a>> {
    all.iter().find(|l| match &l.path[..] {
        [.., around, last] => last == what && names::plain(around).starts_with("usage"),
        _ => false,
    })
}

fn tokens(leaf: &Leaf) -> Option<u64> {
    let n = leaf
        .value
        .as_f64()
        .or_else(|| leaf.value.as_str()?.trim().parse().ok())?;
    ((0.0..1e15).contains(&n) && n == libm::trunc(n)).then_some(n as u64)
}

/// A request of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    at: i128,
    input: u64,
    output: u64,
}

/// The request that an object describes; the error says what is missing.
fn entry(value: &Value) -> Result<Entry, String> {
    let mut all = vec![];
    leaves(value, &mut vec![], &mut all);
    let time = find(names::TIME, &all)
        .ok_or("there is no time of the request (such as `timestamp`, `startTime` or `created`)")?;
    let at = match time.value {
        Value::String(text) => timestamp::by_size(text),
        number => timestamp::by_size(&number.to_string()),
    };
    let at = at.ok_or_else(|| format!("{} {} is no time", time.path.join("."), time.value))?;
    let count = |names: &[&str], short: &str, what: &str| {
        let leaf = find(names, &all).or_else(|| usage(short, &all));
        leaf.and_then(tokens).ok_or_else(|| {
            format!(
                "there is no number of {what} tokens (such as `{}`)",
                if short == "input" {
                    "prompt_tokens"
                } else {
                    "completion_tokens"
                }
            )
        })
    };
    Ok(Entry {
        at,
        input: count(names::INPUT, "input", "prompt")?,
        output: count(names::OUTPUT, "output", "output")?,
    })
}

/// The spans of an OTLP document; `None`: it is none.
fn spans(value: &Value) -> Option<Vec<&Value>> {
    let resources = value
        .get("resourceSpans")
        .or_else(|| value.get("resource_spans"))?
        .as_array()?;
    let scopes = resources.iter().flat_map(|r| {
        let scopes = r.get("scopeSpans").or_else(|| r.get("scope_spans"));
        scopes
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice)
    });
    Some(
        scopes
            .flat_map(|s| s["spans"].as_array().map_or(&[][..], Vec::as_slice))
            .collect(),
    )
}

/// Whether an object is an entry of such a log.
pub(super) fn is(value: &Value) -> bool {
    spans(value).is_some() || entry(value).is_ok()
}

pub(super) fn read(text: &str, out: &mut Reader) -> Result<(), Problem> {
    let values = text::values(text).map_err(|e| (0, e.to_string()))?;
    let mut rows: Vec<(Entry, u64)> = vec![];
    for (i, Item { value, place }) in values.items.iter().enumerate() {
        let line = place
            .strip_prefix("line ")
            .and_then(|n| n.parse().ok())
            .unwrap_or(i as u64 + 1);
        if let Some(spans) = spans(value) {
            // A span without tokens is not a request's.
            rows.extend(
                spans
                    .into_iter()
                    .filter_map(|s| entry(s).ok())
                    .map(|e| (e, line)),
            );
            continue;
        }
        match entry(value) {
            Ok(e) => rows.push((e, line)),
            // A failed request counts no tokens.
            Err(_) if out.skip_empty => {}
            Err(problem) => {
                return Err((
                    line,
                    format!("{problem}; --trace-skip-empty leaves such entries out"),
                ));
            }
        }
    }
    // A log is written as answers end: the order of arrival is that of the times.
    rows.sort_by_key(|(e, line)| (e.at, *line));
    for (e, line) in rows {
        out.push(
            line,
            Raw {
                at: e.at,
                input: e.input,
                output: e.output,
                hash_ids: &[],
                names: ["the time", "prompt tokens", "output tokens"],
            },
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_entry_is_found_under_every_loggers_names() {
        let wanted = Entry {
            at: 1_782_194_703_147_785_000,
            input: 17,
            output: 40,
        };
        for value in [
            json!({"ts": "2026-06-23T06:05:03.147785+00:00", "prompt_tokens": 17, "completion_tokens": 40, "input": [{"content": "x"}]}),
            json!({"startTime": "2026-06-23T08:05:03.147785+02:00", "endTime": "2026-06-23T09:00:00Z", "usage": {"input": 17, "output": 40, "total": 57}}),
            json!({"@timestamp": 1_782_194_703_147.785, "response": {"created": 1, "usage": {"prompt_tokens": 17, "completion_tokens": 40}}}),
            json!({"startTimeUnixNano": "1782194703147785000", "attributes": [
                {"key": "gen_ai.usage.prompt_tokens", "value": {"intValue": "17"}},
                {"key": "gen_ai.usage.completion_tokens", "value": {"intValue": 40}}]}),
        ] {
            let got = entry(&value).unwrap();
            assert!((got.at - wanted.at).abs() < 1000, "{value}: {got:?}");
            assert_eq!(
                (got.input, got.output),
                (wanted.input, wanted.output),
                "{value}"
            );
        }
        for value in [
            json!({"ts": 1}),
            json!({"prompt_tokens": 1, "completion_tokens": 1}),
            json!({"ts": "soon", "prompt_tokens": 1, "completion_tokens": 1}),
            json!(3),
        ] {
            entry(&value).unwrap_err();
        }
    }
}
