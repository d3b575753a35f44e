"""The pain.002 and the camt.054: valid against the schemas of ISO 20022, by its names."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
import xmlschema
from places import SAMPLES
from reported import ReportedJournal, mixed_batch

import smartglocal_async as sg
from smartglocal_async.journal.entries import Batch
from smartglocal_async.journal.states import Step
from smartglocal_async.models.money import Amount
from smartglocal_async.payouts.files.iso20022 import OriginalMessage, original_message
from smartglocal_async.payouts.reports.camt054 import NotificationReport
from smartglocal_async.payouts.reports.iso20022 import SPACE, PaidMessage
from smartglocal_async.payouts.reports.pain002 import StatusReport
from smartglocal_async.payouts.session_view import PaymentProof

SCHEMAS: Final = Path(__file__).parent / "schemas"
SAME: Final = {"pain.002.001.10": "pain.002.001.12"}
"""A version whose elements, as far as they are written here, are those of a later one."""
VERSIONS: Final = {
    "03": ("pain.002.001.03", "camt.054.001.02"),
    "09": ("pain.002.001.10", "camt.054.001.08"),
    "11": ("pain.002.001.12", "camt.054.001.10"),
}


def original(version: str) -> OriginalMessage:
    """Return the message that a program made, as it is answered."""
    with (SAMPLES / "files" / f"sepaxml-{version}.xml").open("rb") as file:
        return original_message(file)


def check(content: bytes, version: str) -> None:
    """Check a message against the schema of its version."""
    text = content.decode()
    assert f'xmlns="{SPACE}{version}"' in text
    schema = SAME.get(version, version)
    xmlschema.XMLSchema(SCHEMAS / f"{schema}.xsd").validate(text.replace(version, schema))


def texts(content: bytes, name: str) -> list[str]:
    """Return the texts of all elements of a name."""
    return re.findall(rf"<{name}(?: [^>]*)?>([^<]*)</{name}>", content.decode())


def writer(kind: Callable[..., Any], message: OriginalMessage | None) -> Callable[..., Any]:
    """Return a function that makes a writer of a message."""
    return lambda stream: kind(stream, PaidMessage(message))


async def paid_message() -> ReportedJournal:
    """Return the payouts of a message: one paid and one that failed."""
    made = await ReportedJournal().opened(Batch(name="may.csv", rows=2))
    proof = PaymentProof(fee=Amount(0, "eur"), reference="R" * 40)
    await made.has("salary-1", amount=Amount(123_450, "eur"), proof=proof)
    reason = f"the account & <its> owner {'x' * 200}"
    await made.has(
        "salary-2", Step.FAILED, amount=Amount(98_000, "eur"), code="c" * 50, reason=reason
    )
    return made


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_status_report_of_a_message(version):
    """In the version of the year, with the identifiers of the message and a status for each."""
    message = original(version)
    content = await (await paid_message()).text(writer(StatusReport, message))
    check(content, VERSIONS[version][0])
    assert texts(content, "OrgnlMsgId") == [message.message_id]
    assert texts(content, "OrgnlMsgNmId") == [f"pain.001.001.{version}"]
    assert texts(content, "OrgnlEndToEndId") == ["salary-1", "salary-2"]
    assert texts(content, "TxSts") == ["ACSC", "RJCT"]
    assert texts(content, "GrpSts") == texts(content, "PmtInfSts") == ["PART"]
    (found,) = {one.payment_id for one in message.transactions.values()}
    assert texts(content, "OrgnlPmtInfId") == [found]


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_notification_of_a_message(version):
    """A debit of what was paid, from the account of the message."""
    message = original(version)
    content = await (await paid_message()).text(writer(NotificationReport, message))
    check(content, VERSIONS[version][1])
    assert texts(content, "EndToEndId") == ["salary-1"]
    assert texts(content, "Sum") == ["1234.50"]
    assert texts(content, "IBAN") == ["DE89370400440532013000"]
    assert texts(content, "Amt")[0] == "1234.50"
    assert texts(content, "Nm") == ["Jane Roe"]
    assert texts(content, "ClrSysRef") == ["R" * 35]
    assert set(texts(content, "CdtDbtInd")) == {"DBIT"}


async def test_each_outcome_has_its_status():
    """Paid, failed, cancelled; what is unknown or open is pending."""
    content = await (await mixed_batch()).text(writer(StatusReport, None), is_open=False)
    assert texts(content, "TxSts") == ["ACSC", "ACSC", "RJCT", "RJCT", "PDNG", "PDNG"]
    assert texts(content, "OrgnlMsgId") == texts(content, "OrgnlPmtInfId") == ["NOTPROVIDED"]
    assert texts(content, "Prtry") == ["declined"]


async def test_without_the_message_the_key_is_the_end_to_end_id():
    """Both messages are valid, with an account for each currency."""
    made = await ReportedJournal().opened()
    await made.has("k1", amount=Amount(500, "jpy"))
    await made.has("k2")
    await made.has("k&3", amount=Amount(1, "kwd"))
    status = await made.text(writer(StatusReport, None))
    check(status, "pain.002.001.10")
    assert texts(status, "GrpSts") == ["ACSC"]
    assert texts(status, "OrgnlEndToEndId") == ["k1", "k2", "k&amp;3"]
    content = await made.text(writer(NotificationReport, None))
    check(content, "camt.054.001.08")
    assert texts(content, "Sum") == ["500", "100.00", "0.001"]
    assert texts(content, "Ccy") == ["JPY", "USD", "KWD"]


async def test_transactions_that_were_not_started_are_pending():
    """The report has all transactions of the message."""
    made = await ReportedJournal().opened()
    await made.has("salary-2")
    content = await made.text(writer(StatusReport, original("09")))
    check(content, "pain.002.001.10")
    assert texts(content, "OrgnlEndToEndId") == ["salary-2", "salary-1"]
    assert texts(content, "TxSts") == ["ACSC", "PDNG"]
    assert texts(content, "AddtlInf") == ["not started"]


async def test_a_prefix_is_no_part_of_the_identifier():
    """The key in the journal has it, the message has not."""
    made = await ReportedJournal().opened()
    await made.has("nov-salary-1")
    paid = PaidMessage(original("09"), "nov-")
    content = await made.text(lambda stream: StatusReport(stream, paid))
    assert texts(content, "OrgnlEndToEndId") == ["salary-1", "salary-2"]
    assert texts(content, "TxSts") == ["ACSC", "PDNG"]


@pytest.mark.parametrize("kind", [StatusReport, NotificationReport])
async def test_a_key_that_is_no_identifier_is_refused(kind):
    """It would be cut, and be another one."""
    made = await ReportedJournal().opened()
    await made.has("k" * 36)
    with pytest.raises(sg.InvalidRequest, match="longer than the 35 characters"):
        await made.text(writer(kind, None))


async def test_a_notification_of_nothing_is_refused():
    """A camt.054 can't be empty."""
    made = await ReportedJournal().opened()
    await made.has("k1", Step.FAILED)
    with pytest.raises(sg.InvalidRequest, match="nothing is paid"):
        await made.text(writer(NotificationReport, None))


async def test_no_payee_without_the_key():
    """Neither name nor account."""
    made = await paid_message()
    content = (await made.text(writer(NotificationReport, original("09")), is_open=False)).decode()
    assert "Jane" not in content
    assert "4321" not in content
    check(content.encode(), "camt.054.001.08")
