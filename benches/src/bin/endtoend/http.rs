//! Just enough of HTTP for a service on this machine: one request, one answer, until it closes the connection.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The body of a successful answer.
pub fn get(addr: SocketAddr, path: &str) -> Result<String> {
    request(addr, "GET", path, "")
}

/// As [`get`], for a request that stores `body`.
pub fn put(addr: SocketAddr, path: &str, body: &str) -> Result<String> {
    request(addr, "PUT", path, body)
}

fn request(addr: SocketAddr, method: &str, path: &str, body: &str) -> Result<String> {
    let doing = || format!("{method} http://{addr}{path}");
    let mut stream = TcpStream::connect(addr).with_context(doing)?;
    stream.set_read_timeout(Some(PATIENCE)).with_context(doing)?;
    // Version 1.0: the answer comes in one piece and ends with the connection.
    let head = format!(
        "{method} {path} HTTP/1.0\r\nhost: {addr}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).with_context(doing)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).with_context(doing)?;
    let answer = String::from_utf8(answer).with_context(doing)?;
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { bail!("{}: no HTTP answer", doing()) };
    let status = head.split(' ').nth(1).unwrap_or_default();
    ensure!(status.starts_with('2'), "{}: {status} {body}", doing());
    Ok(body.to_owned())
}

/// The value of a metric without labels.
pub fn metric(metrics: &str, name: &str) -> Result<f64> {
    let mut values = metrics.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let value = values.next().with_context(|| format!("no {name}"))?;
    value.trim().parse().with_context(|| format!("{name} {value}"))
}
