//! Server-sent events: bytes in any pieces → events (WHATWG HTML, "Server-sent events", parsing an event stream).
use std::collections::VecDeque;

/// Largest event that is taken in; beyond it the stream is not one of ours.
const MAX_EVENT: usize = 16 << 20;

/// An event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Its `event:` field, if any.
    pub name: Option<String>,
    /// Its `data:` lines, joined by line breaks.
    pub data: String,
}

impl Event {
    /// Whether this is the end of an OpenAI stream.
    pub fn is_done(&self) -> bool {
        self.data.trim() == "[DONE]"
    }
}

/// Something that is no event stream. Reading goes on with the next line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SseError {
    /// Neither a field nor a comment.
    #[error("line {line}: `{start}` is no field of an event stream")]
    Garbage {
        /// Line number, from 1.
        line: u64,
        /// Its beginning.
        start: String,
    },
    /// Not UTF-8.
    #[error("line {line}: not UTF-8")]
    NotUtf8 {
        /// Line number, from 1.
        line: u64,
    },
    /// Too long.
    #[error("line {line}: an event longer than 16 MiB")]
    TooLong {
        /// Line number, from 1.
        line: u64,
    },
    /// The stream ended inside an event.
    #[error("line {line}: the stream ended inside an event")]
    Truncated {
        /// Line number, from 1.
        line: u64,
    },
}

/// Takes bytes, gives events.
#[derive(Clone, Debug, Default)]
pub struct SseParser {
    line: Vec<u8>,
    /// The last byte ended a line and was a carriage return: a line feed right after belongs to it.
    after_cr: bool,
    /// Bytes of the present line are thrown away: it is too long.
    skipping: bool,
    number: u64,
    event: Event,
    has_data: bool,
    ready: VecDeque<Result<Event, SseError>>,
    unknown: Option<String>,
}

impl SseParser {
    /// At the beginning of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the stream, cut anywhere.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while let Some(&first) = bytes.first() {
            if std::mem::take(&mut self.after_cr) && first == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            match bytes.iter().position(|b| matches!(b, b'\n' | b'\r')) {
                Some(end) => {
                    self.extend(&bytes[..end]);
                    self.after_cr = bytes[end] == b'\r';
                    bytes = &bytes[end + 1..];
                    self.end_line();
                }
                None => {
                    self.extend(bytes);
                    return;
                }
            }
        }
    }

    /// The next event, or what stood in its place.
    pub fn next_event(&mut self) -> Option<Result<Event, SseError>> {
        self.ready.pop_front()
    }

    /// The first field that event streams do not have; the standard ignores such fields, and so does this.
    pub fn unknown_field(&self) -> Option<&str> {
        self.unknown.as_deref()
    }

    /// The stream ended: an error if it did so inside an event.
    pub fn finish(self) -> Result<(), SseError> {
        if self.line.is_empty() && !self.has_data {
            Ok(())
        } else {
            Err(SseError::Truncated {
                line: self.number + 1,
            })
        }
    }

    fn extend(&mut self, bytes: &[u8]) {
        if self.skipping {
            return;
        }
        if self.line.len() + self.event.data.len() + bytes.len() > MAX_EVENT {
            self.ready.push_back(Err(SseError::TooLong {
                line: self.number + 1,
            }));
            self.line = Vec::new();
            self.event = Event::default();
            self.has_data = false;
            self.skipping = true;
            return;
        }
        self.line.extend_from_slice(bytes);
    }

    fn end_line(&mut self) {
        self.number += 1;
        let line = std::mem::take(&mut self.line);
        if std::mem::take(&mut self.skipping) {
            return;
        }
        match std::str::from_utf8(&line) {
            // A byte-order mark may stand at the very beginning.
            Ok(text) if self.number == 1 => {
                self.field(text.strip_prefix('\u{feff}').unwrap_or(text))
            }
            Ok(text) => self.field(text),
            Err(_) => self
                .ready
                .push_back(Err(SseError::NotUtf8 { line: self.number })),
        }
        // Keep the memory for the next line.
        self.line = line;
        self.line.clear();
    }

    fn field(&mut self, line: &str) {
        if line.is_empty() {
            if std::mem::take(&mut self.has_data) {
                self.ready.push_back(Ok(std::mem::take(&mut self.event)));
            } else {
                self.event = Event::default();
            }
            return;
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "" | "id" | "retry" => {}
            "data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.has_data = true;
                self.event.data.push_str(value);
            }
            "event" => self.event.name = Some(value.into()),
            // A line of HTML or JSON is no field at all: what sends it is no event stream.
            _ if name.len() < line.len() && names_a_field(name) => {
                self.unknown.get_or_insert_with(|| name.into());
            }
            _ => self.ready.push_back(Err(SseError::Garbage {
                line: self.number,
                start: line.chars().take(40).collect(),
            })),
        }
    }
}

/// Whether a text looks like a field's name.
fn names_a_field(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.len() <= 40
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8], cut: usize) -> (Vec<Result<Event, SseError>>, Result<(), SseError>) {
        let mut p = SseParser::new();
        let mut out = vec![];
        for piece in bytes.chunks(cut.max(1)) {
            p.push(piece);
            while let Some(e) = p.next_event() {
                out.push(e);
            }
        }
        (out, p.finish())
    }

    #[test]
    fn fields_of_other_standards_are_ignored_and_told() {
        let mut p = SseParser::new();
        p.push(b"x-request: 7\nfoo: bar\ndata: a\n\n");
        assert_eq!(p.next_event().unwrap().unwrap().data, "a");
        assert_eq!(p.unknown_field(), Some("x-request"));
        for garbage in ["<html>", "{\"error\": 1}", "Bad Gateway", "not a field: x"] {
            let mut p = SseParser::new();
            p.push(format!("{garbage}\n").as_bytes());
            assert!(p.next_event().unwrap().is_err(), "{garbage}");
        }
    }

    #[test]
    fn events_do_not_depend_on_where_the_bytes_were_cut_or_how_lines_end() {
        let text = "\u{feff}: hello\nevent: a\ndata: {\"x\": \"é\"}\n\ndata: one\ndata:two\nid: 7\n\nevent: none\n\ndata: [DONE]\n\n";
        let (want, end) = all(text.as_bytes(), usize::MAX);
        assert_eq!(end, Ok(()));
        assert_eq!(want.len(), 3);
        assert_eq!(want[0].as_ref().unwrap().name.as_deref(), Some("a"));
        assert_eq!(want[1].as_ref().unwrap().data, "one\ntwo");
        assert!(want[2].as_ref().unwrap().is_done());
        for ends in ["\n", "\r\n", "\r"] {
            let text = text.replace('\n', ends);
            for cut in 1..text.len() {
                assert_eq!(all(text.as_bytes(), cut).0, want, "{ends:?} {cut}");
            }
        }
    }

    #[test]
    fn garbage_is_reported_and_left_behind() {
        let (events, end) = all(b"<html>oops\ndata: a\n\n\xff\xfe\ndata: b\n\ndata: cut", 3);
        assert!(matches!(&events[0], Err(SseError::Garbage { line: 1, .. })));
        assert_eq!(events[1].as_ref().unwrap().data, "a");
        assert_eq!(events[2], Err(SseError::NotUtf8 { line: 4 }));
        assert_eq!(events[3].as_ref().unwrap().data, "b");
        assert_eq!(end, Err(SseError::Truncated { line: 7 }));
    }

    #[test]
    fn an_endless_line_does_not_fill_the_memory() {
        let mut p = SseParser::new();
        for _ in 0..40 {
            p.push(&vec![b'x'; 1 << 20]);
        }
        assert!(p.line.len() <= MAX_EVENT);
        p.push(b"\ndata: a\n\n");
        assert!(matches!(
            p.next_event(),
            Some(Err(SseError::TooLong { line: 1 }))
        ));
        assert_eq!(p.next_event().unwrap().unwrap().data, "a");
    }
}
