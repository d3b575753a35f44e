"""A schema of PostgreSQL, for journals that several processes use."""

import asyncio
import uuid
from collections.abc import Iterator

import pytest
from postgres_schemas import execute, missing


@pytest.fixture
def schema() -> Iterator[str]:
    """Give the name of a schema that isn't there; it is dropped at the end."""
    name = f"test_{uuid.uuid4().hex[:16]}"
    yield name
    if missing() is None:
        asyncio.run(execute("DROP SCHEMA IF EXISTS {name} CASCADE", name=name))
