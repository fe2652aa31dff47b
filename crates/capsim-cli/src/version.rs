//! What `--version` says: version, commit, features.
use std::sync::LazyLock;

/// Commit that a release was built from. `scripts/release.py` sets CAPSIM_COMMIT; a build from a source archive, which knows no
/// commit, and everyday builds, which would be rebuilt at every commit, go without.
const COMMIT: Option<&str> = option_env!("CAPSIM_COMMIT");

/// One line.
pub const SHORT: &str = env!("CARGO_PKG_VERSION");

/// Features of this build, in the manifest's order; what `cli` needs anyway is left out.
pub fn features() -> Vec<&'static str> {
    let all = [
        ("opencl", cfg!(feature = "opencl")),
        ("wgpu", cfg!(feature = "wgpu")),
        ("http", cfg!(feature = "live")),
    ];
    let on = all.into_iter().filter(|(_, on)| *on);
    std::iter::once("cli").chain(on.map(|(n, _)| n)).collect()
}

/// With commit, features and target.
pub static LONG: LazyLock<String> = LazyLock::new(|| {
    format!(
        "{SHORT}\ncommit:   {}\nfeatures: {}\nbuilt for {}-{}",
        COMMIT.unwrap_or("not recorded (not a release build)"),
        features().join(", "),
        std::env::consts::ARCH,
        std::env::consts::OS,
    )
});
