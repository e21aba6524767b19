//! Server-sent events, as far as the scheduler uses them: lines of bytes to events.

/// An event may be as long as a run's document with an output of 1 MiB, and some.
const EVENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its name; `message` when it has none.
    pub name: String,
    /// Its data, lines joined by newlines.
    pub data: String,
}

/// An event that is longer than any of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event is longer than {EVENT_BYTES_MAX} bytes")]
pub struct TooLong;

/// Takes bytes as they come and gives events as they are complete.
#[derive(Debug, Default)]
pub struct Reader {
    buffer: Vec<u8>,
    /// Of `buffer`, how much was looked at already.
    searched: usize,
    name: String,
    data: String,
    has_data: bool,
}

impl Reader {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// When an event gets too long.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        match self.buffer.len() + self.data.len() + bytes.len() > EVENT_BYTES_MAX {
            true => Err(TooLong),
            false => {
                self.buffer.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// The next complete event of what was taken.
    pub fn next(&mut self) -> Option<Event> {
        while let Some(line) = self.line() {
            let (field, value) = match line.split_once(':') {
                Some((field, value)) => (field, value.strip_prefix(' ').unwrap_or(value)),
                None => (line.as_str(), ""),
            };
            match field {
                "" if line.is_empty() => {
                    if let Some(event) = self.complete() {
                        return Some(event);
                    }
                }
                "event" => value.clone_into(&mut self.name),
                "data" => {
                    if self.has_data {
                        self.data.push('\n');
                    }
                    self.data.push_str(value);
                    self.has_data = true;
                }
                // Comments, which keep the connection alive, and fields that we have no use for.
                _ => {}
            }
        }
        None
    }

    /// What an empty line ends.
    fn complete(&mut self) -> Option<Event> {
        let name = std::mem::take(&mut self.name);
        let data = std::mem::take(&mut self.data);
        let name = if name.is_empty() { "message".to_owned() } else { name };
        std::mem::take(&mut self.has_data).then_some(Event { name, data })
    }

    /// The next complete line, without its end.
    fn line(&mut self) -> Option<String> {
        let Some(length) = self.buffer[self.searched..].iter().position(|&byte| byte == b'\n') else {
            self.searched = self.buffer.len();
            return None;
        };
        let end = self.searched + length;
        let line = self.buffer[..end].strip_suffix(b"\r").unwrap_or(&self.buffer[..end]);
        let line = String::from_utf8_lossy(line).into_owned();
        self.buffer.drain(..=end);
        self.searched = 0;
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "event: run\ndata: {\"a\":\n\ndata:1\ndata: é\r\n\r\n: alive\n\n\nid: 7\n\nevent: x\ndata\n\ndata: cut";

    fn expected() -> Vec<Event> {
        let event = |name: &str, data: &str| Event { name: name.into(), data: data.into() };
        vec![event("run", "{\"a\":"), event("message", "1\né"), event("x", "")]
    }

    #[test]
    fn events_come_out_whole_however_the_bytes_are_cut() {
        for size in 1..TEXT.len() {
            let mut reader = Reader::default();
            let mut events = Vec::new();
            for chunk in TEXT.as_bytes().chunks(size) {
                reader.feed(chunk).expect("short");
                events.extend(std::iter::from_fn(|| reader.next()));
            }
            assert_eq!(events, expected(), "in chunks of {size}");
        }
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut reader = Reader::default();
        let chunk = vec![b'x'; 1024 * 1024];
        let fed = (0..100).find_map(|_| reader.feed(&chunk).err());
        assert_eq!(fed, Some(TooLong));
    }
}
