"""A tool server on stdio whose tools do what their names say. Standard library only.

`python tool_program.py [AT-START]`: AT-START is what it does first: `exit`, `silent`, `garbage` or
`refuse`.
"""

import json
import os
import sys
import threading
import time
from typing import Any


def write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def send(**members: Any) -> None:
    write(json.dumps({"jsonrpc": "2.0", **members}) + "\n")


def result(number: Any, text: str) -> None:
    send(id=number, result={"content": [{"type": "text", "text": text}]})


def flood(stream: Any) -> None:
    line = "x" * 1000 + "\n"
    while True:
        stream.write(line)


def fork_many() -> str:
    children = 0
    try:
        while children < 1000:
            if os.fork() == 0:
                time.sleep(60)
                os._exit(0)
            children += 1
    except OSError as error:
        return f"{children} {error.errno}"
    return f"{children}"


def call(number: Any, name: str, arguments: dict[str, Any]) -> None:  # noqa: PLR0912, PLR0915 (a list)
    match name:
        case "echo":
            result(number, arguments["text"])
        case "pid":
            result(number, str(os.getpid()))
        case "later":
            threading.Timer(arguments["s"], result, (number, "late")).start()
        case "never":
            pass
        case "environment":
            result(number, os.environ.get(arguments["variable"], "-"))
        case "big":
            write(f'{{"jsonrpc":"2.0","result":"{"x" * arguments["bytes"]}","id":{number}}}\n')
        case "twice":
            result(number, "one")
            result(number, "two")
        case "unknown":
            result(number + 1000, "for nobody")
            send(id="text", result={})
            send(id=None, result={})
            result(number, "own")
        case "garbage":
            write("\0\xff{{{\n[1,2]\nnull\n\n" + "[" * 100_000 + '\n{"id":1}\n{"jsonrpc":"2.0"}\n')
            result(number, "after garbage")
        case "ask":
            send(id="mine", method=arguments["method"], params={})
            asked.append(number)
        case "notify":
            send(method="notifications/message", params={"data": "x"})
            result(number, "notified")
        case "flood-stdout":
            flood(sys.stdout)
        case "flood-stderr":
            flood(sys.stderr)
        case "flood-requests":
            while True:
                send(id="mine", method="ping")
        case "exit":
            sys.stderr.write(arguments["text"])
            sys.stderr.flush()
            os._exit(arguments["code"])
        case "fork":
            result(number, fork_many())
        case "memory":
            held = []
            while True:
                held.append(bytearray(8 * 1024 * 1024))
        case "close-stdout":
            os.close(1)
        case "error":
            send(id=number, error={"code": -32602, "message": "no such tool"})


asked: list[Any] = []


def on_message(message: dict[str, Any]) -> None:
    number, method = message.get("id"), message.get("method")
    if method == "initialize":
        send(id=number, result={"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}})
    elif method == "tools/list":
        send(id=number, result={"tools": [{"name": "echo"}]})
    elif method == "tools/call":
        call(number, message["params"]["name"], message["params"].get("arguments", {}))
    elif method == "notifications/cancelled":
        sys.stderr.write(f"cancelled {message['params']['requestId']}\n")
        sys.stderr.flush()
    elif method is None:
        result(asked.pop(), json.dumps(message))


def main(at_start: str) -> None:
    if at_start == "exit":
        sys.exit("cannot start: no key in " + os.environ.get("KEY", "the environment"))
    if at_start == "garbage":
        flood(sys.stdout)
    for line in sys.stdin:
        if at_start == "silent":
            continue
        if at_start == "refuse":
            send(id=json.loads(line).get("id"), error={"code": 1, "message": "no"})
            continue
        on_message(json.loads(line))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
