"""The pytest plugin, as a user's own test run loads it."""

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


def test_the_marker_is_known(pytester: pytest.Pytester) -> None:
    """The plugin documents the marker's arguments."""
    pytester.makeini(STRICT)

    said = pytester.runpytest_subprocess("--markers").stdout

    said.fnmatch_lines(["@pytest.mark.smartglocal(faults=, rules=, settings=)*"])
