"""What pages show and no test runs as it stands, between machines or inside Flower: it is understood."""

import inspect
import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

from privfl.cli.main import main, make_parser
from privfl.integrations.policy import OwnerPolicy

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md", *ROOT.glob("docs/**/*.md")]
FLOWER = (ROOT / "docs" / "flower.md").read_text(encoding="utf-8")
CONSORTIUM = (ROOT / "docs" / "consortium.md").read_text(encoding="utf-8")
KEY = "6f" * 32


def shown(page):
    """Yield the commands of a page: of blocks, indented or fenced, and of the text; True if a command stands alone."""
    text = page.read_text(encoding="utf-8")
    for code in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield from ((line, True) for line in code.replace("\\\n", " ").splitlines())
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL).replace("\\\n", " ")
    yield from ((line, True) for line in re.findall(r"^ {4,}(privfl .*)$", prose, re.MULTILINE))
    yield from ((" ".join(said.split()), False) for said in re.findall(r"`(privfl [a-z][^`]*)`", prose))


def of_privfl():
    for page in PAGES:
        for line, alone in shown(page):
            words = shlex.split(line, comments=True)
            if words[:1] == ["privfl"] and "…" not in line:
                yield pytest.param(words[1:], alone, id=f"{page.relative_to(ROOT)}: {shlex.join(words)}")


def plans():
    for words, alone in (one.values for one in of_privfl()):
        if alone and words[0] == "plan":
            yield shlex.join(words)


@pytest.mark.parametrize("command", sorted(set(plans())))
def test_the_planner_answers_what_pages_ask_it(command, capsys):
    assert main(shlex.split(command)) == 0
    assert capsys.readouterr().out


@pytest.mark.parametrize(("arguments", "alone"), list(of_privfl()))
def test_the_command_understands_what_pages_have_it_do(arguments, alone, capsys):
    parser = make_parser()
    if alone:
        assert parser.parse_args(arguments).call
    else:  # spoken of, perhaps without all that it needs
        verbs = list(itertools.takewhile(re.compile("[a-z]+").fullmatch, arguments[:2]))
        verbs = verbs if verbs[0] == "identity" else verbs[:1]
        with pytest.raises(SystemExit) as over:
            parser.parse_args([*verbs, "--help"])
        assert over.value.code == 0
        flags = {word for word in arguments if word.startswith("--")}
        assert flags <= set(re.findall(r"--[a-z][a-z-]*", capsys.readouterr().out))
    capsys.readouterr()


def test_a_command_that_does_not_exist_would_be_noticed():
    with pytest.raises(SystemExit):
        make_parser().parse_args(["join", "https://localhost:1", "--hom", "alice", "--certify"])
    assert sum(1 for _ in of_privfl()) > 40


def tables(page, begin):
    found = re.findall(r"^```toml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    return [code for code in found if code.startswith(begin)]


def test_policies_that_pages_show_are_policies():
    pytest.importorskip("flwr")
    from privfl.integrations.flower.home import NodePolicy

    shown = [(NodePolicy, FLOWER), (OwnerPolicy, CONSORTIUM)]
    found = [(kind, code) for kind, page in shown for code in tables(page, "# policy.toml")]
    assert len(found) == 3
    for kind, code in found:
        policy = kind.from_toml(re.sub(r'"[0-9a-f]{4}…"', f'"{KEY}"', code), what="policy.toml")
        assert policy != kind(), code


def test_strategies_that_the_page_on_flower_shows_can_be_made(tmp_path, monkeypatch):
    pytest.importorskip("flwr")
    pytest.importorskip("dp_accounting")
    from flwr.clientapp import ClientApp
    from flwr.serverapp.strategy import FedAvg

    from privfl.integrations.flower import SecureAggregation, SecureAggregationMod
    from privfl.integrations.flower.privacy import ClientDistributed

    monkeypatch.chdir(tmp_path)
    first, private = re.findall(r"^```python\n(.*?)^```", FLOWER, re.MULTILINE | re.DOTALL)
    names = {
        one.__name__: one for one in (ClientApp, FedAvg, SecureAggregation, SecureAggregationMod, ClientDistributed)
    }
    names |= {"context": SimpleNamespace(run_config={}), "Path": Path}
    exec(compile(first, "flower.md", "exec"), names)  # noqa: S102 - our own text
    assert isinstance(names["strategy"], SecureAggregation)
    made, calls = private.split("strategy.start(")  # what follows needs nodes: tests/test_flower_privacy.py has them
    exec(compile(made, "flower.md", "exec"), names)  # noqa: S102 - likewise
    started = re.findall(r"(\w+)=", calls.split(")")[0])
    inspect.signature(SecureAggregation.start).bind(names["strategy"], **dict.fromkeys(started))
    assert "strategy.privacy_spent()" in calls
    assert callable(names["strategy"].privacy_spent)


def in_fences(page, *programs):
    for code in re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        for line in code.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words and words[0] in programs:
                yield words


def test_certificates_and_keys_are_made_as_the_page_on_flower_shows(tmp_path):
    if not (shutil.which("openssl") and shutil.which("ssh-keygen")):
        pytest.skip("needs openssl and ssh-keygen")
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_ssh_public_key

    made = [
        subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
        for words in in_fences(FLOWER, "openssl", "ssh-keygen")
    ]
    assert len(made) == 4
    authority, server = (x509.load_pem_x509_certificate((tmp_path / f).read_bytes()) for f in ("ca.crt", "server.pem"))
    server.verify_directly_issued_by(authority)
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["superlink.example.org"]
    assert load_ssh_public_key((tmp_path / "node.pub").read_bytes()).curve.name == "secp384r1"


@pytest.mark.parametrize(
    "program", ["flower-superlink", "flower-supernode", "flwr run", "flwr supernode register", "python"]
)
def test_programs_have_the_flags_that_the_page_on_flower_gives_them(program):
    pytest.importorskip("flwr")
    verb = program.split()
    lines = [words for words in in_fences(FLOWER, verb[0]) if words[: len(verb)] == verb]
    flags = {word for words in lines for word in words if word.startswith("--")}
    assert lines
    if program == "python":
        command = [sys.executable, str(ROOT / "examples" / "flower" / "run.py")]
    else:
        command = [str(Path(sys.executable).with_name(verb[0])), *verb[1:]]
    told = subprocess.run(
        [*command, "--help"], capture_output=True, text=True, check=True, env=os.environ | {"COLUMNS": "200"}
    ).stdout
    assert flags <= set(re.findall(r"--[a-z][a-z-]*", told))


def test_tables_of_flowers_own_configuration_name_what_they_connect_to():
    found = [tomllib.loads(code) for begin in ("[superlink", "# ~/") for code in tables(FLOWER, begin)]
    assert len(found) == 2
    for table in found:
        assert re.fullmatch(r"[\w.]+:8000", table["superlink"]["SUPERLINK"]["address"])


def test_all_blocks_of_the_page_on_flower_are_in_one_of_these_tests():
    known = {"pip", "python", "flower-superlink", "flower-supernode", "flwr", "privfl", "openssl", "ssh-keygen"}
    found = re.findall(r"^```sh\n(.*?)^```", FLOWER, re.MULTILINE | re.DOTALL)
    lines = [line for code in found for line in code.replace("\\\n", " ").splitlines()]
    assert {shlex.split(line, comments=True)[0] for line in lines} <= known
