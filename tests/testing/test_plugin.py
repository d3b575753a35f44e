"""The pytest plugin, as a user's own test run loads it."""

import textwrap
from pathlib import Path

import pytest
from plugin import PLUGIN

import smartglocal_async

pytestmark = pytest.mark.slow

pytest_plugins = ["pytester"]
STRICT = f"""
    [pytest]
    asyncio_mode = auto
    asyncio_default_fixture_loop_scope = function
    addopts = --strict-markers {" ".join(PLUGIN)}
    filterwarnings = error
"""

ANYIO = f"""
    [pytest]
    addopts = --strict-markers {" ".join(PLUGIN)}
    filterwarnings = error
"""


@pytest.fixture(autouse=True)
def find_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the inner test run find the package, installed or not."""
    monkeypatch.setenv("PYTHONPATH", str(Path(smartglocal_async.__file__).parents[1]))


def run(pytester: pytest.Pytester, tests: str) -> pytest.RunResult:
    """Run tests in a new project."""
    pytester.makeini(STRICT)
    pytester.makepyfile(tests)
    return pytester.runpytest_subprocess()


def test_the_fixtures(pytester: pytest.Pytester) -> None:
    """A test gets an emulator and a client that is registered with it."""
    run(
        pytester,
        """
        import smartglocal_async as sg

        async def test_create(smartglocal_api, smartglocal_emulator):
            session = await smartglocal_api.session.create(sg.CreateSession(), key="order-1")
            assert session.status == "created"
            assert smartglocal_emulator.order("order-1").made == 1

        def test_emulator_alone(smartglocal_emulator):
            assert smartglocal_emulator.report().requests == 0

        def test_neither():
            pass
        """,
    ).assert_outcomes(passed=3)


def test_the_marker(pytester: pytest.Pytester) -> None:
    """The marker sets faults, rules and the client's settings."""
    run(
        pytester,
        """
        import pytest
        import smartglocal_async as sg
        from smartglocal_async.emulator import Duplicates, Fault, FaultKind, FaultScript, Rules

        FAULTS = FaultScript((Fault(FaultKind.AFTER, nth=(1,)),))

        @pytest.mark.smartglocal(faults=FAULTS)
        async def test_faults(smartglocal_api, smartglocal_emulator):
            await smartglocal_api.session.create(sg.CreateSession(), key="a")
            assert smartglocal_emulator.order("a").attempts == 2

        @pytest.mark.smartglocal(faults=FAULTS, rules=Rules(duplicates=Duplicates.REFUSE))
        async def test_rules(smartglocal_api):
            with pytest.raises(sg.OutcomeUnknown):
                await smartglocal_api.session.create(sg.CreateSession(), key="a")

        @pytest.mark.smartglocal(settings=sg.Settings(key_field="order"))
        async def test_settings(smartglocal_api):
            session = await smartglocal_api.session.create(sg.CreateSession(), key="a")
            assert session.metadata == {"order": "a"}
        """,
    ).assert_outcomes(passed=3)


SHARED = """
    import smartglocal_async as sg

    URLS = set()

    {mark}
    async def test_one(smartglocal_api, smartglocal_emulator, smartglocal_requests):
        URLS.add(smartglocal_emulator.url)
        await smartglocal_api.session.create(sg.CreateSession(), key="one")
        assert [seen.key for seen in smartglocal_requests] == ["one"]

    {mark}
    async def test_two(smartglocal_api, smartglocal_emulator, smartglocal_requests):
        URLS.add(smartglocal_emulator.url)
        await smartglocal_api.session.create(sg.CreateSession(), key="two")
        assert [seen.key for seen in smartglocal_requests] == ["two"]

    {mark}
    async def test_held(smartglocal_clock, smartglocal_api):
        smartglocal_clock.advance(3600)
        await smartglocal_api.wallet.balance()

    def test_how_many(smartglocal_private_key, smartglocal_emulator):
        assert len(URLS) == {emulators}
        assert smartglocal_emulator.private_key is smartglocal_private_key
"""


@pytest.mark.parametrize(("scope", "emulators"), [("function", 2), ("session", 1)])
@pytest.mark.parametrize("runner", ["asyncio", "anyio"])
def test_each_scope_and_runner(pytester: pytest.Pytester, scope, emulators, runner) -> None:
    """The emulator and the client live as long as configured, with either plugin."""
    mark = "" if runner == "asyncio" else "@pytest.mark.anyio"
    options = "" if runner == "asyncio" else " -p no:asyncio"
    pytester.makeini(
        (STRICT if runner == "asyncio" else ANYIO).replace("addopts =", f"addopts ={options}")
        + f"    smartglocal_scope = {scope}"
    )
    pytester.makeconftest(
        "import pytest\n\n@pytest.fixture(scope='session')\ndef anyio_backend():\n"
        "    return 'asyncio'\n"
    )
    body = SHARED.format(mark=mark, emulators=emulators)
    pytester.makepyfile("import pytest\n" + textwrap.dedent(body))
    pytester.runpytest_subprocess().assert_outcomes(passed=4)


def test_an_unknown_scope(pytester: pytest.Pytester) -> None:
    """The message has the known ones."""
    pytester.makeini(f"{STRICT}    smartglocal_scope = suite")
    pytester.makepyfile("def test(smartglocal_api): pass")
    result = pytester.runpytest_subprocess()
    result.stdout.fnmatch_lines(["*smartglocal_scope is 'suite'; take one of function, class,*"])


def test_a_marker_without_effect(pytester: pytest.Pytester) -> None:
    """Faults of one test can't be those of an emulator that lives longer."""
    pytester.makeini(f"{STRICT}    smartglocal_scope = session")
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.smartglocal(settings=None)
        def test(smartglocal_api): pass
        """
    )
    result = pytester.runpytest_subprocess()
    result.stdout.fnmatch_lines(["*the marker smartglocal has no effect here*"])


def test_a_fixture_of_your_own(pytester: pytest.Pytester) -> None:
    """It replaces the plugin's, and the others use it."""
    run(
        pytester,
        """
        import pytest
        import smartglocal_async as sg
        from smartglocal_async import emulator

        @pytest.fixture(scope="module")
        def smartglocal_emulator(smartglocal_private_key):
            with emulator.run_in_thread(
                public_key=smartglocal_private_key, project="mine"
            ) as provider:
                yield provider

        @pytest.fixture
        def smartglocal_journal():
            return sg.journal.MemoryJournal(unsafe=True)

        async def test_mine(smartglocal_payouts, smartglocal_emulator):
            assert smartglocal_emulator.project == "mine"
            async with smartglocal_payouts as payouts:
                assert (await payouts.summary()).counts == {}
        """,
    ).assert_outcomes(passed=1)


def test_the_marker_is_known(pytester: pytest.Pytester) -> None:
    """The plugin documents the marker's arguments."""
    pytester.makeini(STRICT)

    said = pytester.runpytest_subprocess("--markers").stdout

    said.fnmatch_lines(["@pytest.mark.smartglocal(faults=, rules=, settings=)*"])
