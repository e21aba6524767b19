//! One connection, from its making to its end. It is never repaired; the next one is another link.

use std::{
    io,
    net::{Shutdown, TcpStream},
    ops::Deref,
    os::fd::{AsFd, OwnedFd},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{FutureExt, Stream};
use lapin::{
    AsyncTcpStream, Connection, ConnectionProperties, ErrorKind,
    tcp::{AMQPUriTcpExt, OwnedTLSConfig},
    uri::AMQPUri,
};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{ANSWER_TIMEOUT, Settings};
use crate::Error;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Publish,
    Consume,
}

/// Whether the broker takes what we send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// It does, since then.
    Free(Instant),
    /// It stopped reading from us, for want of memory or disk.
    Blocked,
}

/// A connection that was made. Dropping the last handle closes it in the background.
pub(super) struct Link {
    connection: Connection,
    socket: Socket,
    /// Cancelled by whoever finds the connection broken, and by its end.
    pub fault: CancellationToken,
    /// Follows `connection.blocked`.
    pub flow: watch::Sender<Flow>,
}

/// A link and the one listener of its events. lapin's listeners take events from each other, so there is only one.
pub(super) struct Opened {
    pub role: Role,
    pub link: Arc<Link>,
    pub events: Pin<Box<dyn Stream<Item = lapin::Event> + Send>>,
}

impl Link {
    pub(super) async fn open(settings: &Settings, uri: &AMQPUri, role: Role) -> Result<Opened, Error> {
        let name = match role {
            Role::Publish => format!("{} publish", settings.connection_name),
            Role::Consume => format!("{} consume", settings.connection_name),
        };
        let unreachable = |reason: String| Error::Unreachable {
            address: format!("{}:{}", uri.authority.host, uri.authority.port),
            user: uri.authority.userinfo.username.clone(),
            reason,
        };
        let socket = Socket::default();
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let making = make(uri.clone(), properties, socket.clone());
        let connection = match timeout(settings.connect_timeout, making).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => {
                socket.end();
                return Err(unreachable(explain(&error)));
            }
            Err(_) => {
                // A peer that accepts and never speaks leaves lapin's thread waiting for ever: pull the plug.
                socket.end();
                return Err(unreachable(format!("no answer within {:?}", settings.connect_timeout)));
            }
        };
        let events = Box::pin(connection.events_listener());
        let link = Link {
            connection,
            socket,
            fault: CancellationToken::new(),
            flow: watch::Sender::new(Flow::Free(Instant::now())),
        };
        Ok(Opened { role, link: Arc::new(link), events })
    }

    /// Whether the connection still stands, as far as lapin knows.
    pub(super) fn is_up(&self) -> bool {
        self.connection.status().connected() && !self.fault.is_cancelled()
    }

    /// A new channel. On failure the link is at fault: on a sound connection this always works.
    pub(super) async fn channel(&self) -> Result<OwnChannel, Error> {
        let opened = answer("opening a channel", self.connection.create_channel()).await;
        if opened.is_err() {
            self.fault.cancel();
        }
        opened.map(OwnChannel)
    }

    /// Says good-bye if the peer listens, and ends the connection in any case.
    pub(super) async fn close(&self, patience: Duration) {
        if self.connection.status().connected() {
            let goodbye = self.connection.close(200, "bye".into());
            if !matches!(timeout(patience, goodbye).await, Ok(Ok(()))) {
                tracing::debug!("a connection did not close in order");
            }
        }
        self.fault.cancel();
        self.socket.end();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.fault.cancel();
    }
}

/// A lapin channel that closes in order when it is dropped: its close goes out behind all that was written on it.
///
/// lapin's own closing of a dropped channel is a task that comes later; when the connection is being closed by then,
/// the task fails, lapin takes that for the end of the connection, and settlements not yet on the wire are gone.
#[derive(Debug)]
pub(super) struct OwnChannel(lapin::Channel);

impl Deref for OwnChannel {
    type Target = lapin::Channel;

    fn deref(&self) -> &lapin::Channel {
        &self.0
    }
}

impl Drop for OwnChannel {
    fn drop(&mut self) {
        // The first poll queues the frame; an error means that the channel is closed already.
        let _ = self.0.close(200, "done".into()).now_or_never();
    }
}

/// lapin's connect, but keeping a second handle on the socket.
async fn make(uri: AMQPUri, properties: ConnectionProperties, socket: Socket) -> lapin::Result<Connection> {
    let runtime = lapin::runtime::default_runtime()?;
    Connection::connector(
        uri,
        runtime,
        async move |uri: AMQPUri, runtime| {
            let config = OwnedTLSConfig::default();
            let stream = uri.connect_with_config_async(config.as_ref(), &runtime).await?;
            #[allow(irrefutable_let_patterns, reason = "lapin has more variants when its TLS features are on")]
            if let AsyncTcpStream::Plain(plain) = &stream {
                socket.hold(plain.get_ref())?;
            }
            Ok(stream)
        },
        properties,
    )
    .await
}

/// A second handle on the socket of a connection, to end it when lapin cannot: with a mute or blocking peer lapin's
/// thread waits for ever, and each such thread keeps 8 MiB of buffers.
#[derive(Clone, Default)]
struct Socket(Arc<Mutex<Plug>>);

#[derive(Default)]
enum Plug {
    #[default]
    Waiting,
    Held(TcpStream),
    Pulled,
}

impl Socket {
    fn hold(&self, stream: &impl AsFd) -> io::Result<()> {
        let fd: OwnedFd = stream.as_fd().try_clone_to_owned()?;
        let mut plug = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*plug, Plug::Pulled) {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "connected too late"));
        }
        *plug = Plug::Held(TcpStream::from(fd));
        Ok(())
    }

    fn end(&self) {
        let mut plug = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Plug::Held(stream) = std::mem::replace(&mut *plug, Plug::Pulled) {
            // An error here means that the socket has ended already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Waits for the broker's answer, bounded. Every lapin call that waits for one goes through here: several can hang.
pub(super) async fn answer<T>(doing: &str, call: impl Future<Output = lapin::Result<T>>) -> Result<T, Error> {
    match timeout(ANSWER_TIMEOUT, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(classify(doing, &error)),
        Err(_) => {
            Err(Error::Disconnected { doing: doing.to_owned(), reason: format!("no answer within {ANSWER_TIMEOUT:?}") })
        }
    }
}

/// AMQP reply codes, by what the caller does next.
fn classify(doing: &str, error: &lapin::Error) -> Error {
    let doing = doing.to_owned();
    let reason = explain(error);
    match code(error) {
        Some(403) => Error::Refused { doing, reason },
        Some(404) => Error::Missing { name: doing, reason },
        Some(405 | 406) => Error::Mismatch { name: doing, reason },
        Some(_) | None => Error::Disconnected { doing, reason },
    }
}

/// The AMQP reply code, if the broker sent one.
pub(super) fn code(error: &lapin::Error) -> Option<u16> {
    if let ErrorKind::ProtocolError(protocol) = error.kind() { Some(protocol.get_id()) } else { None }
}

/// The broker's own words where there are some.
pub(super) fn explain(error: &lapin::Error) -> String {
    match error.kind() {
        ErrorKind::ProtocolError(protocol) => protocol.get_message().to_string(),
        _ => error.to_string(),
    }
}
