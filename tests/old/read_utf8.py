import socket
import sys

s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
s.connect((sys.argv[1], int(sys.argv[2])))
while True:
    length = int(s.recv(10))
    print(s.recv(length).decode("utf-8"))
