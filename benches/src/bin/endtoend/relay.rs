//! A relay that counts what passes through it: between workers and the values service.

use std::{
    io::{Read, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use anyhow::{Context, Result};

/// Bytes that passed, both ways.
#[derive(Clone, Default)]
pub struct Passed(Arc<AtomicU64>);

impl Passed {
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Listens, and hands everything on to `target`. It lasts as long as this process.
    pub fn relay(&self, target: SocketAddr) -> Result<SocketAddr> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listening for a relay")?;
        let here = listener.local_addr().context("listening for a relay")?;
        let passed = self.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A target that does not answer is a connection that ends at once.
                let Ok(server) = TcpStream::connect(target) else { continue };
                let (Ok(from_client), Ok(from_server)) = (client.try_clone(), server.try_clone()) else { continue };
                let (up, down) = (passed.clone(), passed.clone());
                thread::spawn(move || up.copy(from_client, server));
                thread::spawn(move || down.copy(from_server, client));
            }
        });
        Ok(here)
    }

    /// Until one end closes, or breaks, which is an end too.
    fn copy(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            self.0.fetch_add(read as u64, Ordering::Relaxed);
            if to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        // It may be closed already.
        let _ = to.shutdown(Shutdown::Write);
    }
}
