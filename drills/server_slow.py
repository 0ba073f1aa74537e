"""Clients that send and take slowly, and too many of them. Writes results/drill-server-slow.json.

    python drills/server_slow.py [--clients 50]

Against a server with its default limits: 50 clients open a connection and send nothing, 50 send a header byte by byte,
50 a body byte by byte, and some do not read a large answer. How long each lives is kept.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np

from limner.evaluation.results import store_result
from limner.faces.picture import encode_png
from limner.serving.limits import Limits
from running_server import Process, serving

GIVE_UP = 180.0  # seconds
EVERY = 0.5  # seconds between two bytes
HEAD = b"POST /v1/describe HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
KINDS = {
    "sends nothing": (b"", b""),
    "sends headers slowly": (b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ", b"x"),
    "sends a body slowly": (HEAD + b"Content-Length: 100000\r\n\r\n", b" "),
    "sends chunks slowly": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "asks nothing more": (b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b""),
}


def lives(server: Process, head: bytes, drip: bytes) -> float:
    """Seconds until a connection is closed."""
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), timeout=30) as opened:
        opened.sendall(head)
        began = time.monotonic()
        opened.settimeout(EVERY)
        while time.monotonic() - began < GIVE_UP:
            try:
                if drip:
                    opened.sendall(drip)
                if not opened.recv(65536):
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        return time.monotonic() - began


def takes_nothing(server: Process, picture: str) -> float:
    """Seconds until the server gives up on a client that asked for a large file and does not read it."""
    with socket.socket() as opened:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        opened.connect(("127.0.0.1", int(server.url.rpartition(":")[2])))
        opened.sendall(f"GET {picture} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        began = time.monotonic()
        while time.monotonic() - began < GIVE_UP:
            time.sleep(0.5)
            inode = str(os.fstat(opened.fileno()).st_ino)  # how /proc names the socket
            states = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
            if not any(fields[9] == inode and fields[3] == "01" for fields in states):  # no longer established
                break
        return time.monotonic() - began


def drill(server: Process, clients: int) -> dict[str, Any]:
    """The figures."""
    figures: dict[str, Any] = {}
    noise = encode_png(np.random.default_rng(0).integers(0, 256, (2000, 2500, 3), np.uint8))
    with httpx.Client(base_url=server.url, timeout=120) as http:
        picture = http.post("/v1/uploads", files={"file": noise}).raise_for_status().json()["url"]
    with ThreadPoolExecutor(clients * len(KINDS)) as threads:
        for kind, given in KINDS.items():
            found = list(threads.map(lambda _, given=given: lives(server, *given), range(clients)))
            figures[kind] = {"clients": clients, "longest life, seconds": max(found)}
            print(kind, figures[kind], flush=True)
        found = list(threads.map(lambda _: takes_nothing(server, picture), range(10)))
        figures["takes no answer"] = {"clients": 10, "longest life, seconds": max(found)}
    opened = []
    for _ in range(Limits.model_fields["connections"].default + 50):
        opened.append(socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), timeout=30))
    time.sleep(2)
    states = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inodes = {str(os.fstat(each.fileno()).st_ino) for each in opened}
    figures["connections"] = {
        "tried": len(opened),
        "kept open": sum(fields[9] in inodes and fields[3] == "01" for fields in states),
    }
    for each in opened:
        each.close()
    return figures


def main() -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--out", type=Path, default=Path("results/drill-server-slow.json"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, serving(Path(place) / "jobs", Path(place) / "log") as server:
        figures = drill(server, given.clients)
    print(json.dumps(figures, indent=2))
    limits = {name: Limits.model_fields[name].default for name in Limits.model_fields if "seconds" in name}
    store_result(given.out, f"python drills/server_slow.py --clients {given.clients}", figures, None, limits)
    assert all(each["longest life, seconds"] < GIVE_UP for name, each in figures.items() if name in KINDS)


if __name__ == "__main__":
    main()
