//! Aligned tables that fit a terminal.
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

/// A table without frame; numbers to the right from the second column on.
pub fn plain<const N: usize>(header: [&str; N]) -> Table {
    with_header(&header)
}

/// Columns of the terminal that everything fits: a terminal's least width, and what a page of a book or a mail takes.
pub const WIDTH: u16 = 80;

/// As [`plain`], for any number of columns. What does not fit the width is broken within its cell.
pub fn with_header(header: &[&str]) -> Table {
    let mut t = Table::new();
    t.load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(WIDTH)
        .set_header(header.to_vec());
    let last = header.len().saturating_sub(1);
    for (i, c) in t.column_iter_mut().enumerate() {
        c.set_padding((0, if i < last { 2 } else { 0 }));
        if i > 0 {
            c.set_cell_alignment(CellAlignment::Right);
        }
    }
    t
}

/// The same with columns as wide as they come, and whether it fits.
pub fn unbroken(mut t: Table) -> (String, bool) {
    t.set_content_arrangement(ContentArrangement::Disabled);
    let text: String = t
        .to_string()
        .lines()
        .map(|l| format!("{}\n", l.trim_end()))
        .collect();
    let fits = text
        .lines()
        .all(|l| l.chars().count() <= usize::from(WIDTH));
    (text, fits)
}

/// Text in the given columns, counted from 0, instead of numbers.
pub fn left(mut t: Table, columns: &[usize]) -> Table {
    for c in columns {
        if let Some(c) = t.column_mut(*c) {
            c.set_cell_alignment(CellAlignment::Left);
        }
    }
    t
}

/// A number with about three significant digits.
pub fn three(v: f64) -> String {
    let a = v.abs();
    if !v.is_finite() {
        "–".into()
    } else if a >= 99.95 {
        format!("{v:.0}")
    } else if a >= 9.995 {
        format!("{v:.1}")
    } else if a >= 0.9995 || a == 0.0 {
        format!("{v:.2}")
    } else {
        format!("{v:.3}")
    }
}

/// Text broken into lines of at most `width` characters, the later ones preceded by `indent`, which comes on top.
pub fn wrap(text: &str, width: usize, indent: &str) -> String {
    let mut out = String::new();
    let mut line = 0; // characters in this line, the indent not counted
    for word in text.split_whitespace() {
        let n = word.chars().count();
        if line > 0 && line + 1 + n > width {
            out.push('\n');
            out.push_str(indent);
            line = 0;
        } else if line > 0 {
            out.push(' ');
            line += 1;
        }
        out.push_str(word);
        line += n;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapped_lines_fit_and_lose_nothing() {
        let text = "one two three four five six seven";
        let w = wrap(text, 12, "  ");
        assert!(
            w.lines().all(|l| l.trim_start().chars().count() <= 12),
            "{w}"
        );
        assert_eq!(w.split_whitespace().collect::<Vec<_>>().join(" "), text);
    }

    #[test]
    fn a_table_fits_whatever_it_holds() {
        let mut t = with_header(&["name", "x", "y"]);
        t.add_row(["short", "1", "2"]);
        assert_eq!(t.to_string().lines().next(), Some("name   x  y"));
        t.add_row(["a long name of a point / ".repeat(6).as_str(), "3", "4"]);
        let text = t.to_string();
        assert!(
            text.lines()
                .all(|l| l.chars().count() <= usize::from(WIDTH)),
            "{text}"
        );
        assert!(!unbroken(t).1);
    }

    #[test]
    fn three_digits_are_enough() {
        assert_eq!(three(1234.5), "1234");
        assert_eq!(three(16.54), "16.5");
        assert_eq!(three(0.0625), "0.062");
        assert_eq!(three(f64::NAN), "–");
    }
}
