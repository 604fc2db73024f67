"""An Azure Functions custom handler: a queue message in, a JWS (RFC 7515) signed by Key Vault out."""

import asyncio
import base64
import logging
import os

from aiohttp import web
from signing import Signer, log_to_output

log = logging.getLogger("handler")


async def probe(_: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


async def invoke(request: web.Request) -> web.Response:
    try:
        invocation = await request.json()
        message = base64.b64decode(invocation["Data"]["message"]).decode()
        await request.app["ready"]
        origin = {"signet_invocation": request.headers.get("X-Azure-Functions-InvocationId", "")}
        name = await request.app["signer"].sign(message, origin)
    except Exception as error:
        log.exception("handed back")
        return web.json_response({"error": {"code": type(error).__name__, "message": str(error)}}, status=503)
    log.info("signed %s", name)
    return web.json_response({})


async def start(app: web.Application) -> None:
    app["signer"] = Signer(os.environ["SIGNET_KEY"], os.environ["SIGNET_RESULTS"])
    app["ready"] = asyncio.ensure_future(app["signer"].warm_up())


def main() -> None:
    log_to_output()
    app = web.Application()
    app.add_routes([web.get("/", probe), web.post("/sign", invoke)])
    app.on_startup.append(start)
    web.run_app(app, host="127.0.0.1", port=int(os.environ["FUNCTIONS_CUSTOMHANDLER_PORT"]), access_log=None, print=None)


if __name__ == "__main__":
    main()
