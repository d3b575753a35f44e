"""Observers for tests."""

from smartglocal_async.observer import AttemptEnded, Observer, only


def attempts_into(found: list[AttemptEnded]) -> list[Observer]:
    """Return observers that append every attempt that ended."""
    return [only(AttemptEnded, found.append)]
