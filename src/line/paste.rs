//! Lines put together where the text means one, as people paste them.

/// Lines put together where the text means one: see the module's documentation.
pub(super) fn joined(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut continued, mut heredoc): (bool, Option<String>) = (false, None);
    for line in text.trim_start_matches('\u{feff}').lines() {
        let line = line.trim_end();
        let bare = line.trim_start();
        if let Some(end) = &heredoc {
            if bare == end {
                heredoc = None;
            }
            continue;
        }
        if bare.starts_with("```")
            || bare.starts_with("~~~")
            || (bare.starts_with('#') && continued)
        {
            continue;
        }
        heredoc = heredoc_end(line);
        let bare = without_prompt(bare).unwrap_or(line);
        let is_flag = bare.trim_start().starts_with("--")
            || (bare.trim_start().starts_with('-')
                && bare.trim_start()[1..].starts_with(|c: char| c.is_ascii_alphabetic()));
        if !continued && !out.is_empty() {
            out.push(if is_flag { ' ' } else { '\n' });
        }
        let cut = ['\\', '^', '`'].iter().find_map(|c| bare.strip_suffix(*c));
        // `\\` at the end is a backslash, not a continuation.
        let cut = cut.filter(|rest| !rest.ends_with('\\'));
        continued =
            cut.is_some() && !(bare.ends_with('`') && bare.matches('`').count().is_multiple_of(2));
        match cut {
            Some(rest) if continued => {
                out.push_str(rest);
                out.push(' ');
            }
            _ => out.push_str(bare),
        }
    }
    out
}

/// Whether a text is for a shell of Windows, where a backslash is a part of paths.
pub(super) fn is_windows(text: &str) -> bool {
    let drive = |(at, _): (usize, &str)| text[..at].ends_with(|c: char| c.is_ascii_alphabetic());
    text.contains(".exe")
        || text.lines().any(|l| l.trim_end().ends_with(" ^"))
        || text.match_indices(":\\").any(drive)
}

/// The here-documents of a text, each with the file that its line writes it to: `cat > FILE <<EOF`.
pub(super) fn here_documents(text: &str) -> Vec<(Option<String>, String)> {
    let mut found = vec![];
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(end) = heredoc_end(line) else {
            continue;
        };
        let body: Vec<&str> = lines.by_ref().take_while(|l| l.trim() != end).collect();
        let file = line
            .split('>')
            .nth(1)
            .and_then(|rest| rest.split_whitespace().next());
        found.push((file.map(String::from), body.join("\n")));
    }
    found
}

/// What follows a shell's prompt: `$ `, `> `, `PS C:\\> `, `(venv) me@host:~$ `.
fn without_prompt(line: &str) -> Option<&str> {
    if let Some(rest) = ["$ ", "> "].iter().find_map(|p| line.strip_prefix(p)) {
        return Some(rest);
    }
    if let Some(rest) = line.strip_prefix("PS ") {
        return rest.split_once("> ").map(|(_, rest)| rest);
    }
    let rest = match line.strip_prefix('(') {
        Some(rest) => rest.split_once(") ")?.1,
        None => line,
    };
    let (prompt, command) = rest.split_once(' ')?;
    let is_prompt =
        prompt.ends_with(['$', '#', '%']) && (prompt.contains('@') || prompt.len() == 1);
    (is_prompt && !prompt.starts_with('#')).then_some(command)
}

/// The word that ends a here-document which begins in this line.
fn heredoc_end(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("<<")?;
    let rest = rest.strip_prefix('-').unwrap_or(rest).trim_start();
    if rest.starts_with('<') {
        return None;
    }
    let word: String = rest
        .chars()
        .filter(|c| !matches!(c, '\'' | '"'))
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect();
    (!word.is_empty()).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::here_documents;

    #[test]
    fn here_documents_are_found_with_their_files() {
        let here = here_documents("cat > a.yaml << 'EOF'\nx: 1\nEOF\ncat <<END | y\nz\nEND");
        let here: Vec<_> = here
            .iter()
            .map(|(f, b)| (f.as_deref(), b.as_str()))
            .collect();
        assert_eq!(here, [(Some("a.yaml"), "x: 1"), (None, "z")]);
    }
}
