"""Reads credit transfers of ISO 20022: pain.001.001.03, .09 and .11.

The key of a payout is its ``EndToEndId``, or its ``InstrId`` where that isn't provided. What the
provider has no field for is refused if it changes the payment, such as a cheque or an amount in
another currency. The message is read twice: the control sums are compared before any row.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from typing import Any, BinaryIO, Final
from xml.sax import SAXException
from xml.sax.handler import ContentHandler, feature_namespaces
from xml.sax.xmlreader import Locator

from attrs import define, evolve, field, frozen

from ...codec import Wire
from ...errors import InvalidRequest
from ...models.money import AmountDetails
from ...validation.lookups import country_code
from .cleaning import CLEANERS
from .file_format import FileFormat
from .rows import FileRow, Problem, RowChecker, UnreadableFile, shown

VERSIONS: Final = ("pain.001.001.03", "pain.001.001.09", "pain.001.001.11")
_NAMESPACE: Final = "urn:iso:std:iso:20022:tech:xsd:"
_NEEDS: Final = "is XML, which needs defusedxml: pip install 'smartglocal-async[files]'"
_NOT_PROVIDED: Final = "NOTPROVIDED"
_NO_KEY: Final = (
    "is absent or NOTPROVIDED, and so is InstrId; give one of them, which is your id of the payout"
)
_CLEARING: Final = {"USABA": "routing_code", "GBDSC": "sort_code", "AUBSB": "bsb_number"}
"""Code of a clearing system (external code set of ISO 20022) -> field of the account."""
_FORBIDDEN: Final = {
    "Amt/EqvtAmt": "is an amount in another currency than the payment; give InstdAmt",
    "ChqInstr": "is a cheque, which the provider doesn't write",
    "XchgRateInf": "is an agreed exchange rate, which can't be sent; remove it",
    "UltmtCdtr": "is another person than the creditor, which can't be sent; remove it",
    **{
        f"IntrmyAgt{number}{of}": "is a bank in between, which can't be sent; remove it"
        for number in (1, 2, 3)
        for of in ("", "Acct")
    },
    "CdtrAgtAcct": "is the bank's account, which can't be sent; give the creditor's",
}
_INSTRUCTION: Final = "InstrForCdtrAgt"
_CHANGING: Final = frozenset({"CHQB", "HOLD"})
"""Instructions to pay by cheque, or to wait for the creditor (external code set of ISO 20022)."""
_ELEMENTS: Final[Mapping[str, frozenset[str]]] = {
    "PmtInf": frozenset(
        {
            *("PmtInfId", "PmtMtd", "BtchBookg", "NbOfTxs", "CtrlSum", "PmtTpInf", "ReqdExctnDt"),
            *("PoolgAdjstmntDt", "Dbtr", "DbtrAcct", "DbtrAgt", "DbtrAgtAcct", "InstrForDbtrAgt"),
            *("UltmtDbtr", "ChrgBr", "ChrgsAcct", "ChrgsAcctAgt"),
        }
    ),
    "CdtTrfTxInf": frozenset(
        {
            *("PmtId", "PmtTpInf", "Amt", "XchgRateInf", "ChrgBr", "MndtRltdInf", "ChqInstr"),
            *("UltmtDbtr", "CdtrAgt", "Cdtr", "CdtrAcct", "UltmtCdtr", _INSTRUCTION),
            *("InstrForDbtrAgt", "Purp", "RgltryRptg", "Tax", "RltdRmtInf", "RmtInf"),
            *(name for name in _FORBIDDEN if "/" not in name),
        }
    ),
    "PmtId": frozenset({"InstrId", "EndToEndId", "UETR"}),
    "Amt": frozenset({"InstdAmt", "EqvtAmt"}),
    "CdtrAgt": frozenset({"FinInstnId", "BrnchId"}),
    "FinInstnId": frozenset({"BIC", "BICFI", "ClrSysMmbId", "LEI", "Nm", "PstlAdr", "Othr"}),
    "ClrSysMmbId": frozenset({"ClrSysId", "MmbId"}),
    "Cdtr": frozenset({"Nm", "PstlAdr", "Id", "CtryOfRes", "CtctDtls"}),
    "CdtrAcct": frozenset({"Id", "Tp", "Ccy", "Nm", "Prxy"}),
    **dict.fromkeys(
        ("InstdAmt", "IBAN", "BIC", "BICFI", "MmbId", "EndToEndId", "InstrId", "Nm", "Ustrd"),
        frozenset[str](),
    ),
}
"""Element -> those that it may have inside (ISO 20022, all versions that are read)."""
_REPEATED: Final = frozenset({_INSTRUCTION, "RgltryRptg", "RltdRmtInf", "InstrForDbtrAgt"})
_NUMBER: Final = re.compile(r"\+?(?:[0-9]{1,18}(?:\.[0-9]{0,17})?|\.[0-9]{1,17})")
_MAX_DEPTH: Final = 40
_MAX_TEXT: Final = 16_384
_BLOCK: Final = 1 << 16
_PAYMENT: Final = "PmtInf"
_TRANSACTION: Final = "CdtTrfTxInf"
_MESSAGE: Final = "CstmrCdtTrfInitn"
_FREE_FORM: Final = "SplmtryData"
_DAMAGED: Final = "isn't well-formed XML"


@define(eq=False)
class _Node:
    """An element: its name without the namespace, text, attributes and children."""

    name: str
    line: int
    attributes: dict[str, str]
    text: str = ""
    children: list["_Node"] = field(factory=list["_Node"])

    def find(self, path: str) -> "_Node | None":
        """Return the first element at a path."""
        node: _Node | None = self
        for name in path.split("/"):
            node = next((one for one in node.children if one.name == name), None) if node else None
        return node

    def at(self, path: str) -> str:
        """Return the text at a path; empty if there is none."""
        found = self.find(path)
        return "" if found is None else " ".join(found.text.split())

    def all(self, name: str) -> list[str]:
        """Return the texts of all children of a name."""
        return [" ".join(one.text.split()) for one in self.children if one.name == name]


class _MessageRefused(Exception):
    """The message can't be read, with a reason and a line."""

    def __init__(self, words: str, line: int) -> None:
        super().__init__(words)
        self.words, self.line = words, line


class _MessageHandler(ContentHandler):
    """Builds the elements of a message, and sets each transaction free when it ends."""

    def __init__(self) -> None:
        super().__init__()
        self.locator: Locator | None = None
        self.namespace: str | None = None
        self.stack: list[_Node] = []
        self.payment: _Node | None = None
        self.group: _Node | None = None
        self.transactions: list[tuple[_Node, _Node]] = []
        """Transactions that ended, each with its ``PmtInf``."""
        self.payments: list[_Node] = []
        """Payments that ended."""
        self._free = 0

    def startElementNS(self, name: tuple[str | None, str], qname: str | None, attrs: Any) -> None:  # noqa: N802, ANN401
        """Begin an element."""
        del qname
        namespace, local = name
        if self.namespace is None:
            self.namespace = namespace or ""
        elif namespace != self.namespace and not self._free:
            raise _MessageRefused(f"{local} is in another namespace than the message", self._line())
        if len(self.stack) >= _MAX_DEPTH:
            raise _MessageRefused("its elements are nested too deeply", self._line())
        if self._free or local == _FREE_FORM:
            self._free += 1
            return
        values = {key[1]: str(value) for key, value in attrs.items()}
        node = _Node(local, self._line(), values)
        if local == _PAYMENT and len(self.stack) == 2:  # noqa: PLR2004 - Document, and the message
            self.payment = node
        self.stack.append(node)

    def endElementNS(self, name: tuple[str | None, str], qname: str | None) -> None:  # noqa: N802
        """End an element: a transaction leaves the tree."""
        del name, qname
        if self._free:
            self._free -= 1
            return
        node = self.stack.pop()
        if node.name == _TRANSACTION and self.payment in self.stack:
            self.transactions.append((self.payment, node))
        elif node is self.payment:
            self.payments.append(node)
        elif self.stack:
            self.stack[-1].children.append(node)
        if node.name == "GrpHdr":
            self.group = node

    def characters(self, content: str) -> None:
        """Add text to the element."""
        if self._free or not self.stack:
            return
        node = self.stack[-1]
        if len(node.text) + len(content) > _MAX_TEXT:
            raise _MessageRefused("a text in it is too long", self._line())
        node.text += content

    def _line(self) -> int:
        return 1 if self.locator is None else int(self.locator.getLineNumber() or 1)


@define(eq=False)
class _Message:
    """A message that is being parsed, block by block."""

    _file: BinaryIO
    handler: _MessageHandler = field(factory=_MessageHandler)
    _parser: Any = field(init=False)

    def __attrs_post_init__(self) -> None:
        try:
            from defusedxml.expatreader import DefusedExpatParser  # noqa: PLC0415
        except ImportError:
            raise UnreadableFile.because(_NEEDS) from None
        self._parser = DefusedExpatParser(forbid_dtd=True)
        self._parser.setFeature(feature_namespaces, 1)
        self._parser.setContentHandler(self.handler)
        self.handler.locator = self._parser
        _ = self._file.seek(0)

    def read(self) -> Iterator[None]:
        """Parse the message; yields after each block.

        Raises:
            UnreadableFile: it isn't well-formed, or has a document type or entities.

        """
        from defusedxml.common import DefusedXmlException  # noqa: PLC0415

        try:
            while block := self._file.read(_BLOCK):
                self._parser.feed(block)
                yield
            self._parser.close()
        except _MessageRefused as error:
            raise UnreadableFile.because(error.words, line=error.line) from None
        except DefusedXmlException:
            words = "has a document type or entities, which a payment message has not"
            raise UnreadableFile.because(words, line=self._line) from None
        except (SAXException, ValueError, LookupError):
            raise UnreadableFile.because(_DAMAGED, line=self._line) from None
        yield

    @property
    def _line(self) -> int:
        return int(self._parser.getLineNumber() or 1)


def recognise(file: BinaryIO, given: FileFormat) -> FileFormat:
    """Return the format of a pain.001: its version, by its namespace.

    Raises:
        UnreadableFile: it is another message, or not well-formed.

    """
    message = _Message(file)
    for _ in message.read():
        if message.handler.namespace is not None:
            break
    namespace = message.handler.namespace or ""
    version = namespace.removeprefix(_NAMESPACE)
    if version not in VERSIONS:
        listed = ", ".join(VERSIONS)
        kind = version if namespace.startswith(_NAMESPACE) else "another kind"
        raise UnreadableFile.because(f"is XML of {kind}; give one of {listed}")
    return evolve(given, version=version)


def payment_rows(file: BinaryIO, found: FileFormat, checker: RowChecker) -> Iterator[FileRow]:
    """Yield the payouts of a pain.001 whose counts and control sums are right."""
    del found
    problems = _wrong_sums(file)
    if problems:
        yield FileRow(line=problems[0].line, order=None, problems=problems)
        return
    message = _Message(file)
    for _ in message.read():
        for payment, transaction in message.handler.transactions:
            yield _row(payment, transaction, checker)
        message.handler.transactions.clear()
        message.handler.payments.clear()


@define
class _Sum:
    """What was counted in a message or in one payment of it."""

    count: int = 0
    total: Decimal = Decimal(0)

    def compare(self, node: _Node) -> Iterator[Problem]:
        """Yield where it differs from what an element declares."""
        for name, found in (("NbOfTxs", Decimal(self.count)), ("CtrlSum", self.total)):
            declared = node.at(name)
            if not declared and not (name == "NbOfTxs" and node.name == "GrpHdr"):
                continue
            if _decimal(declared) != found:
                words = f"says {declared or 'nothing'}, and the transactions make {found:f}"
                line = node.line
                yield Problem(line=line, column=f"{node.name}/{name}", problem=words)


def _wrong_sums(file: BinaryIO) -> tuple[Problem, ...]:
    message, whole = _Message(file), _Sum()
    sums: dict[int, _Sum] = {}
    problems = list[Problem]()
    for _ in message.read():
        handler = message.handler
        for payment, transaction in handler.transactions:
            own = sums.setdefault(id(payment), _Sum())
            amount = _decimal(transaction.at("Amt/InstdAmt")) or Decimal(0)
            for one in (own, whole):
                one.count += 1
                one.total += amount
        for payment in handler.payments:
            problems.extend(sums.pop(id(payment), _Sum()).compare(payment))
        handler.transactions.clear()
        handler.payments.clear()
    group = message.handler.group
    if group is None:
        problems.append(Problem(line=1, column="GrpHdr", problem="is missing"))
    else:
        problems.extend(whole.compare(group))
    if not whole.count:
        problems.append(Problem(line=1, column=_TRANSACTION, problem="the message has no payments"))
    return tuple(problems)


def _decimal(text: str) -> Decimal | None:
    return Decimal(text) if _NUMBER.fullmatch(text) else None


_ADDRESS: Final = {
    "country_iso3": "PstlAdr/Ctry",
    "city": "PstlAdr/TwnNm",
    "postal_code": "PstlAdr/PstCd",
    "state": "PstlAdr/CtrySubDvsn",
}
_RECIPIENT: Final = "participant_details.recipient"
_SENDER: Final = "participant_details.sender"
_ACCOUNT: Final = "payment_method.bank_account.global"
_RUSSIAN: Final = "payment_method.bank_account.ru"
_ACCOUNT_TYPES: Final = {"CACC": "CHECKING", "SVGS": "SAVINGS"}
"""Code of a kind of account (external code set of ISO 20022) -> the provider's word."""
_IN_MESSAGE: Final = {
    "key": "PmtId/EndToEndId",
    "amount_details.amount": "Amt/InstdAmt",
    "amount_details.currency": "Amt/InstdAmt/@Ccy",
    "payment_method": "CdtrAcct",
    _ACCOUNT: "CdtrAcct/Id",
    f"{_ACCOUNT}.iban": "CdtrAcct/Id/IBAN",
    f"{_ACCOUNT}.bank_account_number": "CdtrAcct/Id/Othr/Id",
    f"{_ACCOUNT}.account_number": "CdtrAcct/Id/Othr/Id",
    f"{_ACCOUNT}.account_type": "CdtrAcct/Tp/Cd",
    f"{_ACCOUNT}.swift_bic_code": "CdtrAgt/FinInstnId/BICFI",
    f"{_ACCOUNT}.description": "RmtInf/Ustrd",
    f"{_ACCOUNT}.routing_code": "CdtrAgt/FinInstnId/ClrSysMmbId",
    f"{_ACCOUNT}.sort_code": "CdtrAgt/FinInstnId/ClrSysMmbId",
    f"{_ACCOUNT}.bsb_number": "CdtrAgt/FinInstnId/ClrSysMmbId",
    f"{_RUSSIAN}.bik": "CdtrAgt/FinInstnId/ClrSysMmbId",
    f"{_RUSSIAN}.account": "CdtrAcct/Id/Othr/Id",
    f"{_RUSSIAN}.description": "RmtInf/Ustrd",
    f"{_RECIPIENT}.full_name": "Cdtr/Nm",
    f"{_RECIPIENT}.bank_name": "CdtrAgt/FinInstnId/Nm",
    f"{_RECIPIENT}.address_line": "Cdtr/PstlAdr",
    f"{_RECIPIENT}.currency": "Amt/InstdAmt/@Ccy",
    f"{_SENDER}.company_name": "PmtInf/Dbtr/Nm",
    f"{_SENDER}.address_line": "PmtInf/Dbtr/PstlAdr",
    f"{_SENDER}.registration_number": "PmtInf/Dbtr/Id/OrgId/Othr/Id",
    f"{_SENDER}.code": "PmtInf/Dbtr/Id/OrgId/Othr/Id",
    **{f"{_RECIPIENT}.{name}": f"Cdtr/{path}" for name, path in _ADDRESS.items()},
    **{f"{_SENDER}.{name}": f"PmtInf/Dbtr/{path}" for name, path in _ADDRESS.items()},
}
"""Path of the request -> the element that it comes from."""


def _column_of(path: str) -> str:
    return _IN_MESSAGE.get(path, path)


def _row(payment: _Node, transaction: _Node, checker: RowChecker) -> FileRow:
    line = transaction.line
    problems = list(_unfit(payment, transaction))
    problems.extend(_too_early(payment, transaction, checker.today))
    texts = dict(_texts(payment, transaction))
    currency_node = transaction.find("Amt/InstdAmt")
    currency = "" if currency_node is None else currency_node.attributes.get("Ccy", "")
    amount = transaction.at("Amt/InstdAmt")
    details: Wire = {"amount": 1, "currency": "usd"}
    try:
        # By the schema its decimal sign is the point, so 1.500 is one and a half.
        number = _decimal(amount)
        money = AmountDetails.of(amount if number is None else number, currency)
        details = {"amount": money.amount, "currency": money.currency}
    except InvalidRequest as error:
        where = "amount_details.currency" if "currency" in error.field else "amount_details.amount"
        words = error.problem if amount else "is missing"
        problems.append(Problem(line=line, column=_column_of(where), problem=words))
    if not (key := _key(transaction)):
        problems.append(Problem(line=line, column=_column_of("key"), problem=_NO_KEY))
    wire: Wire = {"key": key, "amount_details": details}
    _put(wire, texts)
    row = checker.row(line, wire, _column_of)
    if not problems:
        return row
    named = {problem.column for problem in problems}
    more = (problem for problem in row.problems if problem.column not in named)
    is_bad = any(not problem.is_advice for problem in problems)
    return evolve(row, order=None if is_bad else row.order, problems=(*problems, *more))


def _key(transaction: _Node) -> str:
    key = transaction.at("PmtId/EndToEndId")
    is_given = key.replace(" ", "").upper() not in {"", _NOT_PROVIDED}
    return key if is_given else transaction.at("PmtId/InstrId")


def _unfit(payment: _Node, transaction: _Node) -> Iterator[Problem]:
    """Yield what changes the payment and can't be sent."""
    if payment.at("PmtMtd") != "TRF":
        words = "must be TRF, a credit transfer"
        yield Problem(line=payment.line, column="PmtInf/PmtMtd", problem=words)
    for path, words in _FORBIDDEN.items():
        found = transaction.find(path)
        if found is not None:
            yield Problem(line=found.line, column=path, problem=words)
    yield from _misplaced(payment)
    yield from _misplaced(transaction)
    yield from _instructions(transaction)
    system = transaction.find("CdtrAgt/FinInstnId/ClrSysMmbId")
    if system is not None and transaction.find("CdtrAcct/Id/IBAN") is None:
        code = system.at("ClrSysId/Cd")
        if code not in {*_CLEARING, "RUCBC"}:
            words = f"{code or 'it'} is no clearing system that can be sent; give the IBAN"
            column = "CdtrAgt/FinInstnId/ClrSysMmbId"
            yield Problem(line=system.line, column=column, problem=words)


def _misplaced(node: _Node, path: str = "") -> Iterator[Problem]:
    """Yield elements that the standard doesn't have there, or not more than once."""
    known = _ELEMENTS.get(node.name)
    seen = set[str]()
    for child in node.children:
        place = f"{path}{child.name}" if node.name != _PAYMENT else f"{_PAYMENT}/{child.name}"
        if known is not None and child.name not in known:
            words = "is no element of a payment there; remove it, or correct its name"
            yield Problem(line=child.line, column=shown(place), problem=words)
        elif known is not None and child.name in seen - _REPEATED:
            words = "is there twice; leave the one that is meant"
            yield Problem(line=child.line, column=place, problem=words)
        elif node.name != _PAYMENT:  # The debtor's own elements change nothing.
            yield from _misplaced(child, f"{place}/")
        seen.add(child.name)


def _instructions(transaction: _Node) -> Iterator[Problem]:
    for node in transaction.children:
        if node.name == _INSTRUCTION:
            is_changing = node.at("Cd") in _CHANGING
            words = "is an instruction to the creditor's bank, which can't be sent; remove it"
            yield Problem(
                line=node.line, column=_INSTRUCTION, problem=words, is_advice=not is_changing
            )


def _too_early(payment: _Node, transaction: _Node, today: date | None) -> Iterator[Problem]:
    text = payment.at("ReqdExctnDt/Dt") or payment.at("ReqdExctnDt/DtTm")[:10]
    text = text or payment.at("ReqdExctnDt")
    try:
        wanted = date.fromisoformat(text)
    except ValueError:
        return
    if today is not None and wanted > today:
        words = f"is {wanted}, and payouts are sent at once"
        column = "PmtInf/ReqdExctnDt"
        yield Problem(line=transaction.line, column=column, problem=words, is_advice=True)


def _texts(payment: _Node, transaction: _Node) -> Iterator[tuple[str, str]]:
    """Yield the paths of the request with their texts; some are empty."""
    yield from _account(transaction)
    person = transaction.find("Cdtr")
    if person is not None:
        yield f"{_RECIPIENT}.full_name", person.at("Nm")
        if person.find("Id/OrgId") is not None:
            yield f"{_RECIPIENT}.company_name", person.at("Nm")
        yield f"{_RECIPIENT}.email", person.at("CtctDtls/EmailAdr")
        yield f"{_RECIPIENT}.msisdn", person.at("CtctDtls/MobNb") or person.at("CtctDtls/PhneNb")
        yield from _address(person, _RECIPIENT)
    yield f"{_RECIPIENT}.bank_name", transaction.at("CdtrAgt/FinInstnId/Nm")
    amount = transaction.find("Amt/InstdAmt")
    currency = "" if amount is None else amount.attributes.get("Ccy", "")
    yield f"{_RECIPIENT}.currency", transaction.at("CdtrAcct/Ccy") or currency
    sender = payment.find("Dbtr")
    if sender is not None:
        number = sender.at("Id/OrgId/Othr/Id")
        yield f"{_SENDER}.company_name", sender.at("Nm")
        yield f"{_SENDER}.registration_number", number
        yield f"{_SENDER}.code", number
        yield from _address(sender, _SENDER)


def _account(transaction: _Node) -> Iterator[tuple[str, str]]:
    number = transaction.at("CdtrAcct/Id/Othr/Id")
    system = transaction.at("CdtrAgt/FinInstnId/ClrSysMmbId/ClrSysId/Cd")
    member = transaction.at("CdtrAgt/FinInstnId/ClrSysMmbId/MmbId")
    remittance = transaction.find("RmtInf")
    purpose = "" if remittance is None else " ".join(remittance.all("Ustrd"))
    purpose = purpose or transaction.at("RmtInf/Strd/CdtrRefInf/Ref")
    if system == "RUCBC" and not transaction.at("CdtrAcct/Id/IBAN"):
        yield f"{_RUSSIAN}.bik", member
        yield f"{_RUSSIAN}.account", number
        yield f"{_RUSSIAN}.full_name", transaction.at("Cdtr/Nm")
        yield f"{_RUSSIAN}.inn", transaction.at("Cdtr/Id/OrgId/Othr/Id")
        yield f"{_RUSSIAN}.description", purpose
        return
    agent = "CdtrAgt/FinInstnId"
    kind = transaction.at("CdtrAcct/Tp/Cd")
    yield f"{_ACCOUNT}.iban", transaction.at("CdtrAcct/Id/IBAN")
    name = "account_number" if system == "GBDSC" else "bank_account_number"
    yield f"{_ACCOUNT}.{name}", number
    bic = transaction.at(f"{agent}/BICFI") or transaction.at(f"{agent}/BIC")
    yield f"{_ACCOUNT}.swift_bic_code", bic
    if system in _CLEARING:
        yield f"{_ACCOUNT}.{_CLEARING[system]}", member
    yield f"{_ACCOUNT}.account_type", _ACCOUNT_TYPES.get(kind, "")
    yield f"{_ACCOUNT}.description", purpose


def _address(person: _Node, side: str) -> Iterator[tuple[str, str]]:
    for name, path in _ADDRESS.items():
        yield f"{side}.{name}", person.at(path)
    address = person.find("PstlAdr")
    if address is not None:
        street = " ".join(one for one in (address.at("StrtNm"), address.at("BldgNb")) if one)
        yield f"{side}.address_line", street or ", ".join(address.all("AdrLine"))


def _put(wire: Wire, texts: dict[str, str]) -> None:
    """Put texts into the wire form of a request, in the provider's form."""
    country = texts.get(f"{_RECIPIENT}.country_iso3", "")
    country = (country_code(country) or country).upper()
    tags = {
        _ACCOUNT: {"type": "bank_account", "system_type": "global"},
        _RUSSIAN: {"type": "bank_account", "system_type": "ru"},
    }
    for path, text in texts.items():
        if not text:
            continue
        clean: Callable[[str, str], str] | None = CLEANERS.get(path)
        holder, *steps, name = path.split(".")
        inside = wire.setdefault(holder, {})
        for step in steps:
            inside = inside.setdefault(step, {})
        inside[name] = text if clean is None else clean(text, country)
    for place, tag in tags.items():
        _, outer, inner = place.split(".")
        method = wire.get("payment_method")
        if method is not None and inner in method.get(outer, {}):
            method["type"] = tag["type"]
            method[outer]["system_type"] = tag["system_type"]


@frozen
class OriginalTransaction:
    """How a transaction of a pain.001 is called there."""

    payment_id: str
    """``PmtInfId`` of the payment that it is in."""
    debtor_iban: str | None
    instruction_id: str | None
    end_to_end_id: str | None


@frozen
class OriginalMessage:
    """What an answer to a pain.001 names of it."""

    name: str
    """Its version, such as ``pain.001.001.09``."""
    message_id: str
    count: int
    transactions: Mapping[str, OriginalTransaction] = field(repr=False, hash=False)
    """By the key of the payout."""


def original_message(file: BinaryIO) -> OriginalMessage:
    """Return what an answer names of a pain.001; memory grows with its transactions.

    Raises:
        UnreadableFile: it is another message, or not well-formed.

    """
    version = recognise(file, FileFormat()).version
    message, found, count = _Message(file), dict[str, OriginalTransaction](), 0
    for _ in message.read():
        for payment, transaction in message.handler.transactions:
            count += 1
            found[_key(transaction)] = OriginalTransaction(
                payment.at("PmtInfId"),
                payment.at("DbtrAcct/Id/IBAN") or None,
                transaction.at("PmtId/InstrId") or None,
                transaction.at("PmtId/EndToEndId") or None,
            )
        message.handler.transactions.clear()
        message.handler.payments.clear()
    group = message.handler.group
    message_id = "" if group is None else group.at("MsgId")
    return OriginalMessage(version or "", message_id or _NOT_PROVIDED, count, found)
