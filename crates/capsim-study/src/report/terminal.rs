//! A chart in a terminal: lines in Braille dots, a mark for each point, 80 columns wide.
use super::chart::{Axis, Chart, Dot, Mark, short};

/// Columns of a terminal.
const WIDTH: usize = 80;
/// Columns of the values beside the vertical axis.
const LEFT: usize = 9;
/// Cells of the drawing.
const COLUMNS: usize = WIDTH - LEFT - 2;
const ROWS: usize = 15;
/// Marks that tell series apart without colour.
const MARKS: [char; 6] = ['●', '■', '▲', '◆', '▼', '○'];
/// The Braille pattern without dots, and the bit of each dot by its row and column in a cell (Unicode 16, block 2800–28FF).
const BLANK: u32 = 0x2800;
const DOTS: [[u32; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];

/// Cells, from the top.
struct Canvas {
    cells: Vec<[char; COLUMNS]>,
}

impl Canvas {
    /// A dot of a line, at parts of the way to the right and upwards; marks and words are not drawn over.
    fn dot(&mut self, x: f64, y: f64) {
        let (across, down) = (2 * COLUMNS - 1, 4 * ROWS - 1);
        let (px, py) = (place(x, across), place(1.0 - y, down));
        let cell = &mut self.cells[py / 4][px / 2];
        let lit = match *cell {
            ' ' | '┄' | '┊' => BLANK,
            c if (BLANK..BLANK + 256).contains(&u32::from(c)) => u32::from(c),
            _ => return,
        };
        *cell = char::from_u32(lit | DOTS[py % 4][px % 2]).unwrap_or(' ');
    }

    fn put(&mut self, x: f64, y: f64, mark: char) {
        self.cells[place(1.0 - y, ROWS - 1)][place(x, COLUMNS - 1)] = mark;
    }
}

/// The nearest of the places 0 to `last`.
fn place(part: f64, last: usize) -> usize {
    (part * last as f64 + 0.5) as usize
}

/// Points as parts of the way along both axes.
fn places<'a>(x: &Axis, y: &Axis, dots: &'a [Dot]) -> Vec<(f64, f64, &'a Dot)> {
    let at = |d: &'a Dot| Some((x.part(d.x)?, y.part(d.y)?, d));
    dots.iter().filter_map(at).collect()
}

/// A chart as lines of text of at most 80 columns; `None` if there is nothing to draw.
pub fn plot(chart: &Chart) -> Option<String> {
    let (x, y) = chart.axes()?;
    let mut canvas = Canvas {
        cells: vec![[' '; COLUMNS]; ROWS],
    };
    for (value, _) in &chart.levels {
        let Some(up) = y.part(*value) else { continue };
        canvas.cells[place(1.0 - up, ROWS - 1)] = ['┄'; COLUMNS];
    }
    for u in &chart.uprights {
        let Some(right) = x.part(u.x) else { continue };
        for row in &mut canvas.cells {
            row[place(right, COLUMNS - 1)] = '┊';
        }
    }
    for s in chart.series.iter().filter(|s| s.mark != Mark::Dots) {
        for pair in places(&x, &y, &s.dots).windows(2) {
            line(&mut canvas, (pair[0].0, pair[0].1), (pair[1].0, pair[1].1));
        }
    }
    for (i, s) in chart.series.iter().enumerate() {
        for (px, py, d) in places(&x, &y, &s.dots) {
            // Of a long line only points with a name have marks.
            if s.mark == Mark::Dots || !d.label.is_empty() {
                canvas.put(px, py, MARKS[i % MARKS.len()]);
            }
        }
    }
    Some(framed(chart, &x, &y, &canvas))
}

/// A straight line, dot by dot.
fn line(canvas: &mut Canvas, a: (f64, f64), b: (f64, f64)) {
    let across = (b.0 - a.0).abs() * 2.0 * COLUMNS as f64;
    let up = (b.1 - a.1).abs() * 4.0 * ROWS as f64;
    let steps = across.max(up).ceil().max(1.0);
    for i in 0..=steps as usize {
        let t = i as f64 / steps;
        canvas.dot(a.0 + t * (b.0 - a.0), a.1 + t * (b.1 - a.1));
    }
}

/// Title, values along both axes, legend.
fn framed(chart: &Chart, x: &Axis, y: &Axis, canvas: &Canvas) -> String {
    let mut o = cut(&chart.title) + "\n" + &cut(&format!("{:>LEFT$}  {}", "", chart.y)) + "\n";
    let mut labels: Vec<String> = vec![String::new(); ROWS];
    for t in &y.ticks {
        if let Some(up) = y.part(*t) {
            labels[place(1.0 - up, ROWS - 1)] = short(*t);
        }
    }
    for (label, row) in labels.iter().zip(&canvas.cells) {
        let edge = if label.is_empty() { '│' } else { '┤' };
        let row: String = row.iter().collect();
        o += format!("{label:>LEFT$} {edge}{}", row.trim_end()).trim_end();
        o.push('\n');
    }
    let mut edge = vec!['─'; COLUMNS];
    let mut below = vec![' '; WIDTH];
    for t in &x.ticks {
        let Some(right) = x.part(*t) else { continue };
        let at = place(right, COLUMNS - 1);
        let text: Vec<char> = short(*t).chars().collect();
        let start = (LEFT + 2 + at).saturating_sub(text.len() / 2);
        let start = start.min(WIDTH - text.len());
        // A value that would touch the one before it is left out.
        if below[start.saturating_sub(1)..start + text.len()]
            .iter()
            .all(|c| *c == ' ')
        {
            edge[at] = '┴';
            below[start..start + text.len()].copy_from_slice(&text);
        }
    }
    let edge: String = edge.into_iter().collect();
    let below: String = below.into_iter().collect();
    o += &format!("{:>LEFT$} └{edge}\n{}\n", "", below.trim_end());
    o += &format!("{:>WIDTH$}\n", cut(&chart.x));
    for (i, name) in chart.legend().iter().enumerate() {
        o += &(cut(&format!("  {} {name}", MARKS[i % MARKS.len()])) + "\n");
    }
    for (_, name) in &chart.levels {
        o += &(cut(&format!("  ┄ {name}")) + "\n");
    }
    for u in &chart.uprights {
        o += &(cut(&format!("  ┊ {}", u.name)) + "\n");
    }
    o
}

/// At most as many letters as a line has.
fn cut(text: &str) -> String {
    match text.chars().count() {
        n if n <= WIDTH => text.into(),
        _ => text.chars().take(WIDTH - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::chart::{Scale, Series};
    use super::*;

    fn chart(ys: &[f64]) -> Chart {
        let dots = ys.iter().enumerate().map(|(i, y)| Dot {
            x: i as f64,
            y: *y,
            label: "a".into(),
            ..Dot::default()
        });
        Chart {
            title: "t".into(),
            x: "right".into(),
            y: "up".into(),
            series: vec![Series {
                name: "s".into(),
                dots: dots.collect(),
                mark: Mark::Line,
            }],
            ..Chart::default()
        }
    }

    /// Row of each mark, from the left.
    fn rows(text: &str) -> Vec<usize> {
        let mut all: Vec<(usize, usize)> = vec![];
        for (row, line) in text.lines().enumerate() {
            let marks = line.chars().enumerate().filter(|(_, c)| *c == '●');
            all.extend(marks.map(|(column, _)| (column, row)));
        }
        all.sort_unstable();
        all.into_iter().map(|(_, row)| row).collect()
    }

    #[test]
    fn larger_values_stand_higher_and_lines_end_at_80_columns() {
        for ys in [&[1.0, 2.0, 3.0][..], &[1e-9, 5.0, 1e12], &[-4.0, 0.0, 7.5]] {
            for scale in [Scale::Linear, Scale::Free] {
                let mut c = chart(ys);
                c.y_scale = scale;
                c.levels = vec![(ys[1], "limit ".repeat(30))];
                let text = plot(&c).unwrap();
                let rows = rows(&text);
                assert_eq!(rows.len(), 3, "{text}");
                assert!(rows.windows(2).all(|w| w[0] >= w[1]), "{text}");
                assert!(text.lines().all(|l| l.chars().count() <= WIDTH), "{text}");
            }
        }
    }

    #[test]
    fn what_cannot_be_drawn_is_left_out() {
        assert_eq!(plot(&chart(&[])), None);
        let text = plot(&chart(&[f64::NAN, 2.0, f64::INFINITY])).unwrap();
        assert_eq!(rows(&text).len(), 1, "{text}");
    }
}
