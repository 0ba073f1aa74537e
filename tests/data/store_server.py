"""A small object store that speaks Amazon S3's protocol on this machine, as far as pyarrow's client asks for it.

Objects appear whole: a PUT that breaks off, or an upload in parts that is never completed, leaves nothing.
"""

from __future__ import annotations

import io
import re
import threading
from contextlib import contextmanager
from email.utils import formatdate
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import BinaryIO
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

OPEN = '<?xml version="1.0" encoding="UTF-8"?>'


class Store(ThreadingHTTPServer):
    """The server; `objects` maps "bucket/key" to bytes."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[str, bytes] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


def unchunk(stream: BinaryIO) -> bytes:
    """size[;signature] CRLF data CRLF … 0 CRLF trailers CRLF: HTTP's chunks, and Amazon's inside them."""
    out = b""
    while size := int(stream.readline().split(b";")[0], 16):
        out += stream.read(size)
        stream.readline()
    while stream.readline().strip():
        pass
    return out


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Store  # type: ignore[assignment]

    def log_message(self, *words: object) -> None:
        pass

    def parse(self) -> tuple[str, dict[str, str]]:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        return unquote(parts.path).strip("/"), query

    def body(self) -> bytes:
        stream: BinaryIO = self.rfile  # type: ignore[assignment]
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            data = unchunk(stream)
        else:
            data = stream.read(int(self.headers.get("Content-Length", 0)))
        return unchunk(io.BytesIO(data)) if "aws-chunked" in self.headers.get("Content-Encoding", "") else data

    def answer(self, status: int, data: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def missing(self, code: str = "NoSuchKey") -> None:
        self.answer(404, f"{OPEN}<Error><Code>{code}</Code><Message>none</Message></Error>".encode())

    def do_HEAD(self) -> None:
        key, _ = self.parse()
        if "/" not in key:
            return self.answer(200)
        data = self.server.objects.get(key)
        if data is None:
            return self.answer(404)
        self.answer(
            200, Content_Length=str(len(data)), ETag=f'"{md5(data).hexdigest()}"', Last_Modified=formatdate(usegmt=True)
        )

    def do_GET(self) -> None:
        key, query = self.parse()
        if "/" not in key:
            return self.listing(key, query)
        data = self.server.objects.get(key)
        if data is None:
            return self.missing()
        tag = f'"{md5(data).hexdigest()}"'
        if found := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(found[1]), min(int(found[2] or len(data) - 1), len(data) - 1)
            span = f"bytes {first}-{last}/{len(data)}"
            return self.answer(
                206, data[first : last + 1], Content_Range=span, ETag=tag, Last_Modified=formatdate(usegmt=True)
            )
        self.answer(200, data, ETag=tag, Last_Modified=formatdate(usegmt=True))

    def listing(self, bucket: str, query: dict[str, str]) -> None:
        prefix, delimiter, most = query.get("prefix", ""), query.get("delimiter", ""), int(query.get("max-keys", 1000))
        entries: dict[str, str] = {}
        with self.server.lock:
            for key, data in sorted(self.server.objects.items()):
                if not key.startswith(f"{bucket}/{prefix}"):
                    continue
                name = key[len(bucket) + 1 :]
                rest = name[len(prefix) :]
                if delimiter and delimiter in rest:
                    folder = prefix + rest.split(delimiter)[0] + delimiter
                    entries[folder] = f"<CommonPrefixes><Prefix>{escape(folder)}</Prefix></CommonPrefixes>"
                else:
                    entries[name] = (
                        f"<Contents><Key>{escape(name)}</Key><Size>{len(data)}</Size><ETag>&quot;x&quot;</ETag>"
                        "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
                    )
        after = query.get("continuation-token", "")
        names = [name for name in sorted(entries) if name > after]
        shown, more = names[:most], len(names) > most
        token = f"<NextContinuationToken>{escape(shown[-1])}</NextContinuationToken>" if more else ""
        text = (
            f'{OPEN}<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>{bucket}</Name>'
            f"<Prefix>{escape(prefix)}</Prefix><KeyCount>{len(shown)}</KeyCount><MaxKeys>{most}</MaxKeys>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}"
            f"{''.join(entries[name] for name in shown)}</ListBucketResult>"
        )
        self.answer(200, text.encode())

    def do_PUT(self) -> None:
        key, query = self.parse()
        data = self.body()
        if "/" in key and "partNumber" in query:
            self.server.uploads[query["uploadId"]][int(query["partNumber"])] = data
        elif "/" in key:
            self.server.objects[key] = data
        self.answer(200, ETag=f'"{md5(data).hexdigest()}"')

    def do_POST(self) -> None:
        key, query = self.parse()
        body = self.body()
        bucket = key.partition("/")[0]
        if "uploads" in query:
            name = f"upload-{len(self.server.uploads)}"
            self.server.uploads[name] = {}
            return self.answer(200, f"{OPEN}<InitiateMultipartUploadResult><Bucket>{bucket}</Bucket>"
                               f"<Key>{escape(key)}</Key>"
                               f"<UploadId>{name}</UploadId></InitiateMultipartUploadResult>".encode())  # fmt: skip
        if "uploadId" in query:
            parts = self.server.uploads.pop(query["uploadId"])
            self.server.objects[key] = b"".join(parts[number] for number in sorted(parts))
            return self.answer(200, f"{OPEN}<CompleteMultipartUploadResult><Key>{escape(key)}</Key>"
                               "<ETag>&quot;x&quot;</ETag></CompleteMultipartUploadResult>".encode())  # fmt: skip
        if "delete" in query:
            for name in re.findall(rb"<Key>(.*?)</Key>", body):
                self.server.objects.pop(f"{bucket}/{unquote(name.decode())}", None)
            return self.answer(200, f"{OPEN}<DeleteResult></DeleteResult>".encode())
        self.missing("NotImplemented")

    def do_DELETE(self) -> None:
        key, query = self.parse()
        if "uploadId" in query:
            self.server.uploads.pop(query["uploadId"], None)
        else:
            self.server.objects.pop(key, None)
        self.answer(204)


@contextmanager
def serving():
    """A running store."""
    store = Store()
    thread = threading.Thread(target=store.serve_forever, daemon=True)
    thread.start()
    try:
        yield store
    finally:
        store.shutdown()
        store.server_close()
        thread.join()
