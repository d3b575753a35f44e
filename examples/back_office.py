"""A back office: send a file of payouts, see what is wrong with it, approve it, watch it, book it.

PUT  /files/<name>          the file as the body; returns its totals and what is wrong with it
POST /files/<name>/payment  {"digest": "..."} pays the file, if it is still the one that was checked
GET  /files/<name>          how many payouts are settled, and the sums
GET  /files/<name>/results  a CSV with a line for each payout

Run it with a folder and a port: ``python back_office.py payouts 8000``. The folder keeps the files,
the results and the journal; a payment that was interrupted goes on when it is asked for again.
Anybody who can reach the service can pay: put a sign-in in front of it.
"""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import web

import smartglocal_async as sg
from smartglocal_async.integrations.aiohttp_web import error_middleware

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,60}\.(csv|jsonl|xlsx|ods)")
MAX_BYTES = 50_000_000


class BackOffice:
    """The files of a folder, and the payments that run."""

    tasks: asyncio.TaskGroup

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.api = sg.SmartGlocal.from_env()
        journal = sg.SQLiteJournal(folder / "payouts.journal")
        cipher = sg.RequestCipher.from_env()  # SMARTGLOCAL_JOURNAL_KEY, if it is set.
        self.payouts = sg.Payouts(self.api, journal, cipher=cipher)
        self.payments: dict[str, asyncio.Task[None]] = {}
        self.problems: dict[str, str] = {}

    async def lifetime(self, _app: web.Application) -> AsyncIterator[None]:
        """Open the client and the journal; at the end finish what is in flight."""
        async with self.api, self.payouts, asyncio.TaskGroup() as self.tasks:
            yield
            self.payouts.stop()

    async def put(self, request: web.Request) -> web.Response:
        """Keep a file, and check it."""
        path = self.path(request)
        if self.is_paying(path.name):
            raise web.HTTPConflict(text="this file is being paid")
        content = await request.read()
        _ = await asyncio.to_thread(path.write_bytes, content)
        file = sg.PayoutFile(path)
        found = await asyncio.to_thread(sg.payouts.check, file)
        digest = await asyncio.to_thread(file.digest)
        return web.json_response({"digest": digest, "is_fit": found.is_fit, **found.to_dict()})

    async def pay(self, request: web.Request) -> web.Response:
        """Begin to pay a file, or go on with it."""
        path = self.existing(request)
        try:
            approved = (await request.json())["digest"]
        except (ValueError, KeyError, TypeError) as error:
            raise web.HTTPBadRequest(text="send JSON with the digest") from error
        file = sg.PayoutFile(path)
        if approved != await asyncio.to_thread(file.digest):
            raise web.HTTPConflict(text="the file isn't the one that was checked")
        if not self.is_paying(path.name):
            self.payments[path.name] = self.tasks.create_task(self.paid(path, file))
        return web.json_response({"state": "paying"}, status=202)

    async def paid(self, path: Path, file: sg.PayoutFile) -> None:
        """Pay a file; each result is written as soon as it is known."""
        _ = self.problems.pop(path.name, None)
        try:
            with sg.payouts.ResultsFile(self.results(path)) as results:
                async for outcome in self.payouts.pay_all(
                    file, batch=path.name, approve=lambda found: found.is_fit
                ):
                    results.append(outcome)
        except (sg.SmartGlocalError, OSError) as error:
            self.problems[path.name] = str(error)

    async def show(self, request: web.Request) -> web.Response:
        """Return how far a file is, and why its payment ended early."""
        name = self.existing(request).name
        summary = await self.payouts.summary(batch=name)
        state = (
            "paying" if self.is_paying(name) else "ended" if name in self.payments else "waiting"
        )
        shown = {"state": state, "problem": self.problems.get(name)}
        return web.json_response({**shown, **summary.to_dict()})

    async def download(self, request: web.Request) -> web.StreamResponse:
        """Return the results."""
        results = self.results(self.existing(request))
        if not results.exists():
            raise web.HTTPNotFound(text="nothing was paid yet")
        return web.FileResponse(results, headers={"Content-Type": "text/csv; charset=utf-8"})

    def is_paying(self, name: str) -> bool:
        """Whether a file is being paid."""
        return name in self.payments and not self.payments[name].done()

    def results(self, path: Path) -> Path:
        """Return the path of the results of a file."""
        return path.with_name(f"{path.name}.results.csv")

    def existing(self, request: web.Request) -> Path:
        """Return the path of a file that was sent before."""
        path = self.path(request)
        if not path.exists():
            raise web.HTTPNotFound(text="there is no such file: PUT it first")
        return path

    def path(self, request: web.Request) -> Path:
        """Return the path of the file that a request names."""
        name = request.match_info["name"]
        if NAME.fullmatch(name) is None:
            raise web.HTTPBadRequest(text="name the file like salaries-2026-11.csv")
        return self.folder / name


def application(folder: Path) -> web.Application:
    """Build the service."""
    folder.mkdir(parents=True, exist_ok=True)
    office = BackOffice(folder)
    app = web.Application(middlewares=[error_middleware()], client_max_size=MAX_BYTES)
    app.cleanup_ctx.append(office.lifetime)
    _ = app.add_routes(
        [
            web.put("/files/{name}", office.put),
            web.get("/files/{name}", office.show),
            web.post("/files/{name}/payment", office.pay),
            web.get("/files/{name}/results", office.download),
        ]
    )
    return app


if __name__ == "__main__":
    web.run_app(application(Path(sys.argv[1])), host="127.0.0.1", port=int(sys.argv[2]))
