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

        @pytest.mark.smartglocal(faults=[])
        def test(smartglocal_api): pass
        """
    )
    result = pytester.runpytest_subprocess()
    result.stdout.fnmatch_lines(
        ["*@pytest.mark.smartglocal has no effect here with smartglocal_scope = session*"]
    )


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


OPTIONS = """
    import asyncio

    import pytest
    from aiohttp import web
    from aiohttp.test_utils import TestServer

    import smartglocal_async as sg
    from smartglocal_async import emulator
    from smartglocal_async.emulator import Fault, FaultKind
    from smartglocal_async.integrations.aiohttp_web import webhook_lifetime, webhook_routes

    PAYOUT = sg.InitPayout(
        payment_method=sg.EncryptedCard(number_hash="hash"),
        amount_details=sg.AmountDetails(100, "usd"),
        participant_details=sg.ParticipantDetails(recipient=sg.Participant(full_name="Jane Roe")),
    )

    @pytest.fixture{scope}
    def smartglocal_emulator_options():
        rules = emulator.Rules(confirmation=emulator.Confirmation.AUTOMATIC)
        fault = Fault(FaultKind.BEFORE, operation="session/create", nth=(1,))
        return {{"project": "mine", "rules": rules, "faults": fault}}

    @pytest.fixture{scope}
    def smartglocal_settings():
        return sg.Settings(key_field="order")

    async def test_options(
        smartglocal_api, smartglocal_emulator, smartglocal_requests, smartglocal_clock
    ):
        assert smartglocal_emulator.project == "mine"
        session = await smartglocal_api.session.create(sg.CreateSession(), key="a")
        assert session.metadata == {{"order": "a"}}
        assert session.created_at == smartglocal_clock.now()
        assert [seen.fault for seen in smartglocal_requests] == ["before", None]
        with smartglocal_emulator.inject(Fault(FaultKind.STALE)):
            await smartglocal_api.session.status(sg.SessionRef(session.id))

    async def test_webhooks(smartglocal_api, smartglocal_emulator, smartglocal_verifier):
        events = asyncio.Queue()
        webhooks, app = sg.Webhooks(smartglocal_verifier), web.Application()

        @webhooks.on(sg.PaymentFinished)
        async def handle(event: sg.PaymentFinished) -> None:
            events.put_nowait(event)

        app.cleanup_ctx.append(webhook_lifetime(webhooks))
        app.add_routes(webhook_routes(webhooks))
        async with TestServer(app) as server:
            smartglocal_emulator.deliver_to(str(server.make_url("/webhooks")))
            session = await smartglocal_api.session.init_payout(PAYOUT)
            async with asyncio.timeout(20):
                assert (await events.get()).session.id == session.id

    @pytest.mark.smartglocal(settings=sg.Settings(key_field="own"))
    async def test_the_marker_comes_first(smartglocal_api):
        session = await smartglocal_api.session.create(sg.CreateSession(), key="b")
        assert session.metadata == {{"own": "b"}}
"""


@pytest.mark.parametrize("scope", ["function", "session"])
def test_options_of_your_own(pytester: pytest.Pytester, scope) -> None:
    """The emulator has them, and stays connected with the other fixtures."""
    pytester.makeini(f"{STRICT}    smartglocal_scope = {scope}")
    pytester.makepyfile(OPTIONS.format(scope=f"(scope='{scope}')"))
    pytester.runpytest_subprocess().assert_outcomes(passed=3)


def test_an_emulator_of_your_own_is_not_connected(pytester: pytest.Pytester) -> None:
    """What would fail silently with it is refused, and the message has what works."""
    result = run(
        pytester,
        """
        import pytest
        import smartglocal_async as sg
        from smartglocal_async import emulator

        @pytest.fixture(scope="module")
        def smartglocal_emulator(smartglocal_private_key):
            with emulator.run_in_thread(public_key=smartglocal_private_key) as provider:
                yield provider

        def test_requests(smartglocal_requests): pass
        def test_clock(smartglocal_api, smartglocal_clock): pass
        def test_verifier(smartglocal_api, smartglocal_verifier): pass
        def test_environment(smartglocal_environment): pass
        def test_clock_alone(smartglocal_clock): pass
        def test_verifier_alone(smartglocal_verifier): pass
        async def test_client(smartglocal_api):
            await smartglocal_api.session.create(sg.CreateSession(), key="a")
        """,
    )
    result.assert_outcomes(passed=3, errors=4)
    result.stdout.fnmatch_lines(
        [
            f"*UsageError: smartglocal_{name} can't be used with this smartglocal_emulator*"
            "override the fixture smartglocal_emulator_options*"
            for name in ("requests", "clock", "verifier", "environment")
        ]
    )


def test_an_emulator_that_is_wrapped(pytester: pytest.Pytester) -> None:
    """A fixture that prepares the plugin's own emulator stays connected."""
    run(
        pytester,
        """
        import pytest

        @pytest.fixture
        def smartglocal_emulator(smartglocal_emulator):
            smartglocal_emulator.top_up(100, "eur")
            return smartglocal_emulator

        async def test(
            smartglocal_api, smartglocal_requests, smartglocal_clock, smartglocal_environment
        ):
            await smartglocal_api.wallet.balance()
            assert len(smartglocal_requests) == 1
        """,
    ).assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("{'rule': None}", "rule: there is no such field; did you mean rules?"),
        ("{'rules': 'automatic'}", "rules must be Rules(...), not str"),
        ("{'webhooks': {}}", "webhooks must be WebhookScript(...), not dict"),
        ("{'faults': 0.5}", "faults must be a Fault(...), a list*not float"),
        ("{'clock': None}", "clock is the plugin's own: use smartglocal_clock"),
        ("['rules']", "must return a dict, not list"),
    ],
)
def test_wrong_options(pytester: pytest.Pytester, options, problem) -> None:
    """They are refused before the emulator starts."""
    result = run(
        pytester,
        f"""
        import pytest

        @pytest.fixture
        def smartglocal_emulator_options():
            return {options}

        def test(smartglocal_emulator): pass
        """,
    )
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*UsageError: smartglocal_emulator_options*{problem}"])


def test_what_the_marker_takes(pytester: pytest.Pytester) -> None:
    """Markers of a module, a class and a function add up; for each name the closest counts."""
    run(
        pytester,
        """
        import pytest
        import smartglocal_async as sg
        from smartglocal_async.emulator import Confirmation, Fault, FaultKind, FaultScript, Rules

        BEFORE, AFTER = Fault(FaultKind.BEFORE, nth=(1,)), Fault(FaultKind.AFTER, nth=(2,))
        pytestmark = pytest.mark.smartglocal(settings=sg.Settings(key_field="order"))

        async def faults_of(api, requests):
            session = await api.session.create(sg.CreateSession(), key="a")
            assert session.metadata == {"order": "a"}
            return [seen.fault for seen in requests]

        @pytest.mark.smartglocal(faults=BEFORE)
        class TestMarked:
            @pytest.mark.smartglocal(rules=Rules(confirmation=Confirmation.AUTOMATIC))
            async def test_one(self, smartglocal_api, smartglocal_requests, smartglocal_admin):
                assert await faults_of(smartglocal_api, smartglocal_requests) == ["before", None]
                rules = (await smartglocal_admin.settings())["rules"]
                assert rules["confirmation"] == "automatic"

            @pytest.mark.smartglocal(faults=[BEFORE, AFTER])
            async def test_list(self, smartglocal_api, smartglocal_requests):
                met = await faults_of(smartglocal_api, smartglocal_requests)
                assert met == ["before", "after", None]

            @pytest.mark.smartglocal(faults=FaultScript())
            async def test_none(self, smartglocal_api, smartglocal_requests):
                assert await faults_of(smartglocal_api, smartglocal_requests) == [None]
        """,
    ).assert_outcomes(passed=3)


MISTAKES = {
    "fault=Fault(FaultKind.AFTER)": "fault: there is no such field; did you mean faults?",
    "FaultScript()": "name the arguments: faults=, rules=, settings=",
    "faults=Fault": "faults must be *, not the class Fault",
    "faults=[Fault]": "faults must be *, not with the class Fault",
    "faults=FaultKind.AFTER": "faults must be *, not FaultKind",
    "faults=None": "faults must be *, not NoneType",
    "rules=Rules": "rules must be Rules(...), not the class Rules",
    "settings={}": "settings must be Settings(...), not dict",
}


def test_mistakes_of_the_marker(pytester: pytest.Pytester) -> None:
    """Each is an error of the test that names the problem."""
    lines = ["import pytest", "from smartglocal_async.emulator import *"]
    for number, arguments in enumerate(MISTAKES):
        lines += [
            f"@pytest.mark.smartglocal({arguments})",
            f"def test_{number}(smartglocal_api): pass",
        ]
    result = run(pytester, "\n".join(lines))
    result.assert_outcomes(errors=len(MISTAKES))
    for problem in MISTAKES.values():
        escaped = problem.replace("[", "[[]")
        result.stdout.fnmatch_lines([f"E *UsageError: @pytest.mark.smartglocal: {escaped}*"])


@pytest.mark.parametrize(
    ("scope", "works", "refused"),
    [("class", 5, 1), ("module", 3, 3), ("session", 2, 4)],
)
def test_marks_at_each_scope(pytester: pytest.Pytester, scope, works, refused) -> None:
    """An emulator has the marks of what it belongs to; settings are those of each test."""
    pytester.makeini(f"{STRICT}    smartglocal_scope = {scope}")
    pytester.makepyfile(
        """
        import pytest
        import smartglocal_async as sg
        from smartglocal_async.emulator import Fault, FaultKind

        BEFORE = pytest.mark.smartglocal(faults=Fault(FaultKind.BEFORE, nth=(1,)))
        ORDER = pytest.mark.smartglocal(settings=sg.Settings(key_field="order"))

        async def faults_of(api, requests):
            await api.session.create(sg.CreateSession(), key="a")
            return [seen.fault for seen in requests]

        @BEFORE
        class TestFaults:
            async def test_one(self, smartglocal_api, smartglocal_requests):
                assert await faults_of(smartglocal_api, smartglocal_requests) == ["before", None]

            async def test_two(self, smartglocal_api, smartglocal_requests):
                assert await faults_of(smartglocal_api, smartglocal_requests) == ["before", None]

        class TestFunction:
            @BEFORE
            async def test_faults(self, smartglocal_api, smartglocal_requests): pass

            @ORDER
            async def test_settings(self, smartglocal_api):
                session = await smartglocal_api.session.create(sg.CreateSession(), key="a")
                assert session.metadata == {"order": "a"}

        async def test_unmarked(smartglocal_api, smartglocal_requests):
            assert await faults_of(smartglocal_api, smartglocal_requests) == [None]
        """
    )
    pytester.makepyfile(
        test_module="""
        import pytest
        import smartglocal_async as sg
        from smartglocal_async.emulator import Fault, FaultKind

        pytestmark = pytest.mark.smartglocal(faults=Fault(FaultKind.BEFORE, nth=(1,)))

        async def test(smartglocal_api, smartglocal_requests):
            await smartglocal_api.session.create(sg.CreateSession(), key="a")
            assert [seen.fault for seen in smartglocal_requests] == ["before", None]
        """
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=works, errors=refused)


ISOLATED = """
    from datetime import UTC, datetime, timedelta

    import pytest
    import smartglocal_async as sg
    from smartglocal_async.emulator import Fault, FaultKind

    @pytest.fixture(scope="session")
    def smartglocal_settings():
        return sg.Settings(retry=sg.RetryPolicy(budget_tokens=14, budget_cost=14))

    async def spend(api, provider, admin):
        with provider.inject(Fault(FaultKind.BEFORE)), pytest.raises(sg.OutcomeUnknown):
            await api.session.create(sg.CreateSession(), key="spent", attempts=2)
        with provider.inject(Fault(FaultKind.THROTTLE, seconds=50)), pytest.raises(sg.Refused):
            await api.session.create(sg.CreateSession(), key="paused", attempts=1)
        provider.deliver_to("http://127.0.0.1:9/webhooks")
        await admin.set_faults({"kind": "before", "rate": 1.0})
        await admin.change_rules(confirmation="automatic")
        await api.close()

    @pytest.mark.parametrize("turn", [1, 2])
    async def test_isolated(
        smartglocal_api, smartglocal_emulator, smartglocal_admin, smartglocal_clock, turn
    ):
        assert smartglocal_clock.now() < datetime.now(UTC) + timedelta(hours=1)
        assert smartglocal_emulator.report().requests == 0
        settings = await smartglocal_admin.settings()
        assert settings["webhook_url"] is None
        assert settings["rules"]["confirmation"] == "manual"
        assert (await smartglocal_api.session.create(sg.CreateSession(), key="a")).id == "ps_1"
        assert smartglocal_api.stats().budget_tokens == 14
        await spend(smartglocal_api, smartglocal_emulator, smartglocal_admin)
        smartglocal_clock.advance(timedelta(hours=5))
"""


@pytest.mark.parametrize("scope", ["function", "module", "session"])
def test_tests_that_share_an_emulator_are_isolated(pytester: pytest.Pytester, scope) -> None:
    """It starts over before each, and each has a client of its own."""
    pytester.makeini(f"{STRICT}    smartglocal_scope = {scope}")
    pytester.makepyfile(ISOLATED)
    pytester.runpytest_subprocess().assert_outcomes(passed=2)


def test_an_emulator_that_keeps_all(pytester: pytest.Pytester) -> None:
    """With a reset that does nothing, sessions last from test to test."""
    pytester.makeini(f"{STRICT}    smartglocal_scope = session")
    pytester.makepyfile(
        """
        import pytest
        import smartglocal_async as sg

        @pytest.fixture
        def smartglocal_reset():
            pass

        @pytest.mark.parametrize("turn", [1, 2])
        async def test(smartglocal_api, smartglocal_emulator, smartglocal_requests, turn):
            await smartglocal_api.session.create(sg.CreateSession(), key=f"order-{turn}")
            assert smartglocal_emulator.report().sessions == turn
            assert len(smartglocal_requests) == 1
        """
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=2)


@pytest.mark.parametrize("scope", ["function", "session"])
def test_requests_of_a_fixture(pytester: pytest.Pytester, scope) -> None:
    """They are of the test, also if the list is requested after them, and of no other test."""
    pytester.makeini(f"{STRICT}    smartglocal_scope = {scope}")
    pytester.makepyfile(
        """
        import pytest
        import smartglocal_async as sg

        @pytest.fixture
        async def session(smartglocal_api):
            return await smartglocal_api.session.create(sg.CreateSession(), key="order-1")

        @pytest.mark.parametrize("turn", [1, 2])
        async def test(session, smartglocal_requests, smartglocal_api, turn):
            await smartglocal_api.session.status(sg.SessionRef(session.id))
            seen = [one.operation for one in smartglocal_requests]
            assert seen == ["session/create", "session/status"]
        """
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=2)


def test_the_marker_is_known(pytester: pytest.Pytester) -> None:
    """The plugin documents the marker's arguments."""
    pytester.makeini(STRICT)

    said = pytester.runpytest_subprocess("--markers").stdout

    said.fnmatch_lines(["@pytest.mark.smartglocal(faults=, rules=, settings=)*"])
