//! The documentation as a site with search: README and docs/, a page for each question, and every page of the repository that they link.
//!
//! `cargo xtask site` writes it to target/site. A page that the contents (docs/SUMMARY.md) leave out, a link to a file that is not there
//! or to a heading that no page has is an error.
use anyhow::{Context, bail, ensure};
use mdbook_driver::MDBook;
use mdbook_driver::config::Config;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

/// Where the questions stand; each heading of the third level becomes a page.
const QUESTIONS: &str = "docs/guide/questions.md";
/// Largest file that is copied because a page links it.
const LARGEST: u64 = 1 << 20;

/// The book's sources: pages by their path in the repository.
struct Book {
    root: PathBuf,
    pages: BTreeMap<PathBuf, String>,
    /// Other files that pages link.
    files: BTreeSet<PathBuf>,
    /// Pages that only links reach.
    linked: Vec<PathBuf>,
    problems: Vec<String>,
}

/// A path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut all = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(all.pop()),
            Component::CurDir => {}
            part => all.push(part),
        }
    }
    all
}

/// Targets of the links in a page, code apart.
fn links(text: &str) -> Vec<String> {
    let mut fenced = false;
    let mut all = vec![];
    for line in text.lines() {
        fenced ^= line.trim_start().starts_with("```");
        if fenced {
            continue;
        }
        let words: String = line.split('`').step_by(2).collect();
        let targets = words.split("](").skip(1);
        all.extend(targets.filter_map(|t| Some(t.split_once(')')?.0.to_string())));
    }
    all
}

/// A file of the repository that a page at `from` links; `None`: elsewhere, or a place on the same page.
fn target(from: &Path, link: &str) -> Option<PathBuf> {
    let path = link.split('#').next().unwrap_or_default();
    let elsewhere = link.contains("://") || link.starts_with("mailto:") || path.is_empty();
    let folder = from.parent().unwrap_or(Path::new(""));
    (!elsewhere).then(|| plain(&folder.join(path)))
}

impl Book {
    /// Takes a page, and all that it links.
    fn take(&mut self, page: PathBuf) -> anyhow::Result<()> {
        if self.pages.contains_key(&page) {
            return Ok(());
        }
        let text = fs::read_to_string(self.root.join(&page))
            .with_context(|| page.display().to_string())?;
        let links = links(&text);
        self.pages.insert(page.clone(), text);
        for link in links {
            let Some(file) = target(&page, &link) else {
                continue;
            };
            let there = self.root.join(&file);
            if there.is_dir() {
                continue;
            }
            if !there.is_file() {
                self.problems
                    .push(format!("{}: `{link}` is not there", page.display()));
            } else if file.extension().is_some_and(|e| e == "md") {
                if !self.pages.contains_key(&file) {
                    self.take(file.clone())?;
                    self.linked.push(file);
                }
            } else if fs::metadata(&there)?.len() <= LARGEST {
                self.files.insert(file);
            }
        }
        Ok(())
    }

    /// Makes a page of each question; the contents' lines for them.
    fn questions(&mut self) -> String {
        let page = PathBuf::from(QUESTIONS);
        let Some(text) = self.pages.get(&page).cloned() else {
            return String::new();
        };
        let mut parts = text.split("\n### ");
        let mut intro = parts.next().unwrap_or_default().to_string() + "\n";
        let mut contents = String::new();
        for part in parts {
            let (title, rest) = part.split_once('\n').unwrap_or((part, ""));
            // A heading of the second level begins a group of those that follow.
            let (body, group) = match rest.split_once("\n## ") {
                Some((body, group)) => (body, Some(group)),
                None => (rest, None),
            };
            let name = slug(title);
            let deeper = relinked(body, nearer);
            let at = page.with_extension("").join(format!("{name}.md"));
            self.pages.insert(at, format!("# {title}\n{deeper}"));
            contents += &format!("  - [{title}](docs/guide/questions/{name}.md)\n");
            intro += &format!("- [{title}](questions/{name}.md)\n");
            if let Some(group) = group {
                intro += &format!("\n## {group}\n\n");
            }
        }
        self.pages.insert(page, intro);
        contents
    }

    /// Writes the sources.
    fn write(&self, src: &Path, summary: &str) -> anyhow::Result<()> {
        let put = |name: &Path, bytes: &[u8]| -> anyhow::Result<()> {
            let path = src.join(name);
            fs::create_dir_all(path.parent().unwrap_or(src))?;
            Ok(fs::write(path, bytes)?)
        };
        for (name, text) in &self.pages {
            let name = PathBuf::from(indexed(&name.display().to_string()));
            let text = relinked(text, |link| match link.contains("://") {
                true => link.into(),
                false => indexed(link),
            });
            put(&name, text.as_bytes())?;
        }
        for name in &self.files {
            put(name, &fs::read(self.root.join(name))?)?;
        }
        put(Path::new("SUMMARY.md"), indexed(summary).as_bytes())
    }
}

/// A text with each link's target changed.
fn relinked(text: &str, change: impl Fn(&str) -> String) -> String {
    let mut parts = text.split("](");
    let mut all = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let (link, rest) = part.split_once(')').unwrap_or((part, ""));
        let end = if part.contains(')') { ")" } else { "" };
        all += &format!("]({}{end}{rest}", change(link));
    }
    all
}

/// A link of a page in the folder above, seen from one below.
fn nearer(link: &str) -> String {
    match link.starts_with('#') || link.contains("://") {
        true => link.into(),
        false => format!("../{link}"),
    }
}

/// mdBook's name for the page of a folder.
fn indexed(path: &str) -> String {
    path.replace("README.md", "index.md")
}

/// A title as a file's name.
fn slug(title: &str) -> String {
    let words = title.to_lowercase();
    let words = words.split(|c: char| !c.is_ascii_alphanumeric());
    let words: Vec<&str> = words.filter(|w| !w.is_empty()).collect();
    words[..words.len().min(10)].join("-")
}

/// All pages of a folder.
fn pages(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut all = vec![];
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            all.extend(pages(&path)?);
        } else if path.extension().is_some_and(|e| e == "md") {
            all.push(path);
        }
    }
    Ok(all)
}

/// Reads the contents and everything that they name.
fn book(root: &Path) -> anyhow::Result<(Book, String)> {
    let summary = fs::read_to_string(root.join("docs/SUMMARY.md")).context("docs/SUMMARY.md")?;
    let mut book = Book {
        root: root.into(),
        pages: BTreeMap::new(),
        files: BTreeSet::new(),
        linked: vec![],
        problems: vec![],
    };
    let at = Path::new("docs/SUMMARY.md");
    let named: Vec<PathBuf> = links(&summary)
        .iter()
        .filter_map(|l| target(at, l))
        .collect();
    for page in pages(&root.join("docs"))? {
        let page = page.strip_prefix(root)?.to_path_buf();
        if page != at && !named.contains(&page) {
            book.problems
                .push(format!("{}: not in docs/SUMMARY.md", page.display()));
        }
    }
    for page in &named {
        book.take(page.clone())?;
    }
    let questions = book.questions();
    let mut text = String::new();
    for line in summary.lines() {
        let line = match line.split_once("](") {
            Some((before, path)) => {
                let path = path.trim_end_matches(')');
                format!(
                    "{before}]({})",
                    plain(&Path::new("docs").join(path)).display()
                )
            }
            None => line.into(),
        };
        text += &format!("{line}\n");
        if line.contains(QUESTIONS) {
            text += &questions;
        }
    }
    book.linked.retain(|p| !named.contains(p));
    if !book.linked.is_empty() {
        text += "\n# Records\n\n";
        for page in &book.linked {
            let name = page.with_extension("").display().to_string();
            text += &format!("- [{name}]({})\n", page.display());
        }
    }
    Ok((book, text))
}

/// Ids of the elements of a page, and its links.
fn ids(html: &str) -> BTreeSet<&str> {
    let after = html.split(" id=\"").skip(1);
    after.filter_map(|p| p.split('"').next()).collect()
}

/// Links of the built site that lead nowhere.
fn broken(site: &Path, folder: &Path, problems: &mut Vec<String>) -> anyhow::Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            count += broken(site, &path, problems)?;
            continue;
        }
        let printed = path.ends_with("print.html") || path.ends_with("toc.html");
        if path.extension().is_none_or(|e| e != "html") || printed || path.ends_with("404.html") {
            continue;
        }
        count += 1;
        let html = fs::read_to_string(&path)?;
        let name = path.strip_prefix(site)?;
        let main = html.split("<main").nth(1).unwrap_or_default();
        let main = main.split("</main>").next().unwrap_or_default();
        for link in main.split("href=\"").skip(1) {
            let link = link.split('"').next().unwrap_or_default();
            let (file, place) = link.split_once('#').unwrap_or((link, ""));
            let there = match file {
                "" => path.clone(),
                _ => match target(name, file) {
                    Some(file) => site.join(file),
                    None => continue,
                },
            };
            if there.is_dir() {
                continue;
            }
            let Ok(text) = fs::read_to_string(&there) else {
                problems.push(format!("{}: `{link}` is not on the site", name.display()));
                continue;
            };
            if !place.is_empty() && !ids(&text).contains(place) {
                problems.push(format!("{}: `{link}`: no such heading", name.display()));
            }
        }
    }
    Ok(count)
}

fn build(output: &Path) -> anyhow::Result<usize> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = root.canonicalize()?;
    let (book, summary) = book(&root)?;
    let work = tempfile::tempdir()?;
    book.write(&work.path().join("src"), &summary)?;
    let mut config = Config::default();
    config.book.title = Some("capsim".into());
    config.book.description =
        Some("Predict how fast a language model will serve on your device".into());
    config.build.build_dir = "site".into();
    config.set("output.html.search.limit-results", 20)?;
    config.set("output.html.print.enable", false)?;
    MDBook::load_with_config(work.path(), config)?.build()?;
    let mut problems = book.problems;
    let site = work.path().join("site");
    let count = broken(&site, &site, &mut problems)?;
    ensure!(problems.is_empty(), "{}", problems.join("\n"));
    if output.exists() {
        fs::remove_dir_all(output)?;
    }
    copy(&site, output)?;
    Ok(count)
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let there = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy(&path, &there)?;
        } else {
            fs::copy(&path, &there)?;
        }
    }
    Ok(())
}

fn run() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let output = match &words[..] {
        [] => "target/site",
        [folder] if !folder.starts_with('-') => folder,
        _ => bail!(
            "cargo xtask site [FOLDER]: writes the documentation there (default: target/site)"
        ),
    };
    // A folder that holds something else is not replaced.
    let output = Path::new(output);
    ensure!(
        !output.exists() || output.join("index.html").exists(),
        "{}: is there and is no site",
        output.display()
    );
    let count = build(output)?;
    println!("{count} pages in {}", output.display());
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::from(2)
        }
    }
}
