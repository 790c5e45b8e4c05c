import pickle
import socket
import sys

s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
s.connect((sys.argv[1], int(sys.argv[2])))
while True:
    length = int(s.recv(10))
    data = b""
    while len(data) < length:
        data += s.recv(length - len(data))
    print(pickle.loads(data))
