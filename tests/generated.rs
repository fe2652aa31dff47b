//! Files that come from the tables of fields. `CAPSIM_WRITE_GENERATED=1 cargo test -p capsim generated` writes them anew.
use capsim::device::EngineId;
use capsim::engine::settings::{EngineSection, Means, TABLE};
use capsim::fields::{Field, Kind, Section};
use capsim::predict::spec::DeploymentSection;
use capsim::workload::load::LoadSection;
use std::fmt::Write as _;
use std::path::Path;

/// Holds a file against its text, or writes it.
fn holds(path: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("CAPSIM_WRITE_GENERATED").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap();
    assert!(
        found == text,
        "{}: differs from the tables; CAPSIM_WRITE_GENERATED=1 cargo test -p capsim generated",
        path.display()
    );
}

/// The Python type of a field's value.
fn python_type(f: &Field) -> &'static str {
    match (f.name, f.kind, f.many) {
        ("trace_file", ..) => "Path",
        ("think_time", ..) => "Union[Number, str]",
        (_, Kind::Count(_), true) => "Ints",
        (_, Kind::Count(_), false) => "int",
        (_, Kind::Number, true) => "Floats",
        (_, Kind::Number, false) => "Number",
        (_, Kind::Switch, _) => "bool",
        (_, Kind::Choice(_) | Kind::Text, true) => "Texts",
        (_, Kind::Choice(_) | Kind::Text, false) => "str",
    }
}

fn class<S: Section>(name: &str, about: &str) -> String {
    let mut o = format!("\n\n@dataclass(frozen=True)\nclass {name}:\n    \"\"\"{about}\"\"\"\n");
    for f in S::fields() {
        let _ = write!(
            o,
            "\n    {}: Optional[{}] = None\n    \"\"\"{}.\"\"\"",
            f.name,
            python_type(f),
            f.help
        );
    }
    o + "\n"
}

/// The fields of a section in a dictionary of keyword arguments.
fn keywords<S: Section>() -> String {
    let one = |f: &Field| format!("    {}: Optional[{}]\n", f.name, python_type(f));
    S::fields().map(one).collect()
}

/// What scenarios are made of beside their settings and their load: taken from the class that is written by hand.
fn served_keywords() -> String {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("bindings/python/python/capsim/_scenario.py");
    let text = std::fs::read_to_string(path).unwrap();
    let class = text.split("class Served:").nth(1).unwrap();
    let class = class.split("\n@dataclass").next().unwrap();
    let fields = class.lines().filter_map(|l| {
        let (name, rest) = l.strip_prefix("    ")?.split_once(": ")?;
        let kind = rest.split_once(" = ")?.0;
        let own = name != "workload" && name.bytes().all(|b| b == b'_' || b.is_ascii_lowercase());
        own.then(|| format!("    {name}: {kind}\n"))
    });
    fields.collect()
}

#[test]
fn pythons_fields_are_those_of_the_tables() {
    let head = "\"\"\"The fields of a scenario. Generated from capsim's tables: `CAPSIM_WRITE_GENERATED=1 cargo test -p capsim generated`.\"\"\"\n\n\
                from __future__ import annotations\n\nimport os\nfrom dataclasses import dataclass\nfrom typing import TYPE_CHECKING, Any, Mapping, Optional, \
                Sequence, TypedDict, Union\n\nif TYPE_CHECKING:\n    from ._scenario import DeviceProfile, EngineProfile, Model\n\nNumber = Union[int, float]\n#: A value, or several: each makes a scenario of its own, for `what_if`.\nInts = \
                Union[int, Sequence[int]]\nFloats = Union[Number, Sequence[Number]]\nTexts = Union[str, Sequence[str]]\nPath = Union[str, \
                \"os.PathLike[str]\"]\n";
    let settings = class::<EngineSection>(
        "SettingFields",
        "Engine settings under vLLM's names. None: the engine's default.",
    );
    let load = class::<LoadSection>(
        "LoadFields",
        "A load under `vllm bench serve`'s names. None: the default.",
    );
    let mut in_force = String::from(
        "\n\n@dataclass(frozen=True)\nclass SettingsInForce:\n    \"\"\"Engine settings in force.\"\"\"\n\n",
    );
    for f in EngineSection::fields() {
        let kind = match f.kind {
            Kind::Count(_) => "int",
            Kind::Number => "float",
            Kind::Switch => "bool",
            Kind::Choice(_) | Kind::Text => "str",
        };
        let _ = writeln!(in_force, "    {}: Optional[{kind}] = None", f.name);
    }
    let deployment = class::<DeploymentSection>(
        "DeploymentFields",
        "How many engines serve, and what connects them. None: not said; nothing said: one engine.",
    );
    let keywords = format!(
        "\n\nclass ScenarioFields(TypedDict, total=False):\n    \"\"\"Fields of `Scenario` and `Workload` as keyword arguments; the classes say \
         what they are.\"\"\"\n\n{}{}{}",
        served_keywords(),
        keywords::<EngineSection>(),
        keywords::<LoadSection>()
    );
    holds(
        "bindings/python/python/capsim/_fields.py",
        &format!("{head}{settings}{load}{deployment}{in_force}{keywords}"),
    );
}

/// The flags of an engine for a setting, as a table cell.
fn spelled(row: &capsim::engine::settings::Setting, engine: EngineId) -> String {
    let all: Vec<String> = row
        .spelled
        .iter()
        .filter(|s| s.engine == engine)
        .flat_map(|s| s.flags.iter().map(move |f| (f, s.means)))
        .map(|(f, means)| match means {
            Means::Off => format!("`{f}` (off)"),
            _ => format!("`{f}`"),
        })
        .collect();
    all.join(", ")
}

#[test]
fn the_documents_table_of_settings_is_the_programs() {
    let mut o = String::from(
        "# Settings\n\nEngine settings that capsim simulates, under vLLM's names. A setting is a flag of `capsim predict` (with dashes), a key \
         below `settings` in a scenario document, and a field of `capsim.Scenario` in Python. This page is generated from the table in \
         `src/engine/settings/table.rs`.\n\n| setting | what it does | vLLM | SGLang | llama-server |\n| --- | --- | --- | --- | --- |\n",
    );
    for row in &TABLE {
        let f = &row.field;
        let vllm = match (row.vllm, row.short) {
            (false, _) => String::new(),
            (true, []) => format!("`--{}`", f.flag()),
            (true, short) => format!("`--{}`, `{}`", f.flag(), short.join("`, `")),
        };
        let _ = writeln!(
            o,
            "| `{}` | {} | {vllm} | {} | {} |",
            f.name,
            f.help.replace('|', "\\|"),
            spelled(row, EngineId::Sglang),
            spelled(row, EngineId::LlamaServer)
        );
    }
    o += "\n# Load\n\nFields of a load, flags of `capsim predict` and keys below `load` in a scenario document.\n\n| field | what it does |\n| --- | --- |\n";
    for f in LoadSection::fields() {
        let _ = writeln!(o, "| `{}` | {} |", f.name, f.help.replace('|', "\\|"));
    }
    o += "\n# Deployment\n\nHow many engines serve, and what connects them: flags of `capsim predict` and keys below `deployment` in a scenario \
          document.\n\n| field | what it does |\n| --- | --- |\n";
    for f in DeploymentSection::fields() {
        let _ = writeln!(o, "| `{}` | {} |", f.name, f.help.replace('|', "\\|"));
    }
    holds("docs/settings.md", &o);
}
