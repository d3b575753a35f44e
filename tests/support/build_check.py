"""Build the wheel and the sdist twice, compare them, and try the wheel without the source.

``python tests/support/build_check.py FOLDER`` leaves both in the folder. It exits with 1, and says
why, if a build can't be repeated, if a file is missing, or if the installed command fails. `nox -s
build` runs it.
"""

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
SOURCES: Final = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "README.md",
    "SECURITY.md",
    "docs/index.md",
    "mkdocs.yml",
    "noxfile.py",
    "smartglocal_async/py.typed",
    "tests/support/build_check.py",
)
"""Files that the sdist must have."""
_VERDICT: Final = "One order, one session: 20 of 20."
# The variables that would have the checkout imported in place of what was installed.
_FOREIGN: Final = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}


def run(*command: str | Path, folder: Path) -> str:
    """Run a command; return its output.

    Raises:
        SystemExit: it failed; the text is its output.

    """
    environment = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
    done = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}:\n{done.stdout}{done.stderr}")
    return done.stdout


def built(folder: Path, source: Path = ROOT) -> dict[str, str]:
    """Build both; return the SHA-256 of each by its name."""
    uv = (sys.executable, "-m", "uv", "build", "--quiet", "--python", sys.executable)
    _ = run(*uv, "--out-dir", folder, source, folder=source)
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.iterdir())
        if file.suffix in {".whl", ".gz"}
    }


def missing_files(sdist: Path) -> Iterator[str]:
    """Yield the files that a sdist lacks."""
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    yield from (name for name in SOURCES if name not in names)


def tried(wheel: Path, folder: Path) -> str:
    """Install a wheel into a new environment and run its command; return the demo's verdict."""
    _ = run(sys.executable, "-m", "uv", "venv", "--quiet", folder / "env", folder=folder)
    scripts = folder / "env" / ("Scripts" if os.name == "nt" else "bin")
    install = (sys.executable, "-m", "uv", "pip", "install", "--quiet")
    _ = run(*install, "--python", scripts / "python", f"{wheel}[cli]", folder=folder)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    if version not in run(scripts / "smartglocal", "--version", folder=folder):
        sys.exit(f"smartglocal --version doesn't print {version}")
    demo = run(scripts / "smartglocal", "demo", "--orders", "20", folder=folder)
    if _VERDICT not in demo.splitlines():
        sys.exit(f"smartglocal demo doesn't print {_VERDICT!r}")
    return _VERDICT


def main(folder: Path) -> int:
    """Do all of it; return 1 after printing what is wrong."""
    out = sys.stdout.write
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        again = Path(name)
        sums, others = built(folder.resolve()), built(again / "dist")
        if sums != others:
            _ = out(f"two builds differ:\n{sums}\n{others}\n")
            return 1
        for file, digest in sums.items():
            _ = out(f"{digest}  {file}\n")
        [sdist] = folder.glob("*.tar.gz")
        if missing := list(missing_files(sdist)):
            _ = out(f"the sdist lacks {', '.join(missing)}\n")
            return 1
        [wheel] = folder.glob("*.whl")
        _ = out(f"{tried(wheel.resolve(), again)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
