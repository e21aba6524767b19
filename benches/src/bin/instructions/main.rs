//! Counts the instructions of what must stay cheap, under callgrind, and compares them with `benches/instructions.txt`.
//!
//! ```text
//! scripts/instructions             fails when a path takes over 10 % more than is written down
//! scripts/instructions --accept    writes down what it takes now
//! ```
//!
//! A clock on a busy machine cannot see 10 %. Counts can: they are nearly the same each time. Every path runs in a
//! process of its own, with nothing in its environment, and only what [`counted`] does is counted.

mod baseline;
mod paths;

use std::{
    env,
    io::Write as _,
    path::{Path as FilePath, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, Result, bail, ensure};

use baseline::{Baseline, Verdict};
use paths::{PATHS, Path};

/// Names this program's own process that goes one path, once.
const GO: &str = "--go";
fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [GO, name] => go(find(name)?).map(|()| ExitCode::SUCCESS),
        [] => check(),
        ["--accept"] => accept(),
        _ => bail!("usage: instructions [--accept]"),
    }
}

fn find(name: &str) -> Result<&'static Path> {
    PATHS.iter().find(|path| path.name == name).with_context(|| format!("there is no path {name}"))
}

/// Goes a path once, and says how many operations that were. Once before, as what is made only once is none of them.
fn go(path: &Path) -> Result<()> {
    let mut pass = (path.set_up)();
    pass();
    let operations = counted(&mut *pass);
    writeln!(std::io::stdout(), "{operations}").context("print the number of operations")
}

/// What callgrind counts, by the name of this function.
#[inline(never)]
fn counted(pass: &mut dyn FnMut() -> u32) -> u32 {
    // Something is left to do after the call, which so stays one.
    std::hint::black_box(pass())
}

fn check() -> Result<ExitCode> {
    let file = file();
    let baseline = Baseline::read(&file)?;
    let counts = measure()?;
    let verdict = baseline.compare(&counts);
    let mut out = std::io::stdout().lock();
    write!(out, "{verdict}")?;
    Ok(match verdict {
        Verdict { is_worse: true, .. } => ExitCode::FAILURE,
        Verdict { is_worse: false, .. } => ExitCode::SUCCESS,
    })
}

fn accept() -> Result<ExitCode> {
    let counts = measure()?;
    let file = file();
    let before = Baseline::read(&file).unwrap_or_default();
    let mut out = std::io::stdout().lock();
    write!(out, "{}", before.compare(&counts).lines())?;
    Baseline::of(counts).write(&file)?;
    writeln!(out, "instructions: written down in {}", file.display())?;
    Ok(ExitCode::SUCCESS)
}

fn file() -> PathBuf {
    FilePath::new(env!("CARGO_MANIFEST_DIR")).join("instructions.txt")
}

/// The instructions of one operation of each path.
fn measure() -> Result<Vec<(&'static str, u64)>> {
    let has_setarch = Command::new("setarch").args(["-R", "true"]).stderr(Stdio::null()).status();
    let is_fixed = has_setarch.is_ok_and(|status| status.success());
    PATHS.iter().map(|path| Ok((path.name, count(path, is_fixed)?))).collect()
}

/// Once is enough: the hashes of maps are drawn anew by every process, and move a count by less than 0.1 %.
fn count(path: &Path, is_fixed: bool) -> Result<u64> {
    let program = env::current_exe().context("find this program")?;
    // Where addresses cannot be fixed, as in some containers, they change what is counted by little.
    let mut command = match is_fixed {
        true => {
            let mut command = Command::new("setarch");
            command.args(["-R", "valgrind"]);
            command
        }
        false => Command::new("valgrind"),
    };
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*instructions*counted*"]);
    command.arg(program).args([GO, path.name]);
    command.env_clear().envs(env::var_os("PATH").map(|path| ("PATH", path)));
    let output = command.output().context("run valgrind")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: valgrind failed:\n{said}", path.name);
    let operations: u64 = String::from_utf8_lossy(&output.stdout).trim().parse().context("read the operations")?;
    let collected = said.lines().find_map(|line| line.split_once("Collected : ")).map(|(_, number)| number.trim());
    let collected: u64 = collected.and_then(|number| number.parse().ok()).context("valgrind says no total")?;
    ensure!(collected > operations, "{}: nothing was counted: is `counted` still a function?", path.name);
    Ok(collected / operations)
}
