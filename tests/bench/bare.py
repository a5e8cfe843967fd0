"""The floor: an aiohttp handler on uvloop that reads nothing and answers 200."""

from __future__ import annotations

import sys

import uvloop
from aiohttp import web


async def answer(request: web.Request) -> web.Response:
    return web.Response()


if __name__ == "__main__":
    app = web.Application()
    app.router.add_post("/hooks/twilio", answer)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None, loop=uvloop.new_event_loop())
