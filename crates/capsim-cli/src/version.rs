//! What `--version` says: version, commit, features.
use std::sync::LazyLock;

/// Commit that a release was built from. `scripts/release.py` sets CAPSIM_COMMIT; a build from a source archive, which knows no
/// commit, and everyday builds, which would be rebuilt at every commit, go without.
const COMMIT: Option<&str> = option_env!("CAPSIM_COMMIT");

/// One line.
pub const SHORT: &str = env!("CARGO_PKG_VERSION");

/// Features of this build, in the manifest's order.
pub fn features() -> Vec<&'static str> {
    let all = [
        ("opencl", cfg!(feature = "opencl")),
        ("wgpu", cfg!(feature = "wgpu")),
        ("live", cfg!(feature = "live")),
        ("parquet", cfg!(feature = "parquet")),
    ];
    all.into_iter()
        .filter(|(_, on)| *on)
        .map(|(n, _)| n)
        .collect()
}

fn features_in_words() -> String {
    match features().join(", ") {
        none if none.is_empty() => "none of opencl, wgpu, live, parquet".into(),
        some => some,
    }
}

/// With commit, features and target.
pub static LONG: LazyLock<String> = LazyLock::new(|| {
    format!(
        "{SHORT}\ncommit:   {}\nfeatures: {}\nbuilt for {}-{}",
        COMMIT.unwrap_or("not recorded (not a release build)"),
        features_in_words(),
        std::env::consts::ARCH,
        std::env::consts::OS,
    )
});
