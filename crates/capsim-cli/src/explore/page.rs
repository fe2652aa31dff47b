//! The page around the answers: a form with every knob, and places for what comes.
use super::download::File;
use super::knob::{Control, Group, Knob, Pace};
use capsim_study::report::chart::{STYLE, escape};
use capsim_study::report::page::LAYOUT;
use std::fmt::Write as _;

/// What runs on the page, by name.
pub const SCRIPTS: [(&str, &str); 3] = [
    ("knobs.js", include_str!("web/knobs.js")),
    ("pictures.js", include_str!("web/pictures.js")),
    ("explore.js", include_str!("web/explore.js")),
];

/// How it looks.
pub fn style() -> String {
    format!("{STYLE}{LAYOUT}{}", include_str!("web/explore.css"))
}

/// The control of a knob, with its label's id.
fn control(o: &mut String, k: &Knob) {
    let (flag, label) = (&k.flag, escape(k.label));
    let described = format!("aria-describedby=\"e-{flag} h-{flag}\" autocomplete=\"off\"");
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
                let (v, words) = (escape(v), escape(words));
                let _ = write!(o, "<option value=\"{v}\">{words}</option>");
            }
            write!(o, "</select>")
        }
        Control::Text { example } => write!(
            o,
            "<input type=\"text\" id=\"k-{flag}\" maxlength=\"200\" spellcheck=\"false\" placeholder=\"{0}\" data-example=\"{0}\" {described}>",
            escape(example)
        ),
    };
}

fn knob(o: &mut String, k: &Knob) {
    let (flag, label, help) = (&k.flag, escape(k.label), escape(k.help));
    let (kind, data) = match &k.control {
        Control::Number { stops, .. } => {
            let all: Vec<String> = stops.iter().map(f64::to_string).collect();
            ("number", format!(" data-stops=\"{}\"", all.join(",")))
        }
        Control::Choice(_) => ("choice", String::new()),
        Control::Text { .. } => ("text", String::new()),
    };
    let paces: Vec<&str> = k.paces.iter().map(|p| p.words().0).collect();
    let _ = write!(
        o,
        "<div class=\"knob\" data-flag=\"{flag}\" data-kind=\"{kind}\" data-paces=\"{}\"{data}>\n<label for=\"k-{flag}\" \
         title=\"{help}\">{label} <code>{flag}</code></label>\n<div class=\"row\">",
        paces.join(" ")
    );
    control(o, k);
    let _ = writeln!(
        o,
        "<button type=\"button\" class=\"reset\" aria-label=\"Default for {label}\" title=\"default\" hidden>↺</button></div>\n<p \
         class=\"error\" id=\"e-{flag}\" role=\"alert\"></p><span class=\"unseen\" id=\"h-{flag}\">{help}</span>\n</div>"
    );
}

/// How requests come: one of the paces that have a knob.
fn paces(o: &mut String, knobs: &[Knob]) {
    let _ = write!(
        o,
        "<div class=\"paces\" role=\"radiogroup\" aria-label=\"What makes requests come\">"
    );
    for pace in Pace::ALL {
        // A knob that means something under this pace alone, or first.
        let (word, label) = pace.words();
        if knobs.iter().any(|k| k.paces.first() == Some(&pace)) {
            let _ = write!(
                o,
                "<label><input type=\"radio\" name=\"pace\" value=\"{word}\"> {label}</label>"
            );
        }
    }
    o.push_str("</div>\n");
}

/// The form. `fixed`: flags of the command that have no knob.
fn form(knobs: &[Knob], fixed: &str) -> String {
    let mut o = String::new();
    for group in Group::ALL {
        let (title, word) = group.title();
        let _ = writeln!(
            o,
            "<fieldset id=\"g-{word}\"><legend>{}</legend>",
            escape(title)
        );
        if group == Group::Load {
            paces(&mut o, knobs);
        }
        let (rare, usual): (Vec<&Knob>, Vec<&Knob>) = knobs
            .iter()
            .filter(|k| k.group == group)
            .partition(|k| k.rare);
        for k in usual {
            knob(&mut o, k);
        }
        if !rare.is_empty() {
            o.push_str("<details><summary>More</summary>\n");
            for k in rare {
                knob(&mut o, k);
            }
            o.push_str("</details>\n");
        }
        o.push_str("</fieldset>\n");
    }
    o.push_str("<p class=\"foot\"><a id=\"start\" href=\".\">All defaults</a></p>\n");
    if !fixed.is_empty() {
        let _ = writeln!(
            o,
            "<p class=\"note foot\">Also in force: <code>{}</code></p>",
            escape(fixed)
        );
    }
    o
}

/// Where answers go: places by their ids, in sections that a phone puts beside the knobs that move them.
fn results() -> String {
    let mut o = String::new();
    let mut section = |class: &str, title: &str, inside: &str| {
        let _ = writeln!(
            o,
            "<section class=\"{class}\" aria-labelledby=\"t-{class}\">\n<h2 id=\"t-{class}\">{title}</h2>\n{inside}\n</section>"
        );
    };
    section("s-says", "In words", "<div id=\"says\"></div>");
    section(
        "s-curve",
        "Latency against load",
        "<div id=\"curve\" class=\"late\"></div>",
    );
    section(
        "s-latencies",
        "Latencies over requests",
        "<div id=\"latencies\"></div><div id=\"distributions\"></div>",
    );
    section(
        "s-parts",
        "Time and memory",
        "<div class=\"charts\"><div id=\"breakdown\"></div><div id=\"memory\"></div></div>",
    );
    section(
        "s-engine",
        "The engine over time",
        "<div id=\"timeline\" class=\"late\"></div><div id=\"engine\"></div>",
    );
    section(
        "s-rests",
        "What this rests on",
        "<div id=\"foundations\" class=\"late\"></div>",
    );
    let files: String = File::ALL
        .into_iter()
        .map(|f| {
            let (name, words) = f.words();
            format!("<li><a data-file=\"{name}\" href=\"api/download/{name}\" download>{words}</a></li>\n")
        })
        .collect();
    section(
        "s-terminal",
        "The same elsewhere",
        &format!(
            "<h3>In a terminal</h3>\n<pre id=\"command\" tabindex=\"0\" role=\"region\" aria-label=\"The same prediction\"></pre><button \
             type=\"button\" class=\"copy\" data-of=\"command\">Copy</button>\n<div id=\"server\"><h3>Such a server</h3>\n<pre id=\"serve\" \
             tabindex=\"0\" role=\"region\" aria-label=\"Such a server\"></pre><button type=\"button\" class=\"copy\" \
             data-of=\"serve\">Copy</button></div>\n<h3>As files</h3>\n<ul class=\"plain\">\n{files}</ul>\n<p class=\"note\">Each picture \
             has buttons of its own: SVG, PNG.</p>"
        ),
    );
    o
}

/// The whole page.
pub fn page(knobs: &[Knob], fixed: &str) -> String {
    let scripts: String = SCRIPTS
        .iter()
        .map(|(name, _)| format!("<script src=\"{name}\" defer></script>\n"))
        .collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n<title>capsim \
         explore</title>\n<link rel=\"icon\" href=\"data:,\">\n<link rel=\"stylesheet\" href=\"style.css\">\n{scripts}</head>\n<body>\n<main \
         class=\"explore\">\n<div class=\"bar\"><h1>capsim explore</h1><p id=\"about\"></p><div class=\"tools\"><button type=\"button\" \
         id=\"pin\">Pin to compare</button><button type=\"button\" id=\"swap\" hidden>Swap A and B</button><button type=\"button\" id=\"unpin\" \
         hidden>Unpin</button></div></div>\n<div class=\"headline\" role=\"region\" aria-label=\"Figures\"><p id=\"pins\" class=\"note\"></p><div \
         id=\"headline\"></div></div>\n<p class=\"unseen\" id=\"status\" role=\"status\"></p>\n<form id=\"knobs\" \
         aria-label=\"Knobs\">\n{form}</form>\n<div class=\"results\" id=\"results\" aria-label=\"Prediction\" \
         role=\"region\">\n{results}</div>\n</main>\n<noscript><p class=\"note\">This page needs JavaScript; <code>capsim predict</code> and \
         <code>capsim report</code> do not.</p></noscript>\n</body>\n</html>\n",
        form = form(knobs, fixed),
        results = results(),
    )
}
