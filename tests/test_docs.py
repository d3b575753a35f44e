"""The documentation matches the code."""

import ast
import asyncio
import base64
import itertools
import json
import os
import re
import subprocess
import sys
from typing import Any, Final

import aiohttp
import attrs
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from asgi import request
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils
from places import ROOT
from plugin import PLUGIN
from rawserver import Peer, answer, serve
from scripted import FakeSigner

import smartglocal_async as sg
from smartglocal_async import emulator

pytestmark = pytest.mark.slow

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"^```python(?: title=\"(?P<file>[^\"]+)\")?\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
SNIPPETS = [
    pytest.param(found["code"], id=f"{page.relative_to(ROOT)}:{number}")
    for page in PAGES
    for number, found in enumerate(BLOCK.finditer(page.read_text(encoding="utf-8")), 1)
    if not found["file"]
]
QUOTED = [
    pytest.param(found["code"], ROOT / found["file"], id=found["file"])
    for page in PAGES
    for found in BLOCK.finditer(page.read_text(encoding="utf-8"))
    if found["file"]
]


@pytest.fixture
def home(tmp_path, key, smartglocal_environment, monkeypatch):  # noqa: ARG001 - sets variables
    """Return a folder with `shop.pem`, and an emulator that the environment points to."""
    (tmp_path / "shop.pem").write_bytes(key.pem())
    monkeypatch.chdir(tmp_path)
    with emulator.run_in_thread(public_key=key, project="shop") as shop:
        monkeypatch.setattr(sg, "DEMO", shop.url)
        yield tmp_path


@pytest.mark.parametrize("code", [s for s in SNIPPETS if "def test_" not in s.values[0]])
@pytest.mark.filterwarnings("ignore::smartglocal_async.errors.LeftOpen")
def test_snippets_run(code, home):  # noqa: ARG001
    """Every Python block of the documentation runs; those of notebooks have `await` in a cell."""
    compiled = compile(code, "<snippet>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(compiled, {"__name__": "snippet"})  # noqa: S307 - of the documentation
    if result is not None:
        asyncio.run(result)


async def test_the_key_service_of_the_page(home, key) -> None:  # noqa: ARG001
    """Its signer sends a digest to a service over HTTP, and the emulator accepts the signature."""
    page = (ROOT / "docs/how-to/signing.md").read_text(encoding="utf-8")
    [code] = [found["code"] for found in BLOCK.finditer(page) if "KeyService" in found["code"]]
    names: dict[str, Any] = {}
    exec(compile(code, "<snippet>", "exec"), names)  # noqa: S102
    private = serialization.load_pem_private_key(key.pem(), None)
    assert isinstance(private, rsa.RSAPrivateKey)

    async def sign(asked: web.Request) -> web.Response:
        if asked.headers["Authorization"] != "Bearer of-this-test":
            raise web.HTTPForbidden
        digest = base64.b64decode((await asked.json())["digest"])
        made = private.sign(digest, padding.PKCS1v15(), utils.Prehashed(hashes.SHA256()))
        return web.json_response({"signature": base64.b64encode(made).decode()})

    app = web.Application()
    _ = app.router.add_post("/sign", sign)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        url = str(server.make_url("/sign"))
        async with names["client"](session, url, "of-this-test") as api:
            assert (await api.session.create(sg.CreateSession())).id == "ps_1"
        async with names["client"](session, url, "another") as api:
            with pytest.raises(sg.NotSent, match="ClientResponseError"):
                _ = await api.session.create(sg.CreateSession())


@pytest.mark.parametrize("code", [s for s in SNIPPETS if "def test_" in s.values[0]])
def test_test_snippets_pass(code, tmp_path):
    """The tests in the documentation pass with only the plugin."""
    (tmp_path / "test_snippet.py").write_text(code, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, *PLUGIN, "-o", "asyncio_mode=auto", "--rootdir", str(tmp_path), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("code", "file"), QUOTED)
def test_quoted_files_are_quoted_whole(code, file):
    """A block that names an example has exactly its text."""
    assert code == file.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("example", "said"),
    [("create_session.py", "ps_1 is created\n"), ("create_many.py", "200 sessions\n")],
)
def test_examples_run(example, said, home):
    """The examples run with the credentials of the environment."""
    done = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "examples" / example)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=home,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == (said, "")


async def test_the_notebook_runs(capsys) -> None:
    """Its cells run one after the other, with `await` outside of functions, as in Jupyter."""
    notebook = json.loads((ROOT / "examples/first_session.ipynb").read_text(encoding="utf-8"))
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            code = compile(
                "".join(cell["source"]), cell["id"], "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
            )
            if (result := eval(code, names)) is not None:  # noqa: S307 - of the notebook
                await result
    assert capsys.readouterr().out.splitlines() == [
        "ps_1 created True",
        "('amount_details',)",
        "refund-1001 succeeded False",
        "refund-1001 succeeded True",
        "1 0",
    ]


ORDER: Final = {"amount": "100.00", "currency": "usd"}
DONE: Final = sg.PaymentFinished(session=sg.Session(id="ps_1", status="accepted"))


async def test_the_web_service_answers(home, monkeypatch, smartglocal_deliver):  # noqa: ARG001
    """The example service creates one session per order, and reports what it refuses."""
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    import web_service  # noqa: PLC0415
    from aiohttp.test_utils import TestClient  # noqa: PLC0415

    async with TestClient(TestServer(web_service.application())) as client:
        first = await (await client.post("/orders/7", json=ORDER)).json()
        again = await (await client.post("/orders/7", json=ORDER)).json()
        changed = await client.post("/orders/7", json={**ORDER, "amount": "100.01"})
        assert first == again
        assert (first["id"], first["status"]) == ("ps_1", "created")
        assert (changed.status, changed.content_type) == (409, "application/problem+json")
        assert "differ: amount_details" in (await changed.json())["detail"]
        for nonsense in (b"", b"[]", b"{}", b'{"amount": "1", "currency": 7}'):
            assert (await client.post("/orders/8", data=nonsense)).status == 400
        assert await smartglocal_deliver(DONE, to=str(client.make_url("/webhooks"))) == 200


async def test_the_fastapi_service_answers(home, monkeypatch, smartglocal_deliver):  # noqa: ARG001
    """It does the same, over ASGI."""
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    import fastapi_service  # noqa: PLC0415

    app = fastapi_service.application()
    async with app.router.lifespan_context(app):
        body = {"method": "POST", "headers": [(b"content-type", b"application/json")]}
        status, text = await request(app, "/orders/7", body=json.dumps(ORDER).encode(), **body)
        assert (status, json.loads(text)["id"]) == (200, "ps_1")
        changed = json.dumps({**ORDER, "amount": "100.01"}).encode()
        status, text = await request(app, "/orders/7", body=changed, **body)
        assert (status, json.loads(text)["title"]) == (409, "KeyReused")
        signed = smartglocal_deliver.sign(DONE)
        pairs = [(name.lower().encode(), value.encode()) for name, value in signed.headers.items()]
        sent = await request(app, "/webhooks", method="POST", headers=pairs, body=signed.body)
        assert sent == (200, b"accepted")


def test_retry_page_shows_the_policy():
    """The page on retries has the table that the code prints."""
    page = (ROOT / "docs/reference/retries.md").read_text(encoding="utf-8")
    assert f"```text\n{sg.RetryPolicy()}\n```" in page


def test_ci_runs_the_readme_command():
    """The CI script begins with the README's test command."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    script = (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()
    [command] = [line for line in script if "pip install" in line]
    assert f"```sh\n{command}\n```" in readme


def test_links_lead_to_files():
    """Every relative link of the README leads to a file."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", readme):
        assert (ROOT / target).is_file(), target


def test_the_emulator_page_lists_every_fault():
    """The page on the emulator has a row for each fault and each field of a fault."""
    page = (ROOT / "docs/reference/emulator.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z_0-9]+)` \|", page, re.MULTILINE)
    assert [row for row in rows if row in set(emulator.FaultKind)] == list(emulator.FaultKind)
    for field in attrs.fields(emulator.Fault):
        assert f"`{field.name}`" in page


OPEN = re.compile(r"unknown|switch|contradict|differ|both ways|one page|older|another page|example")


def test_the_page_of_open_questions_names_every_switch():
    """Each rule of the emulator that no page settles is listed with its setting."""
    page = (ROOT / "docs/explanation/unknowns.md").read_text(encoding="utf-8")
    found = [name for name, text in described_rules() if OPEN.search(text)]
    assert len(found) > 30
    assert [name for name in found if f"{name}=" not in page] == []


def described_rules() -> list[tuple[str, str]]:
    """Return each field of the emulator's rules with its docstring, or that of its type."""
    source = (ROOT / "smartglocal_async/emulator/settings.py").read_text(encoding="utf-8")
    classes = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}
    body = classes["Rules"].body
    rules = []
    for node, after in itertools.pairwise(body):
        if not isinstance(node, ast.AnnAssign):
            continue
        kind = classes.get(ast.unparse(node.annotation))
        text = ast.get_docstring(kind) if kind is not None else ""
        if isinstance(after, ast.Expr):
            text = f"{text} {ast.literal_eval(after.value)}"
        rules.append((ast.unparse(node.target), text))
    assert [name for name, _ in rules] == [one.name for one in attrs.fields(emulator.Rules)]
    return rules


def test_the_command_line_page_names_every_command():
    """The page on the command line lists exactly the existing commands."""
    typer = pytest.importorskip("typer")
    from smartglocal_async.cli.app import app  # noqa: PLC0415

    def below(node: object) -> list[str]:
        inner = getattr(node, "commands", None)
        if inner is None:
            return [""]
        return [f"{name} {rest}".strip() for name in inner for rest in below(inner[name])]

    names = set(below(typer.main.get_command(app)))
    page = (ROOT / "docs/reference/command-line.md").read_text(encoding="utf-8")
    listed = re.findall(
        r"^\| `smartglocal ([a-z-]+(?: [a-z]+(?:-[a-z]+)*){0,2})(?=[ `])", page, re.MULTILINE
    )
    assert set(listed) == names


RECIPES: Final = re.findall(
    r"`(api\.call\([^`]+\))`",
    (ROOT / "docs/reference/operations.md")
    .read_text(encoding="utf-8")
    .partition("## Calls of the sister platform")[2],
)
TOKEN: Final = {"token": "t", "is_active": True, "type": "recurrent_token"}
# As the pages of the sister platform show them.
ANSWERS: Final[dict[str, Any]] = {
    "calculate": {"amounts": {"source": {"amount": 100, "currency": "RUB"}}, "exchanges": {}},
    "recurrent/status": {"status": "ok", "recurrent": TOKEN},
}


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_recipes_of_the_sister_platform(recipe, version) -> None:
    """Each is made as the page says, and its answer is read as it says."""
    lines = list[str]()
    body = {"session_id": "ps_1"}
    words = {"sg": sg, "path": "session/multi/init", "body": body}

    def reply(peer: Peer) -> None:
        while peer.read_request():
            line = peer.server.requests[-1][0].split(b" HTTP")[0].decode()
            lines.append(line)
            session = {"status": "ok", "session": {"id": "ps_1", "status": "created"}}
            sent = ANSWERS.get(line.partition("/api/v")[2].partition("/")[2], session)
            peer.send(answer(json.dumps(sent).encode()))

    text = re.sub(r'("[a-z_]+"): \.\.\.', r'\1: "ps_1"', recipe)
    with serve(reply) as server:
        async with sg.SmartGlocal("demo", FakeSigner(), server.url, api_version=version) as api:
            found = await eval(text, {"api": api, **words})  # noqa: S307 - of the page
    named = "v1" if 'version="v1"' in recipe else version
    assert [line.startswith(f"POST /api/{named}/") for line in lines] == [True]
    match found:
        case sg.Session():
            assert found.id == "ps_1"
        case sg.models.RecurrentToken():
            assert found.is_active
        case _:
            assert set(found) in ({"amounts", "exchanges"}, {"session"})


def test_every_call_of_the_sister_platform_has_a_recipe() -> None:
    """The list of the calls that its pages and its SDK name."""
    assert {recipe.partition("(")[2].partition(",")[0] for recipe in RECIPES} == {
        *('"calculate"', '"fiscalization"', '"session/init/payment/sync"', "path"),
        *('"recurrent/status"', '"session/chargeback"', '"tokenize/elements"'),
    }
