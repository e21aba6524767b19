//! What a plugin says on stderr, line by line as it comes: how far it is, and anything else.

/// A line of more bytes is taken as several.
const LINE_BYTES_MAX: usize = 8 * 1024;

/// The most characters of the last line that a message shows.
const LAST_CHARS_MAX: usize = 300;

/// Takes stderr apart.
pub(super) struct Listener {
    heard: Heard,
    bytes_max: usize,
    /// The beginning of a line whose end is still to come.
    line: Vec<u8>,
    /// The greatest whole percentage that was told.
    percent: Option<u8>,
}

/// What was said besides progress.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// The lines, up to a bound.
    pub text: String,
    pub is_truncated: bool,
    /// The beginning of the last line that says something, whether it is within the bound or not.
    pub last: String,
}

impl Listener {
    /// Keeps at most `bytes_max` bytes.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { heard: Heard::default(), bytes_max, line: Vec::new(), percent: None }
    }

    /// Takes the next piece. `tell` is called with each whole percentage that is reached, in ascending order and each
    /// once: a plugin that tells the same again and again fills nobody's log.
    pub(super) fn hear(&mut self, piece: &[u8], mut tell: impl FnMut(u8)) {
        for &byte in piece {
            if byte != b'\n' {
                self.line.push(byte);
            }
            if byte == b'\n' || self.line.len() == LINE_BYTES_MAX {
                self.take_line(&mut tell);
            }
        }
    }

    /// The end: a last line need not end.
    pub(super) fn end(mut self) -> Heard {
        if !self.line.is_empty() {
            self.take_line(&mut |_| {});
        }
        self.heard
    }

    fn take_line(&mut self, tell: &mut impl FnMut(u8)) {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
        match progress(&line) {
            Some(percent) if self.percent.is_none_or(|told| told < percent) => {
                self.percent = Some(percent);
                tell(percent);
            }
            Some(_) => {}
            None => self.heard.add(&line, self.bytes_max),
        }
    }
}

impl Heard {
    fn add(&mut self, line: &str, bytes_max: usize) {
        if !line.trim().is_empty() {
            self.last = line.trim().chars().take(LAST_CHARS_MAX).collect();
        }
        // Once a line did not fit, later ones are left out too, so that there are no holes.
        self.is_truncated |= self.text.len() + line.len() >= bytes_max;
        if !self.is_truncated {
            self.text.push_str(line);
            self.text.push('\n');
        }
    }
}

/// The whole percentage of `::progress 12.5::`.
fn progress(line: &str) -> Option<u8> {
    let number = line.trim().strip_prefix("::progress ")?.strip_suffix("::")?;
    let percent: f64 = number.trim().parse().ok()?;
    // Within the range, so that nothing is lost but the fraction.
    (0.0..=100.0).contains(&percent).then_some(percent as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(pieces: &[&str], bytes_max: usize) -> (Vec<u8>, Heard) {
        let mut listener = Listener::new(bytes_max);
        let mut told = Vec::new();
        for piece in pieces {
            listener.hear(piece.as_bytes(), |percent| told.push(percent));
        }
        (told, listener.end())
    }

    #[test]
    fn progress_is_told_from_words() {
        let pieces = [
            "::progress 0::\nbegin\n::prog",
            "ress 12.7::\n::progress 12::\n",
            "::progress 5::\n::progress 100::\nend",
        ];
        let (told, heard) = heard(&pieces, 1_000);
        assert_eq!(told, [0, 12, 100]);
        assert_eq!(heard, Heard { text: "begin\nend\n".into(), is_truncated: false, last: "end".into() });
        for line in
            ["::progress 101::", "::progress -1::", "::progress NaN::", "::progress::", "::progress x::", "progress 5"]
        {
            assert_eq!(progress(line), None, "{line}");
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let (_, cut) = heard(&["one\ntwo\nthree\nfour\n", "\n \n"], 9);
        assert_eq!(cut, Heard { text: "one\ntwo\n".into(), is_truncated: true, last: "four".into() });
        let endless = "x".repeat(3 * LINE_BYTES_MAX / 2);
        let (_, whole) = heard(&[&endless, &endless, "\nlast"], 1_000_000);
        assert_eq!(whole.text.lines().map(str::len).max(), Some(LINE_BYTES_MAX));
        assert_eq!((whole.text.matches('x').count(), whole.is_truncated), (2 * endless.len(), false));
        assert_eq!(whole.last, "last");
        let (_, cut) = heard(&[&endless, "\nlast"], 1_000);
        assert_eq!(cut, Heard { text: String::new(), is_truncated: true, last: "last".into() });
    }
}
