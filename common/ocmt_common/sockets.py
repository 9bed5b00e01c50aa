"""uvicorn's WebSockets, with responses to oversized frames and malformed handshakes."""

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

_LISTEN_ON_S = 5.0
_BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class Socket(WebSocketsSansIOProtocol):
    """A WebSocket protocol for `uvicorn.Config(ws=…)`.

    uvicorn closes a refused connection at once. If most of a large frame is unread, the kernel then
    resets the connection and the close code is lost, so here the rest is read and discarded first.
    For a handshake that the WebSocket library rejects, such as a header line over 8 KiB, uvicorn
    sends no response and keeps the connection open.
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
