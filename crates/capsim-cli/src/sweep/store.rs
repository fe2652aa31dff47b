//! A folder of results: the plan, a file per point, and the merged tables. Any number of processes may fill one folder.
use super::super::files;
use super::plan::Plan;
use anyhow::{Context, ensure};
use capsim_study::report::flat;
use capsim_study::report::json::{self, listing::SweepPoint};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

/// What the points of a folder are, in order.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listing {
    pub schema: String,
    pub capsim: String,
    pub name: String,
    pub dimensions: Vec<String>,
    pub points: Vec<Listed>,
}

/// What a point's file holds: its result, of which the plan says the place and the flags.
#[derive(Debug, Serialize, Deserialize)]
pub struct Kept {
    pub schema: String,
    pub hash: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prediction: Option<json::Point>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// A point of the list.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    pub hash: String,
    pub flags: BTreeMap<String, Value>,
}

impl Listing {
    pub fn new(plan: &Plan, hashes: &[String]) -> Self {
        Self {
            schema: "capsim.sweep/1".into(),
            capsim: env!("CARGO_PKG_VERSION").into(),
            name: plan.name.clone(),
            dimensions: plan.dimensions.clone(),
            points: plan
                .points
                .iter()
                .zip(hashes)
                .map(|(flags, hash)| Listed {
                    hash: hash.clone(),
                    flags: flags.iter().cloned().collect(),
                })
                .collect(),
        }
    }
}

/// The folder.
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// Opens a folder for a plan: a new one, or one that holds results of the very same plan.
    pub fn open(dir: &Path, listing: &Listing) -> anyhow::Result<Self> {
        let name = || format!("{}", dir.display());
        std::fs::create_dir_all(dir.join("points")).with_context(name)?;
        let store = Self { dir: dir.into() };
        let text = serde_json::to_string(listing)? + "\n";
        let path = dir.join("plan.json");
        if path.exists() {
            ensure!(
                files::read(&path)? == text,
                "{}: holds the results of another plan, profile or version of capsim; give another folder with -o",
                dir.display()
            );
        } else {
            files::write(&path, &text)?;
        }
        Ok(store)
    }

    fn path(&self, hash: &str) -> PathBuf {
        self.dir.join("points").join(format!("{hash}.json"))
    }

    /// A point's result, if it is there and whole.
    pub fn get(&self, hash: &str) -> Option<Kept> {
        point(&self.path(hash), hash)
    }

    /// Keeps a point's result, which is a [`line`].
    pub fn put(&self, hash: &str, result: &str) -> anyhow::Result<()> {
        files::write(&self.path(hash), result)
    }
}

/// A result as its file holds it.
pub fn line(result: &impl Serialize) -> anyhow::Result<String> {
    Ok(serde_json::to_string(&json::value(result))? + "\n")
}

fn point(path: &Path, hash: &str) -> Option<Kept> {
    whole(&std::fs::read_to_string(path).ok()?, hash)
}

/// A result, if the text is all of it and of this point.
pub fn whole(text: &str, hash: &str) -> Option<Kept> {
    let kept: Kept = serde_json::from_str(text).ok()?;
    (kept.schema == super::POINT && kept.hash == hash).then_some(kept)
}

/// What a merge found.
pub struct Merged {
    /// One row per point of the plan, in its order.
    pub rows: Vec<SweepPoint>,
    /// Indices of points without a result.
    pub missing: Vec<usize>,
    /// What the rows are about.
    pub listing: Listing,
}

/// Collects the results of folders of one plan.
pub fn collect(dirs: &[PathBuf]) -> anyhow::Result<Merged> {
    let mut listing: Option<(Listing, String)> = None;
    for dir in dirs {
        let path = dir.join("plan.json");
        let text = files::read(&path)
            .with_context(|| format!("{}: is no folder of a sweep", dir.display()))?;
        match &listing {
            None => {
                let l: Listing = serde_json::from_str(&text)
                    .with_context(|| format!("{}: is damaged", path.display()))?;
                ensure!(
                    l.schema == "capsim.sweep/1",
                    "{}: schema `{}` is not capsim.sweep/1",
                    path.display(),
                    l.schema
                );
                listing = Some((l, text));
            }
            Some((_, first)) => ensure!(
                *first == text,
                "{} and {} hold results of different plans",
                dirs[0].display(),
                dir.display()
            ),
        }
    }
    let (listing, _) = listing.context("no folder given")?;
    let mut rows = vec![];
    let mut missing = vec![];
    for (index, p) in listing.points.iter().enumerate() {
        let file = format!("{}.json", p.hash);
        let found = dirs
            .iter()
            .find_map(|d| point(&d.join("points").join(&file), &p.hash));
        let Some(kept) = found else {
            missing.push(index);
            continue;
        };
        rows.push(SweepPoint {
            schema: kept.schema,
            hash: kept.hash,
            index,
            flags: p.flags.clone(),
            prediction: kept.prediction,
            refused: kept.refused,
        });
    }
    Ok(Merged {
        rows,
        missing,
        listing,
    })
}

/// Writes the tables of all rows: JSON lines with everything, CSV and Parquet with figures.
pub fn tables(dir: &Path, merged: &Merged) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("{}", dir.display()))?;
    let mut lines = files::Pending::new(&dir.join("results.jsonl"))?;
    for row in &merged.rows {
        lines.write_all(line(row)?.as_bytes())?;
    }
    lines.keep()?;
    let table = flat::table(&merged.listing.dimensions, &merged.rows);
    let mut csv = files::Pending::new(&dir.join("results.csv"))?;
    flat::csv(&table, &mut csv)?;
    csv.keep()?;
    let Some(bytes) = flat::parquet(&table)? else {
        return Ok(());
    };
    let mut parquet = files::Pending::new(&dir.join("results.parquet"))?;
    parquet.write_all(&bytes)?;
    parquet.keep()
}
