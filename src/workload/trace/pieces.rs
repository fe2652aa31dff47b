//! A trace read piece by piece, so that a file needs no more memory than its requests and one piece.
use super::{
    Builder, Format, NOT_COVERED, Options, Problem, Reader, Trace, TraceError, bailian,
    llmservingsim, log, mooncake, spec, table, timestamp,
};

/// Most bytes of a file whose format is read as a whole: a log, which may be one JSON list, and LLMServingSim's, whose lines are in no
/// order.
const MOST_WHOLE: usize = 1 << 30;

/// Reads pieces of one text, each of which ends where a line ends.
pub struct Pieces<'a> {
    name: &'a str,
    options: &'a Options,
    /// What the first piece told.
    known: Option<Known>,
    reader: Reader,
    /// Texts of formats that are read as a whole.
    whole: String,
}

struct Known {
    format: Format,
    /// Columns and clock, of a table.
    table: Option<table::State>,
    /// Clock, of lines of JSON.
    clock: timestamp::Clock,
}

impl<'a> Pieces<'a> {
    /// Before the first piece. `name` is for messages.
    pub fn new(name: &'a str, options: &'a Options) -> Self {
        Self {
            name,
            options,
            known: None,
            reader: reader(options, 0, true),
            whole: String::new(),
        }
    }

    fn fail(&self, (line, problem): Problem) -> TraceError {
        TraceError {
            file: self.name.into(),
            line,
            problem,
        }
    }

    /// The next piece.
    ///
    /// # Errors
    /// Names file, line and what is wrong.
    pub fn piece(&mut self, text: &str) -> Result<(), TraceError> {
        let begins = self.known.is_none();
        let text = match begins {
            true => text.strip_prefix('\u{feff}').unwrap_or(text),
            false => text,
        };
        if begins {
            self.begin(text)?;
        }
        let Some(known) = &mut self.known else {
            return Ok(());
        };
        let read = match known.format {
            Format::Mooncake => mooncake::read(text, &mut known.clock, &mut self.reader),
            Format::Bailian => bailian::read(text, &mut known.clock, &mut self.reader),
            Format::Log | Format::LlmServingSim => {
                self.whole.push_str(text);
                match self.whole.len() > MOST_WHOLE {
                    true => Err((
                        0,
                        format!(
                            "is larger than {} MiB, and of a form that is read as a whole",
                            MOST_WHOLE >> 20
                        ),
                    )),
                    false => Ok(()),
                }
            }
            _ => table::read(
                text,
                (known.format, self.options),
                &mut known.table,
                &mut self.reader,
            ),
        };
        match read {
            Ok(()) => {}
            Err(e) => self.other_blocks(text, begins, e)?,
        }
        self.reader.lines_before += text.bytes().filter(|b| *b == b'\n').count() as u64;
        Ok(())
    }

    /// Finds out what the text is.
    fn begin(&mut self, text: &str) -> Result<(), TraceError> {
        let options = self.options;
        let format = match options.format {
            Some(f) => f,
            None => spec::detect(text, options).map_err(|p| self.fail((1, p)))?,
        };
        if format == Format::ServeGen {
            let said = "ServeGen data is a folder of chunk-N-trace.csv and chunk-N-dataset.json: name the folder";
            return Err(self.fail((0, said.into())));
        }
        if options
            .block_size
            .is_some_and(|b| !(1..=1 << 20).contains(&b))
        {
            let said = "block size: must lie between 1 and 1048576";
            return Err(self.fail((0, said.into())));
        }
        let block = options.block_size.unwrap_or(format.block_size());
        self.reader = reader(options, block, true);
        self.known = Some(Known {
            format,
            table: None,
            clock: clock(format),
        });
        Ok(())
    }

    /// Another writer's blocks: as large as they can be, the rest of a prompt being its own. The first piece tells.
    fn other_blocks(&mut self, text: &str, begins: bool, e: Problem) -> Result<(), TraceError> {
        let Some(known) = &mut self.known else {
            return Err(self.fail(e));
        };
        let hashed = matches!(known.format, Format::Mooncake | Format::Bailian);
        let usual = self.reader.rows.block();
        let other = match hashed
            && begins
            && self.options.block_size.is_none()
            && e.1.starts_with(NOT_COVERED)
        {
            true => mooncake::block_size(text, usual),
            false => None,
        };
        let Some(other) = other else {
            return Err(self.fail(e));
        };
        self.reader = reader(self.options, other, false);
        known.clock = clock(known.format);
        let read = match known.format {
            Format::Bailian => bailian::read(text, &mut known.clock, &mut self.reader),
            _ => mooncake::read(text, &mut known.clock, &mut self.reader),
        };
        read.map_err(|e| self.fail(e))
    }

    /// The trace.
    ///
    /// # Errors
    /// Names file, line and what is wrong.
    pub fn finish(mut self) -> Result<Trace, TraceError> {
        if self.known.is_none() {
            self.begin("")?;
        }
        let format = self.known.as_ref().map(|k| k.format);
        self.reader.lines_before = 0;
        let read = match format {
            Some(Format::Log) => log::read(&self.whole, &mut self.reader),
            Some(Format::LlmServingSim) => llmservingsim::read(&self.whole, &mut self.reader),
            _ => Ok(()),
        };
        let read = read.and_then(|()| self.reader.in_order());
        read.map_err(|e| self.fail(e))?;
        if self.reader.rows.is_empty() {
            return Err(self.fail((0, "holds no request".into())));
        }
        Ok(self.reader.rows.finish())
    }
}

/// A clock in the format's unit, or a finer one where times are too large for that.
fn clock(format: Format) -> timestamp::Clock {
    timestamp::Clock::guessed(match format {
        Format::Bailian => 1_000_000_000,
        _ => 1_000_000,
    })
}

/// A reader with no row yet. `whole`: hash ids must cover their prompt.
fn reader(options: &Options, block: u32, whole: bool) -> Reader {
    Reader {
        rows: Builder::new(block),
        lines_before: 0,
        first: None,
        last: 0,
        skip_empty: options.skip_empty,
        whole,
        unsorted: options.sort.then(Vec::new),
    }
}
