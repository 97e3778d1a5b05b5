"""A WebSocket under gunicorn's gthread worker, by wsproto. Each one holds a thread."""

from flask import Response
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Ping, Request, TextMessage


class Taken(Response):
    """The connection was taken over, so gunicorn must write no response: StopIteration says so."""

    def __call__(self, environ, start_response):
        raise StopIteration


def serve(request, answer):
    """Answers each text message, until the client or the gateway says goodbye."""
    socket = request.environ["gunicorn.socket"]
    socket.settimeout(None)
    ws = WSConnection(ConnectionType.SERVER)
    ws.initiate_upgrade_connection([(k.encode(), v.encode()) for k, v in request.headers], request.full_path)
    while True:
        for event in ws.events():
            if isinstance(event, Request):
                socket.sendall(ws.send(AcceptConnection()))
            elif isinstance(event, TextMessage):
                socket.sendall(ws.send(TextMessage(answer(event.data))))
            elif isinstance(event, Ping):
                socket.sendall(ws.send(event.response()))
            elif isinstance(event, CloseConnection):
                socket.sendall(ws.send(event.response()))
                return Taken()
        data = socket.recv(4096)
        if not data:
            return Taken()
        ws.receive_data(data)
