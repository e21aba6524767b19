//! What all measurements have in common: the broker, the processes, and what is said on the way.

use std::{cell::Cell, io::Write as _, net::SocketAddr};

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    broker::Broker,
    client::Client,
    fleet::{Fleet, Setup},
    floor::Floor,
    options::Options,
};

/// One task with `items` items that do nothing, its name `NAME`.
pub const ITEMS: &str = r#"
name: items
parameters:
  items: { type: integer, required: true }
tasks:
  each:
    action: core.noop
    with_items: "{{ range(end=parameters.items) }}"
"#;

/// The surroundings of a measurement.
pub struct Bench {
    pub options: Options,
    pub broker: Broker,
    /// Prefixes that were given out.
    prefixes: Cell<u32>,
}

impl Bench {
    pub fn new(options: Options, broker: Broker) -> Self {
        Self { options, broker, prefixes: Cell::new(0) }
    }

    /// Starts a fleet and a client of its own.
    pub async fn fleet(&self) -> Result<(Fleet, Client)> {
        self.start(false, None).await
    }

    /// As [`Self::fleet`], with a worker for the pool `loader`, and with workers that reach the scheduler through `relay`.
    pub async fn fleet_with_loader(
        &self,
        relay: Option<&dyn Fn(SocketAddr) -> Result<SocketAddr>>,
    ) -> Result<(Fleet, Client)> {
        self.start(true, relay).await
    }

    async fn start(
        &self,
        loader: bool,
        relay: Option<&dyn Fn(SocketAddr) -> Result<SocketAddr>>,
    ) -> Result<(Fleet, Client)> {
        let options = &self.options;
        let setup = Setup {
            binary: &options.leveret,
            amqp: &self.broker.url,
            prefix: self.prefix(),
            workers: options.workers,
            loader,
            relay,
        };
        let fleet = Fleet::start(&setup)?;
        let client = Client::connect(&self.broker.url, &fleet.topology).await?;
        Ok((fleet, client))
    }

    /// Starts a floor.
    pub async fn floor(&self) -> Result<Floor> {
        Floor::start(&self.broker.url, &self.prefix()).await
    }

    /// Stops both and leaves nothing on the broker.
    pub async fn end(&self, fleet: Fleet, client: Client) -> Result<()> {
        fleet.end(client.channel()).await?;
        client.end().await
    }

    /// Says how far it has come.
    pub fn say(&self, text: &str) {
        // Nobody may be reading; the measurement goes on.
        let _ = writeln!(std::io::stderr(), "endtoend: {text}");
    }

    fn prefix(&self) -> String {
        self.prefixes.set(self.prefixes.get() + 1);
        format!("bench-{}-{}", std::process::id(), self.prefixes.get())
    }
}

/// A job that runs a definition with parameters.
pub fn job(definition: &str, parameters: Value) -> Value {
    json!({ "definition": definition, "parameters": parameters })
}
