//! With no library, with no driver, and with both: zero platforms or some, never a panic and never a wait.
//!
//! What is loaded is decided once per process, so each case runs in a child process: this same test program, asked for the one
//! ignored test below.
use capsim_clload as _;
use std::process::Command;
use std::time::Duration;

/// Runs [`child`] with these variables; what it printed after `ANSWER`.
fn ask(vars: &[(&str, &str)]) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--ignored", "--nocapture"]);
    for name in [
        "CAPSIM_OPENCL_LIBRARY",
        "OCL_ICD_VENDORS",
        "LD_LIBRARY_PATH",
    ] {
        command.env_remove(name);
    }
    let out = command.envs(vars.iter().copied()).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(
        out.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let at = text.find("ANSWER ").expect(&text);
    text[at + 7..].lines().next().unwrap().to_string()
}

/// Not a test: the body of the child processes.
#[test]
#[ignore = "run by the other tests, in child processes"]
fn child() {
    #[allow(
        clippy::disallowed_types,
        clippy::disallowed_methods,
        reason = "the answer must come at once, not after ocl-core's ten seconds of retries"
    )]
    let began = std::time::Instant::now();
    let platforms = ocl_core::get_platform_ids().expect("no error");
    let loaded = capsim_clload::loaded();
    // ocl-core waits 5 × 2 s for a driver; a real one on a loaded machine may take a while to start.
    let fast = !platforms.is_empty() || began.elapsed() < Duration::from_secs(8);
    // Every other function must answer with an error rather than jump into nothing.
    let context = if platforms.is_empty() {
        let properties = ocl_core::ContextProperties::new();
        let refused = ocl_core::create_context_from_type::<ocl_core::DeviceId>(
            Some(&properties),
            ocl_core::DeviceType::ALL,
            None,
            None,
        )
        .is_err();
        if refused { "refused" } else { "made" }
    } else {
        "not tried"
    };
    println!(
        "ANSWER {} {} {context} {}",
        if platforms.is_empty() { "none" } else { "some" },
        if fast { "fast" } else { "slow" },
        match loaded {
            Ok(()) => "loaded".to_string(),
            Err(why) => format!("not loaded: {why}"),
        }
    );
}

#[test]
fn without_a_library_there_are_no_platforms() {
    let answer = ask(&[("CAPSIM_OPENCL_LIBRARY", "/nonexistent/libOpenCL.so")]);
    assert!(
        answer.starts_with("none fast refused not loaded: ") && answer.contains("/nonexistent/"),
        "{answer}"
    );
}

#[test]
fn a_file_that_is_no_library_is_no_library() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let answer = ask(&[("CAPSIM_OPENCL_LIBRARY", file)]);
    assert!(
        answer.starts_with("none fast refused not loaded: "),
        "{answer}"
    );
}

#[test]
fn a_library_that_is_not_opencl_is_none() {
    // libc is there on every Linux, and has none of the functions.
    if !cfg!(target_os = "linux") {
        println!("SKIP: libc.so.6 is a name of Linux");
        return;
    }
    let answer = ask(&[("CAPSIM_OPENCL_LIBRARY", "libc.so.6")]);
    assert_eq!(answer, "none fast refused loaded");
}

#[test]
fn without_a_driver_there_are_no_platforms() {
    // A folder that surely holds no ICD files. Where there is no OpenCL loader at all, the answer is the same.
    let empty = concat!(env!("CARGO_MANIFEST_DIR"), "/src/");
    let answer = ask(&[("OCL_ICD_VENDORS", empty)]);
    if answer.starts_with("some") {
        // Not every loader honours the variable (it is that of ocl-icd and of Khronos' own).
        println!("SKIP: this OpenCL loader does not honour OCL_ICD_VENDORS");
        return;
    }
    assert!(answer.starts_with("none fast refused "), "{answer}");
}
