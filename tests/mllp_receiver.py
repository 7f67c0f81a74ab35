"""A stand-in for a receiver: takes MLLP frames on a port of its own and acknowledges them."""

import socket
import socketserver
import threading
import time
from contextlib import contextmanager


class StandIn(socketserver.ThreadingTCPServer):
    """Keeps what it took; loses or delays what it is told to, by the number of the frame.

    `silent`: taken, not answered. `hangs_up`: taken, and the connection closed before an
    answer. `late`: answered only after the sender has lost its patience. `codes`: answered
    with another code.
    """

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, port=0, *, silent=(), hangs_up=(), late=(), codes=None):
        super().__init__(("127.0.0.1", port), _Connection)
        self.silent, self.hangs_up, self.late = silent, hangs_up, late
        self.codes = codes or {}
        self.taken = []
        self.connections = 0
        self.lock = threading.Lock()

    @property
    def address(self):
        return f"127.0.0.1:{self.server_address[1]}"

    @property
    def contents(self):
        return [content for _, content, _ in self.taken]


class _Connection(socketserver.BaseRequestHandler):
    def handle(self):
        with self.server.lock:
            self.server.connections += 1
            connection = self.server.connections
        buffer = b""
        while data := self._received():
            buffer += data
            while b"\x1c\r" in buffer:
                one, _, buffer = buffer.partition(b"\x1c\r")
                assert one[:1] == b"\x0b"
                if not self._answer(connection, one[1:]):
                    return

    def _received(self):
        try:
            return self.request.recv(65536)
        except ConnectionError:
            return b""

    def _answer(self, connection, content):
        server = self.server
        with server.lock:
            server.taken.append((connection, content, time.monotonic()))
            number = len(server.taken)
        if number in server.silent:
            return True
        if number in server.hangs_up:
            self.request.shutdown(socket.SHUT_RDWR)
            return False
        if number in server.late:
            time.sleep(0.4)
        head = content.split(b"\r")[0].split(b"|")
        code = server.codes.get(number, "AA").encode()
        answer = b"\x0bMSH|^~\\&|||||||ACK|A%d|P|2.5.1\rMSA|%s|%s\r\x1c\r"
        try:
            self.request.sendall(answer % (number, code, head[9]))
        except OSError:
            return False
        return True


@contextmanager
def stand_in(port=0, **behaviour):
    with StandIn(port, **behaviour) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
