"""A file system in memory over /dev/fuse, without a library: `slow_fs.py DIRECTORY` mounts it there, as root, and says so.

While this process is stopped (SIGSTOP), whatever touches a file in it waits, as with a network file system whose server is
away. It ends, and is unmounted, with its standard input."""
import ctypes, os, select, struct, sys, time

LOOKUP, FORGET, GETATTR, SETATTR, UNLINK, OPEN, READ, WRITE = 1, 2, 3, 4, 10, 14, 15, 16
STATFS, RELEASE, FSYNC, INIT, OPENDIR, READDIR, RELEASEDIR = 17, 18, 20, 26, 27, 28, 29
RENAME, FSYNCDIR, ACCESS, CREATE, INTERRUPT, BATCH_FORGET, RENAME2 = 12, 30, 34, 35, 36, 42, 45
ENOENT, ENOSYS = 2, 38
ROOT, DIRECT_IO = 1, 1

nodes = {ROOT: None}  # by number: what is in it, its times and mode
names = {}  # in the root: numbers by name
# Not blocking: a request that select has announced is withdrawn if its process ends before it is read.
device = os.open("/dev/fuse", os.O_RDWR | os.O_NONBLOCK)


def attributes(number):
    content, changed, mode = nodes[number] or (b"", 0, 0o040755)
    times = int(changed), int(changed % 1 * 10**9)
    return struct.pack("<6Q10I", number, len(content), 1, *[times[0]] * 3, *[times[1]] * 3, mode, 1, 0, 0, 0, 4096, 0)


def entry(number):
    return struct.pack("<4Q2I", number, 0, 0, 0, 0, 0) + attributes(number)


def put(number, content):
    nodes[number] = content, time.time(), nodes[number][2]


def create(name, mode):
    number = max(nodes) + 1
    nodes[number] = b"", time.time(), mode
    names[name] = number
    return number


def listing(offset):
    entries = b""
    for index, (name, number) in list(enumerate(names.items()))[offset:]:
        padding = b"\0" * (-len(name) % 8)
        entries += struct.pack("<2Q2I", number, index + 1, len(name), 8) + name + padding
    return entries


def answer(opcode, node, body):
    """What is answered: bytes, an error's number, or nothing at all."""
    opened = struct.pack("<Q2I", 0, DIRECT_IO, 0)
    if opcode == INIT:
        return struct.pack("<4I2H2I2H8I", 7, 31, 0, 0, 1, 1, 1 << 17, 1, 0, 0, *[0] * 8)
    if opcode in (FORGET, BATCH_FORGET, INTERRUPT):
        return None
    if opcode == LOOKUP:
        number = names.get(body.rstrip(b"\0"))
        return entry(number) if number else ENOENT
    if opcode == GETATTR:
        return struct.pack("<Q2I", 0, 0, 0) + attributes(node)
    if opcode == SETATTR:
        if struct.unpack_from("<I", body)[0] & 8:
            put(node, nodes[node][0][: struct.unpack_from("<Q", body, 16)[0]])
        return struct.pack("<Q2I", 0, 0, 0) + attributes(node)
    if opcode in (OPEN, OPENDIR):
        return opened
    if opcode == READ:
        offset, size = struct.unpack_from("<QI", body, 8)
        return nodes[node][0][offset : offset + size]
    if opcode == READDIR:
        return listing(struct.unpack_from("<Q", body, 8)[0])
    if opcode == WRITE:
        offset, size = struct.unpack_from("<QI", body, 8)
        content = nodes[node][0]
        put(node, content[:offset].ljust(offset, b"\0") + body[40 : 40 + size] + content[offset + size :])
        return struct.pack("<2I", size, 0)
    if opcode == CREATE:
        mode = struct.unpack_from("<2I", body)[1]
        return entry(create(body[16:].rstrip(b"\0"), mode)) + opened
    if opcode in (RENAME, RENAME2):
        old, new = body[8 if opcode == RENAME else 16 :].split(b"\0")[:2]
        names[new] = names.pop(old)
        return b""
    if opcode == UNLINK:
        return b"" if names.pop(body.rstrip(b"\0"), None) else ENOENT
    if opcode == STATFS:
        return struct.pack("<5Q10I", *[1 << 20] * 5, 4096, 255, 4096, *[0] * 7)
    if opcode in (RELEASE, RELEASEDIR, FSYNC, FSYNCDIR, ACCESS):
        return b""
    # FLUSH among them, which Linux then never asks for again: a process that ends would wait for it in the kernel.
    return ENOSYS


libc = ctypes.CDLL(None, use_errno=True)
target = os.fsencode(sys.argv[1])
options = b"fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other" % device
if libc.mount(b"slow_fs", target, b"fuse", 0, options) != 0:
    sys.exit("cannot mount: " + os.strerror(ctypes.get_errno()))
print("mounted", flush=True)
while True:
    ready = select.select([device, sys.stdin], [], [])[0]
    if sys.stdin in ready:
        break
    try:
        request = os.read(device, 1 << 18)
    except (BlockingIOError, FileNotFoundError):
        continue
    length, opcode, unique, node = struct.unpack_from("<2I2Q", request)
    said = answer(opcode, node, request[40:length])
    if said is not None:
        error, said = (-said, b"") if isinstance(said, int) else (0, said)
        try:
            os.write(device, struct.pack("<IiQ", 16 + len(said), error, unique) + said)
        except FileNotFoundError:
            pass  # the process that asked has ended
libc.umount2(target, 2)  # MNT_DETACH: also while files are open
