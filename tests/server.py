"""A server on this machine that misbehaves as publishers' servers do."""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

DATA = np.random.default_rng(0).bytes(300_000)
PAGE = b"\n<!DOCTYPE html><html><head><title>Sign in &amp;\n continue</title></head></html>"


class Server(ThreadingHTTPServer):
    """Answers the n-th request for a path with its n-th reply, the last one again and again."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.replies = {}
        self.requests = []

    def url(self, path="/a.mat"):
        return f"http://127.0.0.1:{self.server_port}{path}"

    def on(self, *replies, path="/a.mat"):
        self.replies[path] = list(replies)

    def handle_error(self, request, client_address):
        if not isinstance(sys.exception(), ConnectionError):  # the client may hang up
            super().handle_error(request, client_address)

    @property
    def ranges(self):
        return [headers.get("Range") for _, headers in self.requests]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append((self.path, self.headers))
        replies = self.server.replies[self.path]
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        reply(self)

    def log_message(self, *args):
        pass

    def answer(self, code, body=b"", **headers):
        self.send_response(code)
        for name, value in ({"Content_Length": len(body)} | headers).items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)


def good(data=DATA, etag='"1"', cut=None, ranges=True, chunk=20_000, **headers):
    """Sends ``data`` in chunks, as the request's Range and If-Range want it, or until ``cut``."""

    def reply(handler):
        asked = handler.headers.get("Range")
        begin = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and ranges else 0
        if begin and handler.headers.get("If-Range") not in (None, etag):
            begin = 0
        more = {"Content_Length": len(data) - begin, **headers}
        if begin:
            more["Content_Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
        if etag:
            more["ETag"] = etag
        handler.answer(206 if begin else 200, **more)
        for place in range(begin, len(data) if cut is None else cut, chunk):
            end = place + chunk if cut is None else min(place + chunk, cut)
            handler.wfile.write(data[place:end])
            handler.wfile.flush()

    return reply


def error(code):
    return lambda handler: handler.answer(code)


def redirect(url):
    return lambda handler: handler.answer(302, Location=url)


def page(content_type="text/html; charset=utf-8", body=PAGE):
    return lambda handler: handler.answer(200, body, Content_Type=content_type)
