//! The HTTP clients of the process, each with its connections.

use std::{path::Path, time::Duration};

use reqwest::{Certificate, Client, ClientBuilder, redirect};

use super::Error;
use crate::cache::{Cache, Loaded};

/// Redirects that are followed.
const REDIRECTS_MAX: usize = 10;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Less than what servers and proxies commonly keep idle connections for, so that few of them close in our face.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
const IDLE_PER_HOST_MAX: usize = 32;
/// A client with the system's some 150 roots, by estimate.
const CLIENT_BYTES: usize = 256 * 1024;
const CLIENTS_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Whether `HTTP_PROXY` and its kin count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// As the environment says.
    Environment,
    /// None.
    None,
}

/// What distinguishes one client from another: redirects and trust are settings of a client, not of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Profile {
    pub follow: Follow,
    pub trust: Trust,
}

/// What becomes of a redirect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Follow {
    Redirects,
    Nothing,
}

/// Whose certificates are good.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Trust {
    System,
    /// Those of the system and these, in PEM.
    Also(Vec<u8>),
    Anyone,
}

impl Trust {
    /// The system and the certificates in a file. They are read each time: a new file is a new client.
    pub(super) async fn also(path: &Path) -> Result<Self, Error> {
        let owned = path.to_owned();
        let read = tokio::task::spawn_blocking(move || std::fs::read(owned)).await.expect("reading does not panic");
        let failed = |error| Error::input(format!("input.tls.ca_file: cannot read {}: {error}", path.display()));
        read.map(Self::Also).map_err(failed)
    }
}

/// One client per profile, made when it is first asked for.
#[derive(Debug)]
pub(super) struct Clients {
    proxy: Proxy,
    made: Cache<Profile, Client, Error>,
}

impl Clients {
    pub(super) fn new(proxy: Proxy) -> Self {
        Self { proxy, made: Cache::new(CLIENTS_BYTES_MAX) }
    }

    pub(super) async fn get(&self, profile: Profile) -> Result<Client, Error> {
        let (proxy, wanted) = (self.proxy, profile.clone());
        let load = async move {
            // Reading and parsing the system's roots takes some 10 ms.
            let make = tokio::task::spawn_blocking(move || make(proxy, &wanted));
            let value = make.await.expect("making a client does not panic")?;
            Ok(Loaded { value, heap_bytes: CLIENT_BYTES })
        };
        self.made.get_or_load(&profile, load).await.map_err(|error| (*error).clone())
    }
}

/// A client for the worker's own requests, such as those to the values service: no redirects.
///
/// Takes some 10 ms, for the system's roots are read. Installs rustls' ring provider for the process unless it
/// has one.
///
/// # Errors
/// `http_client` when TLS cannot be set up.
pub fn client(proxy: Proxy) -> Result<Client, Error> {
    make(proxy, &Profile { follow: Follow::Nothing, trust: Trust::System })
}

fn make(proxy: Proxy, profile: &Profile) -> Result<Client, Error> {
    // The process may have chosen another one before; then that stays, and it is no error.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let failed = |error: reqwest::Error| Error::new("http_client", format!("cannot make an HTTP client: {error:?}"));
    let builder = || builder(proxy, profile.follow);
    match &profile.trust {
        // A machine without any roots can still do plain HTTP; for HTTPS it trusts nobody then.
        Trust::System => builder().build().or_else(|_| builder().tls_certs_only([]).build()).map_err(failed),
        Trust::Also(pem) => {
            let bad = |error| Error::input(format!("input.tls.ca_file: not PEM certificates: {error}"));
            let certificates = Certificate::from_pem_bundle(pem).map_err(bad)?;
            builder().tls_certs_merge(certificates).build().map_err(failed)
        }
        Trust::Anyone => builder().tls_danger_accept_invalid_certs(true).build().map_err(failed),
    }
}

fn builder(proxy: Proxy, follow: Follow) -> ClientBuilder {
    let redirects = match follow {
        Follow::Redirects => redirect::Policy::limited(REDIRECTS_MAX),
        Follow::Nothing => redirect::Policy::none(),
    };
    let builder = Client::builder()
        .user_agent(concat!("leveret/", env!("CARGO_PKG_VERSION")))
        .http1_only()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
        .redirect(redirects);
    match proxy {
        Proxy::Environment => builder,
        Proxy::None => builder.no_proxy(),
    }
}
