//! `capsim report`.
use super::files;
use super::sweep::store::Listing;
use anyhow::{Context, bail, ensure};
use capsim::plan::Slo;
use capsim_study::report::json::{
    self,
    listing::{Page, SweepPoint},
};
use capsim_study::report::page::{self, Section};
use capsim_study::report::terminal;
use clap::Args;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Args, Debug)]
pub struct ReportArgs {
    /// Results of capsim: what `predict`, `capacity`, `compare`, `tune`, `memory`, `validate` or `explain` printed with --json, a sweep's folder, a device
    /// profile, or a file of --save-timeline or --save-requests; or a benchmark that `vllm bench serve --save-result`, capsim bench,
    /// GuideLLM or AIPerf stored; several become one page
    #[arg(required = true)]
    inputs: Vec<PathBuf>,
    /// The page
    #[arg(short, long, value_name = "FILE", default_value = "report.html")]
    output: PathBuf,
    /// Heading (default: what the page is about)
    #[arg(long)]
    title: Option<String>,
    /// Machine-readable output (capsim schema page)
    #[arg(long)]
    json: bool,
    /// Conditions to draw where latency stands against load: ttft.p99<2s,tpot.mean<100ms
    #[arg(long)]
    slo: Option<String>,
    /// Also write every picture as an SVG file of its own into this folder
    #[arg(long, value_name = "DIR")]
    svg: Option<PathBuf>,
}

/// What a file holds.
enum Input {
    Section(Section),
    /// Requests of one file; all such files share a section.
    Requests(Vec<page::Latencies>),
}

/// A row of comma-separated values or a JSON line, by the file's first letter.
fn rows<T: serde::de::DeserializeOwned>(text: &str, name: &str) -> anyhow::Result<Vec<T>> {
    if text.starts_with('{') {
        return text
            .lines()
            .enumerate()
            .filter(|(_, l)| !l.trim().is_empty())
            .map(|(i, l)| {
                serde_json::from_str(l).map_err(|e| anyhow::anyhow!("{name}:{}: {e}", i + 1))
            })
            .collect();
    }
    csv::Reader::from_reader(text.as_bytes())
        .deserialize()
        .map(|r| r.with_context(|| name.to_string()))
        .collect()
}

fn input(path: &Path, slo: Option<&Slo>) -> anyhow::Result<Input> {
    let name = path.display().to_string();
    if path.is_dir() {
        let device = path.join("device.json");
        if device.exists() {
            return input(&device, slo);
        }
        let table = path.join("results.jsonl");
        ensure!(
            table.exists(),
            "{name}: neither a sweep's results (results.jsonl) nor a device profile (device.json) is in this folder"
        );
        let plan = files::read(&path.join("plan.json")).unwrap_or_default();
        let plan = serde_json::from_str::<Listing>(&plan);
        let rows: Vec<SweepPoint> = rows(&files::read(&table)?, &table.display().to_string())?;
        ensure!(!rows.is_empty(), "{name}: the sweep has no points");
        let title = plan.map_or(String::new(), |p| p.name);
        return Ok(Input::Section(
            page::sweep_section(&title, &rows, slo).context(name)?,
        ));
    }
    let text = files::read(path)?;
    match serde_json::from_str::<Value>(text.trim_start_matches('\u{feff}')) {
        Ok(value) if value.is_object() => object(&name, &text, value, slo),
        Ok(_) => bail!("{name}: is no JSON object, and so no result of capsim"),
        Err(e) => lines(&name, &text, &e, slo),
    }
}

/// A file that is one JSON object, in one line or several.
fn object(name: &str, text: &str, value: Value, slo: Option<&Slo>) -> anyhow::Result<Input> {
    let has = |key: &str| value.get(key).is_some();
    let sweep = "capsim.sweep-point/1";
    if has("flags") || value["schema"] == sweep {
        let named = || name.to_string();
        let point = json::read(value).with_context(named)?;
        let section = page::sweep_section("", &[point], slo);
        return Ok(Input::Section(section.with_context(named)?));
    }
    if has("schema") {
        let section = page::section(value, slo).with_context(|| name.to_string())?;
        return Ok(Input::Section(section));
    }
    // A single row of a file of many.
    if has("time") && has("kv_usage") {
        return Ok(Input::Section(page::timeline(name, &rows(text, name)?)));
    }
    if has("id") && has("e2el_ms") {
        return requests(name, text);
    }
    measured(name, text)
}

/// A benchmark that another tool stored.
#[cfg(feature = "live")]
fn measured(name: &str, text: &str) -> anyhow::Result<Input> {
    let all = capsim_study::validate::recordings::recordings(text, name)
        .map_err(|e| anyhow::anyhow!("{e}; nor is it a result of capsim: it has no `schema`"))?;
    Ok(Input::Section(page::measured(&all)))
}

#[cfg(not(feature = "live"))]
fn measured(name: &str, _: &str) -> anyhow::Result<Input> {
    bail!(
        "{name}: is no result of capsim: it has no `schema`; stored benchmarks are read with the feature live"
    )
}

/// A file of `--save-requests`.
fn requests(name: &str, text: &str) -> anyhow::Result<Input> {
    let all: Vec<page::Latencies> = rows(text, name)?;
    ensure!(
        all.iter()
            .any(|r| r.ttft_ms.is_some() || r.e2el_ms.is_some()),
        "{name}: holds no request with ttft_ms or e2el_ms"
    );
    Ok(Input::Requests(all))
}

/// A file of comma-separated values or of several JSON objects; `no_json` says why it is not one object.
fn lines(
    name: &str,
    text: &str,
    no_json: &serde_json::Error,
    slo: Option<&Slo>,
) -> anyhow::Result<Input> {
    let first = text.lines().next().unwrap_or("");
    if first.starts_with("time,") || first.starts_with("{\"time\"") {
        return Ok(Input::Section(page::timeline(name, &rows(text, name)?)));
    }
    if first.starts_with("{\"flags\"") || first.contains("capsim.sweep-point/1") {
        let section = page::sweep_section("", &rows(text, name)?, slo);
        return Ok(Input::Section(section.with_context(|| name.to_string())?));
    }
    let table = !first.starts_with('{');
    if first.contains("ttft_ms") && first.contains("e2el_ms") && (table || first.contains("\"id\""))
    {
        return requests(name, text);
    }
    if !table && text.trim().lines().count() > 1 {
        return measured(name, text);
    }
    bail!("{name}:{}:{}: {no_json}", no_json.line(), no_json.column())
}

/// When a file was written: the day of the answer in it. The same file gives the same page, whenever the page is made.
fn date(path: &Path) -> Option<String> {
    let written = std::fs::metadata(path).ok()?.modified().ok()?;
    let since = written.duration_since(std::time::UNIX_EPOCH).ok()?;
    let utc = capsim_calibrate::clock::utc(since.as_secs());
    utc.split_once('T').map(|(day, _)| day.to_string())
}

/// The pictures of an answer over two axes, for a terminal.
///
/// # Errors
/// An answer without such a picture.
pub fn plots(answer: &impl serde::Serialize) -> anyhow::Result<String> {
    let section = page::section(json::value(answer), None)?;
    let charts = section.pictures.iter().filter_map(|p| match p {
        page::Picture::Chart(c) => terminal::plot(c),
        page::Picture::Bars(_) => None,
    });
    let all: String = charts.map(|c| format!("\n{c}")).collect();
    ensure!(
        !all.is_empty(),
        "--plot: there is nothing to draw over two axes; give a flag several values, as --max-concurrency 1,4,16"
    );
    Ok(all)
}

/// Words of a title as part of a file's name.
pub fn slug(title: &str) -> String {
    let words: Vec<String> = title
        .to_lowercase()
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|w| !w.is_empty())
        .map(String::from)
        .collect();
    words.join("-")
}

/// Every picture in a file of its own, numbered in the order of the page.
fn pictures(dir: &Path, sections: &[Section]) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("--svg {}", dir.display()))?;
    let all = sections.iter().flat_map(|s| &s.pictures);
    for (i, (title, svg)) in all.filter_map(|p| Some((p.title(), p.file()?))).enumerate() {
        let path = dir.join(format!("{:02}-{}.svg", i + 1, slug(title)));
        files::write(&path, &svg)?;
    }
    Ok(())
}

pub fn run(args: &ReportArgs) -> anyhow::Result<ExitCode> {
    let slo = args
        .slo
        .as_deref()
        .map(Slo::parse)
        .transpose()
        .context("--slo")?;
    let mut sections = vec![];
    let mut requests = vec![];
    for path in &args.inputs {
        match input(path, slo.as_ref())? {
            Input::Section(mut s) => {
                s.head.extend(date(path).map(|d| ("Date", d)));
                sections.push(s);
            }
            Input::Requests(r) => requests.push((
                path.file_stem()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned(),
                r,
            )),
        }
    }
    if requests.len() > 6 {
        bail!("more than six files of requests cannot be told apart in one picture");
    }
    if !requests.is_empty() {
        sections.push(page::requests(&requests));
    }
    if let Some(dir) = &args.svg {
        pictures(dir, &sections)?;
    }
    files::write(&args.output, &page::page(args.title.as_deref(), &sections))?;
    let answer = Page {
        schema: "capsim.page/1".into(),
        output: args.output.display().to_string(),
        sections: sections.len(),
    };
    if args.json {
        println!("{}", json::text(&answer));
    } else {
        println!("{}", answer.output);
    }
    Ok(ExitCode::SUCCESS)
}
