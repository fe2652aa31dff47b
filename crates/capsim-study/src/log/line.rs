//! A line of a log without what a terminal or a container runtime put around it.
use std::borrow::Cow;

/// The program's own words: of Docker's JSON the `log`, without colours. Other prefixes (journald's, Kubernetes', a process's) stay: words
/// are searched for behind them.
pub(super) fn plain(raw: &str) -> Cow<'_, str> {
    let mut text: Cow<str> = raw.trim_end().into();
    if text.starts_with("{\"log\":")
        && let Ok(value) = serde_json::from_str::<serde_json::Value>(&text)
        && let Some(log) = value["log"].as_str()
    {
        text = log.trim_end().to_string().into();
    }
    match text.contains('\u{1b}') {
        true => without_colours(&text).into(),
        false => text,
    }
}

/// Without the sequences that begin with ESC [ and end with a letter (ECMA-48).
fn without_colours(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\u{1b}' {
            out.push(c);
            continue;
        }
        if chars.next() == Some('[') {
            for c in chars.by_ref() {
                if c.is_ascii_alphabetic() {
                    break;
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn what_stands_around_a_line_goes() {
        assert_eq!(
            plain("{\"log\":\"INFO x\\n\",\"stream\":\"stderr\",\"time\":\"2026\"}"),
            "INFO x"
        );
        assert_eq!(
            plain("\u{1b}[36m(EngineCore)\u{1b}[0;0m INFO x\r"),
            "(EngineCore) INFO x"
        );
        assert_eq!(plain("{\"log\": broken"), "{\"log\": broken");
    }
}
