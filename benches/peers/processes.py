"""Processes of a peer: started in sessions of their own, watched, and stopped by their own id."""

import ctypes
import os
import pathlib
import re
import signal
import subprocess
import time

PARENT_DEATH_SIGNAL = 1
STOP_SECONDS = 15
HERE = pathlib.Path(__file__).parent
LIBC = ctypes.CDLL(None)


def _go_with_parent():
    """In the child: should the parent die without a word, the kernel sends this one SIGTERM."""
    LIBC.prctl(PARENT_DEATH_SIGNAL, signal.SIGTERM)


def start(command, environment, log, folder=HERE):
    with open(log, "ab") as file:
        return subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
            preexec_fn=_go_with_parent,
        )


def stop(process):
    """Asks it to stop, and ends its session when it does not."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
    try:
        # Its children too, which may have outlived it. The group has its id and no other process is in it.
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def family(pid):
    """The process and all below it."""
    found = [pid]
    for parent in found:
        for task in pathlib.Path(f"/proc/{parent}/task").glob("*/children"):
            found.extend(int(child) for child in task.read_text(encoding="ascii").split())
    return found


def peak_mib(pid):
    """The most memory that it had resident, in MiB; nothing when it has ended."""
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except FileNotFoundError:
        return 0.0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0.0


def forget_peak(pid):
    """From here on the peak is counted anew."""
    pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


class Driver:
    """The process that sends. Its peak is what the kernel says at its end."""

    def __init__(self, command, environment, log):
        self.process = start(command, environment, log)
        self.peak_mib = 0.0

    def ended(self):
        """Whether it has ended; raises when it failed."""
        if self.process.returncode is None:
            pid, status, usage = os.wait4(self.process.pid, os.WNOHANG)
            if pid == 0:
                return False
            self.process.returncode = os.waitstatus_to_exitcode(status)
            self.peak_mib = usage.ru_maxrss / 1024
        if self.process.returncode != 0:
            raise RuntimeError(f"the driver ended with {self.process.returncode}")
        return True

    def wait(self, seconds):
        deadline = time.monotonic() + seconds
        while not self.ended():
            if time.monotonic() > deadline:
                raise TimeoutError(f"the driver has not ended after {seconds} s")
            time.sleep(0.01)

    def stop(self):
        stop(self.process)
