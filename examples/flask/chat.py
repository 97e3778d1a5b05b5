"""A WebSocket under gunicorn's gthread worker, by wsproto. Each one holds a thread."""

from flask import Response
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Ping, Request, TextMessage
from wsproto.utilities import RemoteProtocolError

LONGEST = 64 << 10  # characters of a message


class Taken(Response):
    """The connection was taken over, so gunicorn must write no response: StopIteration says so."""

    def __call__(self, environ, start_response):
        raise StopIteration


def serve(request, answer):
    """Answers each text message, until the client or the gateway says goodbye, or is gone."""
    try:
        converse(request, answer)
    except (OSError, RemoteProtocolError):
        pass
    return Taken()


def converse(request, answer):
    socket = request.environ["gunicorn.socket"]
    socket.settimeout(None)
    ws = WSConnection(ConnectionType.SERVER)
    ws.initiate_upgrade_connection([(k.encode(), v.encode()) for k, v in request.headers], request.full_path)
    text = ""
    while True:
        for event in ws.events():
            if isinstance(event, Request):
                socket.sendall(ws.send(AcceptConnection()))
            elif isinstance(event, TextMessage):  # or a piece of one
                text += event.data
                if len(text) > LONGEST:
                    socket.sendall(ws.send(CloseConnection(code=1009)))
                    return
                if event.message_finished:
                    socket.sendall(ws.send(TextMessage(answer(text))))
                    text = ""
            elif isinstance(event, Ping):
                socket.sendall(ws.send(event.response()))
            elif isinstance(event, CloseConnection):
                socket.sendall(ws.send(event.response()))
                return
        data = socket.recv(4096)
        if not data:
            return
        ws.receive_data(data)
