"""The services under `examples/`, each started as a process and used over HTTP."""

import asyncio
import contextlib
import csv
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from typing import Any, Final

import aiohttp
import pytest
from attrs import frozen
from places import ROOT

import smartglocal_async as sg
from smartglocal_async import emulator

pytestmark = pytest.mark.slow

ORDER: Final = {"amount": "100.00", "currency": "usd"}
DONE: Final = sg.PaymentFinished(session=sg.Session(id="ps_1", status="accepted"))
ROWS: Final = (
    "key,amount,currency,card_token,full_name\n"
    "salary-1,1234.50,usd,hash-1,Jane Roe\n"
    "salary-2,666.01,usd,hash-2,John Doe\n"  # The emulator declines this amount.
    "salary-3,80.00,usd,hash-3,Jo Bloggs\n"
)


@pytest.fixture
def provider(key) -> Iterator[emulator.Provider]:
    """Return a running emulator."""
    with emulator.run_in_thread(public_key=key, project="shop") as running:
        yield running


@frozen
class Running:
    """A service that runs, and a client of it."""

    process: "subprocess.Popen[str]"
    http: aiohttp.ClientSession

    async def call(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        """Return the status of an answer, and its JSON or text."""
        async with self.http.request(method, path, **options) as answer:
            is_json = answer.content_type.endswith("json")
            return answer.status, await (answer.json() if is_json else answer.text())


@pytest.fixture
def environment(tmp_path, key, provider, smartglocal_environment) -> dict[str, str]:  # noqa: ARG001
    """Return the variables of a service that calls the emulator."""
    (tmp_path / "shop.pem").write_bytes(key.pem())
    own = {
        "SMARTGLOCAL_PROJECT": "shop",
        "SMARTGLOCAL_PRIVATE_KEY": str(tmp_path / "shop.pem"),
        "SMARTGLOCAL_SERVER": provider.url,
        "SMARTGLOCAL_JOURNAL_KEY": sg.RequestCipher.new_key(),
    }
    return {**os.environ, "PYTHONPATH": str(ROOT), **own}


@contextlib.asynccontextmanager
async def running(example: str, *words: str, env: dict[str, str]) -> AsyncIterator[Running]:
    """Start an example at a free port, and end it as a supervisor does."""
    with _started(str(ROOT / "examples" / example), *words, "0", env=env) as process:
        url = await asyncio.to_thread(_address, process)
        async with aiohttp.ClientSession(url) as http:
            yield Running(process, http)
        if process.poll() is None:
            process.terminate()
            assert await asyncio.to_thread(process.wait, 60) in {0, -signal.SIGTERM}


@contextlib.contextmanager
def _started(*command: str, env: dict[str, str]) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [sys.executable, "-u", *command],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _address(process: "subprocess.Popen[str]") -> str:
    """Return the address that a service prints when it listens."""
    assert process.stdout is not None
    printed = []
    for line in process.stdout:
        printed.append(line)
        if found := re.search(r"running on (http://127\.0\.0\.1:\d+)", line, re.IGNORECASE):
            return found[1]
    raise AssertionError("".join(printed))


@pytest.mark.parametrize("example", ["web_service.py", "fastapi_service.py"])
async def test_a_shop(example, environment, provider, smartglocal_deliver):
    """It creates one session per order, and takes a webhook."""
    async with running(example, env=environment) as shop:
        first = await shop.call("POST", "/orders/7", json=ORDER)
        assert (first[0], first[1]["id"]) == (200, "ps_1")
        assert await shop.call("POST", "/orders/7", json=ORDER) == first
        changed = {**ORDER, "amount": "100.01"}
        assert (await shop.call("POST", "/orders/7", json=changed))[0] == 409
        url = str(shop.http._base_url)
        assert await smartglocal_deliver(DONE, to=f"{url.rstrip('/')}/webhooks") == 200
    assert provider.session_ids == ("ps_1",)


async def until_ended(office: Running, name: str) -> Any:
    """Return what is shown of a file once its payment has ended."""
    async with asyncio.timeout(60):
        while True:
            status, shown = await office.call("GET", f"/files/{name}")
            assert status == 200
            if shown["state"] == "ended":
                return shown
            await asyncio.sleep(0.05)


async def test_a_back_office(tmp_path, environment, provider):
    """A file is checked, approved, paid once, and its results agree with the provider's sums."""
    folder = tmp_path / "office"
    path = "/files/june.csv"
    async with running("back_office.py", str(folder), env=environment) as office:
        bad = ROWS.replace("80.00", "8O.00")
        status, found = await office.call("PUT", path, data=bad.encode())
        assert (status, found["is_fit"], found["bad_rows"]) == (200, False, 1)
        status, found = await office.call("PUT", path, data=ROWS.encode())
        assert (status, found["is_fit"], found["totals"]) == (200, True, {"usd": 198_051})
        approved = {"digest": found["digest"]}
        for body in ({}, [], {"digest": "another"}):
            assert (await office.call("POST", f"{path}/payment", json=body))[0] in {400, 409}
        assert (await office.call("POST", f"{path}/payment", json=approved))[0] == 202
        shown = await until_ended(office, "june.csv")
        assert (shown["problem"], shown["counts"]["succeeded"]) == (None, 2)
        status, text = await office.call("GET", f"{path}/results")
        assert status == 200
        for name in ("..%2Fx.csv", "june.exe", "JUNE.csv"):
            assert (await office.call("PUT", f"/files/{name}", data=b"x"))[0] in {400, 404}
    lines = list(csv.DictReader(text.splitlines()))
    assert {line["key"]: line["state"] for line in lines} == {
        "salary-1": "succeeded",
        "salary-2": "failed",
        "salary-3": "succeeded",
    }
    paid = [Decimal(line["amount"]) for line in lines if line["state"] == "succeeded"]
    assert sum(paid) == Decimal("1314.50")
    assert (provider.report().moved, provider.report().moved_twice) == (2, 0)


async def test_a_back_office_that_is_killed(tmp_path, environment, provider):
    """Asked again after a `kill -9`, it goes on, and pays nothing twice."""
    folder, path = tmp_path / "office", "/files/june.csv"
    rows = [f"row-{number},10.00,usd,hash-{number},Jane Roe" for number in range(200)]
    content = "\n".join(["key,amount,currency,card_token,full_name", *rows])
    async with running("back_office.py", str(folder), env=environment) as office:
        _, found = await office.call("PUT", path, data=content.encode())
        approved = {"digest": found["digest"]}
        assert (await office.call("POST", f"{path}/payment", json=approved))[0] == 202
        async with asyncio.timeout(60):
            while not provider.report().moved:  # noqa: ASYNC110 - it runs in another process
                await asyncio.sleep(0.01)
        office.process.kill()
        assert await asyncio.to_thread(office.process.wait) == -signal.SIGKILL
    assert provider.report().moved < len(rows)
    async with running("back_office.py", str(folder), env=environment) as office:
        assert (await office.call("POST", f"{path}/payment", json=approved))[0] == 202
        shown = await until_ended(office, "june.csv")
    assert (shown["problem"], shown["counts"]["succeeded"]) == (None, len(rows))
    assert (provider.report().moved, provider.report().moved_twice) == (len(rows), 0)
