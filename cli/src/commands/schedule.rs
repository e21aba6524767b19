//! `leveret schedule`: a registered workflow that is run by the clock.

use clap::ValueEnum;
use proto::{
    SCHEMA,
    id::{ScheduleName, WorkflowName},
    schedule::{self, Definition, Schedule, ScheduleDocument},
    time::Timestamp,
};
use serde::Serialize;

use super::{cancel, submit};
use crate::{
    client::Client,
    ending::{Error, Exit},
    options::Server,
    output::{self, Colour, Format, Stream},
    parameters::Given,
    table::{Cell, Table},
    view,
};

/// What to do with schedules, and where.
#[derive(Debug, clap::Args)]
#[command(mut_args = |option| option.global(true))]
pub struct Options {
    #[command(flatten)]
    server: Server,
    #[command(subcommand)]
    verb: Verb,
}

/// What to do with schedules.
#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make a schedule, or change the one of that name
    Add(Box<Add>),
    /// List the schedules: when each is due, and what became of its latest tick
    List(Shown),
    /// Remove a schedule; runs that it started go on
    Remove(Remove),
}

/// What is run, and when.
#[derive(Debug, clap::Args)]
struct Add {
    /// Name of the schedule; the run of a tick is NAME@TIME
    #[arg(value_name = "NAME")]
    name: ScheduleName,
    /// Registered workflow
    #[arg(value_name = "WORKFLOW")]
    workflow: WorkflowName,
    /// When: minute, hour, day of month, month, day of week, perhaps a second before them; or @hourly, @daily and the like
    #[arg(long, value_name = "EXPR")]
    cron: String,
    /// Time zone that the expression means, by its IANA name such as Europe/Berlin
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    tz: String,
    /// What a tick does while the run of the one before still lives
    #[arg(long, value_name = "HOW", default_value = "skip")]
    overlap: Overlap,
    /// Which ticks are made up for that passed while no scheduler ran
    #[arg(long, value_name = "WHICH", default_value = "last")]
    missed: Missed,
    /// Label of each run; may be given several times
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = submit::read_label)]
    labels: Vec<(String, String)>,
    #[command(flatten)]
    given: Given,
    #[command(flatten)]
    shown: Shown,
}

/// Which one.
#[derive(Debug, clap::Args)]
struct Remove {
    /// Name of the schedule
    #[arg(value_name = "NAME")]
    name: ScheduleName,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    shown: Shown,
}

/// How the result is printed.
#[derive(Debug, clap::Args)]
struct Shown {
    /// How the result is printed
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

/// What a tick does while the run of the one before still lives.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Overlap {
    /// Nothing: it is skipped, and counted.
    Skip,
    /// It waits for that run to end.
    Queue,
    /// It starts all the same.
    Allow,
}

/// Which ticks are made up for.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Missed {
    /// The latest.
    Last,
    /// None.
    None,
    /// Each, in order; the latest 1,000 of very many.
    All,
}

/// The document of `leveret schedule remove -o json`.
#[derive(Debug, Serialize)]
struct Removed {
    schema: u16,
    name: ScheduleName,
    status: &'static str,
}

/// Makes, lists or removes schedules.
///
/// # Errors
/// When the scheduler refuses, or is not reachable.
pub async fn run(options: Options) -> Result<Exit, Error> {
    let client = Client::new(&options.server)?;
    match options.verb {
        Verb::Add(add) => put(&client, *add).await?,
        Verb::List(shown) => list(&client, &shown).await?,
        Verb::Remove(remove) => self::remove(&client, &remove).await?,
    }
    Ok(Exit::Done)
}

async fn put(client: &Client, add: Add) -> Result<(), Error> {
    let given = add.given.unchecked()?;
    let definition = Definition {
        workflow: add.workflow,
        cron: add.cron,
        tz: add.tz,
        overlap: add.overlap.into(),
        missed: add.missed.into(),
        parameters: given.values,
        labels: add.labels.into_iter().collect(),
        coerce: given.coerce,
    };
    let document = client.put_schedule(&add.name, &definition).await?;
    match add.shown.output {
        Format::Json => output::print(&output::pretty_document(&document)),
        Format::Text => {
            let ScheduleDocument { schedule: Schedule { name, next_due, .. }, .. } = document;
            output::print(&format!("{name} is due next at {}", time(next_due)))
        }
    }
}

async fn list(client: &Client, shown: &Shown) -> Result<(), Error> {
    let document = client.schedules().await?;
    match shown.output {
        Format::Json => output::print(&output::pretty_document(&document)),
        Format::Text if document.schedules.is_empty() => {
            output::note("there are no schedules; `leveret schedule add` makes one");
            Ok(())
        }
        Format::Text => output::print(&table(&document.schedules, Colour::of(Stream::Stdout))),
    }
}

async fn remove(client: &Client, remove: &Remove) -> Result<(), Error> {
    let Remove { name, .. } = remove;
    let question = format!("remove schedule {name}?");
    if !remove.yes && !cancel::is_agreed(&question, &format!("schedule {name} is not removed"))? {
        output::note("nothing was removed");
        return Ok(());
    }
    client.remove_schedule(name).await?;
    match remove.shown.output {
        Format::Json => {
            let removed = Removed { schema: SCHEMA, name: name.clone(), status: "removed" };
            output::print(&output::pretty_document(&removed))
        }
        Format::Text => output::print(&format!("{name} removed")),
    }
}

fn table(schedules: &[Schedule], colour: Colour) -> String {
    let heading =
        ["NAME", "WORKFLOW", "CRON", "NEXT", "LAST", "OUTCOME", "RUN", "SKIPPED", "MISSED", "WAITING", "ERROR"];
    let mut table = Table::new(heading);
    for schedule in schedules {
        let Schedule { name, definition, ticks, waiting, .. } = schedule;
        let zone = if definition.tz == "UTC" { String::new() } else { format!(" {}", definition.tz) };
        let outcome = schedule.last_outcome.map_or("-", schedule::Outcome::as_str);
        table.row([
            Cell::plain(name.to_string()),
            Cell::plain(definition.workflow.to_string()),
            Cell::plain(format!("{}{zone}", definition.cron)),
            Cell::plain(time(schedule.next_due)),
            Cell::plain(time(schedule.last_due)),
            Cell::plain(outcome),
            schedule
                .last_run_status
                .map_or_else(|| Cell::plain("-"), |status| view::status_cell(status.as_str(), colour)),
            Cell::plain(ticks.skipped.to_string()),
            Cell::plain(ticks.missed.to_string()),
            Cell::plain(waiting.to_string()),
            Cell::plain(schedule.last_error.clone().unwrap_or_default()),
        ]);
    }
    table.render()
}

fn time(time: Option<Timestamp>) -> String {
    time.map_or_else(|| "-".to_owned(), Timestamp::to_whole_seconds)
}

impl From<Overlap> for schedule::Overlap {
    fn from(overlap: Overlap) -> Self {
        match overlap {
            Overlap::Skip => Self::Skip,
            Overlap::Queue => Self::Queue,
            Overlap::Allow => Self::Allow,
        }
    }
}

impl From<Missed> for schedule::Missed {
    fn from(missed: Missed) -> Self {
        match missed {
            Missed::Last => Self::Last,
            Missed::None => Self::None,
            Missed::All => Self::All,
        }
    }
}
