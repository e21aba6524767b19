"""The machine, the versions, and whether a peer is here at all."""

import os
import pathlib
import platform
import re
import subprocess

from importlib.metadata import PackageNotFoundError

from broker import ROOT

LOCK = pathlib.Path(__file__).parent / "rust" / "Cargo.lock"


def output(*command):
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def first(path, pattern):
    found = re.search(pattern, pathlib.Path(path).read_text(encoding="utf-8"), re.MULTILINE)
    return found[1].strip() if found else "unknown"


def locked(crate):
    return first(LOCK, rf'name = "{crate}"\nversion = "([^"]+)"')


def describe(broker, peers):
    memory_kib = int(first("/proc/meminfo", r"^MemTotal:\s+(\d+)"))
    changed = output("git", "status", "--porcelain", "--untracked-files=no")
    versions = {}
    for peer in peers:
        versions |= peer.versions()
        if peer.identity == "rusty":
            versions |= {"rusty-celery": locked("celery"), "rusty-celery's lapin": locked("lapin")}
    return {
        "cpu": first("/proc/cpuinfo", r"^model name\s*:\s*(.+)$"),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory_kib / (1 << 20):.0f} GiB",
        "kernel": platform.release(),
        "leveret": output("git", "rev-parse", "--short=10", "HEAD") + (" with changes" if changed else ""),
        **broker.versions(),
        "python": platform.python_version(),
        "rustc": output("rustc", "--version").removeprefix("rustc "),
        **versions,
    }


def why_absent(peer, target):
    """Why the peer cannot be measured; nothing when it can."""
    try:
        peer.versions()
    except PackageNotFoundError as missing:
        return f"not installed: {missing.name}: {last_words(target / 'tools' / 'peers-pip.log')}"
    if not peer.packages and not pathlib.Path(peer.driver[0]).exists():
        return f"not built: {last_words(target / 'tools' / 'peers-rust.log')}"
    return None


def last_words(log):
    try:
        lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    except FileNotFoundError:
        lines = []
    errors = [line for line in lines if "rror" in line]
    return (errors or lines or ["no log"])[-1].strip()
