//! `capsim validate --all`: from the index of run sets to docs/accuracy.md, the picture, and the fitted profiles.
#![allow(
    clippy::disallowed_types,
    reason = "runs are predicted on several threads; each is a pure function, and results keep the files' order"
)]
use super::progress::Busy;
use super::validate_recorded::{found, recorded};
use super::{files, load, validate};
use anyhow::{Context, bail};
use capsim::device::{EngineFile, EngineProfile, Origin, Phase, Provenance, Quantity, sheet};
use capsim::predict::Records;
use capsim_study::report::accuracy::{self as report, Set};
use capsim_study::report::accuracy_recorded::Section;
use capsim_study::report::json;
use capsim_study::validate::accuracy::{Accuracy, FittedProfile, ScoredRun, fit_profile, score};
use capsim_study::validate::hypothesis::Basis;
use capsim_study::validate::manifest::{Manifest, Unusable, UnusableFile};
use capsim_study::validate::reselect::{self, StructuresFile};
use capsim_study::validate::runs::RunsFile;
use capsim_study::validate::spread::{Spreads, intervals};
use capsim_study::validate::{left_out, nearby};
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The files of a set: itself, or every `*.json` in the folder that is not named otherwise, in order of names.
fn set(path: &Path, not: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.into()]);
    }
    let mut all: Vec<PathBuf> = std::fs::read_dir(path)
        .with_context(|| format!("{}", path.display()))?
        .collect::<Result<Vec<_>, _>>()
        .with_context(|| format!("{}", path.display()))?
        .into_iter()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "json") && !not.contains(p))
        .collect();
    all.sort();
    Ok(all)
}

/// A set of runs with what it is predicted with; the engine profile is put in after its fit.
fn open(path: &Path, priors: &[(String, EngineProfile)]) -> anyhow::Result<(RunsFile, Basis)> {
    let name = path.display().to_string();
    let file = RunsFile::parse(&files::read(path)?, &name)?;
    let (_, engine) = priors
        .iter()
        .find(|(id, _)| *id == file.engine)
        .with_context(|| {
            format!(
                "{name}: field `engine`: the index lists no profile `{}`",
                file.engine
            )
        })?;
    let field = |f: &str| format!("{name}: field `{f}`");
    let near = |given: &str| -> String {
        let beside = path.parent().map(|p| p.join(given)).filter(|p| p.exists());
        beside.map_or(given.to_string(), |p| p.display().to_string())
    };
    let config = load::config(&near(&file.model)).with_context(|| field("model"))?;
    let model = load::model(&config, file.weights.as_deref(), file.kv_cache.as_deref())
        .with_context(|| field("weights"))?;
    let device = load::device(&near(&file.device)).with_context(|| field("device"))?;
    if let Some(path) = &file.moe_tiles
        && !engine.moe_paths.contains_key(path)
    {
        bail!(
            "{}: the engine profile has no path `{path}`",
            field("moe_tiles")
        );
    }
    let basis = Basis {
        model_name: file.model.clone(),
        model,
        device,
        engine: engine.clone(),
        release: match &file.engine_version {
            Some(text) => Some(text.parse().with_context(|| field("engine_version"))?),
            None => None,
        },
        moe_path: file.moe_tiles.clone(),
    };
    Ok((file, basis))
}

/// The fitted profile as it ships: with the model's deviation that other people's runs ask for, of its engine on its maker's devices.
fn shipped(p: &FittedProfile, spreads: &Spreads, runs: usize) -> EngineProfile {
    let mut profile = p.profile.clone();
    let engine = Set::engine(&profile.id, profile.scheduler);
    profile.model_spread = spreads.table(&(maker(profile.devices.first()), engine.into()));
    for phase in [Phase::Decode, Phase::Prefill] {
        let sd = spreads.common(phase);
        let q = Quantity {
            value: (sd * 1e4).round() / 1e4,
            rel_sd: 0.3,
            provenance: Provenance {
                origin: Origin::Fitted,
                source: format!("errors of {runs} predicted runs (docs/accuracy.md)"),
                note: "smallest deviation with which nine tenths of the errors lie in their intervals, all devices together; \
                       every source weighs the same"
                    .into(),
            },
        };
        match phase {
            Phase::Decode => profile.model_rel_sd = q,
            Phase::Prefill => profile.model_rel_sd_prefill = Some(q),
        }
    }
    profile
}

/// Numbers as they are written into profiles: seven digits say all, and print the same everywhere.
fn rounded(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Number(n) if n.is_f64() => {
            let v = n.as_f64().expect("is one");
            let short: f64 = format!("{v:.6e}").parse().expect("just written");
            *value = serde_json::json!(short);
        }
        serde_json::Value::Array(a) => a.iter_mut().for_each(rounded),
        serde_json::Value::Object(o) => o.values_mut().for_each(rounded),
        _ => {}
    }
}

/// A fitted profile of each plan starts from one that is there.
type Prior = (String, EngineProfile);

fn priors(manifest: &Manifest, home: &Path) -> anyhow::Result<Vec<Prior>> {
    let mut priors = vec![];
    for p in &manifest.profiles {
        let path = home.join(&p.prior);
        let text = files::read(&path)?;
        priors.push((
            p.id.clone(),
            EngineFile::pick(&text, &path.display().to_string(), Some(&p.id), true)?,
        ));
    }
    Ok(priors)
}

/// Experiments that cannot be simulated, and the files that tell of them.
fn unusable(manifest: &Manifest, home: &Path) -> anyhow::Result<(Vec<Unusable>, Vec<PathBuf>)> {
    let mut unusable = vec![];
    let mut not = vec![];
    for file in &manifest.unusable {
        let path = home.join(file);
        let text = files::read(&path)?;
        unusable.extend(UnusableFile::parse(&text, &path.display().to_string())?.experiments);
        not.push(path);
    }
    Ok((unusable, not))
}

/// Every plan's profile, fitted to its own runs.
fn fitted(
    manifest: &Manifest,
    priors: &[Prior],
    sets: &[(RunsFile, Basis)],
) -> anyhow::Result<Vec<FittedProfile>> {
    let plans: Vec<_> = manifest.profiles.iter().zip(priors).collect();
    let busy = Busy::new("fitting profiles", plans.len());
    plans
        .par_iter()
        .map(|(plan, (_, prior))| {
            let own: Vec<(RunsFile, Basis)> = sets
                .iter()
                .filter(|(f, _)| f.engine == plan.id)
                .cloned()
                .collect();
            let fit = fit_profile(plan, prior, &own);
            busy.step();
            Ok(fit?)
        })
        .collect()
}

/// Every run predicted, and those that cannot be, with why.
fn predicted(
    manifest: &Manifest,
    sets: &[(RunsFile, Basis)],
) -> (Vec<ScoredRun>, Vec<(String, String)>) {
    let jobs: Vec<(usize, usize)> = sets
        .iter()
        .enumerate()
        .flat_map(|(i, (f, _))| (0..f.runs.len()).map(move |j| (i, j)))
        .collect();
    let busy = Busy::new("predicting runs", jobs.len());
    let scored: Vec<_> = jobs
        .par_iter()
        .map(|&(i, j)| {
            let (file, basis) = &sets[i];
            let score = score(manifest, i, file, basis, &file.runs[j]);
            busy.step();
            score
        })
        .collect();
    drop(busy);
    let mut runs: Vec<ScoredRun> = vec![];
    let mut failed = vec![];
    for ((i, j), r) in jobs.iter().zip(scored) {
        match r {
            Ok(r) => runs.push(r),
            Err(e) => failed.push((sets[*i].0.runs[*j].id.clone(), e)),
        }
    }
    (runs, failed)
}

/// Writes a fitted profile: into its place, where the file holds several.
fn keep(path: &Path, profile: &EngineProfile, text: String) -> anyhow::Result<()> {
    let before = files::read(path).unwrap_or_default();
    if !EngineFile::is(&before) {
        return files::write(path, &text);
    }
    let name = path.display().to_string();
    let mut file = EngineFile::parse(&before, &name)?;
    if !file.keep(profile) {
        bail!("{name}: has no profile `{}`", profile.id);
    }
    files::write(path, &engine_file_text(&file)?)
}

/// A file of profiles as it is written: indented by one blank, as people compare them.
fn engine_file_text(file: &EngineFile) -> anyhow::Result<String> {
    let mut text = vec![];
    let indent = serde_json::ser::PrettyFormatter::with_indent(b" ");
    let mut writer = serde_json::Serializer::with_formatter(&mut text, indent);
    serde::Serialize::serialize(file, &mut writer)?;
    Ok(String::from_utf8(text)? + "\n")
}

/// The maker of a device, by its data sheet; nothing where there is none.
fn maker(device: Option<&String>) -> String {
    device.map_or_else(String::new, |d| sheet::maker_of(d).unwrap_or_default())
}

/// Records as they are written: a run a line, as people compare them.
fn one_a_line(records: &Records) -> anyhow::Result<String> {
    let runs: Result<Vec<String>, _> = records.runs.iter().map(serde_json::to_string).collect();
    Ok(format!(
        "{{\n \"schema\": \"{}\",\n \"runs\": [\n  {}\n ]\n}}\n",
        records.schema,
        runs?.join(",\n  ")
    ))
}

/// Writes the profiles that go into the package.
fn ship(manifest: &Manifest, home: &Path, accuracy: &Accuracy) -> anyhow::Result<()> {
    let predicted = report::predicted(accuracy).len();
    for (plan, p) in manifest.profiles.iter().zip(&accuracy.profiles) {
        if let Some(ship) = &plan.ship {
            let mut value = serde_json::to_value(shipped(p, &accuracy.spreads, predicted))?;
            rounded(&mut value);
            let profile: EngineProfile = serde_json::from_value(value)?;
            let text = serde_json::to_string_pretty(&profile)? + "\n";
            // A fit that left the range of what a profile may say is no profile.
            EngineProfile::parse(&text, ship)
                .with_context(|| format!("the profile fitted to `{}`'s plan", plan.id))?;
            keep(&home.join(ship), &profile, text)?;
        }
    }
    Ok(())
}

/// The runs of devices that were left out: those of the sets, and those kept as figures whose requests are here.
fn left_out(
    manifest: &Manifest,
    home: &Path,
    sets: &[(RunsFile, Basis)],
) -> anyhow::Result<Vec<left_out::Figure>> {
    let mut all = sets.to_vec();
    for runs in manifest.recorded.iter().filter_map(|s| s.runs.as_ref()) {
        let path = home.join(runs);
        if found(&path)? {
            let (file, basis, _) = validate::open(&path, None, None, None)?;
            all.push((file, basis));
        }
    }
    let figures: Vec<_> = all
        .par_iter()
        .map(|(file, basis)| left_out::figures(file, basis))
        .collect();
    Ok(figures.concat())
}

/// What an index names, read and checked.
struct Opened {
    manifest: Manifest,
    priors: Vec<Prior>,
    unusable: Vec<Unusable>,
    sets: Vec<(RunsFile, Basis)>,
}

fn opened(index: &Path) -> anyhow::Result<Opened> {
    let name = index.display().to_string();
    let manifest = Manifest::parse(&files::read(index)?, &name)?;
    let home = index.parent().unwrap_or(Path::new("."));
    let priors = priors(&manifest, home)?;
    let (unusable, not) = unusable(&manifest, home)?;
    let mut sets = vec![];
    for s in &manifest.sets {
        for path in set(&home.join(s), &not)? {
            sets.push(open(&path, &priors)?);
        }
    }
    let plain: Vec<RunsFile> = sets.iter().map(|(f, _)| f.clone()).collect();
    manifest.check(&name, &plain)?;
    Ok(Opened {
        manifest,
        priors,
        unusable,
        sets,
    })
}

/// Structures and fits chosen anew for every source left out; the page of it.
pub fn reselect(index: &Path, markdown: Option<&Path>) -> anyhow::Result<ExitCode> {
    let home = index.parent().unwrap_or(Path::new("."));
    let o = opened(index)?;
    let path = home.join("structures.json");
    let structures = StructuresFile::parse(&files::read(&path)?, &path.display().to_string())
        .map_err(anyhow::Error::msg)?;
    let pairs = reselect::pairs(&o.manifest, &o.sets);
    let busy = Busy::new("choosing anew", pairs.len());
    let chosen: Result<Vec<_>, String> = pairs
        .par_iter()
        .map(|(plan, source)| {
            let (plan, prior) = (&o.manifest.profiles[*plan], &o.priors[*plan].1);
            let chosen = reselect::choose(plan, prior, &structures, &o.sets, source);
            busy.step();
            chosen.map_err(|e| format!("profile `{}` without {source}: {e}", plan.id))
        })
        .collect();
    let text = reselect::markdown(&chosen.map_err(anyhow::Error::msg)?);
    let page = home.join("../docs/reselected.md");
    files::write(markdown.unwrap_or(&page), &text)?;
    print!("{text}");
    Ok(ExitCode::SUCCESS)
}

/// The sets as the report names them, and the comparisons that are kept as figures with their sections.
fn kept(
    manifest: &Manifest,
    home: &Path,
    sets: &[(RunsFile, Basis)],
    write: bool,
) -> anyhow::Result<(Vec<Set>, Vec<Section>, Vec<ScoredRun>)> {
    let mut shown: Vec<Set> = sets
        .iter()
        .map(|(f, basis)| Set {
            name: f.name.clone(),
            device: f.device.clone(),
            profile: f.engine.clone(),
            engine: Set::engine(&f.engine, basis.engine.scheduler),
        })
        .collect();
    let (mut sections, mut all) = (vec![], vec![]);
    for set in &manifest.recorded {
        let (section, runs) = recorded(home, set, shown.len(), write)?;
        shown.push(Set {
            name: set.name.clone(),
            device: set.device.clone(),
            profile: set.engine.clone(),
            engine: Set::engine(&set.engine, capsim::device::EngineId::Vllm),
        });
        all.extend(runs);
        sections.push(section);
    }
    Ok((shown, sections, all))
}

pub fn run(
    index: &Path,
    markdown: Option<&Path>,
    svg: Option<&Path>,
    write_profiles: bool,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let home = index.parent().unwrap_or(Path::new("."));
    let Opened {
        manifest,
        priors,
        unusable,
        mut sets,
    } = opened(index)?;
    let profiles = fitted(&manifest, &priors, &sets)?;
    for (file, basis) in &mut sets {
        let fitted = profiles
            .iter()
            .find(|p| p.id == file.engine)
            .expect("checked when it was opened");
        basis.engine = fitted.profile.clone();
        // The model's deviation comes from other people's runs, afterwards.
        basis.engine.without_model_sd();
    }
    let (mut runs, failed) = predicted(&manifest, &sets);
    let (shown, sections, kept) = kept(&manifest, home, &sets, write_profiles)?;
    runs.extend(kept);
    let spreads = intervals(&mut runs, |file| report::place(&shown[file]));
    let accuracy = Accuracy {
        profiles,
        runs,
        failed,
        spreads,
    };
    if write_profiles {
        ship(&manifest, home, &accuracy)?;
        let near = nearby::records(&accuracy.runs, &sets);
        let path = home.join("../calibration/records.json");
        files::write(&path, &one_a_line(&near)?)?;
    }
    let docs = home.join("../docs");
    let front = markdown.map_or_else(|| docs.join("accuracy.md"), Path::to_path_buf);
    let folder = front.with_extension("");
    let seen = folder
        .file_name()
        .map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let pages = report::pages(&manifest, &shown, &accuracy, &unusable, &sections, &seen);
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    for page in pages {
        if page.name.is_empty() {
            let text = page.text + &left_out::markdown(&left_out(&manifest, home, &sets)?);
            files::write(&front, &text)?;
        } else {
            files::write(&folder.join(format!("{}.md", page.name)), &page.text)?;
        }
    }
    files::write(
        svg.unwrap_or(&docs.join("accuracy.svg")),
        &report::svg(&shown, &accuracy),
    )?;
    if json {
        println!(
            "{}",
            json::text(&json::validation::All::new(&shown, &accuracy))
        );
    } else {
        print!("{}", report::headline(&shown, &accuracy));
    }
    Ok(ExitCode::SUCCESS)
}
