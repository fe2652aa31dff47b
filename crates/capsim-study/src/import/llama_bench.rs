//! What `llama-bench` and `llama-batched-bench` print, in every format (ggml-org/llama.cpp b6865: tools/llama-bench, `-o md|csv|json|jsonl|sql`;
//! tools/batched-bench), whatever a log has around it: what was timed, and of which model.
use super::ImportError;
use super::llamacpp::{Measure, batched, generation, prompt, test};
use capsim::model::Model;
use capsim::text::{self, Item};
use serde_json::{Map, Value};

/// The model that a row names.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// As llama.cpp describes it: `llama 1B Q4_K - Medium`.
    pub name: String,
    /// Bytes of its weights.
    pub bytes: Option<f64>,
    /// Its parameters.
    pub parameters: Option<f64>,
}

impl Told {
    fn words(&self) -> String {
        let unit = |v: Option<f64>, unit: &str| v.map(|v| format!("{:.2} {unit}", v / 1e9));
        let parts = [
            unit(self.parameters, "B parameters"),
            unit(self.bytes, "GB"),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        match parts.is_empty() {
            true => format!("`{}`", self.name),
            false => format!("`{}` ({})", self.name, parts.join(", ")),
        }
    }
}

/// A timing, and whose.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The model; `None`: the output does not say.
    pub model: Option<Told>,
    /// What was timed.
    pub measure: Measure,
}

/// Everything in an output.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    /// Timings, in order.
    pub rows: Vec<Row>,
    /// Tests of prompt and generation together, which are left out.
    pub combined: usize,
}

impl Output {
    fn take(&mut self, model: Option<Told>, measures: Vec<Measure>) {
        if measures.is_empty() {
            self.combined += 1;
        }
        let rows = measures.into_iter().map(|measure| Row {
            model: model.clone(),
            measure,
        });
        self.rows.extend(rows);
    }

    /// The timings, whatever their models.
    pub fn measures(&self) -> Vec<Measure> {
        self.rows.iter().map(|r| r.measure).collect()
    }

    /// Models that the output names, each once.
    pub fn models(&self) -> Vec<&Told> {
        let mut all: Vec<&Told> = vec![];
        for told in self.rows.iter().filter_map(|r| r.model.as_ref()) {
            if !all.contains(&told) {
                all.push(told);
            }
        }
        all
    }

    /// The timings of `model`, and notes on those of others.
    ///
    /// # Errors
    /// If the output names models, and none has this one's size.
    pub fn of(
        &self,
        model: &Model,
        name: &str,
    ) -> Result<(Vec<Measure>, Vec<String>), ImportError> {
        let told = self.models();
        let mut notes = vec![];
        if self.combined > 0 {
            notes.push(format!(
                "{} tests of prompt and generation together were left out",
                self.combined
            ));
        }
        if told.is_empty() {
            notes.push(
                "the output does not say of which model it is: it is taken for that of --model"
                    .into(),
            );
            return Ok((self.measures(), notes));
        }
        let (same, others): (Vec<&Told>, Vec<&Told>) =
            told.into_iter().partition(|t| agrees(t, model));
        let list = |all: &[&Told]| all.iter().map(|t| t.words()).collect::<Vec<_>>().join(", ");
        if same.is_empty() {
            return Err(ImportError::File {
                file: name.into(),
                problem: format!(
                    "is of {}; --model and --weights say {:.2} B parameters, {:.2} GB",
                    list(&others),
                    model.parameters().total() as f64 / 1e9,
                    model.total_weight_bytes().as_f64() / 1e9
                ),
            });
        }
        if !others.is_empty() {
            notes.push(format!("left out are the rows of {}", list(&others)));
        }
        let rows = self
            .rows
            .iter()
            .filter(|r| r.model.as_ref().is_none_or(|t| same.contains(&t)));
        Ok((rows.map(|r| r.measure).collect(), notes))
    }
}

/// Largest ratio of parameters at which two counts are one model's: llama.cpp counts what is in the file, an output matrix twice or once.
const SAME_PARAMETERS: f64 = 1.12;
/// The same of bytes: a mixture of formats such as Q4_K - Medium differs with the model.
const SAME_BYTES: f64 = 1.35;

fn agrees(told: &Told, model: &Model) -> bool {
    let near = |a: Option<f64>, b: f64, most: f64| {
        a.is_none_or(|a| a > 0.0 && a / b < most && b / a < most)
    };
    near(
        told.parameters,
        model.parameters().total() as f64,
        SAME_PARAMETERS,
    ) && near(told.bytes, model.total_weight_bytes().as_f64(), SAME_BYTES)
}

/// Whether a text may be such an output; its reader says what is wrong with it.
pub fn is(text: &str) -> bool {
    let keys = ["\"avg_ts\"", "\"t_tg\"", "avg_ts,", "| test "];
    let table = |l: &str| {
        l.contains("| test ") && l.contains("t/s") || l.contains("T_PP s") && l.contains("T_TG s")
    };
    text.contains(keys[0]) && text.contains("\"n_gen\"")
        || text.contains(keys[1]) && text.contains("\"t_pp\"")
        || text
            .lines()
            .any(|l| l.contains("avg_ts") && l.contains("n_gen") || table(l))
}

/// Reads an output.
///
/// # Errors
/// If nothing in it is a measurement, or one is damaged.
pub fn read(text: &str, name: &str) -> Result<Output, ImportError> {
    let whole = |problem: String| ImportError::File {
        file: name.into(),
        problem,
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut out = Output::default();
    let wanted = |names: &[&str]| names.contains(&"avg_ts") && names.contains(&"n_gen");
    let table = text::table(text, wanted).map_err(|e| whole(e.to_string()))?;
    let items = match table {
        Some(table) => table.items,
        None => text::values(text).map_err(|e| whole(e.to_string()))?.items,
    };
    for Item { value, .. } in items.iter().chain(&sql(text)) {
        if let Some(measures) = object(value) {
            out.take(told(value), measures);
        }
    }
    if out.rows.is_empty() {
        markdown(text, name, &mut out)?;
    }
    if out.rows.is_empty() {
        return Err(whole(
            "holds no measurement of llama-bench (test, t/s) or llama-batched-bench (PP, TG, B, T_PP s, T_TG s)".into(),
        ));
    }
    Ok(out)
}

/// The model of a JSON row.
fn told(r: &Value) -> Option<Told> {
    let text = |k: &str| r[k].as_str().filter(|t| !t.is_empty());
    let number = |k: &str| {
        r[k].as_f64()
            .or_else(|| r[k].as_str()?.parse().ok())
            .filter(|n| *n > 0.0)
    };
    let name = text("model_type").or_else(|| text("model_filename"))?;
    Some(Told {
        name: name.into(),
        bytes: number("model_size"),
        parameters: number("model_n_params"),
    })
}

/// The measures of one JSON object of either tool; `None`: it is of neither.
fn object(r: &Value) -> Option<Vec<Measure>> {
    let n = |k: &str| {
        r.get(k)
            .and_then(|v| v.as_f64().or_else(|| v.as_str()?.parse().ok()))
    };
    if let (Some(pp), Some(tg), Some(b), Some(tp), Some(tt)) =
        (n("pp"), n("tg"), n("pl"), n("t_pp"), n("t_tg"))
    {
        return Some(batched(pp, tg, b, tp, tt));
    }
    let (pp, tg, rate) = (n("n_prompt")?, n("n_gen")?, n("avg_ts")?);
    let depth = n("n_depth").unwrap_or(0.0);
    Some(match (pp > 0.0, tg > 0.0) {
        (true, false) => prompt(pp, depth, rate).into_iter().collect(),
        (false, true) => generation(tg, depth, rate).into_iter().collect(),
        _ => vec![],
    })
}

/// The rows of `-o sql`: `INSERT INTO name (columns) VALUES ('…', …);`.
fn sql(text: &str) -> Vec<Item> {
    let row = |(i, line): (usize, &str)| {
        let rest = line.trim().strip_prefix("INSERT INTO ")?;
        let (columns, values) = rest.split_once(" VALUES ")?;
        let columns = columns.split_once('(')?.1.trim_end_matches(')');
        let values = values
            .trim()
            .trim_end_matches(';')
            .strip_prefix('(')?
            .strip_suffix(')')?;
        let values = quoted(values);
        let object: Map<String, Value> = columns
            .split(',')
            .map(|c| c.trim().to_string())
            .zip(values.into_iter().map(Value::from))
            .collect();
        Some(Item {
            value: Value::Object(object),
            place: format!("line {}", i + 1),
        })
    };
    text.lines().enumerate().filter_map(row).collect()
}

/// Values between commas, quotation marks taken off; `''` in them is one mark.
fn quoted(text: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut inside = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let last = all.last_mut().expect("there is one");
        match c {
            '\'' if inside && chars.peek() == Some(&'\'') => {
                chars.next();
                last.push('\'');
            }
            '\'' => inside = !inside,
            ',' if !inside => all.push(String::new()),
            ' ' if !inside => {}
            other => last.push(other),
        }
    }
    all
}

/// Cells of a Markdown row.
fn cells(line: &str) -> Option<Vec<&str>> {
    let (before, inner) = line.split_once('|')?;
    // A quotation in an issue or a comment; a progress bar is no table.
    if !before
        .chars()
        .all(|c| c.is_whitespace() || "#>*-".contains(c))
    {
        return None;
    }
    let inner = inner.trim_end();
    let inner = inner.strip_suffix('|').unwrap_or(inner);
    Some(inner.split('|').map(str::trim).collect())
}

/// `3.80 GiB`, `6.74 B`, `494.03 M`: a number in such units.
fn amount(text: &str) -> Option<f64> {
    let (number, unit) = text.split_once(' ')?;
    let scale = match unit.trim() {
        "KiB" => 1024.0,
        "MiB" => 1_048_576.0,
        "GiB" => 1_073_741_824.0,
        "TiB" => 1_099_511_627_776.0,
        "K" => 1e3,
        "M" => 1e6,
        "B" => 1e9,
        "T" => 1e12,
        _ => return None,
    };
    Some(scale * number.parse::<f64>().ok()?)
}

/// Tables of either tool.
fn markdown(text: &str, name: &str, out: &mut Output) -> Result<(), ImportError> {
    let mut header: Vec<String> = vec![];
    for (i, line) in text.lines().enumerate() {
        let fail = |problem: String| ImportError::Line {
            file: name.into(),
            line: i as u64 + 1,
            problem,
        };
        let Some(row) = cells(line) else {
            continue;
        };
        if row.contains(&"test") || (row.contains(&"PP") && row.contains(&"TG")) {
            header = row.iter().map(|s| s.to_string()).collect();
            continue;
        }
        if header.is_empty() || row.iter().all(|c| c.chars().all(|c| "-: ".contains(c))) {
            continue;
        }
        if row.len() != header.len() {
            return Err(fail(format!(
                "{} cells where the header has {} (is the line cut off?)",
                row.len(),
                header.len()
            )));
        }
        let cell = |n: &str| header.iter().position(|h| h == n).map(|i| row[i]);
        let number = |n: &str| -> Result<f64, ImportError> {
            let c = cell(n).ok_or_else(|| fail(format!("there is no column {n}")))?;
            // `1234.56 ± 7.89`
            let c = c.split('±').next().unwrap_or_default().trim();
            match c.parse::<f64>() {
                Ok(v) if (0.0..=1e12).contains(&v) => Ok(v),
                _ => Err(fail(format!("{n} `{c}` is not a number"))),
            }
        };
        let told = cell("model").filter(|m| !m.is_empty()).map(|model| Told {
            name: model.into(),
            bytes: cell("size").and_then(amount),
            parameters: cell("params").and_then(amount),
        });
        let measures = match cell("test") {
            Some(t) => test(t, number("t/s")?).into_iter().collect(),
            None => batched(
                number("PP")?,
                number("TG")?,
                number("B")?,
                number("T_PP s")?,
                number("T_TG s")?,
            ),
        };
        out.take(told, measures);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use capsim::engine::settings::SettingValues;
    use capsim::model::builtin;
    use capsim::predict::spec::weighted;

    // Made by hand in the formats of llama.cpp b6865 (tools/llama-bench).
    const MARKDOWN: &str = "ggml: some line\n\
        | model | size | params | backend | ngl | test | t/s |\n\
        | --- | ---: | ---: | --- | --: | --: | --: |\n\
        | llama 7B Q4_K - Medium | 3.80 GiB | 6.74 B | CUDA | 99 | pp512 | 4000.00 ± 12.5 |\n\
        | llama 7B Q4_K - Medium | 3.80 GiB | 6.74 B | CUDA | 99 | tg128 | 100.00 ± 0.5 |\n\
        | llama 7B Q4_K - Medium | 3.80 GiB | 6.74 B | CUDA | 99 | pp512 @ d4096 | 3000.00 ± 9 |\n\
        | llama 7B Q4_K - Medium | 3.80 GiB | 6.74 B | CUDA | 99 | pp512+tg128 | 400.00 ± 9 |\n\
        build: abc (6000)\n";

    #[test]
    fn every_way_to_write_a_benchmark_says_the_same() {
        let markdown = read(MARKDOWN, "a.md").unwrap();
        let rows = [
            ("512", "0", "0", "4000.0"),
            ("0", "128", "0", "100.0"),
            ("512", "0", "4096", "3000.0"),
            ("512", "128", "0", "400.0"),
        ];
        let json: Vec<String> = rows
            .iter()
            .map(|(p, g, d, t)| {
                format!(
                    r#"{{"model_type":"llama 7B Q4_K - Medium","model_size":4080218931,"model_n_params":6740000000,"n_prompt":{p},"n_gen":{g},"n_depth":{d},"avg_ts":{t}}}"#
                )
            })
            .collect();
        let noisy = format!(
            "ggml_cuda_init: found 1\n  Device 0: x\n[\n{}\n]\n",
            json.join(",\n")
        );
        let columns = "model_type,model_size,model_n_params,n_prompt,n_gen,n_depth,avg_ts";
        let values = |mark: &str| -> Vec<String> {
            let one = |(p, g, d, t): &(&str, &str, &str, &str)| {
                [
                    "llama 7B Q4_K - Medium",
                    "4080218931",
                    "6740000000",
                    p,
                    g,
                    d,
                    t,
                ]
                .map(|v| format!("{mark}{v}{mark}"))
                .join(",")
            };
            rows.iter().map(one).collect()
        };
        let csv = format!("{columns}\n{}\n", values("\"").join("\n"));
        let sql: String = values("'")
            .iter()
            .map(|v| format!("INSERT INTO test ({columns}) VALUES ({v});\n"))
            .collect();
        for text in [
            format!("[{}]", json.join(",")),
            json.join("\n"),
            noisy,
            csv,
            sql,
        ] {
            assert!(is(&text) || text.starts_with("INSERT"), "{text}");
            let found = read(&text, "a").unwrap();
            assert_eq!(found.measures(), markdown.measures(), "{text}");
            assert_eq!((found.combined, found.models().len()), (1, 1), "{text}");
        }
        assert_eq!(
            markdown.rows[0].model.as_ref().unwrap().parameters,
            Some(6.74e9)
        );
    }

    #[test]
    fn models_are_kept_apart_and_compared() {
        let config = builtin::find("llama-3.1-8b").unwrap().config();
        let model = weighted(&config, Some("q4_k_m"), &SettingValues::default()).unwrap();
        let two = MARKDOWN.replace("| pp512 |", "|pp512 |").replacen(
            "build",
            "| llama 8B Q4_K - Medium | 4.58 GiB | 8.03 B | CUDA | 99 | tg128 | 90.00 |\nbuild",
            1,
        );
        let (of, notes) = read(&two, "a.md").unwrap().of(&model, "a.md").unwrap();
        assert_eq!(of.len(), 1);
        assert!(notes.iter().any(|n| n.contains("7B")), "{notes:?}");
        let e = read(MARKDOWN, "a.md")
            .unwrap()
            .of(&model, "a.md")
            .unwrap_err()
            .to_string();
        assert!(e.contains("6.74 B parameters") && e.contains("8.03"), "{e}");
    }

    #[test]
    fn a_batched_table_gives_steps() {
        let t = "|    PP |     TG |    B |   N_KV |   T_PP s | S_PP t/s |   T_TG s | S_TG t/s |      T s |    S t/s |\n\
                 |-------|--------|------|--------|----------|----------|----------|----------|----------|----------|\n\
                 |   128 |    100 |    1 |    228 |    0.100 |  1280.00 |    2.000 |    50.00 |    2.100 |   108.57 |\n\
                 |   128 |    100 |    8 |   1824 |    0.700 |  1462.86 |    4.000 |   200.00 |    4.700 |   388.09 |\n";
        let all = read(t, "b.md").unwrap().measures();
        assert_eq!(all.len(), 3);
        assert_eq!(
            all[2],
            Measure::Step {
                batch: 8.0,
                depth: 178.0,
                seconds: 0.04
            }
        );
        let cut = t.replace("|    4.700 |   388.09 |\n", "");
        assert!(
            read(&cut, "b.md")
                .unwrap_err()
                .to_string()
                .contains("line 4")
        );
    }
}
