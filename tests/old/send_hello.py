import socket
import sys

s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
s.connect((sys.argv[1], int(sys.argv[2])))
s.sendall(b"Hello, world")
s.shutdown(socket.SHUT_WR)
data = b""
while True:
    part = s.recv(1024)
    if not part:
        break
    data += part
print("Received", repr(data))
