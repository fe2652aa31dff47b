//! systemd units and Podman quadlets.
use super::LineError;
use super::docker::Container;
use super::document::words;
use super::dotenv::variables;
use super::launch::{Launch, Reader, one_of};
use super::shell::{self, Variables};
use super::yaml::Node;

/// A systemd unit or a Podman quadlet.
pub(super) fn unit(reader: &mut Reader, text: &str) -> Result<Launch, LineError> {
    let text = text.replace("\\\r\n", " ").replace("\\\n", " ");
    let mut container = Container::default();
    let (mut starts, mut is_container, mut env) = (vec![], false, vec![]);
    for line in text
        .lines()
        .map(str::trim)
        .filter(|l| !l.starts_with(['#', ';']))
    {
        is_container |= line == "[Container]";
        let Some((key, value)) = line.split_once('=').map(|(k, v)| (k.trim(), v.trim())) else {
            continue;
        };
        match key {
            "ExecStart" => starts.push(value.trim_start_matches(['-', '@', ':', '+', '!', '|'])),
            "Environment" => {
                let words = shell::commands(value, &mut Variables::new())?
                    .into_iter()
                    .flat_map(|c| c.words);
                env.extend(words.filter_map(|w| {
                    shell::assignment(&w).map(|(n, v)| (n.to_string(), v.to_string()))
                }));
            }
            "EnvironmentFile" => {
                let path = value.trim_start_matches('-');
                match (reader.files)(path) {
                    Ok(text) => env.extend(variables(&text)),
                    Err(_) if value.starts_with('-') => {}
                    Err(_) => {
                        reader.file("EnvironmentFile", path)?;
                    }
                }
            }
            "Image" => container.image = value.into(),
            "Exec" => {
                container.command = words(Some(&Node::Text(value.into(), true)), &Variables::new())?
                    .unwrap_or_default()
            }
            "Entrypoint" => {
                container.entrypoint =
                    words(Some(&Node::Text(value.into(), true)), &Variables::new())?
            }
            "AddDevice" if value.contains("/gpu=") && !value.ends_with("=all") => {
                container.devices = Some(container.devices.unwrap_or(0) + 1);
            }
            _ => {}
        }
    }
    let found = if is_container {
        container.environment = env;
        reader.container(container)?
    } else {
        reader.variables.extend(env.iter().cloned());
        reader.environment.extend(env);
        let mut found = vec![];
        for start in starts {
            found.extend(reader.inner(start)?);
        }
        one_of(found)
    };
    found.ok_or(LineError::NothingIn { kind: "unit" })
}
