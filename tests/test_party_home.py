"""A party's own directory, whatever it takes part in: real files, and what is done about those that are not right."""

import concurrent.futures
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest
from harness import identity_of

from privfl.errors import ConfigurationError, DisclosureRefused
from privfl.integrations.home import PartyHome
from privfl.integrations.policy import OwnerPolicy, PartyBudget, stricter
from privfl.params import ServerModel
from privfl.roster import Roster
from privfl.session import ClientPolicy


def roster_json(*numbers):
    return Roster({number: identity_of(number).public for number in numbers}).to_json()


# The directory.


def test_a_home_is_made_private_with_a_key_and_claims(tmp_path):
    """Guarantee 1 of `PartyHome.open`."""
    home = PartyHome.open(tmp_path / "deep" / "home")
    modes = {path.name: path.stat().st_mode & 0o777 for path in (home.folder, *home.folder.iterdir())}
    assert modes == {"home": 0o700, "state.key": 0o600, "claims": 0o700}
    assert (home.policy, home.identity, home.credentials, home.committee) == (None, None, None, None)
    assert len(home.key) == 32
    assert repr(home.key) not in repr(home)


def test_key_and_claims_stay(tmp_path):
    home = PartyHome.open(tmp_path / "home")
    home.guard.claim("nonce", b"x")
    again = PartyHome.open(tmp_path / "home", named=True)
    assert again.key == home.key
    with pytest.raises(DisclosureRefused):
        again.guard.claim("nonce", b"x")
    assert PartyHome.open(tmp_path / "other").key != home.key


def test_a_relative_home_is_the_same_wherever_the_process_goes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert PartyHome.open(Path("home")).folder == tmp_path / "home"


def test_a_home_that_its_owner_names_must_be_there(tmp_path):
    """A volume that is not mounted must not pass for a party without a policy."""
    with pytest.raises(ConfigurationError, match=r"home \(--home\) is not there: mkdir -m 700 makes it"):
        PartyHome.open(tmp_path / "home", named=True)
    assert not (tmp_path / "home").exists()
    (tmp_path / "home").write_text("a file")
    with pytest.raises(ConfigurationError, match="is not there"):
        PartyHome.open(tmp_path / "home", named=True)


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o710, 0o720, 0o701, 0o702, 0o704])
def test_a_home_that_others_can_get_at_is_refused(tmp_path, mode):
    """Guarantee 1 of `PartyHome.open`."""
    folder = tmp_path / "home"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(ConfigurationError, match=r"others can get at the client's directory .*: chmod 700 it"):
        PartyHome.open(folder)
    assert not list(folder.iterdir())


def test_a_home_of_somebody_else_is_refused(tmp_path, monkeypatch):
    (tmp_path / "home").mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    with pytest.raises(ConfigurationError, match="own it"):
        PartyHome.open(tmp_path / "home")


def test_a_home_that_cannot_be_made_is_refused_with_what_works(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot be used: Not a directory; name another with --home"):
        PartyHome.open(tmp_path / "file" / "home")


@pytest.mark.parametrize("content", [b"", b"short", bytes(33)])
def test_a_damaged_key_is_not_used(tmp_path, content):
    PartyHome.open(tmp_path / "home")
    (tmp_path / "home" / "state.key").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"state\.key is damaged: remove it"):
        PartyHome.open(tmp_path / "home")
    assert (tmp_path / "home" / "state.key").read_bytes() == content


def key_of(folder, barrier):
    barrier.wait(60)
    return PartyHome.open(folder).key


def test_processes_that_make_the_key_at_once_get_one(tmp_path):
    """Guarantee 2 of `PartyHome.open`."""
    fresh = multiprocessing.get_context("spawn")
    with (
        fresh.Manager() as manager,
        concurrent.futures.ProcessPoolExecutor(2, mp_context=fresh) as pool,
    ):
        barrier = manager.Barrier(2)
        for attempt in range(10):
            folder = tmp_path / str(attempt)
            keys = [future.result(60) for future in [pool.submit(key_of, folder, barrier) for _ in range(2)]]
            assert keys[0] == keys[1] == (folder / "state.key").read_bytes()
            assert sorted(path.name for path in folder.iterdir()) == ["claims", "state.key"]  # no draft is left


def test_a_key_that_another_made_meanwhile_is_taken(tmp_path, monkeypatch):
    """Guarantee 2 of `PartyHome.open`, at the moment on which it depends."""
    link, others = os.link, bytes(range(32))

    def beaten(draft, path):
        path.write_bytes(others)
        link(draft, path)

    monkeypatch.setattr(os, "link", beaten)
    assert PartyHome.open(tmp_path / "home").key == others
    assert sorted(path.name for path in (tmp_path / "home").iterdir()) == ["claims", "state.key"]


# Who the party is.


def test_identity_and_roster_are_the_partys_credentials(tmp_path):
    folder = PartyHome.open(tmp_path / "home").folder
    (folder / "identity.pem").write_bytes(identity_of(1).to_pem())
    home = PartyHome.open(folder)
    assert (home.identity.public, home.credentials) == (identity_of(1).public, None)
    (folder / "roster.json").write_text(roster_json(0, 1, 2))
    (folder / "committee.json").write_text(roster_json(3, 4))
    home = PartyHome.open(folder)
    assert home.credentials.identity.public == identity_of(1).public
    assert sorted(home.credentials.roster.identities) == [0, 1, 2]
    assert sorted(home.committee.identities) == [3, 4]
    (folder / "identity.pem").unlink()
    with pytest.raises(ConfigurationError, match=r"identity\.pem is missing, beside a roster: the client cannot sign"):
        PartyHome.open(folder)


@pytest.mark.parametrize("name", ["policy.toml", "identity.pem", "roster.json", "committee.json"])
def test_a_file_that_cannot_be_read_is_not_left_out(tmp_path, name):
    """Guarantee 3 of `PartyHome.open`."""
    folder = PartyHome.open(tmp_path / "home").folder
    if name == "roster.json":
        (folder / "identity.pem").write_bytes(identity_of(1).to_pem())
    path = folder / name
    path.mkdir()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        PartyHome.open(folder)
    path.rmdir()
    path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigurationError, match="is a link to a file that is not there"):
        PartyHome.open(folder)
    path.unlink()
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        PartyHome.open(folder)
    path.write_text("this is nothing of the kind")
    with pytest.raises(ConfigurationError):
        PartyHome.open(folder)
    path.unlink()
    PartyHome.open(folder)


# What the owner insists on.


def test_a_policy_is_read_from_the_directory(tmp_path):
    folder = PartyHome.open(tmp_path / "home").folder
    (folder / "policy.toml").write_text(
        f'minimum_contributors = 5\nsuites = ["kahe"]\nservers = ["active"]\ncorrupt = 0.2\nbits = 12\n'
        f'server = "{identity_of(9).public.hex()}"\n[budget]\nepsilon = 3.0\nexcluded = {{evaluate = "counts only"}}\n'
    )
    assert PartyHome.open(folder).policy == OwnerPolicy(
        session=ClientPolicy(
            minimum_contributors=5,
            suites=frozenset({"kahe"}),
            servers=frozenset({ServerModel.ACTIVE}),
            corrupt=0.2,
        ),
        server=identity_of(9).public,
        bits=12,
        budget=PartyBudget(epsilon=3.0, excluded={"evaluate": "counts only"}),
    )
    (folder / "policy.toml").write_text("")
    assert PartyHome.open(folder).policy == OwnerPolicy()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("suites = [", "is no TOML"),
        ('colour = "red"', "names 'colour', which is not known here"),
        ('metrics = ["loss"]', "names 'metrics', which is not known here"),
        ('clear = ["query"]', "names 'clear', which is not known here"),
        ("session = 1", "names 'session', which is not known here"),
        ('server = "abc"', "server in .* is no hexadecimal public key"),
        ("server = 7", "server in .* is no hexadecimal public key"),
        ('server = "00"', "server is no Ed25519 public key"),
        (f'server = "{bytes(32).hex()}"', "small order"),
        ('suites = "kahe"', "suites in .*: a list of names works"),
        ("suites = [1]", "suites in .*: a list of names works"),
        ('servers = "active"', "servers in .*: a list of names works"),
        ('servers = ["kind"]', "'honest-but-curious' or 'active' works"),
        ("minimum_contributors = 0", "minimum_contributors"),
        ('minimum_contributors = "5"', "minimum_contributors"),
        ("minimum_contributors = true", "minimum_contributors"),
        ("corrupt_clients = 1.5", "corrupt_clients"),
        ("statistical_bits = []", "statistical_bits"),
        ("corrupt = 2.0", "corrupt"),
        ("corrupt = nan", "corrupt"),
        ("corrupt = true", "corrupt in .*: a fraction such as 0.1 works"),
        ('corrupt = "0.1"', "corrupt in .*: a fraction such as 0.1 works"),
        ("bits = 1", "bits is 1: a whole number from"),
        ('bits = "12"', "bits is '12': a whole number from"),
        ("budget = 3", r"\[budget\] in .* is 3: epsilon, delta and excluded work"),
        ("[budget]\ndelta = 1e-5", r"\[budget\] in .*epsilon must be there"),
        ("[budget]\nepsilon = 1.0\nrounds = 3", r"\[budget\] in .*epsilon, delta and excluded work"),
        ("[budget]\nepsilon = -1", r"\[budget\] in "),
        ('[budget]\nepsilon = "1"', r"\[budget\] in "),
        ("[budget]\nepsilon = 1.0\ndelta = 2", r"\[budget\] in "),
        ("[budget]\nepsilon = 1.0\nexcluded = 3", r"\[budget\] in "),
        ('[budget]\nepsilon = 1.0\nexcluded = ["train"]', r"\[budget\] in "),
        ("[budget]\nepsilon = 1.0\nexcluded = {train = 1}", r"\[budget\] in "),
    ],
)
def test_a_policy_that_is_not_understood_stops_the_party(tmp_path, text, why):
    """Guarantee 3 of `PartyHome.open`."""
    folder = PartyHome.open(tmp_path / "home").folder
    (folder / "policy.toml").write_text(text)
    with pytest.raises(ConfigurationError, match=why):
        PartyHome.open(folder)


def test_policies_are_joined_strictly():
    public, budget = identity_of(1).public, PartyBudget(epsilon=1.0)
    one = OwnerPolicy(
        session=ClientPolicy(minimum_contributors=3, suites=frozenset({"kahe", "ckks"}), corrupt=0.2), server=public
    )
    two = OwnerPolicy(
        session=ClientPolicy(corrupt_clients=4, servers=frozenset({ServerModel.ACTIVE})), bits=12, budget=budget
    )
    for joined in (stricter(one, two), stricter(two, one)):
        assert joined == OwnerPolicy(
            session=ClientPolicy(
                minimum_contributors=3,
                suites=frozenset({"kahe", "ckks"}),
                servers=frozenset({ServerModel.ACTIVE}),
                corrupt=0.2,
                corrupt_clients=4,
            ),
            server=public,
            bits=12,
            budget=budget,
        )
    with pytest.raises(ConfigurationError, match="the two policies name different servers"):
        stricter(one, OwnerPolicy(server=identity_of(2).public))


def test_a_home_is_opened_without_flower():
    code = "import privfl.integrations.home, sys; print('flwr' in sys.modules, 'cryptography.x509' in sys.modules)"
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert outcome.stdout.split() == ["False", "False"]


def test_of_two_that_want_a_directory_alone_one_is_told(tmp_path):
    home = PartyHome.open(tmp_path / "home")
    for _ in range(2):
        with home.alone():
            with (
                pytest.raises(ConfigurationError, match="another process is using"),
                PartyHome.open(tmp_path / "home").alone(),
            ):
                pass
            PartyHome.open(tmp_path / "home")  # whoever does not mind may share it
