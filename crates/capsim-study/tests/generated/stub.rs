//! The stub of Python's native module: the signatures of its functions and methods.
use super::{at, holds};
use std::fmt::Write as _;

const HEAD: &str = "\"\"\"The native part; use the functions of `capsim` instead. Generated from bindings/python/src: `cargo xtask generate`.\"\"\"

from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

_Said = Tuple[str, str, List[str], Dict[str, str]]

__version__: str

class CapsimError(ValueError):
    \"\"\"Input that cannot be used. The text is what the command line says after `error:`.\"\"\"
";

/// The sources of the module, one after the other.
fn sources() -> String {
    let mut files: Vec<_> = std::fs::read_dir(at("bindings/python/src"))
        .unwrap()
        .map(|f| f.unwrap().path())
        .collect();
    files.sort();
    let read = |f: &std::path::PathBuf| std::fs::read_to_string(f).unwrap();
    files.iter().map(read).collect()
}

/// What stands between commas outside brackets.
fn parts(text: &str) -> Vec<&str> {
    let (mut all, mut depth, mut from) = (vec![], 0, 0);
    for (i, c) in text.char_indices() {
        match c {
            '(' | '<' | '[' => depth += 1,
            ')' | '>' | ']' => depth -= 1,
            ',' if depth == 0 => {
                all.push(text[from..i].trim());
                from = i + 1;
            }
            _ => {}
        }
    }
    all.push(text[from..].trim());
    all.retain(|p| !p.is_empty());
    all
}

/// What a generic type holds: `T` of `Vec<T>`.
fn inside<'a>(kind: &'a str, of: &str) -> Option<&'a str> {
    kind.strip_prefix(of)?.strip_prefix('<')?.strip_suffix('>')
}

/// A Rust type as Python's; lists that are taken may be any sequence.
fn python(kind: &str, taken: bool) -> String {
    let kind = kind.trim();
    let of = |k: &str| python(k, taken);
    if let Some(k) = inside(kind, "PyResult") {
        return of(k);
    }
    if let Some(k) = inside(kind, "Option") {
        return format!("Optional[{}]", of(k));
    }
    if let Some(k) = inside(kind, "Vec") {
        let list = if taken { "Sequence" } else { "List" };
        return format!("{list}[{}]", of(k));
    }
    if let Some(k) = inside(kind, "BTreeMap") {
        let both: Vec<String> = parts(k).into_iter().map(of).collect();
        return format!("Dict[{}]", both.join(", "));
    }
    if let Some(k) = kind.strip_prefix('(').and_then(|k| k.strip_suffix(')')) {
        let all: Vec<String> = parts(k).into_iter().map(of).collect();
        return match all.is_empty() {
            true => "None".into(),
            false => format!("Tuple[{}]", all.join(", ")),
        };
    }
    match kind {
        "Self" => "None",
        "String" | "&str" | "PathBuf" | "OsString" => "str",
        "bool" => "bool",
        "f64" => "float",
        "usize" | "u8" => "int",
        "Said" => "_Said",
        "Table" => "Table",
        "Bound<'py, PyList>" => "List[Any]",
        "Bound<'py, PyCapsule>" | "Bound<'py, PyAny>" => "object",
        // Called with what is done and what there is to do.
        "Py<PyAny>" => "Callable[[int, int], Any]",
        other => panic!("`{other}` has no type in Python"),
    }
    .into()
}

/// A function or method: what stands before it, and its signature.
struct Signature<'a> {
    attributes: &'a str,
    name: &'a str,
    taken: Vec<String>,
    gives: String,
}

/// The function at the first `fn ` of a text, and the text behind its signature. `answer` is what the sources call `Answer`.
fn signature<'a>(text: &'a str, answer: &str) -> Option<(Signature<'a>, &'a str)> {
    let at = text.find("fn ")?;
    let attributes = &text[..at];
    let rest = &text[at + 3..];
    let (name, rest) = rest.split_at(rest.find(['<', '(']).unwrap());
    let open = rest.find('(').unwrap();
    let mut depth = 0;
    let close = rest[open..].char_indices().find_map(|(i, c)| {
        depth += match c {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        (depth == 0).then_some(open + i)
    })?;
    let body = close + rest[close..].find('{').unwrap();
    let optional = |name: &str| attributes.contains(&format!("({name} = None)"));
    let taken = parts(&rest[open + 1..close])
        .into_iter()
        .filter(|p| !p.starts_with("py:") && !p.ends_with("self"))
        .map(|p| {
            let (name, kind) = p.split_once(':').unwrap();
            let default = if optional(name) { " = None" } else { "" };
            format!("{name}: {}{default}", python(kind, true))
        })
        .collect();
    let gives = rest[close + 1..body].trim().trim_start_matches("->").trim();
    let signature = Signature {
        attributes,
        name,
        taken,
        gives: python(&gives.replace("Answer", answer), false),
    };
    Some((signature, &rest[body..]))
}

/// The type behind `type Answer = …;`.
fn answer(sources: &str) -> &str {
    let from = sources.split("type Answer =").nth(1).unwrap();
    from.split(';').next().unwrap().trim()
}

/// A class with its methods.
fn class(sources: &str, name: &str) -> String {
    let (before, _) = sources
        .split_once(&format!("pub struct {name} {{"))
        .unwrap();
    let docs = before.lines().rev().skip(1).find(|l| l.starts_with("///"));
    let docs = docs.unwrap().trim_start_matches("/// ");
    let mut o = format!("\nclass {name}:\n    \"\"\"{docs}\"\"\"\n\n");
    let methods = format!("#[pymethods]\nimpl {name} {{");
    let mut rest = sources.split(&methods).nth(1).unwrap();
    rest = rest.split("\n}\n").next().unwrap();
    while let Some((s, behind)) = signature(rest, "") {
        // Attributes of this method, behind the body of the one before.
        let attributes = s.attributes.rsplit("}\n").next().unwrap();
        let this = std::iter::once("self".to_string());
        let taken: Vec<String> = this.chain(s.taken).collect();
        let taken = taken.join(", ");
        let _ = match (attributes, s.name) {
            (_, "__repr__") => Ok(()),
            (a, _) if a.contains("#[new]") => {
                writeln!(o, "    def __init__({taken}) -> None: ...")
            }
            (a, name) => {
                if a.contains("#[getter]") {
                    o += "    @property\n";
                }
                writeln!(o, "    def {name}({taken}) -> {}: ...", s.gives)
            }
        };
        rest = behind;
    }
    o
}

#[test]
fn the_stub_is_that_of_the_native_functions() {
    let sources = sources();
    let module = sources.split("#[pymodule]").nth(1).unwrap();
    let named = |what: &str, end: char| -> Vec<String> {
        let all = module.split(what).skip(1);
        all.map(|t| {
            t.split(end)
                .next()
                .unwrap()
                .rsplit(':')
                .next()
                .unwrap()
                .into()
        })
        .collect()
    };
    let mut o = HEAD.to_string();
    for name in named("add_class::<", '>') {
        o += &class(&sources, &name);
    }
    o += "\n";
    for name in named("wrap_pyfunction!(", ',') {
        let one = |text: &str| {
            let (s, _) = signature(text, answer(&sources))?;
            (s.name == name)
                .then(|| format!("def {name}({}) -> {}: ...\n", s.taken.join(", "), s.gives))
        };
        let found = sources.split("#[pyfunction]").skip(1).find_map(one);
        o += &found.unwrap_or_else(|| panic!("{name}: no such function"));
    }
    holds("bindings/python/python/capsim/_capsim.pyi", &o);
}
