//! Settings that several commands share. Each is documented here and nowhere else.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use clap::ValueEnum;
use proto::{id::PoolName, topology::Topology};
use queue::{Queue, amqp};
use reqwest::Url;

use crate::ending::Error;

/// How a client or a worker finds the scheduler.
#[derive(Clone, clap::Args)]
#[command(next_help_heading = "Scheduler")]
pub struct Server {
    /// Address of the scheduler's HTTP interface
    #[arg(long = "server", env = "LEVERET_SERVER_URL", value_name = "URL", default_value = "http://127.0.0.1:7780")]
    #[arg(value_parser = read_url)]
    pub server_url: Url,
    /// Bearer token for it; `LEVERET_TOKEN_FILE` names a file instead
    #[arg(long, env = "LEVERET_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub token: Option<String>,
}

/// How a service reaches RabbitMQ.
#[derive(Clone, clap::Args)]
#[command(next_help_heading = "RabbitMQ")]
pub struct Broker {
    /// Where RabbitMQ is: `amqp://USER:PASSWORD@HOST:PORT/VHOST`; `LEVERET_AMQP_URL_FILE` names a file instead
    #[arg(long = "amqp", env = "LEVERET_AMQP_URL", hide_env_values = true, value_name = "URL")]
    #[arg(default_value = "amqp://guest:guest@127.0.0.1:5672/%2f")]
    pub amqp_url: String,
    #[command(flatten)]
    pub names: Names,
}

/// What things are called on the broker, and who makes them.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "RabbitMQ")]
pub struct Names {
    /// What the names of exchanges and queues begin with
    #[arg(long, env = "LEVERET_PREFIX", value_name = "WORD", default_value = "leveret")]
    #[arg(value_parser = read_prefix)]
    pub prefix: String,
    /// How queues are kept: `classic` only for trials on a single node
    #[arg(long, env = "LEVERET_QUEUE_TYPE", value_name = "TYPE", default_value = "quorum")]
    pub queue_type: QueueType,
    /// Who makes exchanges and queues: `passive` where an operator does
    #[arg(long, env = "LEVERET_DECLARE", value_name = "HOW", default_value = "active")]
    pub declare: Declare,
}

/// What a worker takes and how much of it.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Work")]
pub struct Work {
    /// Pool whose work is done here; may be given several times
    #[arg(long = "pool", env = "LEVERET_POOLS", value_name = "NAME", default_value = "default", value_delimiter = ',')]
    pub pools: Vec<PoolName>,
    #[command(flatten)]
    pub means: Means,
    /// How long a stop waits for actions that are under way
    #[arg(long, env = "LEVERET_DRAIN_TIMEOUT", value_name = "DURATION", default_value = "5m")]
    #[arg(value_parser = engine::duration::parse)]
    pub drain_timeout: Duration,
}

/// What a worker has to work with.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Work")]
pub struct Means {
    /// Actions that run at once
    #[arg(long, env = "LEVERET_SLOTS", value_name = "N", default_value = "32")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub slots: u32,
    /// Memory for cached contexts and values, in MiB
    #[arg(long, env = "LEVERET_CACHE_MB", value_name = "MIB", default_value = "256")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    pub cache_mb: u32,
    /// Folder whose files are `secrets.<file name>` in inputs; beside them, LEVERET_SECRET_<NAME> is `secrets.<name>`
    #[arg(long, env = "LEVERET_SECRETS_DIR", value_name = "DIR")]
    pub secrets_dir: Option<std::path::PathBuf>,
    /// Environment variable that templates may read as `env.<NAME>`; may be given several times
    #[arg(long, env = "LEVERET_ENV_ALLOW", value_name = "NAME", value_delimiter = ',')]
    pub env_allow: Vec<String>,
    /// How long the templates of one piece of work may take: then they fail as `template_timeout`
    #[arg(long, env = "LEVERET_TEMPLATE_TIMEOUT", value_name = "DURATION", default_value = "5s")]
    #[arg(value_parser = engine::duration::parse)]
    pub template_timeout: Duration,
}

/// How queues are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum QueueType {
    /// Replicated, with a delivery limit.
    Quorum,
    /// On one node.
    Classic,
}

/// Who makes exchanges and queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Declare {
    /// Leveret.
    Active,
    /// An operator; Leveret checks that they exist.
    Passive,
}

/// Where something is served, if at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// Here; port 0 takes a free one.
    At(SocketAddr),
    /// Nowhere.
    Off,
}

/// Told, for each confirmed message, how long the confirm took.
pub type OnConfirm = Arc<dyn Fn(Duration) + Send + Sync>;

impl Names {
    /// The names of everything.
    pub fn topology(&self) -> Topology {
        Topology::new(self.prefix.clone())
    }
}

impl Broker {
    /// Connects as `role`, which the broker's management page shows.
    ///
    /// # Errors
    /// When the address is not valid, or nobody answers there.
    pub async fn connect(&self, role: &str, on_confirm: Option<OnConfirm>) -> Result<Queue, Error> {
        let settings = amqp::Settings {
            connection_name: format!("leveret {role}"),
            queue_type: match self.names.queue_type {
                QueueType::Quorum => amqp::QueueType::Quorum,
                QueueType::Classic => amqp::QueueType::Classic,
            },
            declare: match self.names.declare {
                Declare::Active => amqp::Declare::Active,
                Declare::Passive => amqp::Declare::Passive,
            },
            on_confirm,
            ..amqp::Settings::new(self.amqp_url.clone(), self.names.topology())
        };
        Queue::connect(settings).await.map_err(broker_error)
    }
}

/// What a person can do about an error of the queue.
pub fn broker_error(error: queue::Error) -> Error {
    let say = match &error {
        queue::Error::Url { .. } => return Error::usage("RabbitMQ's address is not valid").because(error),
        queue::Error::Unreachable { .. } => Error::missing("RabbitMQ is not reachable")
            .with_help("check that it runs there; say where it is with --amqp or LEVERET_AMQP_URL"),
        queue::Error::Disconnected { .. } => Error::missing("the connection to RabbitMQ was lost"),
        queue::Error::Mismatch { .. } => Error::usage("a queue or exchange is not as it should be")
            .with_help("--queue-type must be what the queues were made with; --prefix makes a new set of them"),
        queue::Error::Missing { .. } => Error::missing("a queue or exchange does not exist")
            .with_help("have it made, or let Leveret make it with --declare active"),
        queue::Error::Refused { .. } => Error::usage("RabbitMQ does not allow it")
            .with_help("the user needs configure, write and read permissions for names under the prefix"),
    };
    say.because(error)
}

impl std::str::FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            text => text.parse().map(Self::At).map_err(|_| "it is HOST:PORT with a number for HOST, or off".to_owned()),
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("server_url", &self.server_url.as_str()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker").field("names", &self.names).finish_non_exhaustive()
    }
}

/// Reads `http://HOST:PORT`.
pub fn read_url(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|error| format!("{error}; it is http://HOST:PORT"))?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        _ => Err("it is http://HOST:PORT".to_owned()),
    }
}

/// The broker's names are at most 255 bytes and ours append up to 80.
fn read_prefix(text: &str) -> Result<String, String> {
    let fits =
        (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    match fits {
        true => Ok(text.to_owned()),
        false => Err("it is 1 to 128 of A-Z a-z 0-9 . _ -".to_owned()),
    }
}

/// `url` with its password as `***`.
pub fn masked(url: &str) -> String {
    let parsed = url.parse::<Url>().ok().filter(Url::has_host);
    let Some(mut parsed) = parsed else {
        return if url.contains('@') { "***".to_owned() } else { url.to_owned() };
    };
    let in_query = parsed.query_pairs().any(|(name, _)| name == "password");
    if parsed.password().is_none() && !in_query {
        return url.to_owned();
    }
    if parsed.password().is_some() {
        // Only fails for addresses without a host, which have no password either.
        let _ = parsed.set_password(Some("***"));
    }
    if in_query {
        let pairs: Vec<(String, String)> = parsed.query_pairs().into_owned().collect();
        let hidden = pairs.into_iter().map(|(name, value)| match name.as_str() {
            "password" => (name, "***".to_owned()),
            _ => (name, value),
        });
        parsed.query_pairs_mut().clear().extend_pairs(hidden);
    }
    parsed.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_masked() {
        for (url, shown) in [
            ("amqp://user:secret@host:5672/%2f", "amqp://user:***@host:5672/%2f"),
            ("postgres://user@host/db?password=secret&a=b", "postgres://user@host/db?password=***&a=b"),
            ("http://127.0.0.1:7780", "http://127.0.0.1:7780"),
            ("sqlite:leveret.db", "sqlite:leveret.db"),
            ("user:secret@host", "***"),
        ] {
            assert_eq!(masked(url), shown);
        }
    }

    #[test]
    fn addresses_are_checked() {
        assert_eq!("off".parse(), Ok(Address::Off));
        assert!("7780".parse::<Address>().is_err());
        assert!(read_url("ftp://host").is_err() && read_url("host:80").is_err() && read_url("http://h:1/x").is_ok());
    }
}
