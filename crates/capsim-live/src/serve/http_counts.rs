//! What `prometheus_fastapi_instrumentator` counts of HTTP in vLLM (8.1.0: `metrics.py`, `default()`; vLLM 0.32.0:
//! `entrypoints/serve/instrumentator/metrics.py` for what it leaves out): requests, their sizes and times, by handler.
use super::lock;
use crate::openai::prometheus::{Histogram, Writer};
use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Instant;

/// Handlers that are not counted: what begins with one of these.
const EXCLUDED: [&str; 6] = [
    "/metrics",
    "/health",
    "/load",
    "/ping",
    "/version",
    "/server_info",
];

/// Edges of the times of all handlers together.
const ALL_EDGES: &[f64] = &[
    0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0,
    7.5, 10.0, 30.0, 60.0,
];

/// Edges of the times of one handler.
const EDGES: &[f64] = &[0.1, 0.5, 1.0];

/// Of one handler and method.
#[derive(Clone, Debug)]
struct Handler {
    /// By the first digit of the status: `2xx`.
    statuses: BTreeMap<String, u64>,
    request_bytes: u64,
    response_bytes: u64,
    times: Histogram,
}

/// Counts of all handlers.
#[derive(Clone, Debug)]
pub struct HttpCounts {
    handlers: BTreeMap<(String, String), Handler>,
    times: Histogram,
}

impl Default for HttpCounts {
    fn default() -> Self {
        Self {
            handlers: BTreeMap::new(),
            times: Histogram::new(ALL_EDGES),
        }
    }
}

impl HttpCounts {
    fn observe(&mut self, ended: &Ended, seconds: f64) {
        self.times.observe(seconds);
        let key = (ended.handler.clone(), ended.method.clone());
        let h = self.handlers.entry(key).or_insert_with(|| Handler {
            statuses: BTreeMap::new(),
            request_bytes: 0,
            response_bytes: 0,
            times: Histogram::new(EDGES),
        });
        *h.statuses.entry(ended.status.clone()).or_default() += 1;
        h.request_bytes += ended.request_bytes;
        h.response_bytes += ended.response_bytes;
        h.times.observe(seconds);
    }

    /// The families.
    pub fn write(&self, w: &mut Writer) {
        let requests: Vec<([(&str, &str); 3], u64)> = self
            .handlers
            .iter()
            .flat_map(|((handler, method), h)| {
                h.statuses.iter().map(move |(status, n)| {
                    let labels = [
                        ("handler", handler.as_str()),
                        ("method", method.as_str()),
                        ("status", status.as_str()),
                    ];
                    (labels, *n)
                })
            })
            .collect();
        let samples: Vec<_> = requests.iter().map(|(l, n)| (&l[..], *n)).collect();
        w.counter(
            "http_requests",
            "Total number of requests by method, status and handler.",
            &samples,
        );
        for (name, help, bytes) in [
            (
                "http_request_size_bytes",
                "Content length of incoming requests by handler. Only value of header is respected. Otherwise ignored. No percentile calculated. ",
                (|h| h.request_bytes) as fn(&Handler) -> u64,
            ),
            (
                "http_response_size_bytes",
                "Content length of outgoing responses by handler. Only value of header is respected. Otherwise ignored. No percentile calculated. ",
                |h| h.response_bytes,
            ),
        ] {
            let mut sums: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
            for ((handler, _), h) in &self.handlers {
                let sum = sums.entry(handler).or_default();
                sum.0 += h.times.count();
                sum.1 += bytes(h);
            }
            let labels: Vec<_> = sums.keys().map(|h| [("handler", *h)]).collect();
            let samples: Vec<_> = labels
                .iter()
                .zip(sums.values())
                .map(|(l, (n, sum))| (&l[..], *n, *sum as f64))
                .collect();
            w.summary(name, help, &samples);
        }
        w.histogram(
            "http_request_duration_highr_seconds",
            "Latency with many buckets but no API specific labels. Made for more accurate percentile calculations. ",
            &[],
            &self.times,
        );
        let labels: Vec<_> = self
            .handlers
            .keys()
            .map(|(handler, method)| [("handler", handler.as_str()), ("method", method.as_str())])
            .collect();
        let samples: Vec<_> = labels
            .iter()
            .zip(self.handlers.values())
            .map(|(l, h)| (&l[..], &h.times))
            .collect();
        w.histograms(
            "http_request_duration_seconds",
            "Latency with only few buckets by handler. Made to be only used if aggregation by handler is important. ",
            &samples,
        );
    }
}

/// A request that is being answered.
struct Ended {
    handler: String,
    method: String,
    status: String,
    request_bytes: u64,
    response_bytes: u64,
    since: Instant,
    counts: Arc<Mutex<HttpCounts>>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        let seconds = self.since.elapsed().as_secs_f64();
        lock(&self.counts).observe(self, seconds);
    }
}

/// What is known of a request before it is answered.
pub struct Begun {
    handler: String,
    method: String,
    request_bytes: u64,
    since: Instant,
}

fn length(headers: &HeaderMap) -> u64 {
    let told = headers.get(header::CONTENT_LENGTH);
    told.and_then(|v| v.to_str().ok()?.parse().ok())
        .unwrap_or(0)
}

impl Begun {
    /// Of a request to this handler; `None` for one that is not counted.
    pub fn of(handler: &str, request: &axum::extract::Request) -> Option<Self> {
        (!EXCLUDED.iter().any(|e| handler.starts_with(e))).then(|| Self {
            handler: handler.into(),
            method: request.method().to_string(),
            request_bytes: length(request.headers()),
            since: Instant::now(),
        })
    }

    /// Counts when the last byte of the answer is out, or the client is gone.
    pub fn answered(
        self,
        response: axum::response::Response,
        counts: &Arc<Mutex<HttpCounts>>,
    ) -> axum::response::Response {
        let ended = Ended {
            handler: self.handler,
            method: self.method,
            status: format!("{}xx", response.status().as_u16() / 100),
            request_bytes: self.request_bytes,
            response_bytes: match length(response.headers()) {
                // Whole answers are sent with their length, though it is not among the headers yet.
                0 => response.body().size_hint().exact().unwrap_or(0),
                n => n,
            },
            since: self.since,
            counts: Arc::clone(counts),
        };
        response.map(|body| {
            Body::new(Counted {
                body,
                _ended: ended,
            })
        })
    }
}

/// A body whose end is noticed.
struct Counted {
    body: Body,
    _ended: Ended,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
