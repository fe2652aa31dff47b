//! From what people paste to the server's own flags: wrappers, containers and files are taken away.
use super::docker::{self, Container};
use super::program::{self, Program};
use super::shell::{self, Variables, assignment};
use super::{LineError, config, devices, document, dotenv, image, paste};
use crate::device::Scheduler;

/// What a line is given as.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// Words that a shell has already split; one word with spaces in it is a text.
    Words(&'a [String]),
    /// A file's or standard input's text: a shell's lines, a compose or Kubernetes file, a systemd unit, a `.env` file, a file for
    /// `vllm serve --config`.
    Text(&'a str),
}

/// Reads a file that a line names; the error says why not.
pub type ReadFile<'a> = &'a dyn Fn(&str) -> Result<String, String>;

/// A server (or load client) without what stood around it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Launch {
    /// Whose server; `None`: flags alone, which are read as vLLM's.
    pub engine: Option<Scheduler>,
    /// The words after the program: its flags, and vLLM's model.
    pub args: Vec<String>,
    /// Environment variables that the line sets.
    pub env: Vec<(String, String)>,
    /// The container image.
    pub image: Option<String>,
    /// The engine's release, as an image's tag or a pinned requirement names it: `0.10.2`, `b4719`.
    pub release: Option<String>,
    /// Devices that the server may use, where the line says how many.
    pub devices: Option<u32>,
    /// The words after `vllm bench serve`.
    pub bench: Option<Vec<String>>,
    /// What the user should know of how the line was read.
    pub notes: Vec<String>,
}

/// Longest text that is read: more is no line, whatever it is.
const LONGEST: usize = 256 << 10;
/// Commands in commands (`docker run … bash -c "…"`).
const DEEPEST: usize = 8;

/// Takes away what stands around a server's flags.
///
/// # Errors
/// Words that start no server, a file that cannot be read, quotes or YAML that are not closed.
pub fn unwrap(source: Source, files: ReadFile) -> Result<Launch, LineError> {
    let text = match source {
        Source::Text(text) => Some(text),
        Source::Words([text]) if text.contains(char::is_whitespace) => Some(text.as_str()),
        Source::Words(_) => None,
    };
    if text.is_some_and(|t| t.len() > LONGEST) {
        return Err(LineError::TooLong);
    }
    // A script may write the files that it names.
    let written = text.map_or(vec![], paste::here_documents);
    let files = |path: &str| {
        let body = written
            .iter()
            .find(|(file, _)| file.as_deref() == Some(path));
        body.map_or_else(|| files(path), |(_, body)| Ok(body.clone()))
    };
    let mut reader = Reader {
        files: &files,
        variables: Variables::new(),
        environment: vec![],
        pinned: None,
        other: None,
        depth: 0,
    };
    let launch = match source {
        Source::Words(words) if text.is_none() => reader.split(words)?,
        _ => reader.whole(text.unwrap_or_default(), &written)?,
    };
    config::inserted(launch, &files)
}

/// Reads commands one after another; what one sets holds for the next.
pub(super) struct Reader<'a> {
    pub files: ReadFile<'a>,
    pub variables: Variables,
    /// Exported variables.
    pub environment: Vec<(String, String)>,
    /// The release that an earlier command installs.
    pinned: Option<(Scheduler, String)>,
    /// A program that is no server of ours, for the error where nothing else is found.
    other: Option<String>,
    depth: usize,
}

impl Reader<'_> {
    /// A whole text, of whatever kind.
    fn whole(
        &mut self,
        text: &str,
        written: &[(Option<String>, String)],
    ) -> Result<Launch, LineError> {
        if let Some(found) = document::read(self, text)? {
            return Ok(found);
        }
        let commands = shell::commands(text, &mut self.variables)?;
        if let Some(found) = self.commands(commands.iter().map(|c| c.words.as_slice()).collect())? {
            return Ok(found);
        }
        // `cat <<EOF | kubectl apply -f -`
        for (_, body) in written {
            if let Some(found) = document::read(self, body)? {
                return Ok(found);
            }
        }
        let sets = |words: &[String]| {
            words
                .iter()
                .all(|w| assignment(w).is_some() || w == "export")
        };
        if !commands.is_empty() && commands.iter().all(|c| sets(&c.words)) {
            return dotenv::settings(self, text);
        }
        self.bare(commands.first().map_or(&[], |c| &c.words))
    }

    /// Words that a shell has split.
    fn split(&mut self, words: &[String]) -> Result<Launch, LineError> {
        let words: Vec<String> = words
            .iter()
            .filter(|w| !matches!(w.trim(), "\\" | "^" | "`" | "\\\n"))
            .cloned()
            .collect();
        let parts: Vec<&[String]> = words
            .split(|w| matches!(w.as_str(), "&&" | "||" | ";" | "|" | "&"))
            .filter(|part| !part.is_empty())
            .collect();
        match self.commands(parts)? {
            Some(launch) => Ok(launch),
            None => self.bare(&words),
        }
    }

    /// The servers that commands start, put together as one launch.
    pub fn commands(&mut self, commands: Vec<&[String]>) -> Result<Option<Launch>, LineError> {
        let mut found = vec![];
        for words in commands {
            if matches!(words[0].as_str(), "export" | "set") {
                let set = words.iter().filter_map(|w| assignment(w));
                self.environment
                    .extend(set.map(|(n, v)| (n.to_string(), v.to_string())));
            } else if let Some(launch) = self.command(words)? {
                found.push(launch);
            } else if let Some(pinned) = words.iter().find_map(|w| image::pinned(w)) {
                self.pinned = Some(pinned);
            }
        }
        Ok(one_of(found))
    }

    /// A text inside a command: `bash -c "…"`.
    pub fn inner(&mut self, text: &str) -> Result<Option<Launch>, LineError> {
        let commands = shell::commands(text, &mut self.variables)?;
        self.commands(commands.iter().map(|c| c.words.as_slice()).collect())
    }

    /// One command: the first program in it that is known, whatever stands in front (`sudo`, `numactl …`, `uv run`).
    pub fn command(&mut self, words: &[String]) -> Result<Option<Launch>, LineError> {
        if self.depth >= DEEPEST {
            return Err(LineError::TooDeep);
        }
        let Some((at, (program, names))) =
            (0..words.len()).find_map(|i| Some((i, program::at(&words[i..])?)))
        else {
            return Ok(None);
        };
        let (before, rest) = (&words[..at], &words[at + names..]);
        let mut env = self.environment.clone();
        env.extend(
            before
                .iter()
                .filter_map(|w| assignment(w))
                .map(|(n, v)| (n.to_string(), v.to_string())),
        );
        let mut launch = match program {
            Program::Other => {
                self.other = Some(words[at..words.len().min(at + names.max(2))].join(" "));
                return Ok(None);
            }
            Program::Server(engine) => Launch {
                engine: Some(engine),
                args: rest.to_vec(),
                ..Launch::default()
            },
            Program::Bench => Launch {
                bench: Some(rest.to_vec()),
                ..Launch::default()
            },
            Program::Container => {
                let Some(container) = docker::container(rest) else {
                    return Ok(None);
                };
                // The host's variables do not reach a container.
                return self.container(container);
            }
            Program::Shell => {
                return match rest.first() {
                    Some(text) => self.nested(env, |reader| reader.inner(text)),
                    None => Ok(None),
                };
            }
            Program::Script => {
                let script = rest.first().and_then(|path| (self.files)(path).ok());
                return match script {
                    Some(text) => self.nested(env, |reader| reader.inner(&text)),
                    // `bash wrapper.sh vllm serve ...`
                    None => self.nested(env, |reader| reader.command(rest)),
                };
            }
        };
        let pinned = before
            .iter()
            .find_map(|w| pinned_in(w))
            .or(self.pinned.clone());
        launch.release = pinned
            .filter(|(e, _)| Some(*e) == launch.engine)
            .map(|(_, r)| r);
        launch.devices = devices::visible(&env);
        launch.env = env;
        Ok(Some(launch))
    }

    /// Reads what stands inside a command, with the variables in force there.
    fn nested(
        &mut self,
        env: Vec<(String, String)>,
        read: impl FnOnce(&mut Self) -> Result<Option<Launch>, LineError>,
    ) -> Result<Option<Launch>, LineError> {
        let outer = std::mem::replace(&mut self.environment, env);
        self.depth += 1;
        let found = read(self);
        self.depth -= 1;
        self.environment = outer;
        found
    }

    /// A container: its command where that starts a server, else what the image starts.
    pub fn container(&mut self, container: Container) -> Result<Option<Launch>, LineError> {
        let mut env = vec![];
        for path in &container.environment_files {
            env.extend(dotenv::variables(&self.file("--env-file", path)?));
        }
        env.extend(container.environment.iter().cloned());
        let mut words = container.entrypoint.clone().unwrap_or_default();
        words.extend(container.command.iter().cloned());
        let found = self.nested(env.clone(), |reader| reader.command(&words));
        let mut launch = match found? {
            Some(launch) => launch,
            None => match image_alone(&container)? {
                Some(launch) => launch,
                None => return Ok(None),
            },
        };
        if launch.env.is_empty() {
            launch.env = env;
        }
        launch.devices = devices::visible(&launch.env)
            .or(launch.devices)
            .or(container.devices);
        launch.release = launch.release.or_else(|| image::release(&container.image));
        launch.image = Some(container.image).filter(|i| !i.is_empty());
        Ok(Some(launch))
    }

    /// A file that the line names.
    pub fn file(&self, flag: &str, path: &str) -> Result<String, LineError> {
        (self.files)(path).map_err(|reason| LineError::File {
            flag: flag.into(),
            path: path.into(),
            reason,
        })
    }

    /// Flags alone, or a model and flags; also after `serve` or `vllm`.
    fn bare(&mut self, words: &[String]) -> Result<Launch, LineError> {
        if let Some(program) = self.other.take() {
            return Err(LineError::OtherServer { program });
        }
        let start = words
            .iter()
            .position(|w| assignment(w).is_none())
            .unwrap_or(words.len());
        let (before, rest) = words.split_at(start);
        let (engine, args) = match rest {
            [first, args @ ..] if first == "serve" => (None, args),
            [first, args @ ..] if program::file_name(first) == "vllm" && flags_or_model(args) => {
                (Some(Scheduler::Vllm), args)
            }
            args if flags_or_model(args) => (None, args),
            _ => {
                return Err(LineError::NoServer {
                    words: rest[..rest.len().min(2)].join(" "),
                });
            }
        };
        let mut env = self.environment.clone();
        env.extend(
            before
                .iter()
                .filter_map(|w| assignment(w))
                .map(|(n, v)| (n.to_string(), v.to_string())),
        );
        Ok(Launch {
            engine,
            args: args.to_vec(),
            devices: devices::visible(&env),
            env,
            ..Launch::default()
        })
    }
}

/// `vllm==0.10.2`, also behind `--from=` and `--with=`.
fn pinned_in(word: &str) -> Option<(Scheduler, String)> {
    let bare = word
        .split_once('=')
        .filter(|(flag, rest)| flag.starts_with("--") && !rest.starts_with('='));
    image::pinned(bare.map_or(word, |(_, rest)| rest))
}

/// What an image starts when its command names no server.
fn image_alone(container: &Container) -> Result<Option<Launch>, LineError> {
    let Some(known) = image::known(&container.image) else {
        return Ok(None);
    };
    let args = match container.command.split_first() {
        Some((first, rest)) if first == "serve" => rest,
        Some((first, rest)) if known.engine == Scheduler::LlamaServer && !known.starts => {
            if !matches!(first.as_str(), "--server" | "-s") {
                return Ok(None);
            }
            rest
        }
        _ if known.starts && container.entrypoint.is_none() => &container.command,
        _ => {
            return Err(LineError::NoCommand {
                image: container.image.clone(),
            });
        }
    };
    Ok(Some(Launch {
        engine: Some(known.engine),
        args: args.to_vec(),
        ..Launch::default()
    }))
}

/// Whether words can be flags, or a model and flags, and are no other program or command.
fn flags_or_model(words: &[String]) -> bool {
    words.first().is_none_or(|w| {
        w.starts_with('-')
            || w.is_empty()
            || w.contains(['/', '.'])
            || crate::model::builtin::find(w).is_ok()
    })
}

/// The first server; the load of the first client beside it; a note where there are more.
pub(super) fn one_of(found: Vec<Launch>) -> Option<Launch> {
    let (clients, servers): (Vec<Launch>, Vec<Launch>) =
        found.into_iter().partition(|l| l.bench.is_some());
    let client = clients.into_iter().next();
    let mut servers = servers.into_iter();
    let Some(mut first) = servers.next() else {
        return client;
    };
    first.bench = client.and_then(|c| c.bench);
    let others: Vec<String> = servers.map(|l| l.title()).collect();
    if !others.is_empty() {
        first.notes.push(format!(
            "{} servers are started here; this answers for the first, `{}`, not for {}",
            others.len() + 1,
            first.title(),
            others
                .iter()
                .map(|o| format!("`{o}`"))
                .collect::<Vec<_>>()
                .join(", ")
        ));
    }
    Some(first)
}

impl Launch {
    /// The engine and the first words, for messages.
    pub(super) fn title(&self) -> String {
        let words = self.args.iter().take(2).map(String::as_str);
        let engine = crate::engine::kind(self.engine.unwrap_or_default()).name();
        std::iter::once(engine)
            .chain(words)
            .collect::<Vec<_>>()
            .join(" ")
    }
}

#[cfg(test)]
mod tests;
