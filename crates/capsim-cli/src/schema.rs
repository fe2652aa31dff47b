//! `capsim schema`.
use capsim_study::report::json::schemas::{self, ALL};
use capsim_study::report::table::{left, with_header};
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser};
use std::process::ExitCode;

#[derive(Args, Debug)]
pub struct SchemaArgs {
    /// Which format; without it, a list of all
    #[arg(value_parser = names(), hide_possible_values = true)]
    format: Option<String>,
}

fn names() -> PossibleValuesParser {
    ALL.iter()
        .map(|f| PossibleValue::new(f.name).help(f.what))
        .into()
}

pub fn run(args: &SchemaArgs) -> anyhow::Result<ExitCode> {
    match &args.format {
        Some(name) => {
            let format = schemas::find(name).expect("clap takes no other name");
            println!("{}", serde_json::to_string_pretty(&(format.schema)())?);
        }
        None => {
            let mut t = left(with_header(&["name", "what it describes"]), &[1]);
            for f in ALL {
                t.add_row([f.name, f.what]);
            }
            println!("{}", t.trim_fmt());
        }
    }
    Ok(ExitCode::SUCCESS)
}
