"""Stops one thread of a process, as a fault of the thread's own would: `freeze_thread.py PID NAME`. Says so, and lets it go on
when standard input ends. Linux on a 64-bit machine."""
import ctypes, os, sys

SEIZE, INTERRUPT, WALL = 0x4206, 0x4207, 0x40000000

pid, name = sys.argv[1:]
threads = [int(task) for task in os.listdir(f"/proc/{pid}/task")]
named = [tid for tid in threads if open(f"/proc/{pid}/task/{tid}/comm").read().strip() == name]
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
for request in (SEIZE, INTERRUPT):
    if libc.ptrace(request, named[0], None, None) != 0:
        sys.exit("cannot trace: " + os.strerror(ctypes.get_errno()))
os.waitpid(named[0], WALL)
print("frozen", flush=True)
sys.stdin.read()
