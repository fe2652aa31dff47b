//! Stored benchmarks that a command names, as recordings.
use super::files;
use super::load;
use anyhow::{Context, ensure};
use capsim_live::bench::read::Recording;
use capsim_study::validate::recordings::recordings;
use std::path::{Path, PathBuf};

/// A file, and which of its results: `FILE`, `FILE#3`. A file whose own name ends like that is itself.
fn chosen(path: &Path) -> anyhow::Result<(PathBuf, Option<usize>)> {
    let name = path.display().to_string();
    let Some((file, number)) = name.rsplit_once('#').filter(|_| !path.exists()) else {
        return Ok((path.into(), None));
    };
    let number = number.parse::<usize>().ok().filter(|n| *n > 0);
    let number = number.with_context(|| {
        format!("--bench `{name}`: after # comes the number of a result, from 1 on")
    })?;
    Ok((file.into(), Some(number)))
}

/// Every result of these files, in their order, with names that differ.
///
/// # Errors
/// A file that cannot be read, or a result that it does not hold.
pub fn of_files(paths: &[PathBuf]) -> anyhow::Result<Vec<Recording>> {
    let mut all: Vec<(PathBuf, Recording)> = vec![];
    for path in paths {
        let (file, number) = chosen(path)?;
        let mut found = recordings(&files::read(&file)?, &file.display().to_string())?;
        if let Some(n) = number {
            ensure!(
                n <= found.len(),
                "--bench `{}`: the file holds {}",
                path.display(),
                match found.len() {
                    1 => "one result".into(),
                    several => format!("{several} results"),
                }
            );
            found = vec![found.swap_remove(n - 1)];
        }
        all.extend(found.into_iter().map(|r| (file.clone(), r)));
    }
    Ok(distinct(all))
}

/// Two files of one name are told apart by their folders, and one file that is given twice by a number.
fn distinct(mut all: Vec<(PathBuf, Recording)>) -> Vec<Recording> {
    let names: Vec<String> = all.iter().map(|(_, r)| r.name.clone()).collect();
    let twice = |name: &str| names.iter().filter(|n| *n == name).count() > 1;
    for (path, r) in &mut all {
        if twice(&r.name)
            && let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty())
        {
            r.name = format!("{}/{}", folder.display(), r.name);
        }
    }
    let mut seen: Vec<String> = vec![];
    let mut out = vec![];
    for (_, mut r) in all {
        let name = r.name.clone();
        let again = (2..).map(|n| format!("{name} ({n})"));
        r.name = std::iter::once(name.clone())
            .chain(again)
            .find(|n| !seen.contains(n))
            .unwrap_or(name);
        seen.push(r.name.clone());
        out.push(r);
    }
    out
}

/// A model's name without its owner, in letters and digits.
fn plain(name: &str) -> String {
    let last = name
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or(name);
    last.chars()
        .filter(char::is_ascii_alphanumeric)
        .collect::<String>()
        .to_lowercase()
}

/// What a reader must know if the file names another model than the one that is predicted.
pub fn other_model(r: &Recording, predicted: &str) -> Option<String> {
    let told = r.model.as_deref().filter(|m| !m.is_empty())?;
    let (a, b) = (plain(told), plain(predicted));
    if a == b || a.starts_with(&b) || b.starts_with(&a) {
        return None;
    }
    if let (Ok(a), Ok(b)) = (load::config(told), load::config(predicted))
        && a == b
    {
        return None;
    }
    Some(format!(
        "THE FILE NAMES ANOTHER MODEL: `{told}`; `{predicted}` is predicted, and the two compare only if they are the same"
    ))
}
