"""An `ssh` that runs commands on this machine, and disturbs the connection at a chosen message.

Put first on PATH, it is between the real transport and the real program of a host. Messages are the
lines that are sent to a host after its program, counted over all hosts of the command.
"""

import os
import sys
from pathlib import Path

_PROGRAM = """\
#!{python}
import base64, fcntl, os, shlex, subprocess, sys, time
words = sys.argv[1:]
if "-O" in words:
    sys.exit(0)
port = words[words.index("-p") + 1]
if "--" in words:
    command = words[words.index("--") + 2]
else:  # rsync: options, host, command
    host = next(i for i, w in enumerate(words) if w == "127.0.0.1")
    command = " ".join(words[host + 1:])
plan = {folder!r} + "/plan"
how, target, at = open(plan).read().split() if os.path.exists(plan) else ("", "", "")

def lost(said="client_loop: send disconnect: Broken pipe"):
    sys.stdout.buffer.flush()
    os.write(2, (said + "\\n").encode())
    os._exit(255)

if how and target == port and at == "login":
    if how == "cut":
        lost()
    if how == "stall":
        time.sleep(1000)
    if how == "print":
        print("Welcome to this host", flush=True)
    if how == "refuse":
        print('Please login as the user "admin" rather than the user "root".', flush=True)
        sys.exit(142)
plain = command
if "base64" in command:  # see ocmt_cli.deploy.ssh
    plain = base64.b64decode("".join(shlex.split(command)[4:])).decode()
if "deploy.hostside.server" not in plain:
    sys.exit(subprocess.call(["sh", "-c", command]))
child = subprocess.Popen(["sh", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
size = sys.stdin.buffer.readline()
child.stdin.write(size + sys.stdin.buffer.read(int(size)))
child.stdin.flush()

def count():
    with open({folder!r} + "/count." + port, "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(".")
        file.flush()
        return file.tell()

for line in sys.stdin.buffer:
    number = count()
    now = how and target == port and at == str(number)
    if now and how == "cut":
        lost()
    child.stdin.write(line)
    child.stdin.flush()
    if now and how == "stall":
        time.sleep(1000)
    answer = child.stdout.readline()
    if now and how == "lose":
        lost()
    if now and how == "half":
        sys.stdout.buffer.write(answer[: len(answer) // 2])
        lost()
    if now and how == "print":
        os.write(1, b"Broadcast message from root: the system goes down\\n")
    sys.stdout.buffer.write(answer)
    sys.stdout.buffer.flush()
child.stdin.close()
sys.exit(child.wait())
"""


class MessageProxy:
    """Disturbs a host's connection.

    It can `cut` the connection before a message is passed on, `stall` after that, `lose` the
    answer, pass on `half` of it, `print` text before it, or `refuse` the sign-in, as clouds' images
    do for root.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()
        program = folder / "ssh"
        program.write_text(_PROGRAM.format(python=sys.executable, folder=str(folder)))
        program.chmod(0o755)
        self.path = f"{folder}:{os.environ['PATH']}"

    def disturb(self, how: str, port: int, at: str) -> None:
        """Disturb the host at this ssh port, at its message `at` from now on, or at `login`."""
        self.calm()
        (self._folder / "plan").write_text(f"{how} {port} {at}")

    def calm(self) -> None:
        for file in self._folder.glob("*"):
            if file.name != "ssh":
                file.unlink()

    def messages(self, port: int) -> int:
        """The number of messages sent to the host at this port since `calm`."""
        file = self._folder / f"count.{port}"
        return len(file.read_text()) if file.exists() else 0
