//! Flags that say what is reported, and the files.
use super::super::files;
use anyhow::{Context, bail, ensure};
use capsim::metrics::Latency;
use capsim::workload::WorkloadSpec;
use capsim_live::bench::measured::Goodput;
use capsim_live::bench::{Measured, MetricsAs, result};
use clap::Args;
use std::path::PathBuf;

#[derive(Args, Debug)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Latencies to report, of ttft, tpot, itl, e2el
    #[arg(long, value_delimiter = ',', default_value = "ttft,tpot,itl,e2el")]
    percentile_metrics: Vec<String>,
    /// Percentiles to report
    #[arg(long, value_delimiter = ',', default_value = "90,99")]
    metric_percentiles: Vec<f64>,
    /// Objectives in milliseconds: ttft:MS tpot:MS e2el:MS
    #[arg(long, num_args = 1.., value_name = "METRIC:MS")]
    goodput: Vec<String>,
    /// Whose definitions: vllm, vllm-0.12, guidellm, aiperf (docs/bench.md)
    #[arg(long, default_value = "vllm")]
    metrics_as: MetricsAs,
    /// Write vllm bench serve's result JSON (with more keys)
    #[arg(long)]
    save_result: bool,
    /// With lists of every request's figures
    #[arg(long)]
    pub save_detailed: bool,
    /// Folder of the result
    #[arg(long, value_name = "DIR")]
    result_dir: Option<PathBuf>,
    /// Name of the result (default: by load, model and time)
    #[arg(long, value_name = "FILE")]
    result_filename: Option<PathBuf>,
    /// Also write every request as one JSON line
    #[arg(long, value_name = "FILE")]
    save_requests: Option<PathBuf>,
    /// Also write a Markdown report
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
    /// KEY=VALUE for the result file; may be repeated
    #[arg(long, num_args = 1.., value_name = "KEY=VALUE")]
    metadata: Vec<String>,
    /// Label for the result file
    #[arg(long)]
    label: Option<String>,
    /// Machine-readable output: the result JSON
    #[arg(long)]
    pub json: bool,
}

/// What is to be reported, checked.
pub struct Wanted {
    pub rule: MetricsAs,
    pub metrics: Vec<Latency>,
    pub percentiles: Vec<f64>,
    pub goodput: Option<Goodput>,
    pub metadata: Vec<(String, String)>,
    pub label: Option<String>,
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            rule: MetricsAs::Vllm,
            metrics: Latency::REPORTED.to_vec(),
            percentiles: vec![90.0, 99.0],
            goodput: None,
            metadata: vec![],
            label: None,
        }
    }
}

impl OutputArgs {
    /// Everything checked before a request is sent.
    pub fn wanted(&self) -> anyhow::Result<Wanted> {
        let metrics = self
            .percentile_metrics
            .iter()
            .map(|m| {
                let found = Latency::REPORTED.into_iter().find(|l| l.name() == m);
                found.with_context(|| {
                    format!("--percentile-metrics `{m}`: must be ttft, tpot, itl or e2el")
                })
            })
            .collect::<anyhow::Result<_>>()?;
        for p in &self.metric_percentiles {
            ensure!(
                (0.0..=100.0).contains(p),
                "--metric-percentiles {p}: must lie between 0 and 100"
            );
        }
        let mut goodput = Goodput::default();
        for word in &self.goodput {
            let (metric, limit) = word
                .split_once(':')
                .with_context(|| format!("--goodput `{word}`: must be METRIC:MILLISECONDS"))?;
            let limit: f64 = limit
                .parse()
                .ok()
                .filter(|v: &f64| v.is_finite() && *v >= 0.0)
                .with_context(|| {
                    format!("--goodput `{word}`: `{limit}` is no number of milliseconds")
                })?;
            let slot = match metric {
                "ttft" => &mut goodput.ttft,
                "tpot" => &mut goodput.tpot,
                "e2el" => &mut goodput.e2el,
                other => bail!("--goodput `{other}`: must be ttft, tpot or e2el"),
            };
            *slot = Some(limit / 1e3);
        }
        let metadata = self
            .metadata
            .iter()
            .map(|m| {
                let (k, v) = m
                    .split_once('=')
                    .with_context(|| format!("--metadata `{m}`: must be KEY=VALUE"))?;
                ensure!(k != "capsim", "--metadata `capsim`: the name is taken");
                Ok((k.into(), v.into()))
            })
            .collect::<anyhow::Result<_>>()?;
        if let Some(dir) = &self.result_dir {
            ensure!(dir.is_dir(), "--result-dir {}: is no folder", dir.display());
        }
        Ok(Wanted {
            rule: self.metrics_as,
            metrics,
            percentiles: self.metric_percentiles.clone(),
            goodput: (!self.goodput.is_empty()).then_some(goodput),
            metadata,
            label: self.label.clone(),
        })
    }

    /// Writes the files that were asked for. `point` numbers the points of a sweep.
    pub fn save(
        &self,
        value: &serde_json::Value,
        m: &Measured,
        spec: &WorkloadSpec,
        date: &str,
        point: Option<usize>,
    ) -> anyhow::Result<()> {
        let numbered = |path: PathBuf| match point {
            None => path,
            Some(i) => {
                let stem = path.file_stem().unwrap_or_default().to_string_lossy();
                let ext = path
                    .extension()
                    .map_or(String::new(), |e| format!(".{}", e.to_string_lossy()));
                path.with_file_name(format!("{stem}-{i}{ext}"))
            }
        };
        if self.save_result || self.save_detailed || self.result_filename.is_some() {
            let rate = spec
                .request_rate
                .map_or("inf".to_string(), |r| r.to_string());
            let concurrency = spec
                .max_concurrency
                .map_or(String::new(), |c| format!("-concurrency{c}"));
            let model = value["model_id"].as_str().unwrap_or("model");
            let model = model.rsplit('/').next().unwrap_or(model);
            let label = self.label.as_deref().unwrap_or("capsim");
            let name = self.result_filename.clone().unwrap_or_else(|| {
                format!("{label}-{rate}qps{concurrency}-{model}-{date}.json").into()
            });
            let path = numbered(match &self.result_dir {
                Some(dir) => dir.join(name),
                None => name,
            });
            files::write(&path, &(serde_json::to_string(value)? + "\n"))?;
            if !self.json {
                eprintln!("result: {}", path.display());
            }
        }
        if let Some(path) = &self.save_requests {
            files::write(&numbered(path.clone()), &result::jsonl(m))?;
        }
        Ok(())
    }
}
