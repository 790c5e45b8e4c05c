import socket

s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
s.bind(("127.0.0.1", 0))
s.listen(5)
print(s.getsockname()[1], flush=True)
while True:
    clientsocket, address = s.accept()
    msg = "Welcome to the server!"
    msg = f"{len(msg):<10}" + msg
    clientsocket.send(bytes(msg, "utf-8"))
    clientsocket.close()
