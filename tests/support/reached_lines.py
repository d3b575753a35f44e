"""A pytest plugin that records which tests reach which lines, for `nox -s mutation`.

The file ``reached.coverage`` has a context of coverage.py for each test.
"""

from collections.abc import Iterator

import coverage
import pytest

_recorder = coverage.Coverage(
    data_file="reached.coverage", config_file=False, source_pkgs=["smartglocal_async"]
)
_recorder.start()  # As early as a plugin can be, though the lines of imports don't matter here.


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Record what one test reaches, its fixtures included."""
    _recorder.switch_context(item.nodeid)
    result = yield
    _recorder.switch_context("")
    return result


def pytest_unconfigure() -> None:
    """Write the file."""
    _recorder.stop()
    _recorder.save()
