//! Plain English: words that stand for a person where a thing is meant, or for a number that is not said, are not used in what people read.
use std::fs;
use std::path::{Path, PathBuf};

/// Each with a plain way to say it in the message.
const BANNED: [(&str, &str); 7] = [
    ("whoever", "name the thing"),
    ("nobody", "say what does not happen"),
    ("somebody", "name the thing"),
    ("everybody", "say all, and of what"),
    ("so many", "give the number, or name it"),
    ("for ever", "say without a limit"),
    ("of one's own", "say your own"),
];

/// Habits in a text: line numbers and words. Quotations and commands, in back quotes, are others' words.
fn habits(text: &str) -> Vec<(usize, &'static str)> {
    let mut found = vec![];
    let mut fenced = false;
    for (i, line) in text.lines().enumerate() {
        fenced ^= line.starts_with("```");
        if fenced {
            continue;
        }
        let plain: Vec<&str> = line.split('`').step_by(2).collect();
        let words = plain.join(" ").to_lowercase();
        let words: Vec<&str> = words
            .split(|c: char| !c.is_alphabetic() && c != '\'')
            .filter(|w| !w.is_empty())
            .collect();
        let words = format!(" {} ", words.join(" "));
        let here = BANNED
            .iter()
            .filter(|(b, _)| words.contains(&format!(" {b} ")));
        found.extend(here.map(|(b, _)| (i + 1, *b)));
    }
    found
}

fn pages(folder: &Path) -> Vec<PathBuf> {
    let mut all = vec![];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(pages(&path));
        } else if path.extension().is_some_and(|e| e == "md") {
            all.push(path);
        }
    }
    all
}

#[test]
fn what_people_read_has_none_of_these_habits() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = pages(&root.join("docs"));
    all.extend(["README.md", "CONTRIBUTING.md"].map(|f| root.join(f)));
    assert!(all.len() > 20);
    let mut wrong = vec![];
    for page in all {
        for (line, word) in habits(&fs::read_to_string(&page).unwrap()) {
            let way = BANNED.iter().find(|(b, _)| *b == word).unwrap().1;
            wrong.push(format!("{}:{line}: `{word}`: {way}", page.display()));
        }
    }
    // The help of flags comes from these tables.
    let fields = capsim::predict::spec::all_fields();
    for f in fields {
        wrong.extend(
            habits(f.help)
                .into_iter()
                .map(|(_, w)| format!("--{}: `{w}`", f.flag())),
        );
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn a_habit_is_found_and_a_quotation_left() {
    assert_eq!(
        habits("a\nNobody knows how, So  many do"),
        [(2, "nobody"), (2, "so many")]
    );
    assert_eq!(
        habits("`nobody` said it\n```text\nnobody\n```\nabsomany"),
        []
    );
}

#[test]
fn the_glossary_has_forty_terms_in_order() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/glossary.md");
    let text = fs::read_to_string(page).unwrap();
    let rows = text.lines().filter(|l| l.starts_with("| ")).skip(2);
    let terms: Vec<String> = rows
        .map(|l| l.split('|').nth(1).unwrap().trim().to_lowercase())
        .collect();
    assert!(terms.len() >= 40 && terms.is_sorted(), "{terms:?}");
}
