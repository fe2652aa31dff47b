//! What to sweep: a plan in TOML, or the parameter files of `vllm bench sweep`.
use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use std::path::Path;

use super::super::files;
use capsim::predict::spec::ScenarioSpec;
use serde_json::Value as Word;

/// Most points of one plan.
const MAX_POINTS: usize = 1_000_000;

/// Fields of a scenario with their values; later ones win.
pub type Flags = Vec<(String, Word)>;

/// Sets a field.
fn set(flags: &mut Flags, name: &str, word: Word) {
    match flags.iter_mut().find(|(n, _)| n == name) {
        Some((_, w)) => *w = word,
        None => flags.push((name.into(), word)),
    }
}

/// All points, in the order in which they count.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Its name, for people.
    pub name: String,
    /// Words of a `vllm serve` line that holds for all points.
    pub line: Vec<String>,
    /// Flags that differ between points, in order of appearance.
    pub dimensions: Vec<String>,
    /// Fields of a scenario, per point.
    pub points: Vec<Flags>,
    /// Words of `vllm serve`, per point, after those of the line (empty: none anywhere).
    pub serve: Vec<Vec<String>>,
}

impl Plan {
    /// Sets a flag of every point.
    pub fn set(&mut self, assignment: &str) -> anyhow::Result<()> {
        let (name, value) = assignment
            .split_once('=')
            .with_context(|| format!("--set `{assignment}`: must be flag=value"))?;
        let name = flag(name);
        let word = match value {
            "true" => Word::Bool(true),
            "false" => Word::Bool(false),
            text => Word::String(text.into()),
        };
        for point in &mut self.points {
            set(point, &name, word.clone());
        }
        self.dimensions.retain(|d| *d != name);
        Ok(())
    }
}

/// The field that a name means; one that there is none of stays what it is, and is refused where it is set.
fn flag(name: &str) -> String {
    let name = name.trim().trim_start_matches("--").replace('-', "_");
    ScenarioSpec::field(&name).map_or(name, |f| f.name.into())
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct PlanFile {
    name: String,
    serve: String,
    base: toml::Table,
    grid: toml::Table,
    together: Vec<toml::Table>,
    points: Vec<toml::Table>,
}

fn word(value: &toml::Value) -> anyhow::Result<Word> {
    use toml::Value as V;
    Ok(match value {
        V::Boolean(b) => Word::Bool(*b),
        V::Integer(n) => (*n).into(),
        // JSON has no infinity.
        V::Float(x) => {
            serde_json::Number::from_f64(*x).map_or_else(|| x.to_string().into(), Word::Number)
        }
        V::String(s) => Word::String(s.clone()),
        V::Array(_) => bail!("a list belongs in [grid] or [[together]]"),
        V::Datetime(_) | V::Table(_) => bail!("must be a number, a text, true or false"),
    })
}

fn words(value: &toml::Value) -> anyhow::Result<Vec<Word>> {
    match value {
        toml::Value::Array(a) => {
            ensure!(!a.is_empty(), "the list is empty");
            a.iter().map(word).collect()
        }
        one => Ok(vec![word(one)?]),
    }
}

/// Reads a plan in TOML. Keys are flags of `capsim predict`; `name` appears in errors.
pub fn parse(text: &str, name: &str) -> anyhow::Result<Plan> {
    let file = toml::from_str(text).map_err(|e| {
        let line = e
            .span()
            .map(|s| text[..s.start.min(text.len())].matches('\n').count() + 1);
        let at = line.map_or(String::new(), |l| format!(":{l}"));
        anyhow::anyhow!("{name}{at}: {}", e.message())
    })?;
    expand(&file, name)
}

/// Reads a plan in JSON, of the same structure.
pub fn parse_json(text: &str, name: &str) -> anyhow::Result<Plan> {
    let file = serde_json::from_str(text).with_context(|| name.to_string())?;
    expand(&file, name)
}

/// All points of a plan.
fn expand(file: &PlanFile, name: &str) -> anyhow::Result<Plan> {
    let line = shlex::split(&file.serve)
        .with_context(|| format!("{name}: serve: a quotation is not closed"))?;
    let mut base: Flags = vec![];
    for (k, v) in &file.base {
        let w = word(v).with_context(|| format!("{name}: [base] {k}"))?;
        set(&mut base, &flag(k), w);
    }
    // One dimension: alternatives, each of one or more flags.
    let mut dimensions: Vec<Vec<Flags>> = vec![];
    for (k, v) in &file.grid {
        let values = words(v).with_context(|| format!("{name}: [grid] {k}"))?;
        dimensions.push(values.into_iter().map(|w| vec![(flag(k), w)]).collect());
    }
    for (i, group) in file.together.iter().enumerate() {
        let at = |k: &str| format!("{name}: [[together]] {}, {k}", i + 1);
        let mut rows: Vec<Flags> = vec![];
        for (k, v) in group {
            let values = words(v).with_context(|| at(k))?;
            if rows.is_empty() {
                rows = vec![vec![]; values.len()];
            }
            ensure!(
                rows.len() == values.len(),
                "{}: {} values beside {} of the other flags",
                at(k),
                values.len(),
                rows.len()
            );
            for (row, w) in rows.iter_mut().zip(values) {
                row.push((flag(k), w));
            }
        }
        if !rows.is_empty() {
            dimensions.push(rows);
        }
    }
    let mut plan = Plan {
        name: file.name.clone(),
        line,
        ..Plan::default()
    };
    let mut note = |flags: &Flags| {
        for (f, _) in flags {
            if !plan.dimensions.contains(f) {
                plan.dimensions.push(f.clone());
            }
        }
    };
    for d in &dimensions {
        if d.len() > 1 {
            d.iter().for_each(&mut note);
        }
    }
    let size = dimensions
        .iter()
        .try_fold(1usize, |n, d| n.checked_mul(d.len()))
        .filter(|n| *n <= MAX_POINTS)
        .with_context(|| format!("{name}: more than {MAX_POINTS} combinations"))?;
    if !dimensions.is_empty() || file.points.is_empty() {
        for index in 0..size {
            let mut point = base.clone();
            let mut rest = index;
            let mut chosen = vec![];
            // The last dimension varies fastest.
            for d in dimensions.iter().rev() {
                chosen.push(&d[rest % d.len()]);
                rest /= d.len();
            }
            for flags in chosen.into_iter().rev() {
                for (f, w) in flags {
                    set(&mut point, f, w.clone());
                }
            }
            plan.points.push(point);
        }
    }
    for (i, extra) in file.points.iter().enumerate() {
        let mut point = base.clone();
        for (k, v) in extra {
            let w = word(v).with_context(|| format!("{name}: [[points]] {}, {k}", i + 1))?;
            note(&vec![(flag(k), w.clone())]);
            set(&mut point, &flag(k), w);
        }
        plan.points.push(point);
    }
    Ok(plan)
}

/// Flags of `vllm bench serve` that change nothing of the load.
const HARMLESS: &[&str] = &[
    "backend",
    "base-url",
    "dataset-name",
    "disable-tqdm",
    "endpoint",
    "endpoint-type",
    "host",
    "ignore-eos",
    "label",
    "metadata",
    "metric-percentiles",
    "model",
    "percentile-metrics",
    "port",
    "ready-check-timeout-sec",
    "request-id-prefix",
    "result-dir",
    "result-filename",
    "save-detailed",
    "save-result",
    "served-model-name",
    "tokenizer",
    "tokenizer-mode",
    "trust-remote-code",
];

/// The records of a parameter file of `vllm bench sweep` (vllm/benchmarks/sweep/param_sweep.py@v0.32.0): a list of objects, or an
/// object of named ones.
fn records(path: &Path) -> anyhow::Result<Vec<serde_json::Map<String, serde_json::Value>>> {
    use serde_json::Value as V;
    let name = path.display();
    let value: V = serde_json::from_str(&files::read(path)?)
        .map_err(|e| anyhow::anyhow!("{name}:{}: {e}", e.line()))?;
    let object = |v: V, at: String| match v {
        V::Object(m) => Ok(m),
        _ => bail!("{name}: {at} must be an object of parameters"),
    };
    match value {
        V::Array(list) => list
            .into_iter()
            .enumerate()
            .map(|(i, v)| object(v, format!("record {}", i + 1)))
            .collect(),
        V::Object(named) => named
            .into_iter()
            .map(|(k, v)| {
                let mut m = object(v, format!("`{k}`"))?;
                m.insert("_benchmark_name".into(), k.into());
                Ok(m)
            })
            .collect(),
        _ => bail!("{name}: must be a list of parameter objects, or an object of named ones"),
    }
}

/// The points of `vllm bench sweep serve --serve-params A --bench-params B`: every record of one with every record of the other,
/// but only those whose linked variables agree (`--link-vars serve_key=bench_key,…`).
pub fn vllm(
    serve: Option<&Path>,
    bench: Option<&Path>,
    links: &[String],
    known: &dyn Fn(&str) -> bool,
) -> anyhow::Result<Plan> {
    let read = |p: Option<&Path>| p.map_or(Ok(vec![serde_json::Map::new()]), records);
    let (serves, benches) = (read(serve)?, read(bench)?);
    let links: Vec<(String, String)> = links
        .iter()
        .map(|l| {
            let (a, b) = l
                .split_once('=')
                .with_context(|| format!("--link-vars `{l}`: must be serve_key=bench_key"))?;
            Ok((flag(a), flag(b)))
        })
        .collect::<anyhow::Result<_>>()?;
    let mut plan = Plan {
        name: "vllm bench sweep".into(),
        ..Plan::default()
    };
    ensure!(
        serves.len().saturating_mul(benches.len()) <= MAX_POINTS,
        "more than {MAX_POINTS} combinations"
    );
    for s in &serves {
        for b in &benches {
            let find = |m: &serde_json::Map<_, _>, key: &str| {
                m.iter()
                    .find(|(k, _)| flag(k) == key)
                    .map(|(_, v): (&String, &serde_json::Value)| v.clone())
            };
            if !links.iter().all(|(x, y)| find(s, x) == find(b, y)) {
                continue;
            }
            let mut flags: Flags = vec![];
            let mut line = vec![];
            for (k, v) in s.iter().filter(|(k, _)| *k != "_benchmark_name") {
                let (name, word) = (flag(k), v.clone());
                if known(&name) {
                    set(&mut flags, &name, word);
                    continue;
                }
                // A setting that only `vllm serve` knows: its own line parser says what it means.
                match word {
                    Word::Bool(true) => line.push(format!("--{name}")),
                    Word::Bool(false) => line.push(format!("--no-{name}")),
                    Word::String(t) => line.extend([format!("--{name}"), t]),
                    other => line.extend([format!("--{name}"), other.to_string()]),
                }
            }
            for (k, v) in b.iter().filter(|(k, _)| *k != "_benchmark_name") {
                let name = flag(k);
                if known(&name) && !HARMLESS.contains(&name.replace('_', "-").as_str()) {
                    set(&mut flags, &name, v.clone());
                } else {
                    ensure!(
                        HARMLESS.contains(&name.replace('_', "-").as_str()),
                        "{}: `{k}` is no load that capsim knows",
                        bench.map_or(String::new(), |p| p.display().to_string())
                    );
                }
            }
            for (f, _) in &flags {
                if !plan.dimensions.contains(f) {
                    plan.dimensions.push(f.clone());
                }
            }
            plan.points.push(flags);
            plan.serve.push(line);
        }
    }
    ensure!(
        !plan.points.is_empty(),
        "no combination of the two files agrees in the linked variables"
    );
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(p: &Flags) -> Vec<String> {
        p.iter()
            .map(|(f, w)| format!("{f}={}", capsim_study::report::page::worded(w)))
            .collect()
    }

    #[test]
    fn every_combination_the_last_key_fastest_then_the_extra_points() {
        let plan = parse(
            "serve = 'vllm serve m --max-num-seqs 3'\n[base]\nseed = 7\n[grid]\nmax_num_seqs = [1, 2]\nrequest-rate = [0.5, inf]\n\
             [[together]]\nrandom-input-len = [10, 20]\nrandom-output-len = [1, 2]\n[[points]]\nseed = 8\nvllm-bench = true\n",
            "p",
        )
        .unwrap();
        assert_eq!(plan.points.len(), 9);
        assert_eq!(
            texts(&plan.points[1]),
            [
                "seed=7",
                "max_num_seqs=1",
                "request_rate=0.5",
                "random_input_len=20",
                "random_output_len=2"
            ]
        );
        assert_eq!(
            texts(&plan.points[6]),
            [
                "seed=7",
                "max_num_seqs=2",
                "request_rate=inf",
                "random_input_len=10",
                "random_output_len=1"
            ]
        );
        assert_eq!(texts(&plan.points[8]), ["seed=8", "vllm_bench=true"]);
        assert_eq!(plan.line.len(), 5);
        assert_eq!(plan.dimensions.len(), 6);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, part) in [
            ("[base]\nseed = [1]\n", "[base] seed: a list belongs"),
            ("[grid]\nseed = []\n", "[grid] seed"),
            ("[gird]\nseed = [1]\n", "p:1"),
            ("[[together]]\na = [1, 2]\nb = [1]\n", "1 values beside 2"),
            ("[grid]\nseed = [1, {a = 1}]\n", "[grid] seed"),
            ("serve = \"vllm 'x\"\n", "quotation"),
            ("[base]\nseed = \n", "p:2"),
        ] {
            let e = format!("{:#}", parse(text, "p").unwrap_err());
            assert!(e.contains(part), "{text}: {e}");
        }
        let big: String = (0..7)
            .map(|i| format!("k{i} = [0,1,2,3,4,5,6,7,8,9]\n"))
            .collect();
        assert!(parse(&format!("[grid]\n{big}"), "p").is_err());
    }

    #[test]
    fn no_text_makes_it_panic() {
        use rand::{Rng, RngExt, SeedableRng};
        let whole = "serve = 'vllm serve m'\n[base]\nseed = 7\nx = true\n[grid]\na = [1, 2.5, 'w']\n[[together]]\nb = [1, 2]\nc = [3, 4]\n\
                     [[points]]\nd = -1e9\n";
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        let cases = 3000;
        let mut read = 0;
        for _ in 0..cases {
            let mut bytes = whole.as_bytes().to_vec();
            for _ in 0..rng.random_range(1..6) {
                if bytes.is_empty() {
                    break;
                }
                let at = rng.random_range(0..bytes.len());
                match rng.random_range(0..4) {
                    0 => bytes[at] = rng.next_u32() as u8,
                    1 => drop(bytes.remove(at)),
                    2 => bytes.truncate(at.max(1)),
                    _ => bytes.insert(at, b"[]{}=\"'\n,."[rng.random_range(0..10)]),
                }
            }
            read += usize::from(parse(&String::from_utf8_lossy(&bytes), "p").is_ok());
        }
        // Some mutations leave a plan, others do not: both sides were seen.
        assert!(read > 0 && read < cases, "{read} of {cases}");
    }
}
