//! Python's answers: a frozen dataclass for each type of an answer's schema.
use super::holds;
use capsim::engine::settings::EngineSection;
use capsim::fields::Section;
use capsim::metrics::{Metric, Statistic, Unit};
use capsim::predict::METRICS;
use capsim_study::report::json::schemas;
use serde_json::{Map, Value};
use std::fmt::Write as _;

/// A class of the package.
struct Class {
    /// The answer's format, and the definition in its schema; empty: the answer itself.
    from: (&'static str, &'static str),
    /// Its name in Python.
    name: &'static str,
    /// What it is derived from; `_base.py` has the methods.
    bases: &'static str,
    /// Its documentation; empty: the schema's.
    about: &'static str,
}

const fn class(
    format: &'static str,
    definition: &'static str,
    name: &'static str,
    bases: &'static str,
    about: &'static str,
) -> Class {
    Class {
        from: (format, definition),
        name,
        bases,
        about,
    }
}

/// All classes, each after those that it uses.
const CLASSES: &[Class] = &[
    class(
        "prediction",
        "Figure",
        "Metric",
        "MetricMethods",
        "A predicted figure. The unit is in its name (`_ms`, `_s`); throughputs are per second.",
    ),
    class(
        "prediction",
        "Settings",
        "Settings",
        "SettingsInForce",
        "Engine settings in force, under vLLM's names; None where the engine has no such setting.",
    ),
    class("prediction", "Occupancy", "Occupancy", "", ""),
    class("prediction", "RestsOn", "Sensitivity", "", ""),
    class(
        "prediction",
        "Point",
        "Prediction",
        "PredictedMetrics, PredictionMethods, Answer",
        "One scenario, predicted. Metrics are attributes too: `p.mean_ttft_ms.value`.",
    ),
    class(
        "prediction",
        "",
        "Predictions",
        "PredictionsMethods, Answer",
        "Several scenarios, predicted: a sequence of `Prediction`.",
    ),
    class(
        "capacity",
        "Point",
        "LoadPoint",
        "",
        "Figures at one load, means over its runs. Latencies in seconds, throughputs per second.",
    ),
    class("capacity", "FloorTerm", "FloorTerm", "", ""),
    class("capacity", "Outlook", "Outlook", "", ""),
    class("capacity", "Nearest", "Nearest", "", ""),
    class("capacity", "Rising", "Rising", "", ""),
    class(
        "capacity",
        "",
        "Capacity",
        "CapacityMethods, Answer",
        "The highest load that meets an SLO. See docs/guide/capacity.md.",
    ),
    class("tune", "Outcome", "Outcome", "OutcomeMethods", ""),
    class("tune", "Effect", "Effect", "", ""),
    class(
        "tune",
        "",
        "Tuned",
        "TunedMethods, Answer",
        "The best settings. See docs/guide/tune.md.",
    ),
    class("memory", "Row", "Held", "", ""),
    class("memory", "Way", "Way", "", ""),
    class(
        "memory",
        "",
        "Memory",
        "MemoryMethods, Answer",
        "What fits. Sizes in bytes. See docs/guide/memory.md.",
    ),
    class(
        "compare",
        "Range",
        "Range",
        "",
        "A number with the ends of its 90 % interval, where one is known.",
    ),
    class("compare", "Offer", "Offer", "", ""),
    class("compare", "Missed", "Missed", "", ""),
    class(
        "compare",
        "",
        "Comparison",
        "ComparisonMethods, Answer",
        "Which device serves the users, with how many of it, at which cost. See docs/guide/compare.md.",
    ),
    class("validation", "Metric", "Compared", "", ""),
    class("validation", "Supposed", "Candidate", "", ""),
    class("validation", "Run", "ValidatedRun", "", ""),
    class(
        "validation",
        "",
        "Validation",
        "ValidationMethods, Answer",
        "Recorded runs beside their predictions.",
    ),
];

/// Fields that older answers may lack, with what they are then.
const LATER: &[(&str, &str)] = &[
    ("varied", "field(default_factory=dict)"),
    ("assumed", "field(default_factory=list)"),
    ("harmless", "field(default_factory=list)"),
    ("notes", "field(default_factory=list)"),
    ("unmodelled", "field(default_factory=list)"),
];

/// Fields of a prediction that are in no JSON.
const TABLES: &str = "
    requests: Optional[Table] = field(default=None, repr=False, compare=False)
    \"\"\"Every measured request, if asked for: times in seconds since the beginning, latencies in milliseconds.\"\"\"
    timeline: Optional[Table] = field(default=None, repr=False, compare=False)
    \"\"\"The engine's state over time, if asked for: times in seconds, `kv_usage` from 0 to 1.\"\"\"
";

const HEAD: &str = "\"\"\"Answers as typed, frozen objects. Generated from their JSON Schemas: `cargo xtask generate`.\"\"\"

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Tuple

from ._base import (
    Answer,
    CapacityMethods,
    ComparisonMethods,
    MemoryMethods,
    MetricMethods,
    OutcomeMethods,
    PredictionMethods,
    PredictionsMethods,
    TunedMethods,
    ValidationMethods,
)
from ._capsim import Table
from ._fields import SettingsInForce
";

/// A schema with the definitions that it refers to.
#[derive(Clone, Copy)]
struct Node<'a> {
    format: &'static str,
    root: &'a Value,
    at: &'a Value,
}

impl<'a> Node<'a> {
    fn to(self, at: &'a Value) -> Self {
        Self { at, ..self }
    }

    fn definition(self, name: &str) -> Self {
        self.to(&self.root["$defs"][name])
    }

    /// The Python type without None, and whether None is a value.
    fn python(self) -> (String, bool) {
        if let Some(any) = self.at["anyOf"].as_array() {
            let (one, _) = self.to(&any[0]).python();
            return (one, any.iter().any(|s| s["type"] == "null"));
        }
        if let Some(name) = self.at["$ref"].as_str() {
            return (self.referred(name.rsplit('/').next().unwrap()), false);
        }
        let types: Vec<&str> = match &self.at["type"] {
            Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
            one => one.as_str().into_iter().collect(),
        };
        (self.simple(types[0]), types.contains(&"null"))
    }

    /// The same as an annotation.
    fn annotation(self) -> String {
        match self.python() {
            (kind, true) => format!("Optional[{kind}]"),
            (kind, false) => kind,
        }
    }

    fn simple(self, kind: &str) -> String {
        match kind {
            "string" => "str".into(),
            "integer" => "int".into(),
            "number" => "float".into(),
            "boolean" => "bool".into(),
            "array" => self.array(),
            "object" => match &self.at["additionalProperties"] {
                values @ Value::Object(_) => format!("Dict[str, {}]", self.to(values).annotation()),
                _ => "Dict[str, Any]".into(),
            },
            other => panic!("{}: {other}", self.at),
        }
    }

    fn array(self) -> String {
        let several = |all: Vec<String>| format!("Tuple[{}]", all.join(", "));
        if let Some(kinds) = self.at["prefixItems"].as_array() {
            return several(kinds.iter().map(|k| self.to(k).annotation()).collect());
        }
        let one = self.to(&self.at["items"]).annotation();
        match (self.at["minItems"].as_u64(), self.at["maxItems"].as_u64()) {
            (Some(n), Some(m)) if n == m => several(vec![one; n as usize]),
            _ => format!("List[{one}]"),
        }
    }

    /// A class of its own, a word, or a dictionary.
    fn referred(self, name: &str) -> String {
        if let Some(class) = CLASSES.iter().find(|c| c.from == (self.format, name)) {
            return class.name.into();
        }
        let definition = self.definition(name).at;
        let Some(properties) = definition["properties"].as_object() else {
            let forms = definition["oneOf"].as_array().into_iter().flatten();
            return match forms.clone().any(|f| f["type"] == "object") {
                true => "Dict[str, Any]".into(),
                false => "str".into(),
            };
        };
        // One of several forms, told by their key.
        match properties.values().all(|p| p["type"] == "number") {
            true => "Dict[str, float]".into(),
            false => "Dict[str, Any]".into(),
        }
    }
}

/// A property for each metric of a prediction, so that a type checker knows their names.
fn metrics() -> String {
    let mut o = String::from(
        "\n\nclass PredictedMetrics:\n    \"\"\"Every metric of a prediction, with its 90 % interval.\"\"\"\n\n    metrics: Dict[str, Metric]\n",
    );
    for m in METRICS {
        let unit = match m.unit() {
            Unit::Seconds => ", in seconds",
            Unit::Milliseconds => ", in milliseconds",
            Unit::RequestsPerSecond => ", per second",
            Unit::TokensPerSecond => ", in tokens per second",
            Unit::Requests => "",
            Unit::Share => ", from 0 to 1",
        };
        let what = match m {
            Metric::Latency(latency, Statistic::Percentile(50.0)) => {
                format!("Median {}", latency.heading())
            }
            Metric::Latency(latency, Statistic::Percentile(p)) => {
                format!("Percentile {p} of the {}", latency.heading())
            }
            Metric::Latency(latency, statistic) => {
                let name = match statistic {
                    Statistic::Min => "Least",
                    Statistic::Max => "Greatest",
                    Statistic::Std => "Standard deviation of the",
                    _ => "Mean",
                };
                format!("{name} {}", latency.heading())
            }
            Metric::OutputThroughput => "Output tokens".into(),
            Metric::TotalThroughput => "Prompt and output tokens".into(),
            Metric::RequestThroughput => "Requests".into(),
            Metric::Duration => "From the first arrival to the last answer".into(),
            other => other.to_string().replace('_', " "),
        };
        let _ = write!(
            o,
            "\n    @property\n    def {m}(self) -> Metric:\n        \"\"\"{what}{unit}.\"\"\"\n        return self.metrics[\"{m}\"]\n"
        );
    }
    o
}

/// A description for readers of Python.
fn words(schema: &Value) -> String {
    let mut text = schema["description"]
        .as_str()
        .unwrap_or("")
        .replace('\n', " ");
    // Links of Rust's documentation lead nowhere here.
    while let Some(from) = text.find("](") {
        let to = from + text[from..].find(')').unwrap();
        text.replace_range(from..=to, "");
        let open = text[..from].rfind('[').unwrap();
        text.remove(open);
    }
    text.replace("absent", "None").replace("; null", "; None")
}

/// A docstring, broken into lines.
fn docstring(text: &str, indent: &str) -> String {
    let (mut lines, mut line) = (vec![], String::new());
    for word in format!("\"\"\"{text}\"\"\"").split(' ') {
        if !line.is_empty() && indent.len() + line.chars().count() + word.chars().count() >= 130 {
            lines.push(std::mem::take(&mut line));
        }
        line += if line.is_empty() { "" } else { " " };
        line += word;
    }
    lines.push(line);
    format!("{indent}{}\n", lines.join(&format!("\n{indent}")))
}

/// The fields of a class: those without a default first.
fn fields(class: &Class, node: Node<'_>) -> String {
    let inherited: Vec<&str> = match class.bases {
        "SettingsInForce" => EngineSection::fields().map(|f| f.name).collect(),
        _ => vec![],
    };
    let empty = Map::new();
    let properties = node.at["properties"].as_object().unwrap_or(&empty);
    let in_order = node.at["required"].as_array().unwrap();
    let names = in_order.iter().filter_map(Value::as_str);
    let (mut first, mut then) = (String::new(), String::new());
    for name in names.filter(|n| *n != "schema" && !inherited.contains(n)) {
        let schema = &properties[name];
        let (kind, none) = node.to(schema).python();
        let later = LATER.iter().find(|(n, _)| *n == name).map(|(_, d)| *d);
        let default = match (later, none, kind.as_str()) {
            (Some(default), ..) => Some(default),
            (None, true, _) => Some("None"),
            (None, false, "str") if !inherited.is_empty() => Some("\"\""),
            (None, false, "int") if !inherited.is_empty() => Some("0"),
            _ => None,
        };
        let o = if default.is_some() {
            &mut then
        } else {
            &mut first
        };
        let kind = node.to(schema).annotation();
        let default = default.map_or(String::new(), |d| format!(" = {d}"));
        let _ = writeln!(o, "    {name}: {kind}{default}");
        match words(schema) {
            text if text.is_empty() => {}
            text => *o += &docstring(&text, "    "),
        }
    }
    first + &then
}

#[test]
fn pythons_answers_are_those_of_the_schemas() {
    let mut o = HEAD.to_string();
    for c in CLASSES {
        let (format, definition) = c.from;
        let root = serde_json::to_value((schemas::find(format).unwrap().schema)()).unwrap();
        let node = Node {
            format,
            root: &root,
            at: &root,
        };
        let node = match definition {
            "" => node,
            name => node.definition(name),
        };
        let bases = match c.bases {
            "" => String::new(),
            bases => format!("({bases})"),
        };
        let about = match c.about {
            "" => words(node.at),
            about => about.into(),
        };
        let _ = write!(
            o,
            "\n\n@dataclass(frozen=True)\nclass {}{bases}:\n{}\n{}",
            c.name,
            docstring(&about, "    "),
            fields(c, node)
        );
        if c.name == "Metric" {
            o += &metrics();
        }
        if c.name == "Prediction" {
            o += TABLES.trim_start_matches('\n');
        }
    }
    holds("bindings/python/python/capsim/_answers.py", &o);
}
