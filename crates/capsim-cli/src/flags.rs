//! The flags of a section's fields, with their help.
use anyhow::bail;
use capsim::device::sheet;
use capsim::fields::{Field, Kind, Section, Value, Values};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

/// A section whose fields are flags.
pub trait Flagged: Section {
    /// Under which heading the help has them.
    const HEADING: &'static str;
    /// Whether a field is a flag here.
    fn has(_field: &Field) -> bool {
        true
    }
    /// Other spellings of a field's flag, with their dashes.
    fn short(_at: usize) -> &'static [&'static str] {
        &[]
    }
}

/// What was given of a section's flags: for each field its values, several where it takes many.
#[derive(Debug)]
pub struct Given<S> {
    values: Vec<(usize, Vec<Value>)>,
    of: std::marker::PhantomData<fn() -> S>,
}

impl<S> Clone for Given<S> {
    fn clone(&self) -> Self {
        Self {
            values: self.values.clone(),
            of: self.of,
        }
    }
}

impl<S> Default for Given<S> {
    fn default() -> Self {
        Self {
            values: vec![],
            of: std::marker::PhantomData,
        }
    }
}

impl<S: Section> Given<S> {
    /// Fields with their values, by their places in the section.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &[Value])> {
        self.values.iter().map(|(at, v)| (*at, &v[..]))
    }

    /// Those that were given one value.
    pub fn single(&self) -> Values<S> {
        let mut values = Values::default();
        for (at, all) in &self.values {
            if let [one] = &all[..] {
                values.put(*at, one.clone());
            }
        }
        values
    }

    /// One value for each field, or an error that names those with several.
    pub fn alone(&self) -> anyhow::Result<Values<S>> {
        let several: Vec<String> = self
            .values
            .iter()
            .filter(|(_, v)| v.len() > 1)
            .map(|(at, _)| format!("--{}", S::field(*at).flag()))
            .collect();
        if !several.is_empty() {
            bail!("{}: give one value", several.join(", "));
        }
        Ok(self.single())
    }
}

fn off(field: &Field) -> String {
    format!("no_{}", field.name)
}

/// Fields whose flags `-h` lists, each with an example; `--help` lists all.
pub const COMMON: [(&str, &str); 22] = [
    ("model", "qwen3-8b"),
    ("weights", "fp8"),
    ("device", "h100-sxm"),
    ("engine_version", "0.24"),
    ("moe_tiles", "tuned"),
    ("max_num_seqs", "64"),
    ("max_num_batched_tokens", "8192"),
    ("max_model_len", "32768"),
    ("gpu_memory_utilization", "0.9"),
    ("enable_prefix_caching", ""),
    ("kv_cache_dtype", "fp8"),
    ("tensor_parallel_size", "2"),
    ("num_prompts", "200"),
    ("max_concurrency", "1,8,64"),
    ("request_rate", "0.5"),
    ("random_input_len", "1024"),
    ("random_output_len", "256"),
    ("users", "50"),
    ("think_time", "exponential:20"),
    ("turns", "5"),
    ("trace_file", "trace.jsonl"),
    ("trace_speedup", "2"),
];

fn arg<S: Flagged>(at: usize, field: &'static Field) -> Arg {
    let common = COMMON.iter().find(|(name, _)| *name == field.name);
    let help = match common {
        Some((_, example)) if !example.is_empty() => format!("{}. Example: {example}", field.help),
        _ => field.help.to_owned(),
    };
    let arg = Arg::new(field.name)
        .long(field.flag())
        .aliases(field.aliases.iter().map(|a| a.replace('_', "-")))
        .help(help)
        .hide_short_help(common.is_none())
        .help_heading(S::HEADING);
    if field.kind == Kind::Switch {
        return arg.action(ArgAction::SetTrue).overrides_with(off(field));
    }
    let arg = arg
        .action(ArgAction::Set)
        .value_name(match field.kind {
            Kind::Number => "NUMBER",
            Kind::Count(_) => "N",
            _ => "VALUE",
        })
        .allow_hyphen_values(field.of_flags)
        .aliases(S::short(at).iter().filter_map(|s| s.strip_prefix("--")));
    if field.joined.is_some() {
        arg.action(ArgAction::Append)
    } else if field.many {
        arg.value_delimiter(',')
    } else {
        arg
    }
}

impl<S: Flagged> Args for Given<S> {
    fn augment_args(mut cmd: Command) -> Command {
        for (at, field) in S::fields().enumerate().filter(|(_, f)| S::has(f)) {
            cmd = cmd.arg(arg::<S>(at, field));
            if field.kind == Kind::Switch {
                cmd = cmd.arg(
                    Arg::new(off(field))
                        .long(format!("no-{}", field.flag()))
                        .help(format!("The opposite of --{}", field.flag()))
                        .hide_short_help(true)
                        .help_heading(S::HEADING)
                        .action(ArgAction::SetTrue),
                );
            }
        }
        cmd
    }
    fn augment_args_for_update(cmd: Command) -> Command {
        Self::augment_args(cmd)
    }
}

/// What a flag was given; a data sheet has commas of its own, at which a list of devices was split.
fn pieces(matches: &ArgMatches, field: &Field) -> Vec<String> {
    let given = matches.get_many::<String>(field.name);
    let given = given.into_iter().flatten().map(String::as_str);
    match (field.name, field.joined) {
        ("device", _) => sheet::rejoined(given),
        (_, Some(by)) => {
            let all: Vec<&str> = given.collect();
            let joined = || all.join(&by.to_string());
            (!all.is_empty()).then(joined).into_iter().collect()
        }
        _ => given.map(String::from).collect(),
    }
}

impl<S: Flagged> FromArgMatches for Given<S> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut given = Self::default();
        given.update_from_arg_matches(matches)?;
        Ok(given)
    }
    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.values.clear();
        for (at, field) in S::fields().enumerate().filter(|(_, f)| S::has(f)) {
            let values: Vec<Value> = match field.kind {
                Kind::Switch => match (matches.get_flag(field.name), matches.get_flag(&off(field)))
                {
                    (_, true) => vec![Value::Switch(false)],
                    (true, _) => vec![Value::Switch(true)],
                    _ => vec![],
                },
                _ => pieces(matches, field)
                    .iter()
                    .map(|text| field.parse(text))
                    .collect::<Result<_, _>>()
                    .map_err(|e| clap::Error::raw(ErrorKind::ValueValidation, format!("{e}\n")))?,
            };
            if !values.is_empty() {
                self.values.push((at, values));
            }
        }
        Ok(())
    }
}
