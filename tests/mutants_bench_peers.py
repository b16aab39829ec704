"""Defects planted in the peers: what is measured of others must be theirs, all of it, and of a mean that is right."""

from mutants import Mutant

PEERS = "test_bench_peers.py"

MUTANTS = (
    Mutant(
        "costs of a mean that is off",
        "bench/peers/metering.py",
        "if not largest <= _PLAUSIBLE:",
        "if False:",
        (
            f"{PEERS}::test_a_mask_that_is_left_in_is_an_error",
            f"{PEERS}::test_costs_of_a_mean_that_is_off_are_an_error",
        ),
    ),
    Mutant(
        "a mean that is no number passes",
        "bench/peers/metering.py",
        "if not largest <= _PLAUSIBLE:",
        "if largest > _PLAUSIBLE:",
        (f"{PEERS}::test_costs_of_a_mean_that_is_off_are_an_error",),
    ),
    Mutant(
        "clients that vanish make a peer's client cheaper",
        "bench/peers/metering.py",
        "for phase in phases) for number in uploading",
        "for phase in phases) for number in range(5)",
        (f"{PEERS}::test_a_meter_adds_up_by_phase_and_party",),
    ),
    Mutant(
        "one client opens a peer's answer for all",
        "bench/peers/tenseal_ckks.py",
        "meter.alike(_ANSWER, uploading[0], uploading[1:])",
        "meter.alike(_ANSWER, uploading[0], [])",
        ("test_bench_ckks_peers.py::test_those_who_uploaded_are_answered_and_open_what_they_get",),
    ),
    Mutant(
        "those who vanished are answered",
        "bench/peers/tenseal_ckks.py",
        "download=len(answer) * len(uploading)",
        "download=len(answer) * clients",
        ("test_bench_ckks_peers.py::test_those_who_uploaded_are_answered_and_open_what_they_get",),
    ),
    Mutant(
        "a ring with a neighbour too few",
        "bench/peers/flower_ring.py",
        "range(-half, half + 1)",
        "range(-half, half)",
        (f"{PEERS}::test_what_the_ring_says_of_flower_is_what_flower_does",),
    ),
    Mutant(
        "an even number of shares on Flower's ring",
        "bench/peers/flower_ring.py",
        "neighbours + 1 + neighbours % 2",
        "neighbours + 1",
        (f"{PEERS}::test_what_the_ring_says_of_flower_is_what_flower_does",),
    ),
    Mutant(
        "what Flower's clients share is not counted",
        "bench/peers/flower.py",
        "sent(SHARE_KEYS, answer, session.keys_request(number))",
        "sent(SHARE_KEYS, {}, session.keys_request(number))",
        (f"{PEERS}::test_flower_sends_eight_bytes_a_parameter_and_its_keys_and_shares",),
    ),
    Mutant(
        "a peer that is there whatever is installed",
        "bench/peers/peer.py",
        "return find_spec(self.package) is not None",
        "return True",
        (f"{PEERS}::test_a_peer_that_is_not_installed_is_named_with_its_command",),
    ),
    Mutant(
        "a newer Flower that lacks a stage ends in an error of its own",
        "bench/peers/flower_secagg.py",
        "if not hasattr(mod, _stage):",
        "if False:",
        (f"{PEERS}::test_a_flower_without_what_is_called_is_one_sentence",),
    ),
)
