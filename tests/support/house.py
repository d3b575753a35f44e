"""Print whether the package keeps the rules of its layout, and where it breaks one.

``python tests/support/house.py`` reads the source code and imports none of it. It exits with 1 if a
rule is broken. There is no list of exceptions. `nox -s house` runs it.
"""

import ast
import io
import re
import sys
import tokenize
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypeAlias

PACKAGE: Final = Path("smartglocal_async")
WITH_TEXT: Final = (
    *("smartglocal_async", "tests", "examples", "benchmarks", "docs"),
    *("noxfile.py", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"),
)
MAX_MODULE_LINES: Final = 600
MAX_FUNCTION_LINES: Final = 70
MAX_FOLDER_MODULES: Final = 15
MAX_ROOT_MODULES: Final = 25
MAX_ROOT_NAMES: Final = 90
MAX_LAYERS: Final = 8
FILES_OF_A_FOLDER: Final = 3
SMALL_MODULE_LINES: Final = 100

Place: TypeAlias = tuple[Path, int]
Problem: TypeAlias = tuple[Path, int, str]

CODE: Final = re.compile(r"`[^`\n]+`")
"""Code in a line of a page: a changelog names what was renamed."""
CLAUSE: Final = r"(?:^|[.:;]\s+)"
BANNED: Final = {
    words: re.compile(pattern, re.IGNORECASE)
    for words, pattern in {
        "whoever, somebody, nobody": r"\b(?:whoever|somebody|nobody)\b",
        "give (return)": rf"\bgives\b(?! up)|{CLAUSE}give\b(?! up)",
        "told, said, heard": r"\b(?:told|said|heard)\b",
        "come to": r"\b(?:come|comes|came) to\b",
        "heed": r"\bheed(?:s|ed)?\b",
        "mend": r"\bmend(?:s|ed|ing)?\b",
        "lie": r"\b(?:lie|lies|lay)\b",
        "stand": r"\b(?:stand|stands|stood|standing)\b",
        "so many, so long at the start": rf"{CLAUSE}so (?:many|much|long|late|often|few|little)\b",
        "No I/O": r"\bno I/O\b",
    }.items()
}


def main() -> int:
    """Print each rule with the places that break it; return 1 if there are any."""
    sources = {file: file.read_text("utf-8") for file in sorted(PACKAGE.rglob("*.py"))}
    trees = {file: ast.parse(source) for file, source in sources.items()}
    lines = {file: source.count("\n") for file, source in sources.items()}
    out = sys.stdout.write
    _ = out(f"{len(lines)} modules, {sum(lines.values()) // len(lines)} lines each\n")
    is_broken = False
    for rule, problems in problems_by_rule(trees, lines).items():
        is_broken |= bool(problems)
        _ = out(f"\n{'broken' if problems else 'kept'}: {rule} ({len(problems)} places)\n")
        for file, line, problem in problems:
            _ = out(f"  {file}:{line}: {problem}\n")
    return int(is_broken)


def problems_by_rule(
    trees: dict[Path, ast.Module], lines: dict[Path, int]
) -> dict[str, list[Problem]]:
    """Return the places that break each rule."""
    files = list(lines)
    checks = {
        f"a module has up to {MAX_MODULE_LINES} lines": long_modules(lines),
        f"a function has up to {MAX_FUNCTION_LINES} lines, docstring not counted": (
            long_functions(trees)
        ),
        "three files with one prefix are a folder": shared_prefixes(files),
        f"a folder has up to {MAX_FOLDER_MODULES} modules, the root {MAX_ROOT_MODULES}": (
            full_folders(files)
        ),
        "no two classes have one name": repeated_classes(trees),
        f"the root has up to {MAX_ROOT_NAMES} public names": surplus_names(),
        f"the import contract has up to {MAX_LAYERS} layers": surplus_layers(),
        f"a module with one importer has {SMALL_MODULE_LINES} lines or more": (
            single_importers(trees, lines)
        ),
        "comments, docstrings and pages are in plain words": banned_words(),
    }
    return {rule: list(problems) for rule, problems in checks.items()}


def long_modules(lines: dict[Path, int]) -> Iterator[Problem]:
    """Yield the modules with too many lines."""
    for file, count in lines.items():
        if count > MAX_MODULE_LINES:
            yield file, 1, f"{count} lines"


def long_functions(trees: dict[Path, ast.Module]) -> Iterator[Problem]:
    """Yield the functions with too many lines; the docstring isn't counted."""
    for file, tree in trees.items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            count = (node.end_lineno or node.lineno) - node.lineno + 1
            if ast.get_docstring(node) is not None:
                count -= (node.body[0].end_lineno or 0) - node.body[0].lineno + 1
            if count > MAX_FUNCTION_LINES:
                yield file, node.lineno, f"{node.name} has {count} lines"


def shared_prefixes(files: list[Path]) -> Iterator[Problem]:
    """Yield the files of one folder whose names begin alike, as in ``payouts_pay.py``."""
    alike: dict[tuple[Path, str], list[Path]] = defaultdict(list)
    for file in files:
        prefix = file.stem.split("_")[0]
        if prefix:
            alike[file.parent, prefix].append(file)
    for (_, prefix), found in alike.items():
        if len(found) >= FILES_OF_A_FOLDER:
            for file in found:
                yield file, 1, f"one of {len(found)} files with the prefix {prefix!r}"


def full_folders(files: list[Path]) -> Iterator[Problem]:
    """Yield the folders with too many modules; their ``__init__.py`` isn't counted."""
    counts: dict[Path, int] = defaultdict(int)
    for file in files:
        counts[file.parent] += file.stem != "__init__"
    for folder, count in counts.items():
        if count > (MAX_ROOT_MODULES if folder == PACKAGE else MAX_FOLDER_MODULES):
            yield folder, 1, f"{count} modules"


def repeated_classes(trees: dict[Path, ast.Module]) -> Iterator[Problem]:
    """Yield the classes that share a name; ``_Delivery`` and ``Delivery`` do."""
    places: dict[str, list[Place]] = defaultdict(list)
    for file, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name.lstrip("_")].append((file, node.lineno))
    for name, found in sorted(places.items()):
        if len(found) > 1:
            for file, line in found:
                yield file, line, f"class {name}, one of {len(found)}"


def surplus_names() -> Iterator[Problem]:
    """Yield the root's stub if it lists too many names; its modules aren't counted."""
    stub = PACKAGE / "__init__.pyi"
    count = sum(
        len(node.names)
        for node in ast.parse(stub.read_text("utf-8")).body
        if isinstance(node, ast.ImportFrom) and node.module is not None
    )
    if count > MAX_ROOT_NAMES:
        yield stub, 1, f"{count} names"


def surplus_layers() -> Iterator[Problem]:
    """Yield pyproject.toml if its import contract has too many layers."""
    file = Path("pyproject.toml")
    for contract in tomllib.loads(file.read_text("utf-8"))["tool"]["importlinter"]["contracts"]:
        if contract["type"] == "layers" and len(contract["layers"]) > MAX_LAYERS:
            yield file, 1, f"{len(contract['layers'])} layers"


def single_importers(trees: dict[Path, ast.Module], lines: dict[Path, int]) -> Iterator[Problem]:
    """Yield the small modules that one other module imports; a stub counts as its package."""
    importers: dict[Path, set[Path]] = defaultdict(set)
    stubs = {file: ast.parse(file.read_text("utf-8")) for file in PACKAGE.rglob("*.pyi")}
    for file, tree in (trees | stubs).items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                for imported in imported_files(file, node):
                    importers[imported].add(file.with_suffix(".py"))
    for file, found in sorted(importers.items()):
        others = found - {file}
        if file.stem != "__init__" and lines[file] < SMALL_MODULE_LINES and len(others) == 1:
            importer = next(iter(others)).relative_to(PACKAGE)
            yield file, 1, f"{lines[file]} lines, imported by {importer} only"


def imported_files(file: Path, node: ast.ImportFrom) -> Iterator[Path]:
    """Yield the files of the package from which a statement imports."""
    if node.level:
        base = file.parents[node.level - 1]
    elif node.module is not None and node.module.split(".")[0] == PACKAGE.name:
        base = PACKAGE.parent
    else:
        return
    target = base.joinpath(*(node.module or "").split("."))
    if target.with_suffix(".py").is_file():
        yield target.with_suffix(".py")
        return
    for name in node.names:
        inner = target / f"{name.name}.py"
        yield inner if inner.is_file() else target / "__init__.py"


def banned_words() -> Iterator[Problem]:
    """Yield each banned word in the prose of the project."""
    for file in text_files():
        source = file.read_text("utf-8")
        if file.suffix == ".py":
            texts = sorted([*docstrings(source), *comments(source)])
        else:
            texts = [(1, CODE.sub("`...`", source))]
        for start, text in texts:
            for words, pattern in BANNED.items():
                for match in pattern.finditer(text):
                    line = start + text[: match.end()].count("\n")
                    excerpt = " ".join(match[0].split()).lstrip(".:; ")
                    yield file, line, f"{excerpt!r}: {words}"


def text_files() -> Iterator[Path]:
    """Yield the Python files and the pages that are searched."""
    for path in map(Path, WITH_TEXT):
        if path.is_dir():
            yield from sorted(file for file in path.rglob("*") if file.suffix in {".py", ".md"})
        else:
            yield path


def docstrings(source: str) -> Iterator[tuple[int, str]]:
    """Yield each string that is a statement of its own, with its first line's number."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield node.lineno, text
            case _:
                pass


def comments(source: str) -> Iterator[tuple[int, str]]:
    """Yield the comments, with their first line's number; those on lines in a row are one text."""
    start, lines = 0, list[str]()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        if token.start[0] != start + len(lines):
            yield start, "\n".join(lines)
            start, lines = token.start[0], []
        lines.append(token.string.lstrip("# "))
    yield start, "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
