//! Writing while a simulation runs: the first error is kept for the end, and nothing is written after it.
use std::fmt;
use std::io::Write;

/// A writer that an [`Observer`](capsim::engine::observe::Observer) can use, whose methods return nothing.
pub struct Stream<W: Write> {
    out: W,
    error: Option<std::io::Error>,
}

impl<W: Write> Stream<W> {
    /// Nothing written yet.
    pub fn new(out: W) -> Self {
        Self { out, error: None }
    }

    /// Writes, unless something went wrong before.
    pub fn write(&mut self, text: fmt::Arguments<'_>) {
        if self.error.is_none()
            && let Err(e) = self.out.write_fmt(text)
        {
            self.error = Some(e);
        }
    }

    /// Writes one row, as CSV or as a JSON object; `values` are numbers or quoted as the format asks.
    pub fn row(&mut self, columns: &[&str], values: &[String], csv: bool) {
        if csv {
            return self.write(format_args!("{}\n", values.join(",")));
        }
        for (i, (column, value)) in columns.iter().zip(values).enumerate() {
            let before = if i == 0 { '{' } else { ',' };
            self.write(format_args!("{before}\"{column}\":{value}"));
        }
        self.write(format_args!("}}\n"));
    }

    /// The writer back.
    ///
    /// # Errors
    /// The first one that writing met.
    pub fn finish(mut self) -> std::io::Result<W> {
        match self.error {
            Some(e) => Err(e),
            None => self.out.flush().map(|()| self.out),
        }
    }
}

/// A decimal number, exactly: `units` of 10^−`places`.
struct Decimal {
    units: u64,
    places: usize,
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = 10u64.pow(self.places as u32);
        let places = self.places;
        write!(f, "{}.{:0places$}", self.units / one, self.units % one)
    }
}

/// Nanoseconds in seconds, every digit.
pub fn secs(ns: u64) -> impl fmt::Display {
    Decimal {
        units: ns,
        places: 9,
    }
}

/// Nanoseconds in milliseconds, every digit.
pub fn ms(ns: u64) -> impl fmt::Display {
    Decimal {
        units: ns,
        places: 6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a few bytes, then is full.
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, b: &[u8]) -> std::io::Result<usize> {
            if self.0 < b.len() {
                return Err(std::io::ErrorKind::StorageFull.into());
            }
            self.0 -= b.len();
            Ok(b.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_first_error_comes_out_at_the_end() {
        let mut s = Stream::new(Full(3));
        for _ in 0..3 {
            s.write(format_args!("ab"));
        }
        let kind = s.finish().err().map(|e| e.kind());
        assert_eq!(kind, Some(std::io::ErrorKind::StorageFull));
    }

    #[test]
    fn times_keep_every_digit() {
        assert_eq!(secs(12_000_000_345).to_string(), "12.000000345");
        assert_eq!(ms(12_000_345).to_string(), "12.000345");
        assert_eq!(secs(u64::MAX).to_string(), "18446744073.709551615");
    }
}
