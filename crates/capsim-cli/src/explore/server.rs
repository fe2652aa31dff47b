//! Listening: on this machine only, for pages of this server only.
use super::answer::{Answer, Answers, Stop};
use super::knob::{Knob, Refusal, State, check};
use super::{Describe, page};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, RawQuery, Request, State as Shared};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Json, Router};
use capsim_live::serve::connection::{self, Phase};
use capsim_study::report::json::value;
use serde_json::json;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
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
        .route(
            "/explore.js",
            get(|| async { of_kind("text/javascript; charset=utf-8", page::SCRIPT) }),
        )
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
async fn answered(
    app: Arc<App>,
    sent: Sent,
    time: Duration,
    work: fn(&Answers, &State, &Stop) -> Result<Answer, Refusal>,
) -> Response {
    let unreadable = |message: String| {
        refused(
            StatusCode::BAD_REQUEST,
            &Refusal {
                flag: None,
                message,
            },
        )
    };
    let Query(sent) = match sent {
        Ok(sent) => sent,
        Err(e) => return unreadable(e.to_string()),
    };
    let state = match check(&app.answers.knobs, &sent) {
        Ok(state) => state,
        Err(r) => return refused(StatusCode::UNPROCESSABLE_ENTITY, &r),
    };
    let Ok(slot) = Arc::clone(&app.slots).acquire_owned().await else {
        return unreadable("the server is shutting down".into());
    };
    let stop = Stop::after(time);
    let _waiting = stop.guard();
    let done = tokio::task::spawn_blocking(move || {
        let _slot = slot;
        work(&app.answers, &state, &stop)
    });
    match done.await {
        Ok(Ok(answer)) => Json(value(&answer)).into_response(),
        Ok(Err(r)) => refused(StatusCode::UNPROCESSABLE_ENTITY, &r),
        Err(e) => refused(
            StatusCode::INTERNAL_SERVER_ERROR,
            &Refusal {
                flag: None,
                message: format!("the simulator failed: {e}"),
            },
        ),
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
