"""An emulator in a process of its own, for the benchmarks that pay."""

import sys
from contextlib import AbstractContextManager

from smartglocal_async import PrivateKey, emulator

from ..server import run_on, running, until_the_end


def providing(
    core: int | None, pem: bytes, latency_seconds: float = 0.0
) -> AbstractContextManager[str]:
    """Yield the address of an emulator that accepts the signatures of this key."""
    public = PrivateKey.from_pem(pem).public.pem()
    return running("benchmarks.payouts.provider", core, public.decode(), str(latency_seconds))


async def _provide(public: bytes, latency_seconds: float) -> None:
    rules = emulator.Rules(latency_seconds=latency_seconds)
    async with emulator.run(public_key=public, rules=rules) as provider:
        await until_the_end(provider.url)


if __name__ == "__main__":
    run_on(sys.argv[1], _provide(sys.argv[2].encode(), float(sys.argv[3])))
