//! Numbers of lines as an editor counts them.

/// Counts the lines of a text up to places that only move forwards. (A reader of tables counts a line that ends in CR LF otherwise.)
#[derive(Clone, Debug)]
pub struct Lines<'a> {
    text: &'a [u8],
    at: usize,
    line: u64,
}

impl<'a> Lines<'a> {
    /// At the beginning of a text.
    pub fn of(text: &'a str) -> Self {
        Self {
            text: text.as_bytes(),
            at: 0,
            line: 1,
        }
    }

    /// The line, from 1, of what begins at a byte or behind the line ends that stand there.
    pub fn at(&mut self, byte: usize) -> u64 {
        let mut to = byte.min(self.text.len());
        while matches!(self.text.get(to), Some(b'\r' | b'\n')) {
            to += 1;
        }
        if to > self.at {
            let ends = self.text[self.at..to]
                .iter()
                .filter(|b| **b == b'\n')
                .count();
            self.line += ends as u64;
            self.at = to;
        }
        self.line
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn lines_are_an_editors() {
        for text in ["a\nb\n\nc", "a\r\nb\r\n\r\nc"] {
            let mut lines = super::Lines::of(text);
            let place = |c: char| text.find(c).unwrap();
            assert_eq!(
                [lines.at(0), lines.at(place('b')), lines.at(place('c'))],
                [1, 2, 4]
            );
            // From the end of the line before.
            assert_eq!(super::Lines::of(text).at(1), 2);
        }
    }
}
