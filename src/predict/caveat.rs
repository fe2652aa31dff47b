//! What a reader of a prediction must know. Caveats travel inside the prediction, as data.
use super::{Refused, Z95, unmodelled};
use crate::engine::EngineVersion;

/// Something that a prediction does not cover or is unsure of.
#[derive(Clone, Debug, PartialEq)]
pub enum Caveat {
    /// Flags that may change performance and are not modelled.
    Unmodelled(Vec<String>),
    /// How a pasted line was read.
    Line(String),
    /// Coefficients that were not measured matter: names, and their share of the interval's variance.
    Assumed(Vec<String>),
    /// A matrix size outside the measured range of the device's curve.
    Extrapolated {
        /// What was read.
        what: &'static str,
        /// Largest value used.
        used: f64,
        /// Largest value measured.
        measured: f64,
    },
    /// Steps that take this part of the time rest on kernel times beyond the measured range.
    OutsideKernels(f64),
    /// The device profile has times of the engine's kernels, but not of these.
    WithoutKernels(Vec<String>),
    /// The kernel times were measured in another release than the one simulated.
    OtherRelease {
        /// Where they were measured.
        measured: String,
        /// The engine profile's release.
        simulated: String,
    },
    /// The engine profile was not made from these weight formats.
    OtherWeights {
        /// The engine profile's id.
        engine: String,
        /// Formats that it was made from.
        knows: Vec<String>,
        /// Formats of the model that it does not know.
        formats: Vec<String>,
        /// Relative standard deviation that the intervals contain for it.
        rel_sd: f64,
    },
    /// What the model's description leaves out.
    Model(String),
    /// The layers or the formats of another class stand for the model's own, which are not known.
    Resembles {
        /// Relative standard deviation that the intervals contain for it.
        rel_sd: f64,
    },
    /// No run with a pipeline was compared with prices.
    Pipeline {
        /// Relative standard deviation that the intervals contain for it.
        rel_sd: f64,
    },
    /// No run whose devices divide the cache of a sequence was compared with prices.
    Context {
        /// Relative standard deviation that the intervals contain for it.
        rel_sd: f64,
    },
    /// No run on several nodes was compared with prices.
    Nodes {
        /// Relative standard deviation that the intervals contain for it.
        rel_sd: f64,
    },
    /// No engine profile was made from models with these kinds of layers.
    OtherLayers {
        /// The kinds.
        kinds: Vec<&'static str>,
        /// Relative standard deviation that the intervals contain for it.
        rel_sd: f64,
    },
    /// The engine started has no profile for the device: its rules, another engine's prices.
    OtherEngine {
        /// The engine profile's id.
        engine: String,
        /// The engine that the profile is of.
        of: &'static str,
        /// The engine that is started.
        started: &'static str,
        /// Relative standard deviation that the intervals contain for it.
        rel_sd: f64,
    },
    /// The engine profile was made from another release than the one that was named.
    ProfileRelease {
        /// The engine profile's id.
        engine: String,
        /// The release that it was made from.
        made: String,
        /// The release that was named.
        named: EngineVersion,
        /// Relative standard deviation that the intervals contain for it.
        rel_sd: f64,
    },
    /// A release was named of an engine of which one set of rules is simulated.
    OneRelease {
        /// The engine.
        engine: &'static str,
        /// The release that was named.
        named: EngineVersion,
    },
    /// The engine profile was made for other devices.
    ForeignDevice {
        /// The engine profile's id.
        engine: String,
        /// The device's id.
        device: String,
    },
    /// The KV cache was nearly full, so that small errors of its size decide about preemptions.
    KvNearlyFull(f64),
    /// Layers with a window give back what lies behind it; the simulation keeps it.
    WindowsKept,
    /// The load has images.
    Images {
        /// Relative standard deviation that the intervals contain for it.
        rel_sd: f64,
    },
    /// Something drafts.
    Speculation {
        /// Relative standard deviation that the intervals contain for it.
        rel_sd: f64,
    },
    /// Identical prompts, greedy: the result depends on whether requests are admitted in the same step.
    Lockstep {
        /// Whether the simulated ones were.
        together: bool,
    },
    /// The intervals of a long run come from a shorter one.
    ShortGradients {
        /// Requests simulated per coefficient.
        prompts: u32,
        /// Requests predicted.
        of: u32,
    },
    /// Requests that can never be served under these settings.
    Refused(Refused),
}

/// By how much intervals are wider for it.
struct Widened(f64);

impl std::fmt::Display for Widened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let factor = libm::exp(Z95 * self.0);
        write!(
            f,
            "this alone widens 90 % intervals by a factor of {factor:.2} either way"
        )
    }
}

/// Prices of one release, rules of another.
fn profile_release(
    f: &mut std::fmt::Formatter<'_>,
    engine: &str,
    made: &str,
    named: &EngineVersion,
    rel_sd: f64,
) -> std::fmt::Result {
    let old = if named.is_older_than_rules() {
        "; releases before 0.12 had other rules, which are not simulated, and 0.6 and 0.8 reached a half to two \
         thirds of what is predicted here"
    } else {
        ""
    };
    write!(
        f,
        "rules and defaults are those of release {named}, prices those of `{engine}`, made from {made}{old}; {}",
        Widened(rel_sd)
    )
}

/// What identical greedy prompts are priced as, and what would change that.
fn lockstep(together: bool) -> &'static str {
    if together {
        "identical greedy prompts admitted in the same step read the same experts; one step apart (--send-skew-ms 5) \
         or with distinct prompts (--prompts distinct) steps take longer"
    } else {
        "identical greedy prompts are simulated a step apart; admitted in the same step (--send-skew-ms 0) they \
         would read the same experts and run faster"
    }
}

/// What is said, and how much wider the intervals are for it.
fn widened(f: &mut std::fmt::Formatter<'_>, said: &str, rel_sd: f64) -> std::fmt::Result {
    write!(f, "{said}; {}", Widened(rel_sd))
}

/// That no run of a kind was compared, and what else is left out.
fn not_compared(
    f: &mut std::fmt::Formatter<'_>,
    run: &str,
    left: &str,
    rel_sd: f64,
) -> std::fmt::Result {
    widened(
        f,
        &format!("no run {run} was compared with prices yet{left}"),
        rel_sd,
    )
}

/// Weights that the profile was not made from.
fn other_weights(
    f: &mut std::fmt::Formatter<'_>,
    engine: &str,
    knows: &[String],
    formats: &[String],
    rel_sd: f64,
) -> std::fmt::Result {
    let said = format!(
        "engine profile `{engine}` was made from {} weights, not {}, whose kernels may be slower or faster",
        knows.join(", "),
        formats.join(", ")
    );
    widened(f, &said, rel_sd)
}

fn images(f: &mut std::fmt::Formatter<'_>, rel_sd: f64) -> std::fmt::Result {
    write!(
        f,
        "the vision tower's time is counted from its products, no run with images was compared with it, and preparing images in the \
         front end is not simulated; {}",
        Widened(rel_sd)
    )
}

impl std::fmt::Display for Caveat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Caveat::Unmodelled(flags) => f.write_str(&unmodelled::sentence(flags)),
            Caveat::Line(note) => f.write_str(note),
            Caveat::Assumed(names) => write!(
                f,
                "rests on assumed values that matter here: {} (capsim validate --fit with one run replaces them)",
                names.join(", ")
            ),
            Caveat::Extrapolated {
                what,
                used,
                measured,
            } => write!(
                f,
                "{what} up to {used:.0} lie beyond the measured {measured:.0}: extrapolated"
            ),
            Caveat::OutsideKernels(share) => write!(
                f,
                "steps that make up {:.1} % of the time use kernel times beyond the measured batch or context: extrapolated",
                share * 100.0
            ),
            Caveat::WithoutKernels(names) => write!(
                f,
                "the device profile has no times of these kernels at this model's shapes, their price comes from curves: {}",
                names.join(", ")
            ),
            Caveat::OtherRelease {
                measured,
                simulated,
            } => write!(
                f,
                "kernel times were measured in {measured}; release {simulated} may run other kernels"
            ),
            Caveat::OtherWeights {
                engine,
                knows,
                formats,
                rel_sd,
            } => other_weights(f, engine, knows, formats, *rel_sd),
            Caveat::Model(said) => f.write_str(said),
            Caveat::Resembles { rel_sd } => widened(
                f,
                "the model is counted as one that it resembles: its sizes may be off, and its prices more so",
                *rel_sd,
            ),
            Caveat::Pipeline { rel_sd } => not_compared(f, "with a pipeline", "", *rel_sd),
            Caveat::Context { rel_sd } => {
                let left = ", and what prompts exchange for it is not counted";
                not_compared(f, "with context parallelism", left, *rel_sd)
            }
            Caveat::Nodes { rel_sd } => not_compared(f, "on several nodes", "", *rel_sd),
            Caveat::OtherLayers { kinds, rel_sd } => {
                let of = format!("of a model with {}", kinds.join(", "));
                not_compared(f, &of, "", *rel_sd)
            }
            Caveat::OtherEngine {
                engine,
                of,
                started,
                rel_sd,
            } => write!(
                f,
                "prices are those of the {of} profile `{engine}`, rules those of {started}, which no profile was made from for this \
                 device; {}",
                Widened(*rel_sd)
            ),
            Caveat::ProfileRelease {
                engine,
                made,
                named,
                rel_sd,
            } => profile_release(f, engine, made, named, *rel_sd),
            Caveat::OneRelease { engine, named } => write!(
                f,
                "release {named} was named, but one set of rules is simulated for {engine}, whatever the release"
            ),
            Caveat::ForeignDevice { engine, device } => write!(
                f,
                "engine profile `{engine}` was not made for device `{device}`: its efficiencies are a guess there"
            ),
            Caveat::KvNearlyFull(usage) => write!(
                f,
                "KV cache up to {:.0} % full: the number of preemptions depends on its exact size",
                usage * 100.0
            ),
            Caveat::WindowsKept => f.write_str(
                "layers with a sliding window free their blocks behind it, which is not simulated: more requests run at once than here, and \
                 fewer are preempted",
            ),
            Caveat::Images { rel_sd } => images(f, *rel_sd),
            Caveat::Speculation { rel_sd } => widened(
                f,
                "what drafts and their verification cost was compared with eleven published runs only, of one model under SGLang, which took \
                 up to half as long again",
                *rel_sd,
            ),
            Caveat::Lockstep { together } => f.write_str(lockstep(*together)),
            Caveat::ShortGradients { prompts, of } => write!(
                f,
                "interval widths come from the same load with {prompts} instead of {of} requests"
            ),
            Caveat::Refused(r) => r.fmt(f),
        }
    }
}
