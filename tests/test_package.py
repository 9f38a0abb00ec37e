"""What is released: one version everywhere, and a wheel and a source distribution that hold all that kdlib needs."""

import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from datetime import date
from pathlib import Path

import pytest
import yaml

import kdlib

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
UV = Path(sys.executable).with_name("uv")

# What somebody does first with each part of it.
USE = """
import sys
from pathlib import Path
import kdlib, kdlib.advise.__main__, kdlib.claims, kdlib.plots, kdlib.sweeps
from kdlib import explorers
from kdlib.experiments import data_inefficiency, problem_setup
assert Path(kdlib.__file__).is_relative_to(sys.prefix), kdlib.__file__
assert len(kdlib.claims.CLAIMS) > 50
assert all("mount(" in getattr(explorers, name)._esm for name in explorers.__all__)
assert "<script" in explorers.EffectiveLogitExplorer().without_kernel()["text/html"]
stored = problem_setup.WIDTHS.results(problem_setup.WidthSetting(64), repetitions=2, replay=0)
print(kdlib.__version__, f"{float(kdlib.effective_logit(-2.0, 1, rho=0.5, T=5.0)):.6f}", len(stored.runs.moved))
"""


def run(*command, **more):
    done = subprocess.run(command, capture_output=True, encoding="utf-8", **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A wheel and a source distribution, made without a network from the files that git knows."""
    folder = tmp_path_factory.mktemp("released")
    run(UV, "build", "--offline", "--out-dir", folder, ROOT)
    [wheel], [source] = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return {"wheel": wheel, "source": source}


@pytest.fixture(scope="module")
def known():
    """The files of the package that git knows, or is to know."""
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "kdlib", cwd=ROOT).split()
    return {name for name in listed if (ROOT / name).exists()}


def names(path):
    if path.suffix == ".whl":
        return set(zipfile.ZipFile(path).namelist())
    with tarfile.open(path) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


def test_one_version_is_everywhere(released):
    version = kdlib.__version__
    changes = re.findall(r"^## (\S+)", (ROOT / "CHANGES.md").read_text("utf-8"), re.MULTILINE)
    assert PROJECT["version"] == CITATION["version"] == changes[0] == version
    assert all(f"-{version}" in path.name for path in released.values())


def test_the_citation_is_what_the_format_asks_for():
    assert CITATION["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "date-released", "version", "license"} <= CITATION.keys()
    assert isinstance(CITATION["date-released"], date)
    assert f"## {CITATION['version']} ({CITATION['date-released']})" in (ROOT / "CHANGES.md").read_text("utf-8")


@pytest.mark.parametrize("kind", ["wheel", "source"])
def test_a_release_holds_every_file_of_the_package(released, known, kind):
    found = {name for name in names(released[kind]) if name.startswith("kdlib/") and not name.endswith("/")}
    folders = {str(Path(name).parent) for name in found} | {"kdlib"}
    assert found - folders == known
    assert any(name.endswith(".js") for name in found) and any(name.endswith(".npz") for name in found)


def test_a_source_distribution_says_what_it_is(released):
    assert {"README.md", "LICENSE", "CHANGES.md", "CITATION.cff", "pyproject.toml"} <= names(released["source"])


@pytest.mark.parametrize("kind", ["wheel", "source"])
def test_a_release_works_in_a_new_environment(released, tmp_path, kind):
    """Beside the packages that are installed here, but not beside this folder."""
    run(UV, "venv", "--offline", "--python", sys.executable, tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    run(UV, "pip", "install", "--offline", "--no-deps", "--python", python, released[kind])
    packages = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    # A folder that such a file names is searched last, and its own files of this kind are not read.
    Path(packages, "others.pth").write_text(sysconfig.get_path("purelib"), "utf-8")
    version, logit, repetitions = run(python, "-I", "-c", USE, cwd=tmp_path).split()
    assert version == kdlib.__version__ and repetitions == "2"
    assert float(logit) == pytest.approx(float(kdlib.effective_logit(-2.0, 1, rho=0.5, T=5.0)), abs=1e-6)
