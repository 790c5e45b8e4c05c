"""Tries mapcast-server.exe and mapcast-client.exe under Wine: see scripts/try-windows.sh."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

WINE, WORK = sys.argv[1:]
PATIENCE = 60
failures = []


def check(what, condition, detail=""):
    detail = detail.strip().rsplit("\n", 1)[-1] if condition else detail
    print(("ok: " if condition else "FAIL: ") + what + (f" ({detail})" if detail else ""), flush=True)
    if not condition:
        failures.append(what)


class Program:
    """A program under Wine, and the lines of its log."""

    def __init__(self, *arguments, **options):
        self.lines = []
        self.process = subprocess.Popen(
            [WINE, *arguments], cwd=WORK, stderr=subprocess.PIPE, stdout=subprocess.PIPE, **options
        )
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stderr:
            self.lines.append(line.decode(errors="replace").rstrip())

    def expect(self, pattern):
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            for line in self.lines:
                if found := re.search(pattern, line):
                    return found
            if self.process.poll() is not None and not self.reader.is_alive():
                break
            time.sleep(0.05)
        raise AssertionError(f"no line like {pattern} in:\n" + "\n".join(self.lines))

    def stop(self):
        """Presses Ctrl-C, and returns the exit code."""
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(PATIENCE)
        self.reader.join(PATIENCE)
        return code


def client(*arguments, stdin=None):
    done = subprocess.run(
        [WINE, "mapcast-client.exe", *arguments], cwd=WORK, input=stdin, capture_output=True, timeout=PATIENCE
    )
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")


def write(name, text):
    """Replaces a file with a rename."""
    with open(f"{WORK}/{name}.new", "w") as file:
        file.write(text)
    os.replace(f"{WORK}/{name}.new", f"{WORK}/{name}")


def read_frame(peer):
    def exactly(count):
        data = b""
        while len(data) < count:
            part = peer.recv(count - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    return json.loads(exactly(int(exactly(10))))


def wait_for(condition):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def get(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE) as response:
        return response.read().decode()


def content(name):
    try:
        with open(f"{WORK}/{name}") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def try_server():
    write("map.json", '{"n": 1}')
    server = Program("mapcast-server.exe", "--listen", "json@127.0.0.1:0", "--http", "127.0.0.1:0", "map.json")
    port = int(server.expect(r"listening on 127\.0\.0\.1:(\d+)")[1])
    page = int(server.expect(r"web page on http://127\.0\.0\.1:(\d+)")[1])
    check("the server starts with a file", True, f"port {port}")
    check("the page is served", "<html" in get(page, "/").lower())
    check("/map has the map", json.loads(get(page, "/map")) == {"n": 1})
    check("/metrics are served", "mapcast_" in get(page, "/metrics"))

    peers = [socket.create_connection(("127.0.0.1", port), PATIENCE) for _ in range(100)]
    check("100 clients have the first map", all(read_frame(peer) == {"n": 1} for peer in peers))
    count = lambda: json.loads(get(page, "/status"))["connections"]["active"]
    check("/status counts them", count() == 100)
    began = time.monotonic()
    write("map.json", '{"n": 2, "name": "x y"}')

    def reads_change(peer):
        while read_frame(peer) != {"n": 2, "name": "x y"}:
            pass
        return True

    check("a change of the file reaches all of them", all(map(reads_change, peers)), f"{time.monotonic() - began:.2f} s")
    for peer in peers[50:]:
        peer.close()
    check("clients that leave are noticed at once", wait_for(lambda: count() == 50))
    return server, port, peers[:50]


def try_client(port):
    address = f"127.0.0.1:{port}"
    for output in ("json", "pretty", "text", "value", "diff", "raw"):
        code, out, error = client(address, "--once", "-o", output)
        check(f"the client prints as {output}", code == 0 and "x y" in out, repr(out) if code == 0 else error)
    code, _, error = client("check", address)
    check("the client checks the server", code == 0, error)
    code, out, error = client(address, "--once", "--write", "written.json")
    check("--write writes the file", code == 0 and json.loads(content("written.json") or "0") == {"n": 2, "name": "x y"}, error)
    code, out, error = client(address, "--count", "1", "--exec", "copy %MAPCAST_FILE% executed.json")
    check("--exec runs a command with the map", code == 0 and '"n":2' in content("executed.json"), error[-200:])
    refused = ("--timeout", "3s", "--write", "checked.json", "--check", "find {} /c /v nothing > nul & exit 1")
    code, _, error = client(address, "--count", "1", *refused)
    check("--check refuses a file", code == 124 and not content("checked.json"), error)
    code, _, error = client(address, "--count", "1", "--write", "checked.json", "--check", "type {} > seen.json")
    seen = content("seen.json")
    check("--check sees the new file, and approves it", code == 0 and seen and seen == content("checked.json"), error)
    code, _, error = client(address, "--count", "1", "--exec", "exit 7")
    check("a failed command of --exec is a failure", code == 1 and "failed" in error, error)
    code, out, error = client(address, "--signal", "HUP", "--run", "cmd")
    check("--signal is a clear error", code == 2 and "no signals" in error, error)
    run = Program("mapcast-client.exe", address, "--run", "cmd", "/c", "echo %n% > ran.txt & ping -n 60 127.0.0.1 > nul")
    check("--run starts a program with the map", wait_for(lambda: content("ran.txt").strip() == "2"))
    write("map.json", '{"n": 3, "name": "x y"}')
    check("--run restarts it with the next map", wait_for(lambda: content("ran.txt").strip() == "3"))
    code = run.stop()
    check("Ctrl-C ends the program and the client", code is not None, f"exit code {code}")

    write("child.bat", "ping -n 4 127.0.0.1 > nul\necho late > late.txt\n")
    write("parent.bat", "echo begun > begun.txt\ncmd /c child.bat\n")
    run = Program("mapcast-client.exe", address, "--run", "cmd", "/c", "parent.bat")
    check("a program of --run starts another one", wait_for(lambda: content("begun.txt")))
    run.stop()
    time.sleep(6)
    check("both end with the client", not content("late.txt"))


def try_echo_and_greet():
    echo = Program("mapcast-server.exe", "echo", "--listen", "127.0.0.1:0")
    port = int(echo.expect(r"listening on 127\.0\.0\.1:(\d+)")[1])
    code, out, error = client("echo", f"127.0.0.1:{port}", stdin=b"x" * 200_000)
    check("echo returns standard input", code == 0 and out == "x" * 200_000, error)
    check("echo stops cleanly", echo.stop() == 0, echo.lines[-1])
    greet = Program("mapcast-server.exe", "greet", "Hola", "--listen", "127.0.0.1:0")
    port = int(greet.expect(r"listening on 127\.0\.0\.1:(\d+)")[1])
    code, out, error = client("greet", f"127.0.0.1:{port}")
    check("greet returns its text", code == 0 and out.strip() == "Hola", error)
    check("greet stops cleanly", greet.stop() == 0, greet.lines[-1])


server, port, peers = try_server()
if os.path.exists(f"{WORK}/mapcast-client.exe"):
    try_client(port)
began = time.monotonic()
code = server.stop()
check("Ctrl-C stops the server cleanly", code == 0 and "0 cut" in server.lines[-1], server.lines[-1])
print(f"it took {time.monotonic() - began:.2f} s")


def reads_end(peer):
    try:
        while True:
            read_frame(peer)
    except EOFError:
        return True


check("its clients see the end at a frame boundary", all(map(reads_end, peers)))
if os.path.exists(f"{WORK}/mapcast-client.exe"):
    try_echo_and_greet()
sys.exit(1 if failures else 0)
