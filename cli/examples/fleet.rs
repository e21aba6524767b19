//! A fleet of 1,000 HTTP servers to probe, in one process: `make demo` runs `examples/check-fleet.yaml` against it.
//!
//! Host `n` answers at `/host/{n}/healthz`. What each one does follows from its number and a fixed seed, so that two
//! runs see the same fleet: about 3 % are slow, 5 % are down, 1 % are starting (down once, then healthy), the
//! rest answer at once. Prints the base URL, then how many there are of each, and ends when its standard input
//! closes or on SIGTERM.
//!
//! Usage: `fleet [HOSTS]`.

use std::{
    future::Future,
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use axum::{
    Router,
    extract::{Path, State},
    http::StatusCode,
    routing::get,
};
use tokio::{
    io::AsyncReadExt as _,
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

const HOSTS_DEFAULT: usize = 1_000;
const SEED: u64 = 0x1e7e_2e70_f1ee_7000;

/// What a host does when it is asked.
#[derive(Clone, Copy)]
enum Health {
    Quick,
    Slow(Duration),
    Down(StatusCode),
    Starting,
}

struct Host {
    health: Health,
    asked: AtomicBool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let hosts = match std::env::args().nth(1) {
        Some(text) => text.parse().context("reading the number of hosts")?,
        None => HOSTS_DEFAULT,
    };
    let fleet: Arc<[Host]> = (0..hosts).map(|number| Host { health: health(number), asked: false.into() }).collect();
    let listener = TcpListener::bind("127.0.0.1:0").await.context("binding a free port of the loopback")?;
    introduce(&listener, &fleet)?;
    let app = Router::new().route("/host/{number}/healthz", get(answer)).with_state(fleet);
    axum::serve(listener, app).with_graceful_shutdown(told_to_stop()?).await.context("serving the fleet")
}

/// Says where the fleet is, and what a right report about it says.
fn introduce(listener: &TcpListener, fleet: &[Host]) -> anyhow::Result<()> {
    let count = |wanted: fn(&Health) -> bool| fleet.iter().filter(|host| wanted(&host.health)).count();
    let mut out = std::io::stdout().lock();
    writeln!(out, "http://{}", listener.local_addr()?)?;
    writeln!(
        out,
        "hosts={} slow={} down={} starting={}",
        fleet.len(),
        count(|health| matches!(health, Health::Slow(_))),
        count(|health| matches!(health, Health::Down(_))),
        count(|health| matches!(health, Health::Starting)),
    )?;
    Ok(out.flush()?)
}

async fn answer(State(fleet): State<Arc<[Host]>>, Path(number): Path<usize>) -> (StatusCode, &'static str) {
    let Some(host) = fleet.get(number) else { return (StatusCode::NOT_FOUND, "no such host\n") };
    let asked_before = host.asked.swap(true, Ordering::Relaxed);
    match host.health {
        Health::Quick => (StatusCode::OK, "ok\n"),
        Health::Slow(after) => {
            tokio::time::sleep(after).await;
            (StatusCode::OK, "ok\n")
        }
        Health::Down(status) => (status, "down\n"),
        Health::Starting if asked_before => (StatusCode::OK, "ok\n"),
        Health::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
    }
}

fn health(number: usize) -> Health {
    let drawn = scramble(SEED ^ number as u64);
    match drawn % 100 {
        0..3 => Health::Slow(Duration::from_millis(50 + (drawn >> 32) % 250)),
        3..8 if (drawn >> 32).is_multiple_of(2) => Health::Down(StatusCode::INTERNAL_SERVER_ERROR),
        3..8 => Health::Down(StatusCode::SERVICE_UNAVAILABLE),
        8 => Health::Starting,
        _ => Health::Quick,
    }
}

/// `SplitMix64` (Steele, Lea, Flood 2014): neighbouring numbers become unrelated ones.
fn scramble(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn told_to_stop() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminated = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    Ok(async move {
        let mut input = tokio::io::stdin();
        let mut ignored = [0; 256];
        loop {
            // Cancel-safe: a signal is not lost, and what is read is thrown away.
            tokio::select! {
                _ = terminated.recv() => return,
                read = input.read(&mut ignored) => if matches!(read, Ok(0) | Err(_)) { return },
            }
        }
    })
}
