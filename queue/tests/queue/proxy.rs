//! A broker's faults on demand: a proxy before a real one that knows AMQP frames.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    task::JoinSet,
};

/// What happens to a connection.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Both sides see it end.
    Cut,
    /// The client hears nothing more.
    Mute,
    /// The client gets this frame between those of the broker.
    Inject(Vec<u8>),
}

/// The proxy and its connections, in the order in which they were made.
pub struct Proxy {
    pub url: String,
    faults: Arc<Mutex<Vec<mpsc::Sender<Fault>>>>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// Before the broker at `url`.
    pub async fn before(url: &str) -> Self {
        let (start, rest) = url.split_once('@').unwrap();
        let (target, path) = rest.split_once('/').unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("{start}@{}/{path}", listener.local_addr().unwrap());
        let faults = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, target.to_owned(), faults.clone()));
        Self { url, faults, _tasks: tasks }
    }

    /// To the connection with this number, from 0: a queue makes its publish connection first.
    pub fn fault(&self, connection: usize, fault: Fault) {
        // A connection that has ended already needs no fault.
        let _ = self.faults.lock().unwrap()[connection].try_send(fault);
    }

    pub fn fault_all(&self, fault: &Fault) {
        for connection in 0..self.connections() {
            self.fault(connection, fault.clone());
        }
    }

    pub fn connections(&self) -> usize {
        self.faults.lock().unwrap().len()
    }
}

async fn accept(listener: TcpListener, target: String, faults: Arc<Mutex<Vec<mpsc::Sender<Fault>>>>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let server = TcpStream::connect(&target).await.unwrap();
        let (sender, receiver) = mpsc::channel(8);
        faults.lock().unwrap().push(sender);
        connections.spawn(carry(client, server, receiver));
    }
}

async fn carry(client: TcpStream, server: TcpStream, faults: mpsc::Receiver<Fault>) {
    let (mut from_client, to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    let (sender, frames) = mpsc::channel(64);
    tokio::select! {
        _ = copy(&mut from_client, &mut to_server) => {}
        () = read_frames(from_server, sender) => {}
        () = write_frames(to_client, frames, faults) => {}
    }
}

async fn read_frames(mut from: OwnedReadHalf, to: mpsc::Sender<Vec<u8>>) {
    let mut head = [0; 7];
    while from.read_exact(&mut head).await.is_ok() {
        let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
        let mut frame = head.to_vec();
        frame.resize(7 + size + 1, 0);
        if from.read_exact(&mut frame[7..]).await.is_err() || to.send(frame).await.is_err() {
            return;
        }
    }
}

async fn write_frames(mut to: OwnedWriteHalf, mut frames: mpsc::Receiver<Vec<u8>>, mut faults: mpsc::Receiver<Fault>) {
    let mut mute = false;
    loop {
        let frame = tokio::select! {
            frame = frames.recv() => frame,
            fault = faults.recv() => match fault {
                Some(Fault::Inject(frame)) => Some(frame),
                Some(Fault::Mute) => {
                    mute = true;
                    continue;
                }
                Some(Fault::Cut) | None => return,
            },
        };
        let Some(frame) = frame else { return };
        if !mute && to.write_all(&frame).await.is_err() {
            return;
        }
    }
}

/// `connection.close` as an operator's `close_all_connections` sends it.
pub fn forced_close() -> Vec<u8> {
    let mut payload = method(10, 50);
    payload.extend(320_u16.to_be_bytes());
    payload.extend(short("CONNECTION_FORCED - test"));
    payload.extend([0; 4]);
    frame(&payload)
}

/// `connection.blocked`: the broker takes no more messages.
pub fn blocked() -> Vec<u8> {
    frame(&[method(10, 60), short("low on memory")].concat())
}

/// `connection.unblocked`.
pub fn unblocked() -> Vec<u8> {
    frame(&method(10, 61))
}

fn method(class: u16, method: u16) -> Vec<u8> {
    [class.to_be_bytes(), method.to_be_bytes()].concat()
}

fn short(text: &str) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
}

/// A method frame of channel 0.
fn frame(payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&[1, 0, 0], size.as_slice(), payload, &[0xCE]].concat()
}
