//! Variables put into a text, as shells, compose files and Kubernetes write them.
use super::shell::Variables;

/// Most bytes that variables may bring to a text: `A=$A$A` doubles.
pub(super) const MOST_EXPANDED: usize = 1 << 20;

/// Defaults in defaults, `${A:-${B:-c}}`, are followed so deep; what lies deeper stays as it is written.
const DEEPEST: usize = 16;

/// The value of `${inside}`: `NAME`, `NAME:-default`, `NAME-default`, `NAME:=default`, `NAME:?message`, `NAME:+other`.
pub(super) fn expansion(inside: &str, variables: &Variables, depth: usize) -> String {
    let end = inside
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(inside.len());
    let (name, rest) = inside.split_at(end);
    let colon = rest.starts_with(':');
    let value = variables.get(name).filter(|v| !colon || !v.is_empty());
    let rest = rest.strip_prefix(':').unwrap_or(rest);
    match (value, rest.chars().next()) {
        (Some(_), Some('+')) => deeper(&rest[1..], variables, depth + 1),
        (None, Some('+')) => String::new(),
        (Some(v), _) => v.clone(),
        (None, Some('-' | '=')) => deeper(&rest[1..], variables, depth + 1),
        (None, _) => format!("${{{inside}}}"),
    }
}

/// A text with `$NAME` and `${NAME:-default}` put in, and `$$` as a dollar sign, as compose files write them.
pub(super) fn interpolated(text: &str, variables: &Variables) -> String {
    deeper(text, variables, 0)
}

fn deeper(text: &str, variables: &Variables, depth: usize) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest
        .find('$')
        .filter(|_| depth < DEEPEST && out.len() < MOST_EXPANDED)
    {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(next) = after.strip_prefix('$') {
            out.push('$');
            rest = next;
        } else if after.starts_with('{') {
            let Some(end) = closing(after) else {
                rest = &rest[at..];
                break;
            };
            out.push_str(&expansion(&after[1..end], variables, depth));
            rest = &after[end + 1..];
        } else {
            let end = after
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .unwrap_or(after.len());
            match variables.get(&after[..end]) {
                Some(value) if end > 0 => out.push_str(value),
                _ => {
                    out.push('$');
                    out.push_str(&after[..end]);
                }
            }
            rest = &after[end..];
        }
    }
    out + rest
}

/// A text with `$(NAME)` put in, as Kubernetes writes a container's variables.
pub(super) fn parenthesized(text: &str, variables: &[(String, String)]) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find("$(").filter(|_| out.len() < MOST_EXPANDED) {
        out.push_str(&rest[..at]);
        let name = rest[at + 2..].split(')').next().unwrap_or("");
        let taken = match variables.iter().rev().find(|(n, _)| n == name) {
            Some((_, value)) => {
                out.push_str(value);
                (at + name.len() + 3).min(rest.len())
            }
            None => {
                out.push_str("$(");
                at + 2
            }
        };
        rest = &rest[taken..];
    }
    out + rest
}

/// Where the brace that a text begins with is closed.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_values_and_unknown_ones_stay() {
        let pairs = [("A".to_string(), "1".to_string())];
        assert_eq!(parenthesized("$(A)-$(B)-$(A) $(A", &pairs), "1-$(B)-1 1");
        let set = Variables::from([("A".to_string(), "1".to_string())]);
        assert_eq!(
            interpolated("$A ${A} ${B:-x${A}} $$A ${C?no} $", &set),
            "1 1 x1 $A ${C?no} $"
        );
        assert_eq!(expansion("A:+y", &set, 0), "y");
    }
}
