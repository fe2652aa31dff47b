//! A file read piece by piece: no more of it is in memory than one piece.
use super::decode;
use anyhow::{Context, anyhow};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

/// Bytes of a piece, about: it ends where a line ends.
const PIECE: usize = 4 << 20;

/// The longest line.
const LONGEST_LINE: usize = 256 << 20;

/// Hands a file's text over in pieces, unpacked if it is compressed; `-` is standard input.
///
/// # Errors
/// It cannot be read, is no text, or what takes the pieces refuses one.
pub fn read(path: &Path, take: &mut dyn FnMut(&str) -> Result<(), String>) -> anyhow::Result<()> {
    let name = || format!("{}", path.display());
    let from: Box<dyn Read> = match path == Path::new("-") {
        true => Box::new(std::io::stdin().lock()),
        false => {
            let meta = std::fs::metadata(path).with_context(name)?;
            anyhow::ensure!(!meta.is_dir(), "{}: is a folder, not a file", name());
            Box::new(File::open(path).with_context(name)?)
        }
    };
    let from = decode::unpacking(BufReader::with_capacity(1 << 16, from)).with_context(name)?;
    // What takes a piece names the file itself.
    match cut(from, take) {
        Ok(()) => Ok(()),
        Err(Wrong::File(e)) => Err(e.context(name())),
        Err(Wrong::Refused(e)) => Err(anyhow!(e)),
    }
}

enum Wrong {
    File(anyhow::Error),
    Refused(String),
}

/// Pieces of bytes that are UTF-8; of UTF-16 there is one, the whole.
fn cut(mut from: impl Read, take: &mut dyn FnMut(&str) -> Result<(), String>) -> Result<(), Wrong> {
    let wrong = |e: std::io::Error| Wrong::File(e.into());
    let mut bytes: Vec<u8> = Vec::with_capacity(PIECE + (PIECE >> 2));
    let mut first = true;
    loop {
        let wanted = PIECE.saturating_sub(bytes.len()).max(1 << 16);
        let read = from
            .by_ref()
            .take(wanted as u64)
            .read_to_end(&mut bytes)
            .map_err(wrong)?;
        let ended = read < wanted;
        if first && matches!(bytes[..], [0xff, 0xfe, ..] | [0xfe, 0xff, ..]) {
            let most = LONGEST_LINE as u64;
            from.by_ref()
                .take(most)
                .read_to_end(&mut bytes)
                .map_err(wrong)?;
            let text = decode::text(bytes, most).map_err(Wrong::File)?;
            return take(&text).map_err(Wrong::Refused);
        }
        let end = match ended {
            true => bytes.len(),
            false => bytes.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1),
        };
        if end == 0 && !ended {
            if bytes.len() > LONGEST_LINE {
                let said = anyhow!("a line is longer than {} MiB", LONGEST_LINE >> 20);
                return Err(Wrong::File(said));
            }
            continue;
        }
        let text = std::str::from_utf8(&bytes[..end]);
        let text = text.map_err(|e| Wrong::File(decode::no_text(&e)))?;
        let text = match first {
            true => text.strip_prefix('\u{feff}').unwrap_or(text),
            false => text,
        };
        if first || !text.is_empty() {
            take(text).map_err(Wrong::Refused)?;
        }
        first = false;
        bytes.drain(..end);
        if ended {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_end_where_lines_end_and_are_the_whole_text() {
        let line = "1,2,3 é\n";
        let text = line.repeat(3 * PIECE / line.len()) + "no end";
        let mut got: Vec<String> = vec![];
        let mut take = |t: &str| {
            got.push(t.into());
            Ok(())
        };
        assert!(cut(text.as_bytes(), &mut take).is_ok());
        assert!(got.len() > 2, "{}", got.len());
        assert!(got[..got.len() - 1].iter().all(|t| t.ends_with('\n')));
        assert_eq!(got.concat(), text);
        for (bytes, pieces) in [(&b""[..], 1), (b"\xef\xbb\xbfa", 1), (b"\xff\xfea\0", 1)] {
            let mut n = 0;
            let mut take = |t: &str| {
                n += 1;
                assert!(t.is_empty() || t == "a", "{t:?}");
                Ok(())
            };
            assert!(cut(bytes, &mut take).is_ok());
            assert_eq!(n, pieces);
        }
        assert!(cut(&b"a\xff"[..], &mut |_| Ok(())).is_err());
    }
}
