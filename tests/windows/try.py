"""Tries mapcast-server.exe and mapcast-client.exe under Wine: see scripts/try-windows.sh."""

import json
import os
import pty
import re
import select
import shutil
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


def check(what, condition, detail="", shown=""):
    """`detail` is printed, and `shown` only if the check fails."""
    detail = detail.strip().rsplit("\n", 1)[-1] if condition else detail + shown
    print(("ok: " if condition else "FAIL: ") + what + (f" ({detail})" if detail else ""), flush=True)
    if not condition:
        failures.append(what)


class Program:
    """A program under Wine, and the lines of its log."""

    def __init__(self, *arguments, **options):
        self.lines = []
        self.process = subprocess.Popen(
            [WINE, *arguments], cwd=WORK, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, **options
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

    def port(self):
        return int(self.expect(r"listening on 127\.0\.0\.1:(\d+)")[1])

    def page(self):
        return int(self.expect(r"web page on http://127\.0\.0\.1:(\d+)")[1])

    def stop(self):
        """Presses Ctrl-C, and returns the exit code."""
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(PATIENCE)
        self.reader.join(PATIENCE)
        return code


def run(*arguments, stdin=b"", **variables):
    environment = {**os.environ, **variables}
    done = subprocess.run(
        [WINE, *arguments], cwd=WORK, input=stdin, capture_output=True, timeout=PATIENCE, env=environment
    )
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")


def client(*arguments, **options):
    return run("mapcast-client.exe", *arguments, **options)


def on_console(*arguments, after="", keys=b""):
    """Runs a program on a console and presses `keys` once that shows `after`. Returns the exit code and what was shown."""
    process, console = pty.fork()
    if process == 0:
        os.chdir(WORK)
        variables = {name: value for name, value in os.environ.items() if name != "TERM"}
        os.execve(WINE, [WINE, *arguments], variables)
    shown, deadline = b"", time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if keys and after in shown.decode(errors="replace"):
            os.write(console, keys)
            keys = b""
        try:
            shown += os.read(console, 65536) if select.select([console], [], [], 0.2)[0] else b""
        except OSError:
            break
    else:
        os.kill(process, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    os.close(console)
    return code, shown.decode(errors="replace")


def serve(*arguments, **options):
    return Program("mapcast-server.exe", "--listen", "json@127.0.0.1:0", *arguments, **options)


def get_map(port):
    code, out, error = client(f"127.0.0.1:{port}", "--once", "--timeout", "30s")
    return json.loads(out) if code == 0 else error


def reaches(port, wanted):
    return wait_for(lambda: get_map(port) == wanted)


def write(name, text):
    """Replaces a file with a rename."""
    with open(f"{WORK}/{name}.new", "w", newline="") as file:
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


def content(name, **options):
    try:
        with open(f"{WORK}/{name}", **options) as file:
            return file.read()
    except FileNotFoundError:
        return ""


def try_server():
    write("map.json", '{"n": 1}')
    server = serve("--http", "127.0.0.1:0", "Z:" + f"{WORK}/map.json".replace("/", "\\"))
    port = server.port()
    page = server.page()
    check("the server starts with a file on a drive", True, f"port {port}")
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
    return server, port, page, peers[:50]


def try_client(port):
    address = f"127.0.0.1:{port}"
    for output in ("json", "pretty", "text", "value", "diff", "raw"):
        code, out, error = client(address, "--once", "-o", output)
        check(f"the client prints as {output}", code == 0 and "x y" in out, repr(out) if code == 0 else error)
    code, _, error = client("check", address)
    check("the client checks the server", code == 0, error)
    code, out, error = client(address, "--once", "--write", "written.json")
    check("--write writes the file", code == 0 and json.loads(content("written.json") or "0") == {"n": 2, "name": "x y"}, error)
    code, out, error = client(address, "--count", "1", "--exec", 'copy "%MAPCAST_FILE%" "executed 1.json"')
    check("--exec runs a command with the map", code == 0 and '"n":2' in content("executed 1.json"), error[-200:])
    refused = ("--timeout", "3s", "--write", "checked.json", "--check", "find {} /c /v nothing > nul & exit 1")
    code, _, error = client(address, "--count", "1", *refused)
    check("--check refuses a file", code == 124 and not content("checked.json"), error)
    os.makedirs(f"{WORK}/a b")
    approving = ("--write", "a b\\checked.json", "--check", 'type {} > "a b\\seen.json"')
    code, _, error = client(address, "--count", "1", *approving)
    seen = content("a b/seen.json")
    check("--check sees the new file, and approves it", code == 0 and seen and seen == content("a b/checked.json"), error)
    code, _, error = client(address, "--count", "1", "--exec", "exit 7")
    check("a failed command of --exec is a failure", code == 1 and "failed" in error, error)
    code, out, error = client(address, "--signal", "HUP", "--run", "cmd")
    check("--signal is a clear error", code == 2 and "no signals" in error, error)
    program = Program("mapcast-client.exe", address, "--kill-timeout", "1s", "--run", "cmd", "/c", "echo %n% > ran.txt & ping -n 60 127.0.0.1 > nul")
    check("--run starts a program with the map", wait_for(lambda: content("ran.txt").strip() == "2"))
    write("map.json", '{"n": 3, "name": "x y"}')
    check("--run restarts it with the next map", wait_for(lambda: content("ran.txt").strip() == "3"))
    code = program.stop()
    check("Ctrl-C ends the program and the client", code is not None, f"exit code {code}")

    write("child.bat", "ping -n 4 127.0.0.1 > nul\necho late > late.txt\n")
    write("parent.bat", "echo begun > begun.txt\ncmd /c child.bat\n")
    program = Program("mapcast-client.exe", address, "--kill-timeout", "1s", "--run", "cmd", "/c", "parent.bat")
    check("a program of --run starts another one", wait_for(lambda: content("begun.txt")))
    program.stop()
    time.sleep(6)
    check("both end with the client", not content("late.txt"))


def try_client_options(port, page):
    address, http = f"127.0.0.1:{port}", ("--http", f"127.0.0.1:{page}")
    code, out, error = client(address, "--once", "-o", "none")
    check("-o none prints nothing", code == 0 and out == "", error)
    code, out, error = client(address, "--changes-only", "--count", "1")
    check("--changes-only --count prints the first map", code == 0 and '"n":3' in out, error)
    code, out, error = client(address, "--watch", "--timeout", "2s")
    check("--watch without a console prints maps", code == 124 and '"n": 3' in out, error)
    write("template.txt", "n is {{n}}\r\n")
    code, _, error = client(address, "--count", "1", "--write", "filled.txt", "--template", "template.txt")
    check("--template fills a file", code == 0 and content("filled.txt", newline="") == "n is 3\r\n", error)
    cached = ("--timeout", "3s", "--write", "cached.json", "--cache", "map.cache")
    first, _, error = client(address, "--count", "1", *cached)
    os.remove(f"{WORK}/cached.json")
    _, _, error = client("127.0.0.1:1", *cached)
    check("--cache starts without a server", first == 0 and '"n": 3' in content("cached.json"), error)
    code, out, error = client("get", "-s", address, "n", "name")
    check("get prints values", code == 0 and out.split("\n") == ["3", "x y", ""], error)
    code, out, error = client("status", *http)
    check("status prints the state", code == 0 and "map.json" in out, error)
    code, out, error = client("clients", *http)
    check("clients prints a table", code == 0 and "PEER" in out, error)
    code, out, error = client("completions", "powershell")
    check("completions are for PowerShell too", code == 0 and "mapcast-client" in out, error)
    code, _, error = client(address, "--count", "1", "--timeout", "5s", "--write", "con.json")
    check("a device is not a file to write", code != 0 and "a device" in error, error)
    write("held.json", "{}")
    for milliseconds, key, is_replaced in (800, "n", True), (60_000, "name", False):
        holder = Program("hold.exe", "held.json", str(milliseconds))
        holder.expect("open")
        code, _, error = client(address, "--count", "1", "--timeout", "5s", "--write", "held.json", "-k", key)
        good = code == 0 if is_replaced else code != 0 and "close the program" in error
        what = "replaced" if is_replaced else "a clear error"
        check(f"a file open elsewhere for {milliseconds} ms is {what}", good and content("held.json") == '{\n  "n": 3\n}\n', error)
        holder.process.kill()


def try_writing():
    write("token", "0123456789abcdef\r\n")
    arguments = ("--http", "127.0.0.1:0", "--http-token-file", "token", "--state", "state.json")
    server = serve(*arguments)
    token = ("--http", f"127.0.0.1:{server.page()}", "--token-file", "token")
    code, _, error = client("set", *token, "a=1", "b=x", "name=ñ")
    check("set changes the map", code == 0 and get_map(server.port()) == {"a": 1, "b": "x", "name": "ñ"}, error)
    code, _, error = client("del", *token, "b")
    check("del removes an entry", code == 0 and get_map(server.port()) == {"a": 1, "name": "ñ"}, error)
    write("editor.bat", "@copy /y edited.json %1 > nul\r\n")
    write("edited.json", '﻿# a note\n{"a": 2}\n')
    code, out, error = client("edit", *token, EDITOR="editor.bat")
    check("edit runs the editor", code == 0 and "~ a 1 -> 2" in out, error)
    code, _, error = client("edit", *token, EDITOR="no-such-editor")
    check("a missing editor is a clear error", code == 1 and "no-such-editor" in error, error)
    code, _, error = run("mapcast-server.exe", "--listen", "127.0.0.1:0", *arguments)
    check("a second server with the state is a clear error", code == 2 and "another running server" in error, error)
    code, _, error = run("mapcast-server.exe", "--listen", f"127.0.0.1:{server.port()}", "map.json")
    check("a port in use is a clear error", code == 2 and "stop the other program" in error, error)
    address = f"127.0.0.1:{server.port()}"
    client("set", *token, "name=ñ")
    code, shown = on_console("mapcast-client.exe", address, "--once")
    check("a console shows text in Unicode", code == 0 and "ñ" in shown, shown=repr(shown))
    code, shown = on_console("mapcast-client.exe", address, "--watch", after=" frame", keys=b"q")
    check("--watch draws on a console, and q quits", code == 0 and "ñ" in shown, shown=repr(shown))
    command = "echo begun & ping -n 3 127.0.0.1 > nul & echo done > done.txt"
    code, shown = on_console("mapcast-client.exe", address, "--exec", command, after="begun", keys=b"\x03")
    check("Ctrl-C lets a command of --exec finish", code == 0 and content("done.txt"), shown=repr(shown))
    client("del", *token, "name")
    check("it stops cleanly", server.stop() == 0, server.lines[-1])
    server = serve(*arguments)
    check("--state keeps the map over a restart", get_map(server.port()) == {"a": 2})
    server.stop()


def try_sources():
    code, out, error = run("mapcast-server.exe", "--check-config", "map.json")
    check("--check-config describes the server", code == 0 and "from map.json" in out, error)
    lines = serve("-", stdin=subprocess.PIPE)
    for number in (1, 2):
        lines.process.stdin.write(b'{"n": %d}\r\n' % number)
        lines.process.stdin.flush()
        check(f"line {number} of standard input is a map", reaches(lines.port(), {"n": number}))
    relay = serve("--source", f"tcp://127.0.0.1:{lines.port()}?format=json")
    check("a relay has the map of its parent", reaches(relay.port(), {"n": 2}))
    lines.process.stdin.write(b'{"n": 3}\n')
    lines.process.stdin.close()
    check("a relay follows a change", reaches(relay.port(), {"n": 3}))
    lines.expect("standard input ended")
    check("both stop cleanly", relay.stop() == 0 and lines.stop() == 0, relay.lines[-1])

    write("edited.json", '{"n": 1}')
    server = serve("edited.json")
    with open(f"{WORK}/edited.json", "w") as file:
        file.write('﻿{"n": 2}\r\n')
    check("a file that is written in place is read again", reaches(server.port(), {"n": 2}))
    os.remove(f"{WORK}/edited.json")
    server.expect("edited.json.*last good map stays")
    check("the last map of a removed file stays", get_map(server.port()) == {"n": 2})
    write("edited.json", '{"n": 3}')
    check("a file that is back is read again", reaches(server.port(), {"n": 3}))
    port = server.port()

    def come_and_go():
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", port), PATIENCE) as peer:
                assert read_frame(peer) == {"n": 3}

    threads = [threading.Thread(target=come_and_go) for _ in range(100)]
    for each in (threading.Thread.start, threading.Thread.join):
        list(map(each, threads))
    code = server.stop()
    summary = server.lines[-1]
    served = int(re.search(r"(\d+) clients served", summary)[1])
    check("100 clients reconnect five times", code == 0 and served >= 500 and "0 cut" in summary, summary)


def try_redis():
    if not shutil.which("redis-server"):
        return print("skipped: the source redis://: no redis-server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", WORK]
    redis = subprocess.Popen(["redis-server", *arguments], stdout=subprocess.DEVNULL)
    try:
        command = lambda *words: subprocess.run(["redis-cli", "-p", str(port), *words], capture_output=True).returncode
        check("redis-server starts", wait_for(lambda: command("HSET", "flags", "n", "1") == 0))
        server = serve("--source", f"redis://127.0.0.1:{port}/0?key=flags&json=true")
        check("redis:// serves a hash", reaches(server.port(), {"n": 1}))
        command("HSET", "flags", "n", "2")
        command("PUBLISH", "mapcast:flags", "")
        check("redis:// follows a change", reaches(server.port(), {"n": 2}))
        check("a server of Redis stops cleanly", server.stop() == 0, server.lines[-1])
    finally:
        redis.terminate()
        redis.wait()


def try_tls():
    if not shutil.which("openssl"):
        return print("skipped: TLS: no openssl")
    new = "req -x509 -days 2 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1"
    issued = "-CA ca.pem -CAkey ca.key -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE"
    for more in ("-subj /CN=ca -keyout ca.key -out ca.pem", f"-subj /CN=x {issued} -keyout key.pem -out cert.pem"):
        subprocess.run(["openssl", *new.split(), *more.split()], cwd=WORK, check=True, capture_output=True)
    server = serve("--tls-cert", "cert.pem", "--tls-key", "key.pem", "map.json")
    address = f"127.0.0.1:{server.port()}"
    code, out, error = client(address, "--once", "--tls", "--tls-ca", "ca.pem")
    check("a map is received over TLS", code == 0 and "x y" in out, error)
    code, _, error = client(address, "--once", "--tls")
    check("an unknown CA is refused", code != 0 and "--tls-ca" in error, error)
    relay = serve("--source", f"tls://{address}?format=json", "--source-tls-ca", "ca.pem")
    check("a relay connects over TLS", reaches(relay.port(), {"n": 3, "name": "x y"}))
    code, _, error = client(address, "--once")
    check("plain text to a TLS port is a clear error", code != 0 and "TLS" in error, error)
    check("both servers stop cleanly", relay.stop() == 0 and server.stop() == 0, server.lines[-1])


def try_echo_and_greet():
    echo = Program("mapcast-server.exe", "echo", "--listen", "127.0.0.1:0")
    port = echo.port()
    code, out, error = client("echo", f"127.0.0.1:{port}", stdin=b"x" * 200_000)
    check("echo returns standard input", code == 0 and out == "x" * 200_000, error)
    check("echo stops cleanly", echo.stop() == 0, echo.lines[-1])
    greet = Program("mapcast-server.exe", "greet", "Hola", "--listen", "127.0.0.1:0")
    port = greet.port()
    code, out, error = client("greet", f"127.0.0.1:{port}")
    check("greet returns its text", code == 0 and out.strip() == "Hola", error)
    check("greet stops cleanly", greet.stop() == 0, greet.lines[-1])


server, port, page, peers = try_server()
try_client(port)
try_client_options(port, page)
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
for attempt in (try_echo_and_greet, try_writing, try_sources, try_redis, try_tls):
    attempt()
sys.exit(1 if failures else 0)
