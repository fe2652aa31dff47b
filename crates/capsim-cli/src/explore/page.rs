//! The page around the answers: a form with every knob, and places for what comes.
use super::knob::{Control, Group, Knob};
use capsim_study::report::chart::{STYLE, escape};
use capsim_study::report::page::LAYOUT;
use std::fmt::Write as _;

/// What runs on the page.
pub const SCRIPT: &str = include_str!("explore.js");

/// How it looks.
pub fn style() -> String {
    format!("{STYLE}{LAYOUT}{}", include_str!("explore.css"))
}

fn knob(o: &mut String, k: &Knob) {
    let (flag, label) = (&k.flag, escape(k.label));
    let (kind, data) = match &k.control {
        Control::Number { stops, .. } => {
            let all: Vec<String> = stops.iter().map(f64::to_string).collect();
            ("number", format!(" data-stops=\"{}\"", all.join(",")))
        }
        Control::Choice(_) => ("choice", String::new()),
        Control::Text { .. } => ("text", String::new()),
    };
    let _ = write!(
        o,
        "<div class=\"knob\" data-flag=\"{flag}\" data-kind=\"{kind}\"{data}>\n<label for=\"k-{flag}\">{label} <code>{flag}</code></label>\n\
         <div class=\"row\">"
    );
    let described = format!("aria-describedby=\"e-{flag}\" autocomplete=\"off\"");
    let _ = match &k.control {
        Control::Number { stops, whole } => write!(
            o,
            "<input type=\"range\" id=\"r-{flag}\" aria-label=\"{label}\" min=\"0\" max=\"{}\" step=\"1\" {described}><input type=\"number\" \
             id=\"k-{flag}\" min=\"{}\" max=\"{}\" step=\"{}\" inputmode=\"decimal\" {described}>",
            stops.len() - 1,
            stops[0],
            stops[stops.len() - 1],
            if *whole { "1" } else { "any" }
        ),
        Control::Choice(options) => {
            let _ = write!(
                o,
                "<select id=\"k-{flag}\" {described}><option value=\"\">default</option>"
            );
            for v in options {
                let words = match v.as_str() {
                    "true" => "on",
                    "false" => "off",
                    other => other,
                };
                let _ = write!(
                    o,
                    "<option value=\"{}\">{}</option>",
                    escape(v),
                    escape(words)
                );
            }
            write!(o, "</select>")
        }
        Control::Text { example } => write!(
            o,
            "<input type=\"text\" id=\"k-{flag}\" maxlength=\"200\" spellcheck=\"false\" placeholder=\"{}\" {described}>",
            escape(example)
        ),
    };
    let _ = writeln!(
        o,
        "<button type=\"button\" class=\"reset\" aria-label=\"Default for {label}\" title=\"default\" hidden>↺</button></div>\n<p \
         class=\"error\" id=\"e-{flag}\" role=\"alert\"></p>\n</div>"
    );
}

/// The whole page. `fixed`: flags of the command that have no knob.
pub fn page(knobs: &[Knob], fixed: &str) -> String {
    let mut form = String::new();
    for group in Group::ALL {
        let _ = writeln!(form, "<fieldset><legend>{}</legend>", escape(group.title()));
        for k in knobs.iter().filter(|k| k.group == group) {
            knob(&mut form, k);
        }
        form.push_str("</fieldset>\n");
    }
    if !fixed.is_empty() {
        let _ = writeln!(
            form,
            "<p class=\"note\">Also in force: <code>{}</code></p>",
            escape(fixed)
        );
    }
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n<title>capsim \
         explore</title>\n<link rel=\"icon\" href=\"data:,\">\n<link rel=\"stylesheet\" href=\"style.css\">\n<script src=\"explore.js\" \
         defer></script>\n</head>\n<body>\n<main class=\"explore\">\n<h1>capsim explore</h1>\n<div id=\"headline\" \
         class=\"headline\"></div>\n<p class=\"error\" id=\"trouble\" role=\"alert\"></p>\n<form id=\"knobs\" aria-label=\"Knobs\">\n{form}<p><a \
         id=\"start\" href=\".\">All defaults</a></p></form>\n<div class=\"results\" id=\"results\" aria-label=\"Prediction\" \
         role=\"region\">\n<p class=\"note\" id=\"status\" role=\"status\"></p>\n<div id=\"latencies\"></div>\n<h2>Latency against \
         load</h2>\n<div id=\"curve\"></div>\n<h2>Time and memory</h2>\n<div class=\"charts\"><div id=\"breakdown\"></div><div \
         id=\"memory\"></div></div>\n<h2>Distributions over requests</h2>\n<div id=\"distributions\"></div>\n<h2>The engine</h2>\n<div \
         id=\"timeline\"></div>\n<div id=\"engine\"></div>\n<h2>What this rests on</h2>\n<div id=\"foundations\"></div>\n<h2>The same in a \
         terminal</h2>\n<pre id=\"command\" tabindex=\"0\" aria-label=\"The same prediction\"></pre><button type=\"button\" \
         class=\"copy\" data-of=\"command\">Copy</button>\n<pre id=\"serve\" tabindex=\"0\" aria-label=\"Such a \
         server\"></pre><button type=\"button\" class=\"copy\" data-of=\"serve\">Copy</button>\n</div>\n</main>\n<noscript><p \
         class=\"note\">This page needs JavaScript; <code>capsim predict</code> and <code>capsim report</code> do \
         not.</p></noscript>\n</body>\n</html>\n"
    )
}
