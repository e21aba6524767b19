"""The broker: a private RabbitMQ that everybody is measured on, and what it counts."""

import json
import os
import pathlib
import re
import subprocess

import processes

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "broker.sh"


class Broker:
    """Runs while its standard input is held: it goes with this process, however this one ends."""

    def __init__(self, folder):
        self.folder = folder
        # In a session of its own: an interrupt from the keyboard is for us, who then end it in order.
        self.process = subprocess.Popen(
            [SCRIPT, "run", folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        try:
            self.url = self.process.stdout.readline().strip()
            if not self.url:
                raise RuntimeError("RabbitMQ did not start; its words are above")
            self.pid = int((folder / "pid").read_text(encoding="ascii"))
        except BaseException:
            self.end()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def end(self):
        """Lets go of its input, upon which it stops and removes its folder; also when it is just starting."""
        self.process.stdin.close()
        self.process.wait(timeout=120)

    def ctl(self, *arguments):
        command = [SCRIPT, "ctl", self.folder, *arguments]
        process = subprocess.Popen(
            command, env=os.environ | {"ERL_CRASH_DUMP_SECONDS": "0"}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, start_new_session=True,
        )
        try:
            words, problem = process.communicate(timeout=60)
        finally:
            # Should we be interrupted in the middle of it.
            processes.stop(process)
        if process.returncode != 0:
            raise RuntimeError(f"rabbitmqctl {arguments[0]} ended with {process.returncode}: {problem.strip()}")
        return words

    def rooms(self, names):
        """Makes virtual hosts, each for one system alone. With one command: each takes half a second."""
        grant = {"user": "guest", "configure": ".*", "write": ".*", "read": ".*"}
        definitions = {
            "vhosts": [{"name": name} for name in names],
            "permissions": [grant | {"vhost": name} for name in names],
        }
        file = self.folder / "rooms.json"
        file.write_text(json.dumps(definitions), encoding="ascii")
        self.ctl("import_definitions", file)

    def room(self, name):
        """The address of a virtual host."""
        return self.url.removesuffix("%2f") + name

    def empty(self, room, queue):
        """Removes what a failed attempt left in a queue, if there is one."""
        try:
            self.ctl("purge_queue", "-p", room, queue)
        except RuntimeError:
            pass

    def traffic(self):
        """Bytes that the broker's process has read from and written to sockets since it began.

        Counted by its Erlang VM for all sockets together, so what went over connections that are closed by now is in it.
        Each question costs some 1,400 bytes itself. Messages that it writes to disk are not in it.
        """
        found = re.search(r"{input,(\d+)},\s*{output,(\d+)}", self.ctl("eval", "erlang:statistics(io)."))
        return int(found[1]), int(found[2])

    def versions(self):
        erlang = self.ctl("eval", "erlang:system_info(otp_release).").strip().strip('"')
        return {"rabbitmq": self.ctl("version").strip(), "erlang": erlang}

    def forget_peak(self):
        processes.forget_peak(self.pid)

    def peak_mib(self):
        return processes.peak_mib(self.pid)
