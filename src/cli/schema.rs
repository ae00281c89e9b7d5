//! `tunnelog schema`: the schemas of the pipeline file, of the event and of the dead letter.

use super::{Outcome, print_all};

/// Print the JSON Schema of the pipeline file, of the event or of the dead letter
///
/// With the first one, an editor completes and checks pipeline files as they are written.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  tunnelog schema config > config.schema.json")]
pub(super) struct SchemaArgs {
    /// Which one
    what: What,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum What {
    /// The pipeline file
    Config,
    /// The event, as the format `json` writes it
    Event,
    /// What could not be read or was refused, as the dead-letter file has it
    DeadLetter,
}

pub(super) fn run(arguments: &SchemaArgs) -> anyhow::Result<Outcome> {
    let schema = match arguments.what {
        What::Config => crate::config::config_schema(),
        What::Event => crate::schema::event_schema(),
        What::DeadLetter => crate::schema::dead_letter_schema(),
    };
    let mut text = serde_json::to_string_pretty(&schema)?;
    text.push('\n');
    print_all(text.as_bytes())?;
    Ok(Outcome::Finished)
}
