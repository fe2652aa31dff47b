//! Whose result a text is: one row per form, asked in order.
use super::{
    Bad, Recording, aiperf, console, guidellm, inference_perf, inferencex, llama_benchy, llmd,
    llmperf, offline, ollama, sglang, table, vllm,
};
use capsim::text::{self, Item, Values};
use serde_json::Value;

/// How the values of a form become recordings.
enum Reader {
    /// Each value is a result, or a list of results, of its own.
    Each(fn(&Value) -> Result<Vec<Recording>, Bad>),
    /// All values together are one result: a row per request.
    Rows(fn(&[Item]) -> Result<Vec<Recording>, Bad>),
}

/// A form of JSON.
struct Form {
    /// What it is called in errors.
    name: &'static str,
    is: fn(&Value) -> bool,
    reader: Reader,
}

fn one(read: Result<Recording, Bad>) -> Result<Vec<Recording>, Bad> {
    read.map(|r| vec![r])
}

/// Every form of JSON, the most particular first.
const FORMS: &[Form] = &[
    Form {
        name: "GuideLLM (benchmarks.json)",
        is: guidellm::is,
        reader: Reader::Each(guidellm::read),
    },
    Form {
        name: "llama-benchy",
        is: llama_benchy::is,
        reader: Reader::Each(llama_benchy::read),
    },
    Form {
        name: "AIPerf (profile_export.jsonl)",
        is: aiperf::is_record,
        reader: Reader::Rows(|rows| one(aiperf::records(rows))),
    },
    Form {
        name: "AIPerf or GenAI-Perf (totals)",
        is: aiperf::is_totals,
        reader: Reader::Each(|v| one(aiperf::totals(v))),
    },
    Form {
        name: "SGLang's bench_serving (--output-file)",
        is: sglang::is,
        reader: Reader::Each(|v| one(sglang::read(v))),
    },
    Form {
        name: "vllm bench serve or capsim bench",
        is: vllm::is,
        reader: Reader::Each(|v| one(vllm::read(v))),
    },
    Form {
        name: "vllm bench throughput",
        is: offline::is_throughput,
        reader: Reader::Each(|v| one(offline::throughput(v))),
    },
    Form {
        name: "vllm bench latency",
        is: offline::is_latency,
        reader: Reader::Each(|v| one(offline::latency(v))),
    },
    Form {
        name: "inference-perf (lifecycle metrics)",
        is: inference_perf::is,
        reader: Reader::Each(|v| one(inference_perf::read(v))),
    },
    Form {
        name: "llm-d's benchmark report",
        is: llmd::is,
        reader: Reader::Each(|v| one(llmd::read(v))),
    },
    Form {
        name: "LLMPerf (summary)",
        is: llmperf::is,
        reader: Reader::Each(|v| one(llmperf::read(v))),
    },
    Form {
        name: "InferenceX",
        is: inferencex::is,
        reader: Reader::Each(|v| one(inferencex::read(v))),
    },
    Form {
        name: "Ollama's API",
        is: ollama::is,
        reader: Reader::Rows(|rows| one(ollama::read(rows))),
    },
];

/// The results of a text.
///
/// # Errors
/// Names what is wrong, or what the text looks like and what is read.
pub(super) fn read(text: &str) -> Result<Vec<Recording>, Bad> {
    let document = text::values(text).map_err(|e| (e.place, e.problem))?;
    if let Some(found) = of_values(&document) {
        return found;
    }
    if console::is(text) {
        return console::read(text);
    }
    if document.items.is_empty() {
        if let Some(found) = table::read(text)? {
            return Ok(found);
        }
        if let Some(value) = yaml(text) {
            let document = Values {
                items: vec![Item {
                    value,
                    place: String::new(),
                }],
                chatter: 0,
            };
            if let Some(found) = of_values(&document) {
                return found;
            }
        }
    }
    Err(("(the whole file)".into(), unknown(text, &document)))
}

/// A YAML document of a tool: what begins with a key at the left margin.
fn yaml(text: &str) -> Option<Value> {
    let first = text
        .lines()
        .find(|l| !l.trim().is_empty() && !l.starts_with(['#', '-', '%']))?;
    let key = first.split_once(':')?.0;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if key.is_empty() || !key.chars().all(plain) {
        return None;
    }
    capsim::line::yaml_value(text).ok()
}

/// `None`: the values are of no form that is known.
pub(super) fn of_values(document: &Values) -> Option<Result<Vec<Recording>, Bad>> {
    let known = |item: &Item| FORMS.iter().find(|f| (f.is)(&item.value));
    let first = document.items.iter().position(|i| known(i).is_some())?;
    let form = known(&document.items[first])?;
    // A program's own log may be JSON too; but a list of results holds nothing else.
    let (rows, others): (Vec<&Item>, Vec<&Item>) =
        document.items.iter().partition(|i| (form.is)(&i.value));
    if let Some(other) = others
        .iter()
        .find(|i| i.place.starts_with('[') || known(i).is_some())
    {
        let what = known(other).map_or("is none", |f| f.name);
        return Some(Err((
            other.place.clone(),
            format!("{what}, but the file holds results of {}", form.name),
        )));
    }
    let left = document.chatter + others.len();
    let mut all = match form.reader {
        Reader::Each(read) => {
            let each = rows
                .iter()
                .map(|i| read(&i.value).map_err(|(field, p)| (i.at(&field), p)));
            match each.collect::<Result<Vec<_>, _>>() {
                Ok(all) => all.concat(),
                Err(e) => return Some(Err(e)),
            }
        }
        Reader::Rows(read) => {
            let rows: Vec<Item> = rows
                .into_iter()
                .map(|i| Item {
                    value: i.value.clone(),
                    place: i.place.clone(),
                })
                .collect();
            match read(&rows) {
                Ok(all) => all,
                Err(e) => return Some(Err(e)),
            }
        }
    };
    if left > 0 {
        for r in &mut all {
            r.notes.push(format!(
                "{left} lines of the file are no result and were left out"
            ));
        }
    }
    Some(Ok(all))
}

/// Whether a table's columns are the keys of a form.
pub(super) fn columns(names: &[&str]) -> bool {
    let row: serde_json::Map<String, Value> =
        names.iter().map(|n| ((*n).into(), 1.into())).collect();
    let row = Value::Object(row);
    FORMS.iter().any(|f| (f.is)(&row))
}

/// What a text looks like, and what is read.
fn unknown(text: &str, document: &Values) -> String {
    let looks = match document.items.first().map(|i| &i.value) {
        Some(Value::Object(o)) => elsewhere(&document.items[0].value).unwrap_or_else(|| {
            let keys: Vec<String> = o.keys().take(6).map(|k| format!("`{k}`")).collect();
            format!(
                "a JSON object with {}",
                if keys.is_empty() {
                    "nothing in it".into()
                } else {
                    keys.join(", ")
                }
            )
        }),
        Some(other) => format!("JSON ({})", super::brief(other)),
        None => {
            let line: String = text
                .trim()
                .lines()
                .next()
                .unwrap_or_default()
                .chars()
                .take(60)
                .collect();
            format!("text that begins with `{line}`")
        }
    };
    let mut names: Vec<&str> = FORMS.iter().map(|f| f.name).collect();
    names.extend([
        "the tables that vllm bench serve and bench_serving print",
        "llama-bench",
    ]);
    format!(
        "is no result of a benchmark that is known: it is {looks}. Read are: {}",
        names.join("; ")
    )
}

/// Files of other commands.
fn elsewhere(v: &Value) -> Option<String> {
    let has = |k: &str| v.get(k).is_some();
    if has("timestamp") && has("input_length")
        || has("input_toks")
        || has("prompt_tokens") && has("completion_tokens")
    {
        return Some("a trace of requests, for predict --trace-file and trace stats".into());
    }
    match v["schema"].as_str()? {
        "capsim.runs/1" => Some("a file of recorded runs, for `capsim validate FILE`".into()),
        other => Some(format!("`{other}` of capsim")),
    }
}
