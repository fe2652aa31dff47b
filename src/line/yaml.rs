//! YAML (and JSON, which is YAML) as a tree whose scalars are kept as they are written: `0.90` stays `0.90`.
use super::LineError;
use granit_parser::{Event, Parser, ScalarStyle};
use std::collections::BTreeMap;

/// Most nodes of a document, copies through aliases included, a long text counted as several: more is no file that starts a server.
const MOST_NODES: usize = 50_000;
/// The same of a file of results, whose requests may be in it.
const MOST_RESULT_NODES: usize = 20_000_000;
/// Deepest nesting.
const DEEPEST: usize = 64;

/// A node of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// A scalar's text, and whether it stood in quotes.
    Text(String, bool),
    /// A list.
    List(Vec<Node>),
    /// A mapping in the order of the file; keys that are no scalars are left out.
    Map(Vec<(String, Node)>),
}

impl Node {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries()
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, v)| v)
    }

    /// The value at the end of a path of keys.
    pub fn at(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(self, |node, key| node.get(key))
    }

    /// A scalar's text; a plain `null`, `~` or nothing is none.
    pub fn text(&self) -> Option<&str> {
        match self {
            Node::Text(text, quoted)
                if *quoted || !matches!(text.as_str(), "" | "~" | "null" | "Null") =>
            {
                Some(text)
            }
            _ => None,
        }
    }

    /// What stands in a list; nothing where this is none.
    pub fn items(&self) -> &[Node] {
        match self {
            Node::List(items) => items,
            _ => &[],
        }
    }

    /// What stands in a mapping; nothing where this is none.
    pub fn entries(&self) -> &[(String, Node)] {
        match self {
            Node::Map(entries) => entries,
            _ => &[],
        }
    }

    /// A plain boolean, as PyYAML reads it (YAML 1.1).
    pub fn boolean(&self) -> Option<bool> {
        match self {
            Node::Text(text, false) => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" => Some(true),
                "false" | "no" | "off" => Some(false),
                _ => None,
            },
            _ => None,
        }
    }

    /// The node as JSON text, numbers and booleans unquoted.
    pub fn json(&self) -> String {
        self.value().to_string()
    }

    fn value(&self) -> serde_json::Value {
        match self {
            Node::Map(entries) => entries
                .iter()
                .map(|(k, v)| (k.clone(), v.value()))
                .collect(),
            Node::List(items) => items.iter().map(Node::value).collect(),
            Node::Text(text, quoted) => {
                if let Some(on) = self.boolean() {
                    return on.into();
                }
                match serde_json::from_str::<serde_json::Number>(text) {
                    Ok(n) if !quoted => n.into(),
                    _ => self.text().map_or(serde_json::Value::Null, Into::into),
                }
            }
        }
    }
}

/// The documents of a text.
pub(super) fn documents(text: &str) -> Result<Vec<Node>, LineError> {
    limited(text, MOST_NODES)
}

/// The first document of a YAML text that a tool wrote, as JSON.
///
/// # Errors
/// Damaged YAML, or a document beyond all measure.
pub fn value(text: &str) -> Result<serde_json::Value, LineError> {
    let first = limited(text, MOST_RESULT_NODES)?.into_iter().next();
    first
        .map(|node| node.value())
        .ok_or_else(|| bad("there is no document"))
}

fn limited(text: &str, most: usize) -> Result<Vec<Node>, LineError> {
    let mut tree = Tree {
        most,
        ..Tree::default()
    };
    let mut events = Parser::new_from_str(text.trim_start_matches('\u{feff}'));
    while let Some(event) = events.next_event() {
        let (event, _) = event.map_err(|e| bad(e.to_string()))?;
        tree.take(event)?;
    }
    Ok(tree.documents)
}

fn bad(reason: impl Into<String>) -> LineError {
    LineError::Yaml {
        reason: reason.into(),
    }
}

/// A list or mapping that is not closed yet, with its anchor.
struct Open {
    node: Node,
    anchor: usize,
    /// The key whose value comes next; the inner `None`: a key that is no scalar.
    key: Option<Option<String>>,
}

#[derive(Default)]
struct Tree {
    documents: Vec<Node>,
    open: Vec<Open>,
    anchors: BTreeMap<usize, (Node, usize)>,
    nodes: usize,
    most: usize,
}

impl Tree {
    fn take(&mut self, event: Event) -> Result<(), LineError> {
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let quoted = !matches!(style, ScalarStyle::Plain);
                let node = Node::Text(text.into_owned(), quoted);
                let size = count(&node);
                self.close(node, anchor, size)
            }
            Event::SequenceStart(_, anchor, _) => self.begin(Node::List(vec![]), anchor),
            Event::MappingStart(_, anchor, _) => self.begin(Node::Map(vec![]), anchor),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(open) => self.close(open.node, open.anchor, 1),
                None => Ok(()),
            },
            Event::Alias(anchor) => match self.anchors.get(&anchor).cloned() {
                Some((node, size)) => self.close(node, 0, size),
                None => Err(bad("an alias stands in front of its anchor")),
            },
            _ => Ok(()),
        }
    }

    fn begin(&mut self, node: Node, anchor: usize) -> Result<(), LineError> {
        if self.open.len() >= DEEPEST {
            return Err(bad("lists and mappings are nested too deeply"));
        }
        self.open.push(Open {
            node,
            anchor,
            key: None,
        });
        Ok(())
    }

    /// A node is complete: it goes to the list or mapping around it.
    fn close(&mut self, node: Node, anchor: usize, size: usize) -> Result<(), LineError> {
        self.nodes += size;
        if self.nodes > self.most {
            return Err(bad("the document is too large"));
        }
        if anchor > 0 {
            let size = count(&node);
            self.anchors.insert(anchor, (node.clone(), size));
        }
        let Some(around) = self.open.last_mut() else {
            self.documents.push(node);
            return Ok(());
        };
        match (&mut around.node, around.key.take()) {
            (Node::List(items), _) => items.push(node),
            (Node::Map(_), None) => {
                around.key = Some(match node {
                    Node::Text(key, _) => Some(key),
                    _ => None,
                });
            }
            (Node::Map(entries), Some(Some(key))) if key == "<<" => merge(entries, node),
            (Node::Map(entries), Some(Some(key))) => put(entries, key, node),
            _ => {}
        }
        Ok(())
    }
}

fn count(node: &Node) -> usize {
    1 + match node {
        Node::Text(text, _) => text.len() / 64,
        Node::List(items) => items.iter().map(count).sum(),
        Node::Map(entries) => entries.iter().map(|(_, v)| 1 + count(v)).sum(),
    }
}

/// Sets a key; the file's later word wins, in the place of the first.
fn put(entries: &mut Vec<(String, Node)>, key: String, node: Node) {
    match entries.iter_mut().find(|(k, _)| *k == key) {
        Some(entry) => entry.1 = node,
        None => entries.push((key, node)),
    }
}

/// `<<: *other` and `<<: [*a, *b]`: keys that are not there yet.
fn merge(entries: &mut Vec<(String, Node)>, node: Node) {
    let maps = match node {
        Node::List(items) => items,
        one => vec![one],
    };
    for (key, value) in maps.into_iter().flat_map(|m| match m {
        Node::Map(entries) => entries,
        _ => vec![],
    }) {
        if !entries.iter().any(|(k, _)| *k == key) {
            entries.push((key, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_stay_as_they_are_written_and_maps_keep_their_order() {
        let d =
            documents("b: 0.90\na: [x, 'null', ~]\nc:\n  d: |\n    e\n    f\n---\n{\"g\": true}")
                .unwrap();
        assert_eq!(d.len(), 2);
        assert_eq!(d[0].entries()[0].0, "b");
        assert_eq!(d[0].get("b").unwrap().text(), Some("0.90"));
        let texts: Vec<_> = d[0]
            .get("a")
            .unwrap()
            .items()
            .iter()
            .map(Node::text)
            .collect();
        assert_eq!(texts, [Some("x"), Some("null"), None]);
        assert_eq!(d[0].at(&["c", "d"]).unwrap().text(), Some("e\nf\n"));
        assert_eq!(d[1].get("g").unwrap().boolean(), Some(true));
        assert_eq!(d[0].get("a").unwrap().json(), r#"["x","null",null]"#);
        assert_eq!(
            documents("a: {b: 1.5, c: yes}").unwrap()[0].json(),
            r#"{"a":{"b":1.5,"c":true}}"#
        );
    }

    #[test]
    fn anchors_merge_and_never_explode() {
        let d = documents("x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}\nz: {b: 4, <<: [*x]}").unwrap();
        assert_eq!(d[0].at(&["y", "a"]).unwrap().text(), Some("1"));
        assert_eq!(d[0].at(&["y", "b"]).unwrap().text(), Some("3"));
        assert_eq!(d[0].at(&["z", "b"]).unwrap().text(), Some("4"));
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for i in 1..12 {
            let before = format!("*a{}", i - 1);
            bomb += &format!("a{i}: &a{i} [{}]\n", [before.as_str(); 10].join(", "));
        }
        assert!(
            documents(&bomb)
                .unwrap_err()
                .to_string()
                .contains("too large")
        );
        assert!(documents(&"[".repeat(10_000)).is_err());
        assert!(documents("a: *b").is_err());
        assert!(documents("a: [").is_err());
    }
}
