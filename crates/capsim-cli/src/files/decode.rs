//! Bytes of a file → text.
use anyhow::{Context, bail, ensure};
use std::io::Read;

/// The text of a file's bytes: unpacked, if it is compressed, and without its byte order mark. Unpacked it has at most `most` bytes.
pub fn text(bytes: Vec<u8>, most: u64) -> anyhow::Result<String> {
    let bytes = match &bytes[..] {
        // RFC 1952, 2.3.1; RFC 8878, 3.1.1.
        [0x1f, 0x8b, ..] => unpacked(flate2::read::MultiGzDecoder::new(&bytes[..]), most)
            .context("is no whole gzip file")?,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let frames = ruzstd::decoding::StreamingDecoder::new(&bytes[..]);
            let frames = frames.map_err(|e| anyhow::anyhow!("is no zstd file: {e}"))?;
            unpacked(frames, most).context("is no whole zstd file")?
        }
        _ => bytes,
    };
    let wide = |from: fn([u8; 2]) -> u16| {
        let pairs = bytes[2..].chunks_exact(2).map(|b| from([b[0], b[1]]));
        let text: Result<String, _> = char::decode_utf16(pairs).collect();
        text.context("begins as UTF-16 and is none")
    };
    match &bytes[..] {
        [0xff, 0xfe, ..] => wide(u16::from_le_bytes),
        [0xfe, 0xff, ..] => wide(u16::from_be_bytes),
        _ => {
            let text = match bytes.strip_prefix(b"\xef\xbb\xbf") {
                Some(rest) => std::str::from_utf8(rest).map(String::from),
                None => return String::from_utf8(bytes).map_err(|e| no_text(&e.utf8_error())),
            };
            text.map_err(|e| no_text(&e))
        }
    }
}

pub fn no_text(e: &std::str::Utf8Error) -> anyhow::Error {
    anyhow::anyhow!("is no text: byte {} is not UTF-8", e.valid_up_to())
}

/// The bytes behind gzip or zstd, or as they are.
pub fn unpacking(mut from: impl std::io::BufRead + 'static) -> anyhow::Result<Box<dyn Read>> {
    let begin = from.fill_buf()?;
    Ok(match begin {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(from)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let frames = ruzstd::decoding::StreamingDecoder::new(from);
            Box::new(frames.map_err(|e| anyhow::anyhow!("is no zstd file: {e}"))?)
        }
        _ => Box::new(from),
    })
}

fn unpacked(from: impl Read, most: u64) -> anyhow::Result<Vec<u8>> {
    let mut bytes = vec![];
    from.take(most + 1).read_to_end(&mut bytes)?;
    ensure!(
        bytes.len() as u64 <= most,
        "unpacked it is larger than {} MiB",
        most >> 20
    );
    if bytes.is_empty() {
        bail!("nothing is in it");
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_text_is_the_same_however_it_is_written() {
        let wanted = "a: é\n";
        let mut gz = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
        gz.write_all(wanted.as_bytes()).unwrap();
        let zst = ruzstd::encoding::compress_to_vec(
            wanted.as_bytes(),
            ruzstd::encoding::CompressionLevel::Fastest,
        );
        let wide = |bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
            std::iter::once(0xfeff)
                .chain(wanted.encode_utf16())
                .flat_map(bytes)
                .collect()
        };
        for bytes in [
            wanted.as_bytes().to_vec(),
            [b"\xef\xbb\xbf", wanted.as_bytes()].concat(),
            gz.finish().unwrap(),
            zst,
            wide(u16::to_le_bytes),
            wide(u16::to_be_bytes),
        ] {
            assert_eq!(text(bytes, 100).unwrap(), wanted);
        }
    }

    #[test]
    fn damage_and_bombs_are_refused() {
        let mut gz = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
        gz.write_all(&[b'a'; 10_000]).unwrap();
        let whole = gz.finish().unwrap();
        assert!(format!("{:#}", text(whole.clone(), 100).unwrap_err()).contains("larger"));
        text(whole[..whole.len() / 2].to_vec(), 1 << 20).unwrap_err();
        assert!(
            text(vec![b'a', 0xff], 100)
                .unwrap_err()
                .to_string()
                .contains("byte 1")
        );
        text(vec![0x28, 0xb5, 0x2f, 0xfd, 1, 2], 100).unwrap_err();
    }
}
