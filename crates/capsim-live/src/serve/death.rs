//! Streams that die on demand, and the switch by which a body ends its own connection.
use super::fault::Death;
use super::lock;
use axum::body::{Body, HttpBody};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tokio::sync::Notify;

/// Ends a connection from within one of its answers.
#[derive(Debug, Default)]
pub struct Switch {
    how: Mutex<Option<Death>>,
    thrown: Notify,
}

impl Switch {
    fn throw(&self, how: Death) {
        *lock(&self.how) = Some(how);
        self.thrown.notify_one();
    }

    /// Waits until it is thrown.
    pub async fn thrown(&self) -> Death {
        loop {
            if let Some(how) = *lock(&self.how) {
                return how;
            }
            self.thrown.notified().await;
        }
    }
}

/// Events that go out before a stream dies that dies after some.
const BEFORE: usize = 2;

/// How the last event of a stream is known: OpenAI's, Anthropic's, that of responses.
const LAST: [&[u8]; 4] = [
    b"data: [DONE]",
    b"event: message_stop",
    b"event: response.completed",
    b"event: response.incomplete",
];

/// A stream that dies.
pub struct Dying {
    body: Option<Body>,
    death: Death,
    switch: Arc<Switch>,
    events: usize,
    dead: bool,
}

impl Dying {
    /// Of this body.
    pub fn body(body: Body, death: Death, switch: Arc<Switch>) -> Body {
        Body::new(Self {
            body: Some(body),
            death,
            switch,
            events: 0,
            dead: false,
        })
    }

    /// What of these events still goes out, and whether the stream dies with it. A piece of a body holds whole events.
    fn pass(&mut self, data: &Bytes) -> (Bytes, bool) {
        let mut start = 0;
        while start < data.len() {
            let rest = &data[start..];
            let len = rest
                .windows(2)
                .position(|w| w == b"\n\n")
                .map_or(rest.len(), |at| at + 2);
            let event = &rest[..len];
            let cut = match self.death {
                Death::BeforeFirst => Some(0),
                Death::MidToken => (self.events == BEFORE).then_some(len / 2),
                Death::AfterUsage => LAST.iter().any(|l| event.starts_with(l)).then_some(0),
                Death::HalfClosed | Death::Stalled | Death::Reset => {
                    (self.events == BEFORE).then_some(0)
                }
            };
            if let Some(cut) = cut {
                return (data.slice(..start + cut), true);
            }
            self.events += 1;
            start += len;
        }
        (data.clone(), false)
    }
}

impl HttpBody for Dying {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        loop {
            if self.dead {
                if self.death != Death::Stalled {
                    // What went out before is flushed while this waits; then the connection ends.
                    self.body = None;
                    self.switch.throw(self.death);
                }
                return Poll::Pending;
            }
            let Some(body) = self.body.as_mut() else {
                return Poll::Ready(None);
            };
            let frame = std::task::ready!(Pin::new(body).poll_frame(cx));
            let Some(Ok(frame)) = frame else {
                return Poll::Ready(frame);
            };
            let data = match frame.into_data() {
                Ok(data) => data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            };
            let (out, dead) = self.pass(&data);
            self.dead = dead;
            if !out.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(out))));
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(death: Death, pieces: &[&str]) -> (String, bool) {
        let mut d = Dying {
            body: None,
            death,
            switch: Arc::default(),
            events: 0,
            dead: false,
        };
        let mut out = String::new();
        for p in pieces {
            let (bytes, dead) = d.pass(&Bytes::copy_from_slice(p.as_bytes()));
            out.push_str(&String::from_utf8_lossy(&bytes));
            if dead {
                return (out, true);
            }
        }
        (out, false)
    }

    #[test]
    fn a_stream_dies_at_the_same_event_however_it_is_cut_into_pieces() {
        let whole = "data: 1\n\ndata: 2\n\ndata: 3\n\ndata: [DONE]\n\n";
        let single: Vec<String> = whole.split_inclusive("\n\n").map(String::from).collect();
        let single: Vec<&str> = single.iter().map(String::as_str).collect();
        for (death, out) in [
            (Death::BeforeFirst, ""),
            (Death::MidToken, "data: 1\n\ndata: 2\n\ndata"),
            (Death::AfterUsage, "data: 1\n\ndata: 2\n\ndata: 3\n\n"),
            (Death::HalfClosed, "data: 1\n\ndata: 2\n\n"),
            (Death::Stalled, "data: 1\n\ndata: 2\n\n"),
            (Death::Reset, "data: 1\n\ndata: 2\n\n"),
        ] {
            assert_eq!(passed(death, &[whole]), (out.into(), true), "{death:?}");
            assert_eq!(passed(death, &single), (out.into(), true), "{death:?}");
        }
    }
}
