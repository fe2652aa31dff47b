//! What a container needs of the binary, without a container engine: it runs where there is nothing else, as a user without rights.
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const BINARY: &str = env!("CARGO_BIN_EXE_capsim");

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(ROOT).join(path)).unwrap()
}

/// Files that the loader needs for the binary, from `ldd`.
fn libraries() -> Vec<PathBuf> {
    let out = Command::new("ldd").arg(BINARY).output().unwrap();
    String::from_utf8(out.stdout)
        .unwrap()
        .split_whitespace()
        .filter(|w| w.starts_with('/'))
        .map(PathBuf::from)
        .collect()
}

/// A folder with the binary, its libraries and nothing else; `None` where this machine allows no root of one's own.
fn empty_root() -> Option<tempfile::TempDir> {
    let may = Command::new("unshare")
        .args(["-r", "chroot", "/", "true"])
        .output();
    if !may.is_ok_and(|o| o.status.success()) {
        eprintln!(
            "not tested: this machine lets no test have a root of its own (unshare -r chroot)"
        );
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(BINARY, dir.path().join("capsim")).unwrap();
    for lib in libraries() {
        let to = dir.path().join(lib.strip_prefix("/").unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(&lib, to).unwrap();
    }
    Some(dir)
}

/// Where it is: the environment of the command is empty, its search path as well.
fn chroot() -> &'static str {
    let places = [
        "/usr/sbin/chroot",
        "/usr/bin/chroot",
        "/sbin/chroot",
        "/bin/chroot",
    ];
    let found = places.into_iter().find(|p| Path::new(p).exists());
    found.unwrap_or("chroot")
}

fn within(root: &Path) -> Command {
    let mut c = Command::new("unshare");
    c.args(["-r", chroot()])
        .arg(root)
        .arg("/capsim")
        .env_clear();
    c
}

#[test]
fn the_binary_predicts_and_serves_in_an_empty_root() {
    let Some(root) = empty_root() else {
        return;
    };
    let before = names(root.path());
    let ask = [
        "predict",
        "--model",
        "qwen3-8b",
        "--device",
        "h100-sxm",
        "--max-concurrency",
        "4",
        "--json",
    ];
    let inside = within(root.path()).args(ask).output().unwrap();
    assert!(
        inside.status.success(),
        "{}",
        String::from_utf8_lossy(&inside.stderr)
    );
    let outside = Command::new(BINARY).args(ask).output().unwrap();
    assert_eq!(inside.stdout, outside.stdout);
    let v: Value = serde_json::from_slice(&inside.stdout).unwrap();
    assert!(v["points"][0].is_object());

    let mut server = within(root.path())
        .args([
            "serve",
            "--port",
            "0",
            "--model",
            "qwen3-0.6b",
            "--max-model-len",
            "4096",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(server.stdout.take().unwrap());
    let address = out
        .lines()
        .map_while(Result::ok)
        .find_map(|l| Some(l.split_once("http://")?.1.trim().to_string()))
        .expect("the server says where it listens");
    let probe = |root: &Path| {
        within(root)
            .args(["serve", "--probe", &address])
            .output()
            .unwrap()
    };
    let alive = probe(root.path());
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!(
        alive.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&alive.stdout)
    );
    let dead = probe(root.path());
    assert_eq!(
        (dead.status.code(), dead.stdout),
        (Some(1), b"not healthy\n".to_vec())
    );
    assert_eq!(names(root.path()), before, "nothing is written");
}

/// What lies at the top of a folder.
fn names(root: &Path) -> Vec<String> {
    let all = std::fs::read_dir(root).unwrap().map_while(Result::ok);
    let mut all: Vec<String> = all
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    all.sort();
    all
}

#[test]
fn the_container_file_names_a_user_a_health_check_and_flags_that_exist() {
    let file = read("Containerfile");
    let user = file.lines().find_map(|l| l.strip_prefix("USER ")).unwrap();
    assert!(!user.starts_with("0") && user != "root", "{user}");
    assert!(file.contains("HEALTHCHECK"));
    let help = Command::new(BINARY)
        .args(["serve", "--help"])
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let compose = read("examples/compose.yaml");
    let flags = file
        .lines()
        .chain(compose.lines())
        .flat_map(|l| l.split(['"', ' ', '=', ',']));
    let mut seen = 0;
    for flag in flags.filter(|w| w.starts_with("--") && w.len() > 2) {
        // Those of podman, cargo and the health check itself.
        let others = [
            "--rm",
            "--release",
            "--locked",
            "--features",
            "--from",
            "--interval",
            "--timeout",
            "--start-period",
        ];
        if !others.contains(&flag) {
            seen += 1;
            assert!(help.contains(flag), "{flag} is no flag of capsim serve");
        }
    }
    assert!(seen >= 6, "{seen}");
    for fault in compose
        .lines()
        .filter_map(|l| l.trim().strip_prefix("- --fault="))
    {
        assert!(
            fault.parse::<capsim_live::serve::Fault>().is_ok(),
            "{fault}"
        );
    }
}
