"""The files of a release: what is built, the workflows, the hooks and the image."""

import ast
import os
import re
import shutil
import subprocess
import tarfile
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from build_check import SOURCES, built, main, missing_files
from places import ROOT

PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PACKAGE: Final = "smartglocal_async"
WORKFLOWS: Final = sorted((ROOT / ".github/workflows").glob("*.yml"))
# In parts, so that this file doesn't have them itself.
REGISTRIES: Final = ["py" + "pi.org", "python" + "hosted", "npm" + "js", "opt/" + "pypi"]


def read(name: str) -> str:
    """Return the text of a file of the repository."""
    return (ROOT / name).read_text("utf-8")


def nox_sessions() -> set[str]:
    """Return the names of the sessions in noxfile.py."""
    return {
        node.name
        for node in ast.parse(read("noxfile.py")).body
        if isinstance(node, ast.FunctionDef)
        and any("nox.session" in ast.unparse(one) for one in node.decorator_list)
    }


def steps_of(workflow: Path) -> list[dict[str, Any]]:
    """Return the steps of all jobs."""
    jobs = yaml.safe_load(workflow.read_text("utf-8"))["jobs"].values()
    return [step for job in jobs for step in job["steps"]]


@pytest.mark.slow
def test_the_build(tmp_path, capsys) -> None:
    """Two builds are equal, the sdist is complete, and the wheel works without the source."""
    assert main(tmp_path / "dist") == 0
    digests = re.findall(r"^[0-9a-f]{64}  (\S+)$", capsys.readouterr().out, re.MULTILINE)
    assert [name.rpartition(".")[2] for name in digests] == ["whl", "gz"]


@pytest.mark.slow
def test_a_build_of_other_files(tmp_path) -> None:
    """It has another digest: the comparison sees a difference."""
    source = tmp_path / "source"
    names = ("smartglocal_async", "README.md", "LICENSE", "pyproject.toml")
    for name in names:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        source.mkdir(exist_ok=True)
        copy(ROOT / name, source / name)
    first = built(tmp_path / "1", source)
    (source / "smartglocal_async/py.typed").write_text("partial\n", "utf-8")
    second = built(tmp_path / "2", source)
    assert first.keys() == second.keys()
    assert all(first[name] != second[name] for name in first)


def test_a_sdist_that_lacks_a_file(tmp_path) -> None:
    """The file is named."""
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as archive:
        for name in SOURCES[1:]:
            archive.add(ROOT / name, f"x-0.1.0/{name}")
    assert list(missing_files(tmp_path / "x.tar.gz")) == [SOURCES[0]]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda file: file.stem)
def test_workflows(workflow) -> None:
    """Each is YAML, each action has a version, and each job has few rights and a time limit."""
    content = yaml.safe_load(workflow.read_text("utf-8"))
    assert content["permissions"] == {"contents": "read"}
    assert all("timeout-minutes" in job for job in content["jobs"].values())
    used = [step["uses"] for step in steps_of(workflow) if "uses" in step]
    assert used
    assert [one for one in used if not re.search(r"@(v\d+(\.\d+)*|[0-9a-f]{40})$", one)] == []


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda file: file.stem)
def test_what_workflows_run(workflow) -> None:
    """Each session of nox, script and extra that a step names exists."""
    commands = "\n".join(step["run"] for step in steps_of(workflow) if "run" in step)
    assert set(re.findall(r"nox -s (\S+)", commands)) <= nox_sessions()
    for script in re.findall(r"^\.\S+", commands, re.MULTILINE):
        assert os.access(ROOT / script, os.X_OK)
    for extras in re.findall(r"\"?\.\[([\w,]+)\]", commands):
        assert set(extras.split(",")) <= set(PROJECT["project"]["optional-dependencies"])


def test_pythons_of_the_workflows() -> None:
    """They are those that the package supports."""
    supported = set(re.findall(r"Python :: (3\.\d+)", read("pyproject.toml")))
    named = set(re.findall(r"\b3\.\d\d\b", "".join(file.read_text("utf-8") for file in WORKFLOWS)))
    assert named
    assert named <= supported


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/reference/versions.md"])
def test_sessions_that_pages_name(page) -> None:
    """They exist."""
    assert set(re.findall(r"nox -s (\w+)", read(page))) <= nox_sessions()


def test_hooks() -> None:
    """They use the version of ruff that nox uses, and the script of the house rules exists."""
    [ruff, local] = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]
    assert f'RUFF = "ruff=={ruff["rev"].removeprefix("v")}"' in read("noxfile.py")
    entries = [hook["entry"].split() for hook in local["hooks"]]
    assert all((ROOT / word).is_file() for words in entries for word in words if "/" in word)


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "SECURITY.md"])
def test_links_and_files_of_a_page(page) -> None:
    """Each file that it names exists, and each heading that it links to."""
    text = read(page)
    for link, anchor in re.findall(r"\]\(([^):#]+)(?:#([^)]+))?\)", text):
        headings = re.findall(r"^#+ (.+)$", read(link), re.MULTILINE)
        assert not anchor or anchor in {one.lower().replace(" ", "-") for one in headings}
    names = re.findall(r"`((?:[\w.]+/)+(?:[\w.]+)?|\w+\.py)(?: [^`]*)?`", text)
    assert [
        name for name in names if not any((ROOT / top / name).exists() for top in (".", PACKAGE))
    ] == []


def test_no_file_names_a_package_registry() -> None:
    """Which registry is used is a setting of the machine."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode != 0:
        pytest.skip("this is no checkout of git")
    files = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    texts = [(file, file.read_bytes()) for file in files if file.is_file()]
    assert len(texts) > 300
    assert [file for file, text in texts if any(one.encode() in text for one in REGISTRIES)] == []


def test_the_image_is_made_of_existing_files() -> None:
    """Each is in the build's context, and each extra exists."""
    text = read("Dockerfile")
    kept = re.findall(r"^!(.+)$", read(".dockerignore"), re.MULTILINE)
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        for source in sources.split():
            assert (ROOT / source).exists()
            assert any(fnmatch(source.removeprefix("./"), one) for one in kept)
    [extras] = re.findall(r"\"\.\[([\w,]+)\]\"", text)
    assert set(extras.split(",")) <= set(PROJECT["project"]["optional-dependencies"])


def reason_without_docker() -> str | None:
    """Return why no image can be built here; None if it can."""
    if shutil.which("docker") is None:
        return "docker isn't installed"
    found = subprocess.run(["docker", "info"], capture_output=True, text=True, check=False)  # noqa: S607
    return None if found.returncode == 0 else "the engine of docker isn't running"


@pytest.mark.slow
def test_the_image() -> None:
    """It builds, and its command prints the version of the package."""
    if (reason := reason_without_docker()) is not None:
        pytest.skip(reason)
    tag = "smartglocal-async:test"
    build = subprocess.run(
        ["docker", "build", "-q", "-t", tag, "."],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert build.returncode == 0, build.stderr
    done = subprocess.run(
        ["docker", "run", "--rm", tag, "--version"],  # noqa: S607
        capture_output=True,
        text=True,
        check=True,
    )
    assert PROJECT["project"]["version"] in done.stdout
