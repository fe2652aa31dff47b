//! A server's life: start, address, end.
use super::canned::{Canned, Shelf};
use super::connection::{self, Phase};
use super::fault::Fault;
use super::http::{App, created, router};
use super::identity::Identities;
use super::metrics::{Constants, Delay, Metrics};
use super::pace::{Clock, Command, Faster, Shared, run};
use super::prompt::AnswerLength;
use super::text::Tokenizer;
use capsim::cost::StepCost;
use capsim::device::EngineId;
use capsim::engine::{ConfigError, EngineConfig, Group, Runtime};
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How to serve.
pub struct Options {
    /// Address to listen at, e.g. `127.0.0.1`.
    pub host: String,
    /// Port; 0: any free one.
    pub port: u16,
    /// The name that requests use.
    pub model_name: String,
    /// The model behind it.
    pub root: String,
    /// Version told by `/version`.
    pub version: String,
    /// What is simulated, for `/server_info`.
    pub description: serde_json::Value,
    /// KV data type, for `/metrics`.
    pub cache_dtype: String,
    /// Likewise.
    pub gpu_memory_utilization: f64,
    /// Keys of which `/v1` asks one; empty: no key needed.
    pub api_keys: Vec<String>,
    /// The engine runs that many times as fast.
    pub speedup: f64,
    /// Faults on demand.
    pub faults: Vec<Fault>,
    /// Largest body.
    pub max_body: usize,
    /// (shortest, longest) answer unless the client asks for more tokens with `ignore_eos`; `None`: only limits end one.
    pub answer_length: Option<(u32, u32)>,
    /// Whether usage tells how many prompt tokens were cached.
    pub prompt_details: bool,
    /// Answers to give out instead of drawn words.
    pub canned: Vec<Canned>,
    /// Numbers of a vector, where embeddings and scores are answered.
    pub embedding_size: Option<u32>,
    /// Whether tools are called that need not be (`--enable-auto-tool-choice` with a parser).
    pub auto_tools: bool,
    /// Whether images and sounds may be in a prompt.
    pub multimodal: bool,
    /// Pages that may ask: `*`, or their origins.
    pub origins: Vec<String>,
    /// Text ↔ tokens.
    pub text: Tokenizer,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".into(),
            port: 0,
            model_name: "model".into(),
            root: "model".into(),
            version: "0.12.0".into(),
            description: serde_json::Value::Null,
            cache_dtype: "auto".into(),
            gpu_memory_utilization: 0.9,
            api_keys: vec![],
            speedup: 1.0,
            faults: vec![],
            max_body: 64 << 20,
            answer_length: None,
            prompt_details: false,
            canned: vec![],
            embedding_size: None,
            auto_tools: false,
            multimodal: false,
            origins: vec!["*".into()],
            text: Tokenizer::words(),
        }
    }
}

/// Why it does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address.
    #[error("cannot listen at {address}: {error}")]
    Listen {
        /// Which.
        address: String,
        /// Why.
        error: std::io::Error,
    },
    /// The engine's settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No thread.
    #[error("cannot start the engine's thread: {0}")]
    Thread(std::io::Error),
}

/// How long the end waits for what does not hear of it.
const LAST_MOMENT: Duration = Duration::from_millis(500);

/// A running server. Dropped, it is gone at once.
pub struct Server {
    address: SocketAddr,
    phase: watch::Sender<Phase>,
    commands: Sender<Command>,
    accepting: JoinHandle<()>,
    engine: Option<std::thread::JoinHandle<()>>,
    helpers: Vec<JoinHandle<()>>,
}

impl Server {
    /// Starts serving with one engine, or with several behind one address.
    ///
    /// # Errors
    /// The address is taken or not ours, or the settings contradict each other.
    pub async fn start<C: StepCost + Send + 'static>(
        options: Options,
        scheduler: EngineId,
        config: EngineConfig,
        group: Group,
        cost: C,
    ) -> Result<Self, StartError> {
        let cost = Faster {
            cost,
            speedup: options.speedup,
        };
        let runtime = Runtime::new(scheduler, &config, group, cost, true)?;
        let at = (options.host.as_str(), options.port);
        let listen = |error| StartError::Listen {
            address: format!("{}:{}", options.host, options.port),
            error,
        };
        let listener = TcpListener::bind(at).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let clock = Clock::start();
        let (commands, received) = channel();
        let text = Arc::new(options.text);
        let config = runtime.config().clone();
        let sharing = runtime.cache_granularity();
        // Blocks of answers that may still be in the cache, and some.
        let blocks = config.num_gpu_blocks as usize * (config.block_size / sharing).max(1) as usize;
        let remembered = (blocks * runtime.num_ranks()).clamp(1 << 14, 1 << 20);
        let identities = Arc::new(Mutex::new(Identities::new(sharing, remembered)));
        let metrics = Arc::new(Mutex::new(Metrics::new(config.max_model_len)));
        let shared = Shared {
            text: Arc::clone(&text),
            identities: Arc::clone(&identities),
            metrics: Arc::clone(&metrics),
        };
        let faults = options.faults.clone();
        let engine = std::thread::Builder::new()
            .name("engine".into())
            .spawn(move || run(runtime, &received, clock, &faults, shared))
            .map_err(StartError::Thread)?;
        let (phase, watching) = watch::channel(Phase::Running);
        let mut helpers = vec![];
        for fault in &options.faults {
            if let Fault::KillAfter(after) = *fault {
                let phase = phase.clone();
                helpers.push(tokio::spawn(async move {
                    tokio::time::sleep(after).await;
                    let _ = phase.send(Phase::Gone);
                }));
            }
        }
        let app = Arc::new(App {
            engine: scheduler,
            clock,
            commands: commands.clone(),
            text,
            identities,
            metrics,
            delay: Arc::new(Delay::new()),
            http: Arc::default(),
            sharing,
            constants: Constants {
                model_name: options.model_name,
                config,
                cache_dtype: options.cache_dtype,
                gpu_memory_utilization: options.gpu_memory_utilization,
            },
            root: options.root,
            version: options.version,
            description: options.description,
            api_keys: options.api_keys,
            faults: options.faults,
            max_body: options.max_body,
            answer_length: options
                .answer_length
                .map(|(low, high)| AnswerLength { low, high }),
            prompt_details: options.prompt_details,
            canned: Shelf::new(options.canned),
            embedding_size: options.embedding_size,
            auto_tools: options.auto_tools,
            multimodal: options.multimodal,
            origins: options.origins,
            next_id: 1.into(),
            drawn: AtomicU64::new(0),
            load: Arc::default(),
            created: created(),
        });
        let accepting = tokio::spawn(connection::serve(listener, router(app), watching));
        Ok(Self {
            address,
            phase,
            commands,
            accepting,
            engine: Some(engine),
            helpers,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns once a `kill-after` fault struck; never without one.
    pub async fn killed(&self) {
        let _ = self.phase.subscribe().wait_for(|p| *p == Phase::Gone).await;
    }

    /// Takes no more connections, gives open answers `grace` to end, then drops what is left. Whether all of them ended by
    /// themselves.
    pub async fn shutdown(mut self, grace: Duration) -> bool {
        self.phase.send_if_modified(|p| {
            let running = *p == Phase::Running;
            if running {
                *p = Phase::Draining;
            }
            running
        });
        let orderly = tokio::time::timeout(grace, &mut self.accepting)
            .await
            .is_ok();
        if !orderly {
            let _ = self.phase.send(Phase::Gone);
            let _ = tokio::time::timeout(LAST_MOMENT, &mut self.accepting).await;
        }
        let _ = self.commands.send(Command::Stop);
        if let Some(engine) = self.engine.take() {
            let joined = tokio::task::spawn_blocking(move || engine.join());
            // A stall on demand is slept through; the process ends without it.
            let _ = tokio::time::timeout(LAST_MOMENT, joined).await;
        }
        orderly
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.phase.send(Phase::Gone);
        let _ = self.commands.send(Command::Stop);
        for helper in &self.helpers {
            helper.abort();
        }
    }
}
