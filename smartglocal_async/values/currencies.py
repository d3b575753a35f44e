"""The currencies of ISO 4217, each with the number of its decimals.

From the list that the maintenance agency of ISO 4217 publishes (SIX Group, "List One: current
currency and funds codes", edition of 2026-01-01); a test compares it with the currency
library that ships the same list.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_TWO: Final = (
    "aed afn all amd aoa ars aud awg azn bam bbd bdt bmd bnd bob bov brl bsd btn bwp "
    "byn bzd cad cdf che chf chw cny cop cou crc cup cve czk dkk dop dzd egp ern etb "
    "eur fjd fkp gbp gel ghs gip gmd gtq gyd hkd hnl htg huf idr ils inr irr jmd kes "
    "kgs khr kpw kyd kzt lak lbp lkr lrd lsl mad mdl mga mkd mmk mnt mop mru mur mvr "
    "mwk mxn mxv myr mzn nad ngn nio nok npr nzd pab pen pgk php pkr pln qar ron rsd "
    "rub sar sbd scr sdg sek sgd shp sle sos srd ssp stn svc syp szl thb tjs tmt top "
    "try ttd twd tzs uah usd usn uyu uzs ved ves wst xad xcd xcg yer zar zmw zwg "
)
_NONE: Final = "bif clp djf gnf isk jpy kmf krw pyg rwf ugx uyi vnd vuv xaf xof xpf"
_THREE: Final = "bhd iqd jod kwd lyd omr tnd"
_FOUR: Final = "clf uyw"
# Metals, bond-market units and test codes: they have no minor unit, so no amount either.
_NO_MINOR_UNIT: Final = "xag xau xba xbb xbc xbd xdr xpd xpt xsu xts xua xxx"

EXPONENTS: Final[Mapping[str, int | None]] = MappingProxyType(
    {
        code: decimals
        for decimals, codes in (
            (2, _TWO),
            (0, _NONE),
            (3, _THREE),
            (4, _FOUR),
            (None, _NO_MINOR_UNIT),
        )
        for code in codes.split()
    }
)
"""Lower-case code to decimals; None for codes that have no minor unit."""
