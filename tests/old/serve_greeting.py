import socket

s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
s.bind(("127.0.0.1", 0))
s.listen(5)
print(s.getsockname()[1], flush=True)
while True:
    clientsocket, address = s.accept()
    clientsocket.send(bytes("Welcome to the server!", "utf-8"))
    clientsocket.close()
