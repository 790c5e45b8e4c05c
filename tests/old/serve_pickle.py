import pickle
import socket
import time

s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
s.bind(("127.0.0.1", 0))
s.listen(5)
print(s.getsockname()[1], flush=True)
clientsocket, address = s.accept()
while True:
    msg = pickle.dumps({1: "Hola", 2: "Bienvenido", 3: "Al", 4: "Servidor"}, protocol=4)
    clientsocket.send(bytes(f"{len(msg):<10}", "utf-8"))
    clientsocket.send(msg)
    time.sleep(0.1)
