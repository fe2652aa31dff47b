//! CONTRIBUTING.md says which files a change of each kind touches. Every recipe names an example of its kind; what knows the example in the
//! sources must be listed, and what is listed must exist.
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A recipe: the example's word, and the files and folders (with a `/` at the end) that are listed.
struct Recipe {
    word: String,
    listed: Vec<String>,
}

fn recipes(text: &str) -> Vec<Recipe> {
    let mut all: Vec<Recipe> = vec![];
    for line in text.lines() {
        if let Some(word) = line.strip_prefix("<!-- recipe: ") {
            all.push(Recipe {
                word: word.trim_end_matches(" -->").into(),
                listed: vec![],
            });
        } else if let (Some(rest), Some(recipe)) = (line.strip_prefix("| `"), all.last_mut()) {
            recipe
                .listed
                .extend(rest.split('`').next().map(String::from));
        }
    }
    all
}

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path
            .extension()
            .is_some_and(|e| e == "rs" || e == "json" || e == "md")
        {
            found.push(path);
        }
    }
}

/// Where sources and shipped data stand, tests left out.
fn sources(root: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for dir in ["src", "models"] {
        files(&root.join(dir), &mut found);
    }
    for part in ["calibrate", "live", "study", "cli"] {
        files(&root.join(format!("crates/capsim-{part}/src")), &mut found);
    }
    found
}

/// Files that know a word, as paths from the root with `/`.
fn knowing(root: &Path, word: &str) -> BTreeSet<String> {
    let text = |p: &Path| fs::read_to_string(p).unwrap_or_default();
    sources(root)
        .into_iter()
        .filter(|p| text(p).contains(word))
        .map(|p| {
            p.strip_prefix(root)
                .unwrap()
                .to_string_lossy()
                .replace('\\', "/")
        })
        .collect()
}

fn unlisted<'a>(recipe: &Recipe, known: &'a BTreeSet<String>) -> Vec<&'a String> {
    let listed = |f: &str| {
        recipe
            .listed
            .iter()
            .any(|l| f == l || (l.ends_with('/') && f.starts_with(l.as_str())))
    };
    known.iter().filter(|f| !listed(f)).collect()
}

#[test]
fn the_recipes_name_every_file_that_a_change_touches() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("CONTRIBUTING.md")).unwrap();
    let all = recipes(&text);
    assert!(all.len() >= 6, "{}", all.len());
    for recipe in &all {
        for path in &recipe.listed {
            assert!(root.join(path).exists(), "{}: {path}", recipe.word);
        }
        let known = knowing(root, &recipe.word);
        assert!(!known.is_empty(), "nothing knows {}", recipe.word);
        assert_eq!(
            unlisted(recipe, &known),
            Vec::<&String>::new(),
            "{}",
            recipe.word
        );
    }
}

#[test]
fn a_file_that_is_not_listed_is_found() {
    let text = "<!-- recipe: Sglang -->\n| file | what |\n| --- | --- |\n| `src/engine/sglang/` | a folder |\n";
    let recipe = &recipes(text)[0];
    let known: BTreeSet<String> = ["src/engine/sglang/mod.rs", "src/cost/mod.rs"]
        .map(String::from)
        .into();
    assert_eq!(unlisted(recipe, &known), ["src/cost/mod.rs"]);
}
