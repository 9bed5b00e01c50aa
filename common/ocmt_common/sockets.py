"""uvicorn's WebSockets with answers to oversized frames and malformed handshakes."""

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

_LISTEN_ON_S = 5.0
_BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class Socket(WebSocketsSansIOProtocol):
    """For `uvicorn.Config(ws=…)`.

    uvicorn closes a refused connection at once. Most of a big frame is unread then, so the kernel
    resets the connection and the close code is lost; here the rest is read and discarded first. For
    a handshake that the WebSocket library refuses (such as a header line above its 8 KiB) uvicorn
    sends no answer and keeps the connection.
    """

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self.handshake_initiated and self.conn.handshake_exc is not None:
            self.handshake_complete = self.close_sent = True
            self.transport.write(b"".join(self.conn.data_to_send()) or _BAD_REQUEST)
            self.transport.close()

    def handle_parser_exception(self) -> None:
        refusal = self.conn.close_sent
        if self.conn.parser_exc is None or refusal is None:
            super().handle_parser_exception()
        elif not self.close_sent:
            self.close_sent = True
            self.queue.put_nowait(
                {"type": "websocket.disconnect", "code": refusal.code, "reason": refusal.reason}
            )
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_timer = self.loop.call_later(_LISTEN_ON_S, self.transport.close)
