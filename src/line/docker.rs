//! The words after `docker run`: options, an image, a command.
use super::devices;
use super::shell::assignment;

/// A container as a line or a file describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Container {
    /// The image, with its tag.
    pub image: String,
    /// What replaces the image's own entry point.
    pub entrypoint: Option<Vec<String>>,
    /// The words after the image.
    pub command: Vec<String>,
    /// Environment variables.
    pub environment: Vec<(String, String)>,
    /// Files of environment variables.
    pub environment_files: Vec<String>,
    /// Devices that it may use, if their number is said.
    pub devices: Option<u32>,
}

/// Options without a value, of docker, podman and nerdctl.
const SWITCHES: &[&str] = &[
    "--detach",
    "--interactive",
    "--tty",
    "--rm",
    "--privileged",
    "--init",
    "--no-healthcheck",
    "--oom-kill-disable",
    "--publish-all",
    "--read-only",
    "--sig-proxy",
    "--disable-content-trust",
    "--quiet",
    "--help",
    "--use-api-socket",
    "--replace",
    "--rmi",
    "--tls-verify",
    "--no-hosts",
    "--env-host",
    "--http-proxy",
    "--no-hostname",
    "--read-only-tmpfs",
    "--rootfs",
    "--passwd",
    "--unsetenv-all",
    "--nv",
    "--rocm",
];

/// Letters of options without a value; the others take the rest of their word or the next one.
const SWITCH_LETTERS: &str = "ditPq";

/// Reads the words after `run`. A word that is no option is the image; `None`: there is none.
pub(super) fn container(words: &[String]) -> Option<Container> {
    let mut found = Container::default();
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        if !word.starts_with('-') {
            found.image = word.clone();
            found.command = rest.cloned().collect();
            return Some(found);
        }
        let (option, value) = match word.split_once('=') {
            Some((option, value)) if word.starts_with("--") => (option, Some(value.to_string())),
            _ if word.starts_with("--") => (word.as_str(), None),
            _ => short(word),
        };
        if SWITCHES.contains(&option) || option.is_empty() {
            continue;
        }
        let value = value.or_else(|| rest.next().cloned())?;
        found.option(option, value);
    }
    None
}

/// `-it`, `-eNAME=x`, `-p8000:8000`: the option that takes a value (none: empty), and the value that is glued to it.
fn short(word: &str) -> (&str, Option<String>) {
    for (at, letter) in word.char_indices().skip(1) {
        if SWITCH_LETTERS.contains(letter) {
            continue;
        }
        let end = at + letter.len_utf8();
        let glued = word[end..].trim_start_matches('=');
        let option = match letter {
            'e' => "--env",
            'v' => "--volume",
            _ => "-?",
        };
        return (option, (!glued.is_empty()).then(|| glued.to_string()));
    }
    ("", None)
}

impl Container {
    fn option(&mut self, option: &str, value: String) {
        match option {
            "--env" => {
                if let Some((name, value)) = assignment(&value) {
                    self.environment.push((name.into(), value.into()));
                }
            }
            "--env-file" => self.environment_files.push(value),
            "--entrypoint" => {
                self.entrypoint = Some(value.split_whitespace().map(String::from).collect());
            }
            "--gpus" => self.devices = devices::of_gpus(&value).or(self.devices),
            // The container device interface: nvidia.com/gpu=0, amd.com/gpu=all.
            "--device" => {
                if let Some((kind, which)) = value.split_once('=')
                    && kind.ends_with("/gpu")
                    && which != "all"
                {
                    self.devices = Some(self.devices.unwrap_or(0) + 1);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Container {
        let words: Vec<String> = shlex(line);
        container(&words).unwrap()
    }

    fn shlex(line: &str) -> Vec<String> {
        let found = super::super::shell::commands(line, &mut Default::default()).unwrap();
        found.into_iter().next().unwrap().words
    }

    #[test]
    fn options_end_at_the_image() {
        let c = read(
            "--runtime nvidia --gpus all --ipc=host -itd -p8000:8000 -v ~/.cache:/cache --rm --shm-size 16g -eA=1 -e B=2 -e C \
             --env \"D=x y\" --env-file .env --name x --ulimit memlock=-1 --security-opt seccomp=unconfined vllm/vllm-openai:v0.9.1 \
             --model m --port 1",
        );
        assert_eq!(c.image, "vllm/vllm-openai:v0.9.1");
        assert_eq!(c.command, ["--model", "m", "--port", "1"]);
        let names: Vec<_> = c
            .environment
            .iter()
            .map(|(n, v)| format!("{n}={v}"))
            .collect();
        assert_eq!(names, ["A=1", "B=2", "D=x y"]);
        assert_eq!(c.environment_files, [".env"]);
        assert_eq!(c.devices, None);
        assert_eq!(container(&shlex("--gpus all -it")), None);
    }

    #[test]
    fn devices_are_counted() {
        assert_eq!(read("--gpus 2 x").devices, Some(2));
        assert_eq!(read("--gpus '\"device=0,1,3\"' x").devices, Some(3));
        assert_eq!(read("--gpus=\"device=1\" x").devices, Some(1));
        assert_eq!(
            read("--device nvidia.com/gpu=0 --device nvidia.com/gpu=1 x").devices,
            Some(2)
        );
        assert_eq!(
            read("--device /dev/kfd --device=/dev/dri --group-add video x").devices,
            None
        );
        assert_eq!(
            read("--entrypoint bash x -c 'y z'").entrypoint.unwrap(),
            ["bash"]
        );
    }
}
