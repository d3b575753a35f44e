"""Comparison of a payout file with the journal's record of its batch."""

from pathlib import Path

import pytest
from till import rows

import smartglocal_async as sg
from smartglocal_async.journal.entries import NewEntry
from smartglocal_async.payouts.calls import fingerprint_of
from smartglocal_async.payouts.review import compare


@pytest.fixture
async def start_rows(journal):
    """Return a function that writes rows of a file into the journal, as started payouts."""
    await journal.open("scope")

    async def write(path: Path, *places: int, batch: str = "b") -> None:
        for place, order in enumerate(sg.PayoutFile(path)):
            if place in places:
                await journal.accept(
                    NewEntry(
                        key=order.key,
                        mode="manual",
                        fingerprint=fingerprint_of(order, journal.secret),
                        batch=batch,
                        ordinal=place,
                    )
                )

    yield write
    await journal.close()


@pytest.fixture
def file(tmp_path):
    """Return a function that writes a file of payouts."""

    def write(text: str) -> Path:
        path = tmp_path / "p.csv"
        path.write_text(text, encoding="utf-8")
        return path

    return write


async def compared(path: Path, journal: sg.journal.Journal):
    """Compare a file with the batch of this module."""
    return await compare(sg.PayoutFile(path), journal, "b")


async def test_what_is_the_same(file, start_rows, journal):
    """Started rows at the same positions match, whatever comes between and after them."""
    path = file(rows(5))
    await start_rows(path, 3, 0)  # Rows start concurrently, so they are in any order.
    same = await compared(path, journal)
    assert (same.is_same, same.begun) == (True, 2)
    path = file(rows(9, k1="5.00", k4="6.00"))
    assert (await compared(path, journal)).is_same
    assert str(await compared(path, journal)) == "the 2 rows that were begun are as they were"


async def test_the_first_one_that_differs(file, start_rows, journal):
    """The first difference is reported with line and field; rows not yet started may differ."""
    await start_rows(file(rows(5)), 1, 2, 3)
    path = file(rows(5, k0="1.00", k2="2.00", k3="3.00").replace("hash,Jane Roe", "hash,Jane Poe"))
    found = await compared(path, journal)
    assert (found.place, found.line, found.key) == (2, 3, "k1")
    assert found.fields == ("participant_details.recipient.full_name",)
    found = await compared(file(rows(5, k2="2.00", k3="3.00")), journal)
    assert (found.line, found.fields) == (4, ("amount_details.amount",))


async def test_row_at_another_position(file, start_rows, journal):
    """An inserted row or another key is reported by its line."""
    await start_rows(file(rows(3)), 0, 1, 2)
    lines = rows(3).splitlines(keepends=True)
    path = file("".join([*lines[:2], "new,1,usd,h,J\n", *lines[2:]]))
    found = await compared(path, journal)
    assert (found.line, found.key, found.fields) == (3, "new", ())
    swapped = file("".join([lines[0], lines[1], lines[3], lines[2]]))
    assert (await compared(swapped, journal)).line == 3


async def test_shorter_file(file, start_rows, journal):
    """A missing row is reported by its position, because it has no line."""
    await start_rows(file(rows(5)), 0, 3)
    found = await compared(file(rows(3)), journal)
    assert (found.place, found.line) == (4, None)
    assert str(found) == "it ends before its payout 4, which was begun"


async def test_a_row_that_cannot_be_read_now(file, start_rows, journal):
    """A row that can't be read now is reported as different, by its line alone."""
    await start_rows(file(rows(3)), 1)
    found = await compared(file(rows(3, k1="x")), journal)
    assert str(found) == "line 3 was begun, and can't be read now"


async def test_other_batches_are_ignored(file, start_rows, journal):
    """Entries of another batch are ignored; a key that is in another batch here differs."""
    path = file(rows(3))
    await start_rows(path, 0, 1, batch="other")
    assert (await compared(path, journal)).begun == 0
    await start_rows(path, 2)
    assert (await compared(path, journal)).is_same
    assert (await compared(file(rows(2) + "k0,100.00,usd,hash,Jane Roe\n"), journal)).line == 4
