//! Names that others chose, in documents: they are text there, and nothing else.

/// In Markdown: no cell ends early, no tag and no link begins.
pub fn cell(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' => out.push_str("\\|"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '[' => out.push_str("\\["),
            '\n' | '\r' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// In a file of comma-separated values that a spreadsheet opens: what begins like a formula is made a text by an apostrophe
/// (OWASP, "CSV Injection"). Numbers stay numbers.
pub fn field(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    match formula && text.parse::<f64>().is_err() {
        true => format!("'{text}"),
        false => text.into(),
    }
}

/// A [`field`] as it stands between commas.
pub fn quoted(text: &str) -> String {
    let text = field(text);
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_text_and_nothing_else() {
        assert_eq!(
            cell("a|b<img src=x>\n[x](y)"),
            "a\\|b&lt;img src=x&gt; \\[x](y)"
        );
        assert_eq!(field("=1+1"), "'=1+1");
        assert_eq!(field("@x"), "'@x");
        assert_eq!(field("-1.5"), "-1.5");
        assert_eq!(field("+x"), "'+x");
        assert_eq!(field("qwen"), "qwen");
        assert_eq!(quoted("lognormal:1,2"), "\"lognormal:1,2\"");
        assert_eq!(quoted("=a\"b"), "\"'=a\"\"b\"");
    }
}
