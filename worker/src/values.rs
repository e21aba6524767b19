//! The client of the values service: large values by digest, fetched and stored by any number of tasks at once.
//!
//! Values never change, so every request may be repeated: a busy service (503), a lost connection or a stalled
//! transfer is tried again with back-off and jitter until [`Settings::patience`] is used up. A task that waits
//! out a 503 keeps its place among the [`Settings::transfers_max`], so that a busy service is asked by few.

mod patience;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use proto::{id::Digest, limits::VALUE_BYTES_MAX, value::Stored};
use reqwest::{
    Client, RequestBuilder, Response, StatusCode, Url,
    header::{AUTHORIZATION, HeaderValue, RETRY_AFTER},
};
use tokio::sync::{Semaphore, SemaphorePermit};

use self::patience::{Patience, Setback};

/// Bytes up to which a digest is computed in place: BLAKE3 took 0.1 ms for them at most. Longer ones go to the blocking pool.
const HASHED_IN_PLACE_MAX: usize = 512 * 1024;

/// Fetches and stores values. Shared behind an `Arc` by all who need it.
#[derive(Debug)]
pub struct Values {
    base: String,
    token: Option<HeaderValue>,
    client: Client,
    settings: Settings,
    transfers: Semaphore,
}

/// How long and how often a transfer is tried.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Transfers at once; further ones wait in line.
    pub transfers_max: usize,
    /// One try may take this long, and a second more for every MiB.
    pub attempt: Duration,
    /// All tries of a transfer may take this long, and a second more for every MiB.
    pub patience: Duration,
}

/// Why a value could not be fetched or stored.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The service does not have it: the work that needs it cannot run.
    #[error("value {0} is not stored")]
    Absent(Digest),
    /// More than [`VALUE_BYTES_MAX`] (`value_too_large`); nothing was sent or read.
    #[error("value has {bytes} bytes, more than the limit of {VALUE_BYTES_MAX}")]
    TooLarge {
        /// Its length.
        bytes: u64,
    },
    /// What came is not what its digest and length say.
    #[error("value {digest} came damaged: {what}")]
    Corrupt {
        /// The digest that was asked for.
        digest: Digest,
        /// What does not agree.
        what: String,
    },
    /// The service refuses for good: a wrong token or a wrong address. Trying again changes nothing.
    #[error("values service refused with status {status}: {reason}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The beginning of the answer.
        reason: String,
    },
    /// The service could not be used in time. Later may do.
    #[error("values service was not available in {tries} tries, last: {last}")]
    Unavailable {
        /// How often it was tried.
        tries: u32,
        /// What became of the last try.
        last: String,
    },
    /// The address of the service is none.
    #[error("{0:?} is no http or https address")]
    Address(String),
    /// The token cannot be a header's value.
    #[error("the token holds characters that no HTTP header can carry")]
    Token,
}

impl Error {
    /// Whether a later try may do. A refusal counts: a wrong token is set right without losing any work.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Absent(_) | Self::TooLarge { .. } => false,
            Self::Corrupt { .. } | Self::Refused { .. } | Self::Unavailable { .. } | Self::Address(_) | Self::Token => {
                true
            }
        }
    }

    /// The code of the failure that it is to a task.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Absent(_) => "value_absent",
            Self::TooLarge { .. } => "value_too_large",
            Self::Corrupt { .. } | Self::Refused { .. } | Self::Unavailable { .. } | Self::Address(_) | Self::Token => {
                "value_unavailable"
            }
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self { transfers_max: 16, attempt: Duration::from_secs(10), patience: Duration::from_secs(60) }
    }
}

impl Values {
    /// The service at `base_url`, such as `http://scheduler:7780`; a path in it is kept in front of `/values`.
    ///
    /// # Errors
    /// [`Error::Address`] or [`Error::Token`].
    pub fn new(base_url: &str, token: Option<String>, client: Client) -> Result<Self, Error> {
        Self::with_settings(base_url, token, client, Settings::default())
    }

    /// As [`Values::new`], with other numbers.
    ///
    /// # Errors
    /// As [`Values::new`].
    pub fn with_settings(
        base_url: &str,
        token: Option<String>,
        client: Client,
        settings: Settings,
    ) -> Result<Self, Error> {
        let is_web = Url::parse(base_url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if !is_web {
            return Err(Error::Address(base_url.to_owned()));
        }
        let token = token.map(bearer).transpose()?;
        let transfers = Semaphore::new(settings.transfers_max.max(1));
        Ok(Self { base: base_url.trim_end_matches('/').to_owned(), token, client, settings, transfers })
    }

    /// Fetches a value and checks its digest and length.
    ///
    /// # Errors
    /// All but [`Error::Address`] and [`Error::Token`].
    pub async fn get(&self, stored: &Stored) -> Result<Bytes, Error> {
        if stored.bytes > VALUE_BYTES_MAX as u64 {
            return Err(Error::TooLarge { bytes: stored.bytes });
        }
        let _place = self.place().await;
        let mut patience = Patience::new(&self.settings, stored.bytes);
        loop {
            match patience.limit(self.fetch(stored)).await {
                Ok(bytes) => return checked(bytes, stored).await,
                Err(setback) => patience.endure(setback).await?,
            }
        }
    }

    /// Stores a value; storing it again changes nothing.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Refused`] or [`Error::Unavailable`].
    pub async fn put(&self, bytes: &Bytes) -> Result<Stored, Error> {
        if bytes.len() > VALUE_BYTES_MAX {
            return Err(Error::TooLarge { bytes: bytes.len() as u64 });
        }
        let stored = reference(bytes).await;
        let _place = self.place().await;
        let mut patience = Patience::new(&self.settings, stored.bytes);
        loop {
            match patience.limit(self.store(&stored, bytes)).await {
                Ok(()) => return Ok(stored),
                Err(setback) => patience.endure(setback).await?,
            }
        }
    }

    /// A place among those who transfer. Each gives its own back in bounded time, so waiting for one is bounded too.
    async fn place(&self) -> SemaphorePermit<'_> {
        self.transfers.acquire().await.expect("nobody closes this semaphore")
    }

    async fn fetch(&self, stored: &Stored) -> Result<Bytes, Setback> {
        let mut response = self.send(self.client.get(self.address(stored))).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Err(Setback::Final(Error::Absent(stored.digest)));
        }
        if response.status() != StatusCode::OK {
            return Err(unexpected(response).await);
        }
        let length = usize::try_from(stored.bytes).expect("compared with VALUE_BYTES_MAX before");
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(Setback::transfer)? {
            if body.len() + chunk.len() > length {
                return Err(damaged(stored, format!("it is longer than {length} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    async fn store(&self, stored: &Stored, bytes: &Bytes) -> Result<(), Setback> {
        let response = self.send(self.client.put(self.address(stored)).body(bytes.clone())).await?;
        match response.status() {
            status if status.is_success() => Ok(()),
            StatusCode::PAYLOAD_TOO_LARGE => Err(Setback::Final(Error::TooLarge { bytes: stored.bytes })),
            _ => Err(unexpected(response).await),
        }
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Setback> {
        let request = match &self.token {
            Some(token) => request.header(AUTHORIZATION, token.clone()),
            None => request,
        };
        request.send().await.map_err(Setback::transfer)
    }

    fn address(&self, stored: &Stored) -> String {
        format!("{}/values/{}", self.base, stored.digest)
    }
}

/// A status that is none of those we know: worth another try when the fault is on the service's side.
async fn unexpected(mut response: Response) -> Setback {
    let status = response.status();
    if status.is_server_error() || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT) {
        let seconds = response.headers().get(RETRY_AFTER).and_then(|after| after.to_str().ok()?.parse().ok());
        return Setback::Again { what: format!("status {status}"), after: seconds.map(Duration::from_secs) };
    }
    let start = response.chunk().await.ok().flatten().unwrap_or_default();
    let reason = String::from_utf8_lossy(&start[..start.len().min(300)]).trim().to_owned();
    Setback::Final(Error::Refused { status: status.as_u16(), reason })
}

async fn checked(bytes: Bytes, stored: &Stored) -> Result<Bytes, Error> {
    let found = reference(&bytes).await;
    if found == *stored {
        return Ok(bytes);
    }
    let what = format!("{} of {} bytes, with digest {}", found.bytes, stored.bytes, found.digest);
    Err(Error::Corrupt { digest: stored.digest, what })
}

async fn reference(bytes: &Bytes) -> Stored {
    if bytes.len() <= HASHED_IN_PLACE_MAX {
        return Stored::of(bytes);
    }
    let bytes = bytes.clone();
    tokio::task::spawn_blocking(move || Stored::of(&bytes)).await.expect("hashing does not panic")
}

fn damaged(stored: &Stored, what: String) -> Setback {
    Setback::Final(Error::Corrupt { digest: stored.digest, what })
}

fn bearer(token: String) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| Error::Token)?;
    value.set_sensitive(true);
    Ok(value)
}
