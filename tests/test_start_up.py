import subprocess
import sys

import pytest


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    "code",
    [
        "import sartor",
        "import sartor; sartor.Space, sartor.Goals, sartor.Trial, sartor.Record, sartor.Front",
        "from sartor.registry import specs; [specs(k) for k in ('tasks', 'strategies', 'spaces', 'devices')]",
        "from sartor.registry import specs; specs('supernets'); specs('proxies')",
        "from sartor.registry import specs; specs('runtimes'); [s.load() for s in specs('exporters').values()]",
        "import sartor.cli",
        *(
            f"import sartor.cli\ntry: sartor.cli.main({tokens!r})\nexcept SystemExit: pass"
            for tokens in (
                ["--help"],
                ["tasks"],
                ["strategies"],
                ["spaces"],
                ["devices"],
                ["export", "--list"],
                ["check", "ane", "--chips"],
                ["search", "--help"],
                ["search", "images", "--help"],
            )
        ),
    ],
)
def test_what_lists_and_helps_loads_no_torch(code):
    result = run(f"{code}\nimport sys; assert 'torch' not in sys.modules")
    assert result.returncode == 0, result.stderr


def test_listing_runs_loads_no_torch(tmp_path):
    result = run(
        f"""
import sys
from pathlib import Path
import sartor.cli
from sartor.runs import Record

Record(Path({str(tmp_path)!r})).close()
try:
    sartor.cli.main(["runs", "list", "--out", {str(tmp_path)!r}])
except SystemExit as exit:
    assert not exit.code, exit
assert "torch" not in sys.modules
"""
    )
    assert result.returncode == 0, result.stderr


def test_importing_the_package_loads_not_even_numpy():
    result = run("import sartor, sys; assert 'numpy' not in sys.modules")
    assert result.returncode == 0, result.stderr


def test_every_public_name_is_there():
    import sartor

    for name in sartor.__all__:
        assert getattr(sartor, name) is not None


def test_every_conformance_suite_is_there():
    import sartor.testing

    for name in sartor.testing.__all__:
        assert callable(getattr(sartor.testing, name))


@pytest.mark.parametrize("module", ["sartor", "sartor.cli"])
def test_the_command_line_is_a_module_too(module):
    done = subprocess.run([sys.executable, "-m", module, "--version"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout.strip(), done.stderr
