//! `tunnelog schema`: the schemas of the pipeline file and of the event.

use super::{Outcome, print_all};

/// Print the JSON Schema of the pipeline file or of the event
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
}

pub(super) fn run(arguments: &SchemaArgs) -> anyhow::Result<Outcome> {
    let schema = match arguments.what {
        What::Config => crate::config::config_schema(),
        What::Event => crate::schema::event_schema(),
    };
    let mut text = serde_json::to_string_pretty(&schema)?;
    text.push('\n');
    print_all(text.as_bytes())?;
    Ok(Outcome::Finished)
}
