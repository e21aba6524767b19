//! Writes an access log in Combined Log Format: `make demo` runs `examples/process-log.yaml` on it.
//!
//! Every line follows from its number and a fixed seed, so that two runs write the same file. About one line in 500 is
//! damaged, as in a log of the real world. Prints how many lines are whole and how many are damaged.
//!
//! Usage: `access_log PATH [LINES]`.

use std::{
    fs::File,
    io::{BufWriter, Write},
};

use anyhow::Context as _;

const LINES_DEFAULT: u64 = 10_000;
const SEED: u64 = 0x1e7e_2e70_0000_1065;

const AGENTS: [&str; 5] = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15",
    "Mozilla/5.0 (compatible; ExampleBot/2.1; +https://bot.example/about)",
    "curl/8.14.1",
    "shop-app/5.2 (Android 16)",
];
const REFERERS: [&str; 4] =
    ["-", "https://shop.example/", "https://search.example/?q=hare", "https://news.example/today"];

/// The numbers one line is made from, drawn one after another.
struct Draw(u64);

impl Draw {
    /// `SplitMix64` (Steele, Lea, Flood 2014), then the remainder: below `limit`.
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    fn one_of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[usize::try_from(self.below(words.len() as u64)).expect("an index below the length fits")]
    }
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().context("usage: access_log PATH [LINES]")?;
    let lines = match arguments.next() {
        Some(text) => text.parse().context("reading the number of lines")?,
        None => LINES_DEFAULT,
    };
    let mut out = BufWriter::new(File::create(&path).with_context(|| format!("creating {path}"))?);
    let mut draw = Draw(SEED);
    let mut damaged = 0_u64;
    for number in 0..lines {
        if draw.below(500) == 0 {
            damaged += 1;
            writeln!(out, "10.0.{}.7 - - [cut off while the disk was full", draw.below(256))?;
        } else {
            write_line(&mut out, &mut draw, number)?;
        }
    }
    out.flush().with_context(|| format!("writing {path}"))?;
    let mut answer = std::io::stdout().lock();
    writeln!(answer, "whole={} damaged={damaged}", lines - damaged).context("saying what was written")
}

fn write_line(out: &mut impl Write, draw: &mut Draw, number: u64) -> std::io::Result<()> {
    let (method, path) = request(draw);
    let status = status(draw, method);
    let bytes = match status {
        204 | 304 => "-".to_owned(),
        200 | 206 => (180 + draw.below(48_000)).to_string(),
        _ => (90 + draw.below(400)).to_string(),
    };
    let host = format!("10.{}.{}.{}", draw.below(4), draw.below(256), 1 + draw.below(254));
    let user = if draw.below(20) == 0 { "maria" } else { "-" };
    // One day in seconds, spread evenly: the time of a line never goes back.
    let second = number * 86_399 / LINES_DEFAULT.max(number + 1);
    writeln!(
        out,
        "{host} - {user} [14/Nov/2026:{:02}:{:02}:{:02} +0000] \"{method} {path} HTTP/1.1\" {status} {bytes} \"{}\" \"{}\"",
        second / 3_600,
        second / 60 % 60,
        second % 60,
        draw.one_of(&REFERERS),
        draw.one_of(&AGENTS),
    )
}

fn request(draw: &mut Draw) -> (&'static str, String) {
    match draw.below(100) {
        0..24 => ("GET", "/".to_owned()),
        24..44 => ("GET", format!("/products/{}", 1 + draw.below(60))),
        44..62 => ("GET", format!("/static/{}", draw.one_of(&["app.js", "app.css", "logo.svg", "fonts/hare.woff2"]))),
        62..74 => ("GET", format!("/search?q={}", draw.one_of(&["clover", "carrot", "burrow", "spring+grass"]))),
        74..86 => ("GET", format!("/api/v1/orders/{}", 1_000 + draw.below(400))),
        86..94 => ("POST", "/api/v1/orders".to_owned()),
        94..97 => ("POST", "/login".to_owned()),
        97..99 => ("GET", "/wp-login.php".to_owned()),
        _ => ("HEAD", "/".to_owned()),
    }
}

fn status(draw: &mut Draw, method: &str) -> u16 {
    match (draw.below(100), method) {
        (0..80, "POST") => 201,
        (0..72, _) => 200,
        (72..84, "GET") => 304,
        (84..92, _) => 404,
        (92..95, _) => 403,
        (95..98, _) => 500,
        (98.., _) => 503,
        (72..84, _) => 204,
    }
}
