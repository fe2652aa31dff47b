//! clpeak (krrishnarraj/clpeak): its text, old (`Global memory bandwidth (GBPS)`) and new (`float4 : 420 GB/s`), and the XML that it saves.
use super::{Rates, most};

/// A part of the output: the test's name in lower case.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Test {
    Memory,
    Transfer,
    /// Matrix units, without a library.
    Matrix,
    Other,
}

fn test_of(heading: &str) -> Test {
    let h = heading.to_lowercase().replace('_', " ");
    let matrix = [
        "tensor core",
        "wmma",
        "coopmat",
        "cooperative",
        "simdgroup",
        "xmx",
        "mfma",
    ];
    match () {
        () if h.contains("global memory bandwidth") => Test::Memory,
        () if h.contains("transfer bandwidth") => Test::Transfer,
        // Twice the rate that is there without zeros to skip.
        () if h.contains("spars") => Test::Other,
        () if matrix.iter().any(|m| h.contains(m)) => Test::Matrix,
        () => Test::Other,
    }
}

/// The factor to 10⁹ of a unit.
fn giga(unit: &str) -> Option<f64> {
    match unit.to_lowercase().trim_matches(['(', ')']) {
        "gbps" | "gb/s" | "gflops" => Some(1.0),
        "tb/s" | "tflops" => Some(1000.0),
        _ => None,
    }
}

impl Rates {
    fn clpeak(&mut self, test: Test, metric: &str, giga: f64) {
        let name = metric.to_lowercase();
        match test {
            Test::Memory => most(&mut self.stream_gbs, giga),
            Test::Transfer
                if name.contains("write") && !name.contains("mapped") || name.contains("h2d") =>
            {
                most(&mut self.bus_gbs, giga);
            }
            // 16-bit sums are another rate: on GeForce twice this one.
            Test::Matrix if name.contains("f16acc") => {}
            Test::Matrix if name.contains("bf16") || name.contains("fp16") => {
                most(&mut self.matrix_16, giga / 1000.0);
            }
            Test::Matrix if name.contains("fp8") => most(&mut self.matrix_8, giga / 1000.0),
            Test::Matrix | Test::Transfer | Test::Other => {}
        }
    }
}

fn device(name: &str) -> Rates {
    Rates {
        tool: "clpeak".into(),
        device: Some(name.trim().into()),
        ..Rates::default()
    }
}

/// One device through several interfaces is one device: each rate is the best of them.
fn add(all: &mut Vec<Rates>, name: &str) -> usize {
    let name = name.trim();
    all.iter()
        .position(|r| r.device.as_deref() == Some(name))
        .unwrap_or_else(|| {
            all.push(device(name));
            all.len() - 1
        })
}

/// The value of an attribute of an XML element in one line.
fn attribute<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let after = line.split_once(&format!(" {name}=\""))?.1;
    Some(after.split_once('"')?.0)
}

fn xml(text: &str) -> Vec<Rates> {
    let (mut all, mut at) = (vec![], None);
    let (mut test, mut unit) = (Test::Other, None);
    for line in text.lines().map(str::trim) {
        if line.starts_with("<run ") || line.starts_with("<device ") {
            at = attribute(line, "device")
                .or(attribute(line, "name"))
                .map(|n| add(&mut all, n));
        } else if line.starts_with("<prop ") && attribute(line, "name") == Some("VRAM") {
            let value = attribute(line, "value").and_then(|v| v.strip_suffix(" MB"));
            if let (Some(mb), Some(i)) = (value.and_then(|v| v.parse::<f64>().ok()), at) {
                all[i].memory_gib = Some(mb / 1024.0);
            }
        } else if line.starts_with("<test ") {
            test = attribute(line, "name").map_or(Test::Other, test_of);
            unit = attribute(line, "unit").and_then(giga);
        } else if let Some(rest) = line.strip_prefix("<metric ") {
            let value = rest.split_once('>').and_then(|(_, v)| v.split_once('<'));
            let value = value.and_then(|(v, _)| v.trim().parse::<f64>().ok());
            let name = attribute(line, "name").unwrap_or_default();
            if let (Some(v), Some(u), Some(i)) = (value, unit, at) {
                all[i].clpeak(test, name, v * u);
            }
        }
    }
    all
}

fn text_rows(text: &str) -> Vec<Rates> {
    let (mut all, mut at) = (vec![], None);
    let (mut test, mut unit) = (Test::Other, None);
    for line in text.lines().map(str::trim) {
        let Some((key, value)) = line.split_once(':') else {
            if !line.is_empty() {
                test = test_of(line);
                unit = line.split_whitespace().last().and_then(giga);
            }
            continue;
        };
        let (key, value) = (key.trim(), value.trim());
        if key == "Device" || key.starts_with("Device ") {
            at = Some(add(&mut all, value));
            test = Test::Other;
            continue;
        }
        let mut words = value.split_whitespace();
        let number = words.next().and_then(|v| v.parse::<f64>().ok());
        let factor = words.next().map_or(unit, giga);
        if let (Some(v), Some(u), Some(i)) = (number, factor, at) {
            all[i].clpeak(test, key, v * u);
        }
    }
    all
}

pub(super) fn read(text: &str) -> Option<Vec<Rates>> {
    let saved = text.contains("<clpeak ");
    let printed = text.lines().any(|l| {
        let l = l.trim().to_lowercase();
        l.starts_with("global memory bandwidth") && !l.contains(':')
    });
    match (saved, printed) {
        (true, _) => Some(xml(text)),
        (false, true) => Some(text_rows(text)),
        (false, false) => None,
    }
}
