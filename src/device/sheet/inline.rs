//! A data sheet in one word: `5090-like:32GiB,1792GB/s,210TFLOPS`.
use super::super::ProfileError;
use super::{DataSheet, Stated};

/// How it is written.
const FORM: &str = "write NAME:MEMORY,BANDWIDTH,RATE, as in 5090-like:32GiB,1792GB/s,210TFLOPS; after that may stand link=64GB/s and like=rtx-pro-6000";

/// Whether a device's name is a data sheet: something, a colon, and a number behind it.
pub fn is_inline(name: &str) -> bool {
    name.split_once(':').is_some_and(|(id, rest)| {
        !id.is_empty()
            && !id.contains(['/', '\\'])
            && rest.trim_start().starts_with(|c: char| c.is_ascii_digit())
    })
}

/// Names that were split at commas, with the parts of a data sheet together again.
pub fn rejoined<'a>(pieces: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut all: Vec<String> = vec![];
    for piece in pieces {
        let lower = piece.trim().to_lowercase();
        let part = ["b/s", "flop"].iter().any(|u| lower.contains(u))
            || ["link=", "like="].iter().any(|k| lower.starts_with(k));
        match all.last_mut().filter(|last| part && is_inline(last)) {
            Some(last) => *last = format!("{last},{piece}"),
            None => all.push(piece.to_string()),
        }
    }
    all
}

fn bad(problem: String) -> ProfileError {
    ProfileError::Value {
        field: "device".into(),
        problem: format!("{problem}; {FORM}"),
    }
}

/// A number with one of these units, and by what it is multiplied.
fn number(text: &str, what: &str, units: &[(&str, f64)]) -> Result<f64, ProfileError> {
    let text = text.trim();
    let at = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(at);
    let names: Vec<&str> = units.iter().map(|u| u.0).collect();
    let known = units
        .iter()
        .find(|(u, _)| unit.trim().eq_ignore_ascii_case(u));
    match (digits.parse::<f64>(), known) {
        (Ok(v), Some((_, factor))) => Ok(v * factor),
        _ => Err(bad(format!(
            "`{text}` is no {what}: a number and {}",
            names.join(" or ")
        ))),
    }
}

/// The sheet.
///
/// # Errors
/// What is missing or cannot be read.
pub fn parse(name: &str) -> Result<DataSheet, ProfileError> {
    let (id, rest) = name
        .split_once(':')
        .ok_or_else(|| bad(format!("`{name}` is no data sheet")))?;
    let stated = |value: f64| Stated {
        value,
        source: "as given with --device".into(),
    };
    let mut parts = rest.split(',');
    let mut next = |what: &str| {
        parts
            .next()
            .filter(|p| !p.trim().is_empty())
            .ok_or_else(|| bad(format!("`{name}` does not say the {what}")))
    };
    // A GB of a data sheet's memory is a GiB but for HBM's; 1e9 bytes is what is written.
    let gib = [("GiB", 1.0), ("GB", 1e9 / 1_073_741_824.0), ("TiB", 1024.0)];
    let rate = [("GB/s", 1.0), ("TB/s", 1000.0)];
    let memory = number(next("memory")?, "memory", &gib)?;
    let bandwidth = number(next("bandwidth")?, "bandwidth", &rate)?;
    let tflops = number(
        next("16-bit matrix rate")?,
        "matrix rate",
        &[("TFLOPS", 1.0), ("TFLOP/s", 1.0), ("PFLOPS", 1000.0)],
    )?;
    let mut sheet = DataSheet {
        id: id.trim().to_string(),
        name: id.trim().to_string(),
        aliases: vec![],
        memory_gib: stated(memory),
        bandwidth_gbs: stated(bandwidth),
        tflops_bf16: stated(tflops),
        tflops_fp8: None,
        link_gbs: None,
        bus_gbs: None,
        tdp_w: None,
        like: None,
    };
    for part in parts {
        match part.trim().split_once('=') {
            Some(("link", v)) => sheet.link_gbs = Some(stated(number(v, "link rate", &rate)?)),
            Some(("like", v)) => sheet.like = Some(v.trim().to_string()),
            _ => return Err(bad(format!("`{}` is not understood", part.trim()))),
        }
    }
    Ok(sheet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_in_a_word() {
        let s = parse("5090-like:32GiB,1792GB/s,210TFLOPS").unwrap();
        assert_eq!(
            (s.id.as_str(), s.memory_gib.value, s.bandwidth_gbs.value),
            ("5090-like", 32.0, 1792.0)
        );
        assert_eq!(s.tflops_bf16.value, 210.0);
        let s = parse("x: 0.5TiB, 3.2 TB/s, 1PFLOPS, link=64GB/s, like=h100-sxm").unwrap();
        assert_eq!((s.memory_gib.value, s.bandwidth_gbs.value), (512.0, 3200.0));
        assert_eq!(s.link_gbs.unwrap().value, 64.0);
        assert_eq!(s.like.as_deref(), Some("h100-sxm"));
        assert!(is_inline("5090-like:32GiB") && !is_inline("C:\\x\\device.json"));
        assert!(!is_inline("dir/a:3") && !is_inline("rtx-5090") && !is_inline(":3GiB"));
    }

    #[test]
    fn a_list_of_devices_keeps_its_sheets_whole() {
        let text = "rtx-4090,a:32GiB,1792GB/s,210TFLOPS,like=l40s,5090,b:1GiB,1GB/s,1TFLOPS";
        let all = rejoined(text.split(','));
        assert_eq!(
            all,
            [
                "rtx-4090",
                "a:32GiB,1792GB/s,210TFLOPS,like=l40s",
                "5090",
                "b:1GiB,1GB/s,1TFLOPS"
            ]
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, says) in [
            ("x:32GiB", "bandwidth"),
            ("x:32GiB,1792GB/s", "matrix rate"),
            ("x:32,1792GB/s,210TFLOPS", "`32`"),
            ("x:32GiB,1792,210TFLOPS", "`1792`"),
            ("x:32GiB,1792GB/s,210TFLOPS,fast", "`fast`"),
            ("x:32GiB,1.2.3GB/s,210TFLOPS", "1.2.3"),
        ] {
            let e = parse(text).unwrap_err().to_string();
            assert!(e.contains(says) && e.contains("5090-like:32GiB"), "{e}");
        }
        let e = parse("x:0GiB,1792GB/s,210TFLOPS").unwrap().profile();
        assert!(e.unwrap_err().to_string().contains("memory_gib"));
        let e = parse("x:8GiB,100GB/s,10TFLOPS,like=y").unwrap().profile();
        assert!(e.unwrap_err().to_string().contains("`y`"));
    }
}
