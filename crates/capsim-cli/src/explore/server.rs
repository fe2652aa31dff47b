//! Listening: on this machine only, for pages of this server only.
use super::answer::{Answer, Answers, Stop};
use super::download::File;
use super::knob::{Asked, Knob, Refusal, State, asked};
use super::seen::Prices;
use super::{Describe, page};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, RawQuery, Request, State as Shared};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Json, Router};
use capsim_live::serve::connection::{self, Phase};
use capsim_study::report::json::value;
use serde_json::json;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

/// Longest that the figures of a state may take.
const FIRST: Duration = Duration::from_secs(10);
/// Longest that intervals or a curve may take: ten and more simulations each.
const REST: Duration = Duration::from_secs(60);

/// Nothing from elsewhere, no script but the page's own. Drawings carry their colours in `style` attributes.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Sent by the page itself: a state that cannot be served is no failure of its request, which browsers would write to the console.
const QUIET: &str = "x-capsim-page";

/// How to listen, and what to show.
pub struct Options {
    /// Address to listen at, e.g. `127.0.0.1`.
    pub host: String,
    /// Port; 0: any free one.
    pub port: u16,
    /// What can be turned.
    pub knobs: Vec<Knob>,
    /// Where knobs stand when the page is opened without a state.
    pub start: State,
    /// Flags without a knob, for people.
    pub fixed: String,
    /// What devices cost.
    pub prices: Prices,
    /// What a state means.
    pub describe: Box<Describe>,
}

/// Why it does not start.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen at {address}: {error}; give a free port with --port, or 0 for any")]
pub struct StartError {
    /// Where.
    address: String,
    /// Why.
    error: std::io::Error,
}

/// A running server. Dropped, it is gone at once.
pub struct Explorer {
    address: SocketAddr,
    start: String,
    phase: watch::Sender<Phase>,
    accepting: JoinHandle<()>,
}

struct App {
    answers: Answers,
    host: String,
    page: String,
    style: String,
    start: String,
    /// One simulation per core.
    slots: Arc<Semaphore>,
}

/// A state as a query.
fn written(state: &State) -> String {
    if state.0.is_empty() {
        return String::new();
    }
    let url = reqwest::Url::parse_with_params("http://localhost/", &state.0);
    url.expect("a URL").query().unwrap_or("").into()
}

impl Explorer {
    /// Starts listening.
    ///
    /// # Errors
    /// The address is taken or not ours.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let listen = |error| StartError {
            address: format!("{}:{}", options.host, options.port),
            error,
        };
        let listener = TcpListener::bind((options.host.as_str(), options.port))
            .await
            .map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let start = written(&options.start);
        let app = Arc::new(App {
            page: page::page(&options.knobs, &options.fixed),
            style: page::style(),
            answers: Answers {
                knobs: options.knobs,
                describe: options.describe,
                prices: options.prices,
                pinned: Mutex::default(),
            },
            host: options.host,
            start: start.clone(),
            slots: Arc::new(Semaphore::new(cores.max(2))),
        });
        let (phase, watching) = watch::channel(Phase::Running);
        let accepting = tokio::spawn(connection::serve(listener, router(app), watching));
        Ok(Self {
            address,
            start,
            phase,
            accepting,
        })
    }

    /// Where the page is.
    pub fn url(&self) -> String {
        let query = if self.start.is_empty() {
            String::new()
        } else {
            format!("?{}", self.start)
        };
        format!("http://{}/{query}", self.address)
    }

    /// Takes no more connections and ends what is open.
    pub async fn shutdown(mut self) {
        let _ = self.phase.send(Phase::Gone);
        let _ = (&mut self.accepting).await;
    }
}

impl Drop for Explorer {
    fn drop(&mut self) {
        let _ = self.phase.send(Phase::Gone);
    }
}

fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(index))
        .route(
            "/style.css",
            get(|Shared(app): Shared<Arc<App>>| async move {
                of_kind("text/css; charset=utf-8", app.style.clone())
            }),
        )
        .route("/{script}", get(script))
        .route("/api/download/{file}", get(download))
        .route("/api/predict", get(predict))
        .route("/api/settled", get(settled))
        .route("/api/curve", get(curve))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), gate))
        .with_state(app)
}

fn of_kind(kind: &'static str, body: impl IntoResponse) -> Response {
    ([(header::CONTENT_TYPE, kind)], body).into_response()
}

/// Whether the name by which this server was asked is one of its own. A page from elsewhere whose name was made to lead here
/// (DNS rebinding) asks by that name; an address is no name.
fn own_name(headers: &HeaderMap, host: &str) -> bool {
    let Some(asked) = headers.get(header::HOST).and_then(|h| h.to_str().ok()) else {
        return false;
    };
    let name = match asked.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => {
            name
        }
        _ => asked,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<IpAddr>().is_ok()
        || bare.eq_ignore_ascii_case("localhost")
        || bare.eq_ignore_ascii_case(host)
}

async fn gate(Shared(app): Shared<Arc<App>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let elsewhere = headers
        .get("sec-fetch-site")
        .is_some_and(|s| s == "cross-site" || s == "same-site");
    let quiet = headers.contains_key(QUIET);
    let mut response = if !own_name(headers, &app.host) {
        refused(
            StatusCode::MISDIRECTED_REQUEST,
            &Refusal {
                flag: None,
                message: "asked by a name that is not this server's; use its address".into(),
            },
        )
    } else if elsewhere && request.uri().path().starts_with("/api/") {
        refused(
            StatusCode::FORBIDDEN,
            &Refusal {
                flag: None,
                message: "asked by a page from elsewhere".into(),
            },
        )
    } else {
        next.run(request).await
    };
    if quiet && response.status() == StatusCode::UNPROCESSABLE_ENTITY {
        *response.status_mut() = StatusCode::OK;
    }
    for (name, value) in [
        ("content-security-policy", POLICY),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cache-control", "no-store"),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn script(Path(name): Path<String>) -> Response {
    match page::SCRIPTS.iter().find(|(n, _)| *n == name) {
        Some((_, text)) => of_kind("text/javascript; charset=utf-8", *text),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn index(Shared(app): Shared<Arc<App>>, RawQuery(query): RawQuery) -> Response {
    if query.is_none() && !app.start.is_empty() {
        return Redirect::temporary(&format!("/?{}", app.start)).into_response();
    }
    Html(app.page.clone()).into_response()
}

fn refused(status: StatusCode, r: &Refusal) -> Response {
    let body = json!({ "errors": [{ "flag": r.flag, "message": r.message }] });
    (status, Json(body)).into_response()
}

type Sent = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// Checks a state and lets `work` answer it on a thread of its own. If the client is gone, the work ends, too.
async fn worked<T: Send + 'static>(
    app: Arc<App>,
    sent: Sent,
    time: Duration,
    work: impl FnOnce(&Answers, &Asked, &Stop) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Response> {
    let unreadable = |message: String| {
        refused(
            StatusCode::BAD_REQUEST,
            &Refusal {
                flag: None,
                message,
            },
        )
    };
    let Query(sent) = sent.map_err(|e| unreadable(e.to_string()))?;
    let cannot = |r: Refusal| refused(StatusCode::UNPROCESSABLE_ENTITY, &r);
    let asked = asked(&app.answers.knobs, &sent).map_err(cannot)?;
    let Ok(slot) = Arc::clone(&app.slots).acquire_owned().await else {
        return Err(unreadable("the server is shutting down".into()));
    };
    let stop = Stop::after(time);
    let _waiting = stop.guard();
    let done = tokio::task::spawn_blocking(move || {
        let _slot = slot;
        work(&app.answers, &asked, &stop)
    });
    match done.await {
        Ok(answer) => answer.map_err(cannot),
        Err(e) => Err(refused(
            StatusCode::INTERNAL_SERVER_ERROR,
            &Refusal {
                flag: None,
                message: format!("the simulator failed: {e}"),
            },
        )),
    }
}

async fn answered(
    app: Arc<App>,
    sent: Sent,
    time: Duration,
    work: fn(&Answers, &Asked, &Stop) -> Result<Answer, Refusal>,
) -> Response {
    match worked(app, sent, time, work).await {
        Ok(answer) => Json(value(&answer)).into_response(),
        Err(response) => response,
    }
}

async fn predict(Shared(app): Shared<Arc<App>>, sent: Sent) -> Response {
    answered(app, sent, FIRST, Answers::predict).await
}

async fn settled(Shared(app): Shared<Arc<App>>, sent: Sent) -> Response {
    answered(app, sent, REST, Answers::settled).await
}

async fn curve(Shared(app): Shared<Arc<App>>, sent: Sent) -> Response {
    answered(app, sent, REST, Answers::curve).await
}

async fn download(Shared(app): Shared<Arc<App>>, Path(name): Path<String>, sent: Sent) -> Response {
    let Some(file) = File::named(&name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let work = move |a: &Answers, asked: &Asked, stop: &Stop| file.of(a, &asked.now, stop);
    match worked(app, sent, REST, work).await {
        Ok(bytes) => {
            let saved = format!("attachment; filename=\"{name}\"");
            (
                [(header::CONTENT_DISPOSITION, saved)],
                of_kind(file.kind(), bytes),
            )
                .into_response()
        }
        Err(response) => response,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_own_names_are_answered() {
        for (name, own) in [
            ("127.0.0.1:8010", true),
            ("127.0.0.1", true),
            ("[::1]:80", true),
            ("LOCALHOST:1", true),
            ("box.lan:8010", true),
            ("evil.example:8010", false),
            ("127.0.0.1.evil.example", false),
            ("localhost.evil.example:8010", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static(name))]);
            assert_eq!(own_name(&headers, "box.lan"), own, "{name}");
        }
        assert!(!own_name(&HeaderMap::new(), "box.lan"));
    }
}
