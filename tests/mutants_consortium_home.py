"""Defects of parties' directories, of their policies and of certificates, planted on purpose."""

from mutants import Mutant

HOME = "integrations/home.py"
POLICY = "integrations/policy.py"
CERTIFICATES = "primitives/certificates.py"
FILES = "cli/new_files.py"
OF_HOME = "test_party_home.py"
OF_CERTIFICATES = "test_certificates.py"
OF_CLI = "test_cli_identity.py"

MUTANTS = (
    # A party's directory.
    Mutant(
        "a party's key that others can read",
        HOME,
        "os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)",
        "os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)",
        (f"{OF_HOME}::test_a_home_is_made_private_with_a_key_and_claims",),
    ),
    Mutant(
        "a party's directory that all can enter",
        HOME,
        "            make_folder(folder, private=True)\n            _require_private(folder, cls.PARTY)\n",
        "            make_folder(folder)\n",
        (
            f"{OF_HOME}::test_a_home_is_made_private_with_a_key_and_claims",
            f"{OF_HOME}::test_a_home_that_others_can_get_at_is_refused",
        ),
    ),
    Mutant(
        "a party that goes by its own draft of a key",
        HOME,
        "                os.link(draft, path)\n",
        "                os.link(draft, path)\n                return draft.read_bytes()\n"
        "            return draft.read_bytes()\n",
        (f"{OF_HOME}::test_a_key_that_another_made_meanwhile_is_taken",),
    ),
    Mutant(
        "a damaged key of a party made anew",
        HOME,
        "    if not path.exists():\n        draft",
        "    if path.exists() and path.stat().st_size != KEY_BYTES:\n        path.unlink()\n"
        "    if not path.exists():\n        draft",
        (f"{OF_HOME}::test_a_damaged_key_is_not_used",),
    ),
    Mutant(
        "a short key of a party",
        HOME,
        "    if len(key) != KEY_BYTES:\n",
        "    if len(key) < KEY_BYTES and len(key) == 0:\n",
        (f"{OF_HOME}::test_a_damaged_key_is_not_used",),
    ),
    Mutant(
        "a party's claims beside its directory",
        HOME,
        "            guard=FileGuard(folder / _CLAIMS),\n",
        "            guard=FileGuard(folder.with_name(os.urandom(8).hex())),\n",
        (f"{OF_HOME}::test_key_and_claims_stay",),
    ),
    Mutant(
        "a party whose volume is not mounted has no policy",
        HOME,
        "        if named and not folder.is_dir():",
        "        if False:",
        (f"{OF_HOME}::test_a_home_that_its_owner_names_must_be_there",),
    ),
    Mutant(
        "a link to nothing is a party's missing file",
        HOME,
        "        if path.is_symlink():",
        "        if False:",
        (f"{OF_HOME}::test_a_file_that_cannot_be_read_is_not_left_out",),
    ),
    Mutant(
        "a party's file that cannot be read is none",
        HOME,
        '        raise ConfigurationError(f"{path} cannot be read: {error}") from None\n',
        "        return None\n",
        (f"{OF_HOME}::test_a_file_that_cannot_be_read_is_not_left_out",),
    ),
    Mutant(
        "a party with a roster and no key to sign with",
        HOME,
        "        if roster is not None and identity is None:\n",
        "        if False:\n",
        (f"{OF_HOME}::test_identity_and_roster_are_the_partys_credentials",),
    ),
    # What its owner insists on.
    Mutant(
        "words of a party's policy passed over",
        POLICY,
        "        for key in table:\n",
        "        for key in [key for key in list(table) if key in known or not table.pop(key)]:\n",
        (f"{OF_HOME}::test_a_policy_that_is_not_understood_stops_the_party",),
    ),
    Mutant(
        "a party's server of small order",
        POLICY,
        "            check_identity(self.server)\n",
        "",
        (f"{OF_HOME}::test_a_policy_that_is_not_understood_stops_the_party",),
    ),
    Mutant(
        "a party's budget not read",
        POLICY,
        '            table["budget"] = PartyBudget.of_table(table["budget"], f"[budget] in {what}")\n',
        '            table["budget"] = None\n',
        (
            f"{OF_HOME}::test_a_policy_is_read_from_the_directory",
            f"{OF_HOME}::test_a_policy_that_is_not_understood_stops_the_party",
        ),
    ),
    Mutant(
        "any server's model where one party names some",
        POLICY,
        "        servers=both(a.servers, b.servers),\n",
        "        servers=a.servers,\n",
        (f"{OF_HOME}::test_policies_are_joined_strictly",),
    ),
    Mutant(
        "fewer corrupt clients than either party wants withstood",
        POLICY,
        "        corrupt_clients=max(a.corrupt_clients, b.corrupt_clients),\n",
        "        corrupt_clients=min(a.corrupt_clients, b.corrupt_clients),\n",
        (f"{OF_HOME}::test_policies_are_joined_strictly",),
    ),
    Mutant(
        "of two policies the first one's server alone",
        POLICY,
        "        server=one.server or other.server,\n",
        "        server=one.server,\n",
        (f"{OF_HOME}::test_policies_are_joined_strictly",),
    ),
    # Certificates.
    Mutant(
        "servers' certificates are authorities",
        CERTIFICATES,
        "_NO_AUTHORITY: Final = x509.BasicConstraints(ca=False, path_length=None)",
        "_NO_AUTHORITY: Final = x509.BasicConstraints(ca=True, path_length=None)",
        (f"{OF_CERTIFICATES}::test_what_is_issued_is_for_handshakes_of_one_kind",),
    ),
    Mutant(
        "servers' keys sign certificates",
        CERTIFICATES,
        "        key_cert_sign=issues,\n",
        "        key_cert_sign=True,\n",
        (f"{OF_CERTIFICATES}::test_what_is_issued_is_for_handshakes_of_one_kind",),
    ),
    Mutant(
        "authorities under authorities",
        CERTIFICATES,
        "x509.BasicConstraints(ca=True, path_length=0)",
        "x509.BasicConstraints(ca=True, path_length=None)",
        (f"{OF_CERTIFICATES}::test_an_authority_signs_certificates_and_nothing_else",),
    ),
    Mutant(
        "certificates for servers and clients alike",
        CERTIFICATES,
        "x509.ExtendedKeyUsage([usage])",
        "x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH])",
        (
            f"{OF_CERTIFICATES}::test_a_client_refuses_a_client_that_plays_the_server",
            f"{OF_CERTIFICATES}::test_a_server_that_wants_certificates_refuses_all_others",
        ),
    ),
    Mutant(
        "names of servers taken for hosts",
        CERTIFICATES,
        "NameOID.COMMON_NAME if client else NameOID.ORGANIZATION_NAME",
        "NameOID.COMMON_NAME",
        (f"{OF_CERTIFICATES}::test_a_servers_name_is_never_taken_for_a_host",),
    ),
    Mutant(
        "wildcards certified",
        CERTIFICATES,
        'r"(?!-)[a-z0-9-]{1,63}(?<!-)"',
        'r"[*]|(?!-)[a-z0-9-]{1,63}(?<!-)"',
        (f"{OF_CERTIFICATES}::test_what_is_no_host_is_not_certified",),
    ),
    Mutant(
        "letters of other scripts certified as ours",
        CERTIFICATES,
        "    if host.isascii():",
        "    if True:",
        (f"{OF_CERTIFICATES}::test_what_is_no_host_is_not_certified",),
    ),
    Mutant(
        "addresses with an error in them certified as names",
        CERTIFICATES,
        " and not labels[-1].isdigit():",
        ":",
        (f"{OF_CERTIFICATES}::test_what_is_no_host_is_not_certified",),
    ),
    Mutant(
        "certificates that outlive their authority",
        CERTIFICATES,
        "min(now + lasting, self.expires)",
        "now + lasting",
        (f"{OF_CERTIFICATES}::test_times_allow_for_slow_clocks_and_end_with_the_authority",),
    ),
    Mutant(
        "authorities that are over and go on",
        CERTIFICATES,
        "        if now >= self.expires:\n",
        "        if False:\n",
        (f"{OF_CERTIFICATES}::test_an_expired_authority_issues_nothing",),
    ),
    Mutant(
        "one serial number for all",
        CERTIFICATES,
        ".serial_number(x509.random_serial_number())",
        ".serial_number(1 << 120)",
        (f"{OF_CERTIFICATES}::test_serial_numbers_and_keys_are_fresh",),
    ),
    Mutant(
        "an authority's certificate of another key",
        CERTIFICATES,
        "        if _raw(certificate.public_key()) != _raw(key.public_key()):\n",
        "        if False:\n",
        (f"{OF_CERTIFICATES}::test_what_is_no_authority_is_not_read_as_one",),
    ),
    Mutant(
        "a server's certificate read as an authority",
        CERTIFICATES,
        "        if not issues:\n",
        "        if False:\n",
        (
            f"{OF_CERTIFICATES}::test_what_is_no_authority_is_not_read_as_one",
            f"{OF_CLI}::test_a_certificate_is_no_authority",
        ),
    ),
    Mutant(
        "private keys of certificates printed",
        CERTIFICATES,
        "    key_pem: bytes = field(repr=False)\n",
        "    key_pem: bytes\n",
        (f"{OF_CERTIFICATES}::test_private_keys_are_neither_printed_nor_pickled",),
    ),
    # The command's files.
    Mutant(
        "private keys of certificates that others can read",
        FILES,
        "    write_new(path, secret, mode=0o600)\n",
        "    write_new(path, secret, mode=0o644)\n",
        (f"{OF_CLI}::test_private_keys_are_their_owners_whatever_the_umask",),
    ),
    Mutant(
        "keys of others overwritten",
        FILES,
        "os.O_CREAT | os.O_EXCL | os.O_WRONLY",
        "os.O_CREAT | os.O_TRUNC | os.O_WRONLY",
        (f"{OF_CLI}::test_nothing_is_overwritten_and_no_half_is_left",),
    ),
    Mutant(
        "a private key left without its certificate",
        FILES,
        "    except BaseException:\n        path.unlink(missing_ok=True)\n        raise\n",
        "    except BaseException:\n        raise\n",
        (
            f"{OF_CLI}::test_nothing_is_overwritten_and_no_half_is_left",
            f"{OF_CLI}::test_a_full_disk_leaves_no_half",
        ),
    ),
    Mutant(
        "half a certificate left",
        FILES,
        "    except BaseException as error:\n        path.unlink(missing_ok=True)\n",
        "    except BaseException as error:\n",
        (f"{OF_CLI}::test_a_full_disk_leaves_no_half",),
    ),
    Mutant(
        "a directory for anybody at once",
        "integrations/home.py",
        "                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "                pass",
        ("test_party_home.py::test_of_two_that_want_a_directory_alone_one_is_told",),
    ),
    Mutant(
        "a verb's log that stays behind it",
        "cli/join.py",
        "        log.removeHandler(handler)",
        "        pass",
        ("test_cli_consortium.py::test_a_verb_called_twice_in_a_process_logs_once",),
    ),
)
