//! A server that was reached, and runs against it.
use super::client_args::ClientArgs;
use super::output::Wanted;
use anyhow::{Context as _, bail, ensure};
use capsim::workload::WorkloadSpec;
use capsim_live::bench::client::{Client, ClientOptions};
use capsim_live::bench::clock::Clock;
use capsim_live::bench::measured::Goodput;
use capsim_live::bench::read::{self, Recording};
use capsim_live::bench::result::{self, Context};
use capsim_live::bench::scrape::ServerInfo;
use capsim_live::bench::{Drive, Measured, MetricsAs, Progress};
use std::sync::Arc;
use tokio::sync::watch;

/// A connection, kept over several runs.
pub struct Session<'a> {
    args: &'a ClientArgs,
    runtime: tokio::runtime::Runtime,
    client: Arc<Client>,
    info: ServerInfo,
    stop: watch::Receiver<bool>,
}

impl<'a> Session<'a> {
    /// Reaches the server. `keep_text`, `keep_tokens`: whether generated texts and tokens are wanted.
    ///
    /// # Errors
    /// Flags that make no sense, or no server there.
    pub fn open(
        args: &'a ClientArgs,
        model: Option<&str>,
        keep_text: bool,
        keep_tokens: bool,
    ) -> anyhow::Result<Self> {
        let options = ClientOptions {
            keep_tokens,
            ..args.options(model, keep_text)?
        };
        // Checked before anything is waited for.
        args.prompts(options.api, 0)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .context("cannot start the client")?;
        let (client, info) = runtime.block_on(args.connect(options))?;
        let (tell, stop) = watch::channel(false);
        runtime.spawn(async move {
            // The first interrupt ends the run in order, the second at once.
            if tokio::signal::ctrl_c().await.is_ok() {
                let _ = tell.send(true);
                eprintln!("\ninterrupted: keeping what was measured (again to give up)");
            }
            if tokio::signal::ctrl_c().await.is_ok() {
                std::process::exit(i32::from(super::INTERRUPTED));
            }
            // Without signals the sender must live on, or the receivers would see it close.
            std::future::pending::<()>().await;
        });
        Ok(Self {
            args,
            runtime,
            client: Arc::new(client),
            info,
            stop,
        })
    }

    /// The model's name in requests.
    pub fn model(&self) -> &str {
        &self.client.options().model
    }

    /// Sends a load and measures.
    ///
    /// # Errors
    /// A load that makes no sense.
    pub fn run(
        &self,
        spec: &WorkloadSpec,
        rule: MetricsAs,
        goodput: Option<Goodput>,
    ) -> anyhow::Result<Measured> {
        let prompts = self.args.prompts(self.client.options().api, spec.seed)?;
        let mut spec = spec.clone();
        if let Some(users) = &mut spec.users {
            users.max_context = users.max_context.or(self.info.max_model_len);
        }
        let spec = &spec;
        let bar = super::super::predict::bar(spec.num_prompts as usize);
        if let Ok(style) = indicatif::ProgressStyle::with_template(
            "{elapsed_precise} {wide_bar} {pos}/{len} {msg}",
        ) {
            bar.set_style(style);
        }
        let show = |p: &Progress| {
            bar.set_position(p.done + p.failed);
            bar.set_message(format!(
                "{} open, {} held, {} failed, {:.1} tok/s",
                p.open,
                p.held,
                p.failed,
                p.output_tokens as f64 / p.seconds.max(1e-9)
            ));
        };
        let drive = Drive {
            spec,
            client: self.client.clone(),
            prompts: Arc::new(prompts),
            clock: Clock::start(),
            scrape: self.info.metrics && !self.args.no_metrics,
        };
        let driven = self
            .runtime
            .block_on(drive.run(self.stop.clone(), show))
            .context("load")?;
        bar.finish_and_clear();
        if let Some(failure) = &driven.refused {
            bail!(
                "{}: {}: {}; {}",
                self.client.url(),
                failure.kind.words(),
                failure.detail,
                failure.kind.remedy().unwrap_or_default()
            );
        }
        Ok(Measured::new(
            driven,
            rule,
            goodput,
            self.client.options().ignore_eos,
            self.info.clone(),
        ))
    }

    /// Sends a load, measures, and keeps the result as its file would say it; the file's text comes with it, and whether the run was
    /// interrupted.
    ///
    /// # Errors
    /// A load that makes no sense, or no request that was answered.
    pub fn recording(&self, spec: &WorkloadSpec) -> anyhow::Result<(Recording, String, bool)> {
        let m = self.run(spec, MetricsAs::Vllm, None)?;
        let wanted = Wanted::default();
        let date = result::stamp(capsim_live::bench::clock::unix_seconds());
        let text = result::json(&m, &self.context(spec, &wanted, &date), true).to_string();
        ensure!(
            m.completed() > 0,
            "no request was answered:\n  {}",
            m.remarks().join("\n  ")
        );
        let recording = read::parse(&text, "live")?
            .pop()
            .context("one result is measured")?;
        Ok((recording, text, m.interrupted))
    }

    /// What the server tells of itself.
    pub fn info(&self) -> &ServerInfo {
        &self.info
    }

    /// What a result file says besides the measurement.
    pub fn context<'b>(
        &'b self,
        spec: &'b WorkloadSpec,
        wanted: &'b Wanted,
        date: &str,
    ) -> Context<'b> {
        Context {
            spec,
            options: self.client.options(),
            prompts: self
                .args
                .prompts(self.client.options().api, 0)
                .map(|p| p.describe())
                .unwrap_or_default(),
            tokenizer: self
                .args
                .tokenizer
                .as_ref()
                .map(|p| p.display().to_string()),
            metrics: &wanted.metrics,
            percentiles: &wanted.percentiles,
            metadata: &wanted.metadata,
            label: wanted.label.as_deref(),
            date: date.into(),
        }
    }

    /// The head of a report.
    pub fn facts(&self, date: &str) -> Vec<(&'static str, String)> {
        let (o, i) = (self.client.options(), &self.info);
        let mut all = vec![
            (
                "Date",
                format!("{}-{}-{}", &date[..4], &date[4..6], &date[6..8]),
            ),
            ("Model", o.model.clone()),
            ("Endpoint", self.client.url().to_string()),
        ];
        if let Some(v) = &i.version {
            all.push(("Server version", v.clone()));
        }
        if let Some(n) = i.max_model_len {
            all.push(("Max model length", n.to_string()));
        }
        all.push((
            "Requests",
            format!(
                "{}, temperature {}, {}, time limit {} s, {} retries",
                if o.stream { "streamed" } else { "not streamed" },
                o.temperature
                    .map_or("the server's".into(), |t| t.to_string()),
                if o.ignore_eos {
                    "full output length"
                } else {
                    "answers may end early"
                },
                o.timeout.as_secs_f64(),
                o.retries
            ),
        ));
        all.push((
            "Measured with",
            format!("capsim {}", env!("CARGO_PKG_VERSION")),
        ));
        all
    }
}
