//! An address that actions visit: a test sees that one has begun, and that it was ended.

use std::{
    io::Read,
    net::{TcpListener, TcpStream},
    sync::mpsc::{Receiver, sync_channel},
    thread,
    time::Duration,
};

const DEADLINE: Duration = Duration::from_secs(60);

/// A server that lets visitors wait for ever.
pub struct Door {
    port: u16,
    visits: Receiver<TcpStream>,
}

/// One that waits.
pub struct Visit(TcpStream);

impl Door {
    pub fn open() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let (sender, visits) = sync_channel(16);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if sender.send(stream).is_err() {
                    return;
                }
            }
        });
        Self { port, visits }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Waits for the next visitor.
    pub fn visited(&self) -> Visit {
        Visit(self.visits.recv_timeout(DEADLINE).expect("a visitor"))
    }
}

impl Visit {
    /// Waits until the visitor has gone.
    pub fn gone(mut self) {
        self.0.set_read_timeout(Some(DEADLINE)).expect("a timeout of some length");
        let mut seen = Vec::new();
        // A visitor that was killed may leave rudely.
        match self.0.read_to_end(&mut seen) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "it stayed"),
        }
    }
}
