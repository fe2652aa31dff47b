//! YAML files that start servers: compose, Kubernetes and Helm, an engine's configuration.
use super::docker::Container;
use super::flags::{FlagList, Found};
use super::launch::{Launch, Reader, one_of};
use super::shell::{self, Variables};
use super::yaml::{self, Node};
use super::{LineError, config, devices, dotenv, expand, unit};
use crate::device::Scheduler;

/// The server of a text that is a document; `None`: the text is a shell's.
pub(super) fn read(reader: &mut Reader, text: &str) -> Result<Option<Launch>, LineError> {
    if text.lines().any(|l| {
        matches!(l.trim(), "[Service]" | "[Container]") || l.trim_start().starts_with("ExecStart=")
    }) {
        return unit::unit(reader, text).map(Some);
    }
    if looks_like_yaml(text) && ["{{ .", "{{.", "{{- "].iter().any(|t| text.contains(t)) {
        return Err(LineError::Yaml {
            reason: "it is a template; give what `helm template` prints, or the values file".into(),
        });
    }
    let documents = match yaml::documents(text) {
        Ok(documents) => documents,
        Err(e) if looks_like_yaml(text) => return Err(e),
        Err(_) => return Ok(None),
    };
    let mapping = |d: &Node| {
        !d.entries().is_empty()
            && d.entries()
                .iter()
                .all(|(k, _)| !k.contains(char::is_whitespace) && !k.is_empty())
    };
    if !documents.iter().any(mapping) {
        return Ok(None);
    }
    let mut found = vec![];
    for document in documents.iter().filter(|d| mapping(d)) {
        match document.get("services") {
            Some(services) => {
                for (_, service) in services.entries() {
                    found.extend(compose(reader, service)?);
                }
            }
            None => containers(reader, document, &mut found)?,
        }
    }
    if let Some(launch) = one_of(found) {
        return Ok(Some(launch));
    }
    match documents.iter().find_map(configuration) {
        Some(launch) => Ok(Some(launch)),
        None => Err(LineError::NothingIn { kind: "YAML file" }),
    }
}

/// Whether a text that is no valid YAML was meant as it: it begins with a key, and most lines are keys with values, or dashes.
fn looks_like_yaml(text: &str) -> bool {
    let is_key = |line: &str| {
        let line = line.strip_prefix("- ").unwrap_or(line);
        let key = line.split_once(':').map_or("", |(k, _)| k);
        !key.is_empty() && !key.contains(char::is_whitespace) && !key.contains('/')
    };
    let lines = text.lines().map(str::trim);
    let said: Vec<&str> = lines
        .filter(|l| !l.is_empty() && !l.starts_with('#') && *l != "---")
        .collect();
    let keys = said.iter().filter(|l| is_key(l)).count();
    said.first().is_some_and(|l| is_key(l)) && keys >= 2 && 2 * keys >= said.len()
}

/// Words of a command that is a string or a list.
pub(super) fn words(
    node: Option<&Node>,
    variables: &Variables,
) -> Result<Option<Vec<String>>, LineError> {
    let put_in = |text: &str| expand::interpolated(text, variables);
    Ok(match node {
        Some(Node::List(items)) => {
            let texts = items.iter().filter_map(Node::text).map(String::from);
            Some(each(texts.collect(), put_in))
        }
        Some(Node::Text(..)) => match node.and_then(Node::text) {
            Some(text) => {
                let commands = shell::commands(&put_in(text), &mut Variables::new())?;
                Some(commands.into_iter().flat_map(|c| c.words).collect())
            }
            None => None,
        },
        _ => None,
    })
}

/// Words with their variables put in, as long as that does not swell them.
fn each(words: Vec<String>, put_in: impl Fn(&str) -> String) -> Vec<String> {
    let mut bytes = 0;
    let put = |word: String| {
        if bytes > expand::MOST_EXPANDED {
            return word;
        }
        let word = put_in(&word);
        bytes += word.len();
        word
    };
    words.into_iter().map(put).collect()
}

/// `{A: 1}` or `[A=1]` or `[{name: A, value: 1}]`.
fn environment(node: Option<&Node>) -> Vec<(String, String)> {
    let pair = |text: &str| {
        text.split_once('=')
            .map(|(n, v)| (n.to_string(), v.to_string()))
    };
    match node {
        Some(Node::Map(entries)) => entries
            .iter()
            .filter_map(|(k, v)| Some((k.clone(), v.text()?.to_string())))
            .collect(),
        Some(Node::List(items)) => items
            .iter()
            .filter_map(|item| match item.text() {
                Some(text) => pair(text),
                None => Some((
                    item.get("name")?.text()?.to_string(),
                    item.get("value")?.text()?.to_string(),
                )),
            })
            .collect(),
        _ => vec![],
    }
}

/// A service of a compose file.
fn compose(reader: &mut Reader, service: &Node) -> Result<Option<Launch>, LineError> {
    // Compose takes variables from a .env file beside it; without one, defaults stand in the file.
    let mut known = reader.variables.clone();
    if let Ok(text) = (reader.files)(".env") {
        known.extend(dotenv::variables(&text));
    }
    let text = |node: Option<&Node>| {
        node.and_then(Node::text)
            .map(|t| expand::interpolated(t, &known))
    };
    let mut container = Container {
        image: text(service.get("image")).unwrap_or_default(),
        entrypoint: words(service.get("entrypoint"), &known)?,
        command: words(service.get("command"), &known)?.unwrap_or_default(),
        ..Container::default()
    };
    let pairs = environment(service.get("environment"));
    container.environment = pairs
        .into_iter()
        .map(|(n, v)| (n, expand::interpolated(&v, &known)))
        .collect();
    let files = service.get("env_file");
    let listed = files.map_or(&[][..], Node::items).iter();
    for file in files
        .into_iter()
        .filter(|f| f.items().is_empty())
        .chain(listed)
    {
        let optional = file.get("required").and_then(Node::boolean) == Some(false);
        let Some(path) = text(Some(file)).or_else(|| text(file.get("path"))) else {
            continue;
        };
        if !optional || (reader.files)(&path).is_ok() {
            container.environment_files.push(path);
        }
    }
    container.devices = text(service.get("gpus"))
        .and_then(|g| devices::of_gpus(&g))
        .or_else(|| {
            let asked = service
                .at(&["deploy", "resources", "reservations", "devices"])?
                .items();
            asked.iter().find_map(reserved)
        });
    reader.container(container)
}

/// `count: 2` or `device_ids: ["0", "1"]`.
fn reserved(device: &Node) -> Option<u32> {
    let ids = device.get("device_ids").map_or(0, |ids| ids.items().len());
    match device.get("count").and_then(Node::text) {
        Some(count) => count.parse().ok(),
        None => u32::try_from(ids).ok().filter(|n| *n > 0),
    }
}

/// Every container of a Kubernetes object or of a Helm chart's values: a mapping with a command or arguments.
fn containers(reader: &mut Reader, node: &Node, found: &mut Vec<Launch>) -> Result<(), LineError> {
    let has = |key: &str| {
        node.get(key)
            .is_some_and(|n| !n.items().is_empty() || n.text().is_some())
    };
    if has("command") || has("args") || (has("image") && node.get("name").is_some()) {
        let launch = kubernetes(reader, node)?;
        if launch.is_some() {
            found.extend(launch);
            return Ok(());
        }
    }
    for (key, inner) in node.entries() {
        // A script, as SkyPilot's `run: |` holds it.
        match inner
            .text()
            .filter(|_| matches!(key.as_str(), "run" | "script"))
        {
            Some(script) => found.extend(reader.inner(script)?),
            None => containers(reader, inner, found)?,
        }
    }
    for inner in node.items() {
        containers(reader, inner, found)?;
    }
    Ok(())
}

fn kubernetes(reader: &mut Reader, node: &Node) -> Result<Option<Launch>, LineError> {
    let image = node.get("image");
    let named = image.and_then(Node::text).map(String::from).or_else(|| {
        // Helm: image: {repository: …, tag: …, command: […]}
        let at = |key: &str| {
            image
                .and_then(|i| i.get(key))
                .or_else(|| node.get(key))
                .and_then(Node::text)
        };
        let tag = at("tag").map_or(String::new(), |t| format!(":{t}"));
        Some(format!("{}{tag}", at("repository")?))
    });
    let pairs = environment(node.get("env"));
    // `$(NAME)` in a command is the container's variable.
    let put_in = |words: Vec<String>| each(words, |word| expand::parenthesized(word, &pairs));
    let none = Variables::new();
    let container = Container {
        image: named.unwrap_or_default(),
        entrypoint: words(node.get("command"), &none)?.map(put_in),
        command: words(node.get("args"), &none)?
            .map(put_in)
            .unwrap_or_default(),
        environment: pairs.clone(),
        devices: ["limits", "requests"].iter().find_map(|kind| {
            let asked = node.at(&["resources", kind])?.entries();
            let gpus = asked.iter().find(|(k, _)| k.ends_with(".com/gpu"))?;
            gpus.1.text()?.parse().ok()
        }),
        ..Container::default()
    };
    match reader.container(container) {
        // A container of another kind beside the server.
        Err(LineError::NoCommand { .. }) => Ok(None),
        other => other,
    }
}

/// A file for `vllm serve --config` or SGLang's, given by itself: most of its keys are flags.
fn configuration(document: &Node) -> Option<Launch> {
    let engine = if document
        .get("model-path")
        .or(document.get("model_path"))
        .is_some()
    {
        Scheduler::Sglang
    } else {
        Scheduler::Vllm
    };
    let list = FlagList::of(engine);
    let keys = document.entries();
    let known = keys
        .iter()
        .filter(|(k, _)| {
            matches!(
                list.find(&format!("--{}", k.replace('_', "-")), false),
                Found::Flag(..)
            )
        })
        .count();
    (known > 0 && 2 * known >= keys.len()).then(|| Launch {
        engine: Some(engine),
        args: config::flags(document),
        ..Launch::default()
    })
}
