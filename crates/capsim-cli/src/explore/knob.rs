//! What can be turned, and what a page may ask for.
use capsim::predict::spec::ScenarioSpec;

/// Parts of the form, in the order of the page: what most people turn first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// The load.
    Load,
    /// What is wanted of it, and what it costs.
    Goal,
    /// Model, formats, device, engine.
    Serve,
    /// The engine's settings.
    Engine,
}

impl Group {
    /// All, in the order of the page.
    pub const ALL: [Self; 4] = [Self::Load, Self::Goal, Self::Serve, Self::Engine];

    /// Heading, and its name in the page's code.
    pub fn title(self) -> (&'static str, &'static str) {
        match self {
            Self::Load => ("Load", "load"),
            Self::Goal => ("SLO and cost", "goal"),
            Self::Serve => ("Model and device", "serve"),
            Self::Engine => ("Engine settings", "engine"),
        }
    }
}

/// What makes requests come. A knob of one pace contradicts those of another, so that the page shows one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As many as the client keeps open.
    Open,
    /// A rate.
    Rate,
    /// Users who read, think and ask again.
    Users,
    /// A recorded trace.
    Trace,
}

impl Pace {
    /// All, in the order of the page.
    pub const ALL: [Self; 4] = [Self::Open, Self::Rate, Self::Users, Self::Trace];

    /// Its name in the page's code, and for people.
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Open => ("open", "Open requests"),
            Self::Rate => ("rate", "Rate"),
            Self::Users => ("users", "Users"),
            Self::Trace => ("trace", "Trace"),
        }
    }
}

/// How a knob is turned.
#[derive(Clone, Debug, PartialEq)]
pub enum Control {
    /// A slider over these values, smallest first, and a field for any number between the first and the last.
    Number {
        /// Stops of the slider.
        stops: Vec<f64>,
        /// Whether only whole numbers make sense.
        whole: bool,
    },
    /// One of these values.
    Choice(Vec<String>),
    /// Anything short.
    Text {
        /// An example.
        example: &'static str,
    },
}

/// A knob: a flag of `capsim predict`, or one of [`SLO`], [`PRICE`] and [`ELECTRICITY`].
#[derive(Clone, Debug, PartialEq)]
pub struct Knob {
    /// The flag, without dashes.
    pub flag: String,
    /// What it is, for people.
    pub label: &'static str,
    /// What it does, its unit and its default.
    pub help: &'static str,
    /// Where it stands.
    pub group: Group,
    /// How it is turned.
    pub control: Control,
    /// Paces under which it means something; none: under all.
    pub paces: &'static [Pace],
    /// Whether it is folded away.
    pub rare: bool,
}

/// Conditions that are judged and drawn into the curves.
pub const SLO: &str = "slo";
/// What one device costs, as `2.10/h` or `2400,36mo`.
pub const PRICE: &str = "price";
/// What a kWh costs.
pub const ELECTRICITY: &str = "electricity";
/// Knobs that are no fields of a scenario.
pub const GOALS: [&str; 3] = [SLO, PRICE, ELECTRICITY];

/// In a query: the other state that the present one is compared with, itself as a query.
const PINNED: &str = "pinned";

/// Longest value of any knob.
const LONGEST: usize = 200;

/// What is turned away from its default, in the order of the knobs: flags and values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct State(pub Vec<(String, String)>);

impl State {
    /// The value of a knob, if it was turned.
    pub fn get(&self, flag: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(f, _)| f == flag)
            .map(|(_, v)| v.as_str())
    }
}

/// What a page asks about: a state, and one that it is compared with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The state of the knobs.
    pub now: State,
    /// The state that was pinned.
    pub pinned: Option<State>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The knob that is to blame, if one is.
    pub flag: Option<String>,
    /// What is wrong and what would be right.
    pub message: String,
}

impl Refusal {
    /// Blames the knob that a message names first: as a flag, or as the setting `like_this`.
    pub fn of(message: String, knobs: &[Knob]) -> Self {
        let names = |text: &str, flag: &str| {
            let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || "-_".contains(c));
            [flag.to_string(), flag.replace('-', "_")]
                .iter()
                .flat_map(|name| {
                    text.match_indices(name.as_str())
                        .map(|(at, _)| (at, at + name.len()))
                        .collect::<Vec<_>>()
                })
                .filter(|&(a, b)| {
                    let before = text[..a].trim_end_matches('-').chars().next_back();
                    !part(before) && !part(text[b..].chars().next())
                })
                .map(|(a, _)| a)
                .min()
        };
        let flag = knobs
            .iter()
            .filter_map(|k| Some((names(&message, &k.flag)?, &k.flag)))
            .min()
            .map(|(_, f)| f.to_string());
        Self { flag, message }
    }
}

fn text(v: f64) -> String {
    v.to_string()
}

impl Knob {
    fn check(&self, value: &str) -> Result<(), String> {
        match &self.control {
            Control::Choice(options) if options.iter().any(|o| o == value) => Ok(()),
            Control::Choice(options) => Err(format!("must be one of {}", options.join(", "))),
            Control::Text { .. } => Ok(()),
            Control::Number { stops, whole } => {
                let (low, high) = (stops[0], stops[stops.len() - 1]);
                let v: f64 = value
                    .parse()
                    .map_err(|_| format!("`{value}` is not a number"))?;
                if *whole && v != v.trunc() {
                    return Err(format!("{value} is not a whole number"));
                }
                if !(low..=high).contains(&v) {
                    return Err(format!("must lie between {} and {}", text(low), text(high)));
                }
                Ok(())
            }
        }
    }
}

/// What a page sent: a state, and the one that was pinned, if one was.
///
/// # Errors
/// As [`check`], for either of them.
pub fn asked(knobs: &[Knob], sent: &[(String, String)]) -> Result<Asked, Refusal> {
    let (pinned, now): (Vec<_>, Vec<_>) = sent.iter().cloned().partition(|(f, _)| f == PINNED);
    let now = check(knobs, &now)?;
    let of_a = |r: Refusal| Refusal {
        flag: None,
        message: format!("the pinned state: {}", r.message),
    };
    let pinned = match &pinned[..] {
        [] => None,
        [(_, query)] => {
            let url = reqwest::Url::parse(&format!("http://localhost/?{query}"));
            let url = url.map_err(|e| Refusal {
                flag: None,
                message: format!("the pinned state: {e}"),
            })?;
            let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
            Some(check(knobs, &pairs).map_err(of_a)?)
        }
        _ => {
            return Err(Refusal {
                flag: None,
                message: format!("`{PINNED}` is there twice"),
            });
        }
    };
    Ok(Asked { now, pinned })
}

/// What a page sent, in the order of the knobs; empty values are defaults.
///
/// # Errors
/// A flag that is no knob, one that is there twice, or a value that its knob cannot have.
pub fn check(knobs: &[Knob], sent: &[(String, String)]) -> Result<State, Refusal> {
    // A field has other names, too, as on the command line.
    let own = |flag: &String| ScenarioSpec::field(flag).map_or(flag.clone(), |f| f.flag());
    let sent: Vec<(String, String)> = sent.iter().map(|(f, v)| (own(f), v.clone())).collect();
    let mut state = State::default();
    for (i, (flag, _)) in sent.iter().enumerate() {
        let problem = if !knobs.iter().any(|k| k.flag == *flag) {
            let known: Vec<&str> = knobs.iter().map(|k| k.flag.as_str()).collect();
            format!("`{flag}` is no knob; there are {}", known.join(", "))
        } else if sent[..i].iter().any(|(f, _)| f == flag) {
            format!("`{flag}` is there twice")
        } else {
            continue;
        };
        return Err(Refusal {
            flag: None,
            message: problem,
        });
    }
    for knob in knobs {
        let Some((_, value)) = sent.iter().find(|(f, v)| *f == knob.flag && !v.is_empty()) else {
            continue;
        };
        let problem = if value.len() > LONGEST {
            Err(format!("is longer than {LONGEST} letters"))
        } else {
            knob.check(value)
        };
        problem.map_err(|message| Refusal {
            flag: Some(knob.flag.clone()),
            message,
        })?;
        state.0.push((knob.flag.clone(), value.clone()));
    }
    Ok(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn knobs() -> Vec<Knob> {
        let number = |flag: &str, whole| Knob {
            flag: flag.into(),
            label: "",
            help: "",
            paces: &[],
            rare: false,
            group: Group::Engine,
            control: Control::Number {
                stops: vec![1.0, 2.0, 8.0],
                whole,
            },
        };
        vec![
            number("max-num-seqs", true),
            number("num-prompts", true),
            number("request-rate", false),
            Knob {
                flag: "model".into(),
                label: "",
                help: "",
                paces: &[],
                rare: false,
                group: Group::Serve,
                control: Control::Choice(vec!["a".into(), "b".into()]),
            },
        ]
    }

    fn sent(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(a, b)| (a.to_string(), b.to_string()))
            .collect()
    }

    #[test]
    fn a_state_has_one_form_whatever_the_order() {
        let one = check(
            &knobs(),
            &sent(&[("model", "b"), ("max-num-seqs", "3"), ("request-rate", "")]),
        );
        let other = check(&knobs(), &sent(&[("max-num-seqs", "3"), ("model", "b")]));
        assert_eq!(one, other);
        assert_eq!(
            one.unwrap().0,
            sent(&[("max-num-seqs", "3"), ("model", "b")])
        );
    }

    #[test]
    fn a_pinned_state_is_checked_like_any_other() {
        let ask = |pinned: &str| {
            let pairs = [("model", "b"), ("pinned", pinned)];
            asked(&knobs(), &sent(&pairs))
        };
        let both = ask("max-num-seqs=3&model=a").unwrap();
        assert_eq!(both.now.0, sent(&[("model", "b")]));
        let pinned = both.pinned.unwrap().0;
        assert_eq!(pinned, sent(&[("max-num-seqs", "3"), ("model", "a")]));
        assert_eq!(ask("").unwrap().pinned, Some(State::default()));
        let e = ask("max-num-seqs=9").unwrap_err();
        assert!(e.flag.is_none() && e.message.contains("pinned"), "{e:?}");
        assert!(ask("pinned=model%3Da").is_err());
    }

    #[test]
    fn what_a_knob_cannot_have_is_refused_by_name() {
        for (flag, value, part) in [
            ("max-num-seqs", "9", "between 1 and 8"),
            ("max-num-seqs", "0", "between 1 and 8"),
            ("max-num-seqs", "1.5", "whole"),
            ("max-num-seqs", "many", "not a number"),
            ("request-rate", "NaN", "between 1 and 8"),
            ("request-rate", "inf", "between 1 and 8"),
            ("model", "/etc/passwd", "one of a, b"),
        ] {
            let e = check(&knobs(), &sent(&[(flag, value)])).unwrap_err();
            assert_eq!(e.flag.as_deref(), Some(flag));
            assert!(e.message.contains(part), "{e:?}");
        }
        for pairs in [
            &[("trace-file", "x")][..],
            &[("model", "a"), ("model", "b")],
        ] {
            assert_eq!(check(&knobs(), &sent(pairs)).unwrap_err().flag, None);
        }
    }

    #[test]
    fn the_knob_that_a_message_names_first_is_to_blame() {
        for (message, flag) in [
            (
                "num_prompts: must be above max_num_seqs",
                Some("num-prompts"),
            ),
            ("raise --max-num-seqs", Some("max-num-seqs")),
            ("the sub-model and remodel", None),
            ("model_len and max-num-seqs-x", None),
        ] {
            assert_eq!(Refusal::of(message.into(), &knobs()).flag.as_deref(), flag);
        }
    }
}
