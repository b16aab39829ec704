"""A client's own ledger and its receipts."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privfl.dp.budget import Budget
from privfl.dp.client_ledger import ClientLedger
from privfl.dp.events import Gaussian, Repeated
from privfl.dp.ledger import Ledger, Mode, Opening, Unit, read_ledger
from privfl.dp.receipts import Receipt, make_receipt, verify_receipt
from privfl.errors import BudgetExceeded, ConfigurationError, LedgerError
from privfl.primitives.labels import Label
from privfl.primitives.signatures import Identity
from privfl.testing import UnsafeFixedEntropy

ENTROPY = UnsafeFixedEntropy(b"client's ledgers")
CLIENT, STRANGER = Identity.generate(ENTROPY), Identity.generate(ENTROPY)
EVENTS = [Repeated(event=Gaussian(noise_multiplier=4.0))]
NOISE = {"mechanism": "skellam", "variance": 1234.5}
UNLIMITED = Budget(delta=1e-5, relation="zero-out")
LIMITED = Budget(delta=1e-5, relation="zero-out", epsilon=2.0)
AGREED = bytes(range(32))


def session(number):
    return number.to_bytes(16, "big")


def receipt():
    return make_receipt(CLIENT, session=session(1), params_digest=AGREED, noise=NOISE, rounds=3)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "client.jsonl"


# The client's ledger


def test_a_session_is_on_disk_when_charge_returns(path):
    """Guarantee 1 (that it is fsynced is the ledger's, and tested there)."""
    with ClientLedger.open(path, CLIENT, UNLIMITED) as ledger:
        ledger.charge(session(1), AGREED, EVENTS, NOISE)
        contents = read_ledger(path, CLIENT.public)
        assert contents == ledger.contents
    assert (contents.opening.mode, contents.opening.unit) == (Mode.PARTICIPATION, Unit.CLIENT)
    (charge,) = contents.charges
    assert (charge.round, charge.events) == (1, tuple(EVENTS))
    assert charge.facts == {
        "session": session(1).hex(),
        "params_digest": AGREED.hex(),
        "noise": NOISE,
        "coordinator": "",
    }


def test_a_session_beyond_the_clients_own_budget_is_refused_with_nothing_written(path):
    """Guarantee 1, over restarts."""
    taken, before = 0, b""

    def take_part():
        nonlocal before
        with ClientLedger.open(path, CLIENT, LIMITED) as ledger:
            before = path.read_bytes()
            ledger.charge(session(taken), AGREED, EVENTS)

    while taken < 20:
        try:
            take_part()
        except BudgetExceeded as refusal:
            assert "the budget is 2 (privacy.epsilon)" in str(refusal)  # noqa: PT017 - the loop waits for it
            break
        taken += 1
    assert path.read_bytes() == before
    assert taken == len(read_ledger(path).charges)
    assert 1 < taken < 20


def test_a_smaller_session_may_still_fit_after_one_was_refused():
    ledger = ClientLedger.in_memory(CLIENT, LIMITED)
    with pytest.raises(BudgetExceeded):
        ledger.charge(session(1), AGREED, [Repeated(event=Gaussian(noise_multiplier=0.5))])
    with pytest.raises(LedgerError, match="no receipt"):
        ledger.receipt(session(1))
    ledger.charge(session(1), AGREED, EVENTS)
    verify_receipt(ledger.receipt(session(1)), CLIENT.public)


@pytest.mark.parametrize("restarted", [False, True])
def test_a_session_is_charged_once_however_often_it_is_charged(path, restarted):
    """Guarantee 2."""
    ledger = ClientLedger.open(path, CLIENT, UNLIMITED)
    for _ in range(3):
        ledger.charge(session(1), AGREED, EVENTS, NOISE)
        if restarted:
            ledger.close()
            ledger = ClientLedger.open(path, CLIENT, UNLIMITED)
    assert len(ledger.contents.charges) == 1
    ledger.close()


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize(
    "other",
    [
        {"params_digest": bytes(32)},
        {"events": [Repeated(event=Gaussian(noise_multiplier=4.1))]},
        {"events": EVENTS * 2},
        {"noise": {"mechanism": "skellam", "variance": 1234.6}},
        {"noise": None},
    ],
)
def test_under_the_nonce_of_a_charged_session_nothing_else_is_charged(path, restarted, other):
    """Guarantee 2."""
    ledger = ClientLedger.open(path, CLIENT, UNLIMITED)
    first = {"params_digest": AGREED, "events": EVENTS, "noise": NOISE}
    ledger.charge(session(1), **first)
    if restarted:
        ledger.close()
        ledger = ClientLedger.open(path, CLIENT, UNLIMITED)
    before = path.read_bytes()
    with pytest.raises(LedgerError, match="was charged before, for other parameters"):
        ledger.charge(session(1), **{**first, **other})
    assert path.read_bytes() == before
    ledger.charge(session(2), **{**first, **other})
    ledger.close()


def test_there_is_a_receipt_for_what_was_charged_and_for_nothing_else(path):
    """Guarantee 3; the count is the session's place, whenever it is asked for."""
    with ClientLedger.open(path, CLIENT, UNLIMITED) as ledger:
        for number in (5, 6, 7):
            ledger.charge(session(number), AGREED, EVENTS, {**NOISE, "number": number})
    with ClientLedger.open(path, CLIENT, UNLIMITED) as ledger:
        for place, number in enumerate((5, 6, 7), start=1):
            receipt = ledger.receipt(session(number))
            verify_receipt(receipt, CLIENT.public)
            assert receipt.rounds == place
            assert receipt.noise == {**NOISE, "number": number}
            assert (receipt.session, receipt.params_digest) == (session(number), AGREED)
        with pytest.raises(LedgerError, match="was not charged, so there is no receipt"):
            ledger.receipt(session(8))


@pytest.mark.parametrize("other", [{"budget": LIMITED}, {"unit": Unit.EXAMPLE}])
def test_the_budget_of_a_file_stays_as_it_is(path, other):
    ClientLedger.open(path, CLIENT, UNLIMITED).close()
    with pytest.raises(ConfigurationError, match="was opened for another budget or unit"):
        ClientLedger.open(path, CLIENT, **{"budget": UNLIMITED, **other})
    ClientLedger.open(path, CLIENT, UNLIMITED).close()  # the refusal let the file go


def test_the_ledger_of_another_client_or_in_use_is_refused(path):
    with ClientLedger.open(path, CLIENT, UNLIMITED), pytest.raises(LedgerError, match="is being written by"):
        ClientLedger.open(path, CLIENT, UNLIMITED)
    with pytest.raises(LedgerError, match="only the key that opened"):
        ClientLedger.open(path, STRANGER, UNLIMITED)


def test_a_torn_ledger_is_recovered_and_says_so(path):
    with ClientLedger.open(path, CLIENT, UNLIMITED) as ledger:
        ledger.charge(session(1), AGREED, EVENTS)
        ledger.charge(session(2), AGREED, EVENTS)
    path.write_bytes(path.read_bytes()[:-3])
    with ClientLedger.open(path, CLIENT, UNLIMITED) as ledger:
        assert "torn" in ledger.recovered
        assert len(ledger.contents.charges) == 1
        ledger.charge(session(2), AGREED, EVENTS)
        assert ledger.receipt(session(2)).rounds == 2


def test_a_servers_ledger_with_the_same_key_is_no_clients_ledger(path):
    Ledger.create(path, Opening(unit="client", mode="client-central", budget=UNLIMITED), CLIENT).unlock()
    with pytest.raises(ConfigurationError, match="was opened for another"):
        ClientLedger.open(path, CLIENT, UNLIMITED)


@pytest.mark.parametrize(
    ("bad", "match"),
    [
        ({"session": bytes(15)}, "session is .*: 16 bytes work"),
        ({"session": "1"}, "session is '1'"),
        ({"params_digest": bytes(31)}, "params_digest is .*: 32 bytes work"),
        ({"events": []}, "a charge has no events"),
        ({"noise": {"variance": float("nan")}}, "facts.noise.variance is nan"),
    ],
)
def test_bad_charges_are_refused_with_a_sentence(bad, match):
    ledger = ClientLedger.in_memory(CLIENT, UNLIMITED)
    with pytest.raises(ConfigurationError, match=match):
        ledger.charge(**{"session": session(1), "params_digest": AGREED, "events": EVENTS, **bad})
    assert not ledger.contents.charges


# Receipts


def test_a_receipt_holds_and_survives_json():
    for one in (receipt(), Receipt.from_json(receipt().to_json()), Receipt.from_json(receipt().to_json().encode())):
        assert one == receipt()
        verify_receipt(one)
        verify_receipt(one, CLIENT.public)
    assert json.loads(receipt().to_json()) == {
        "session": session(1).hex(),
        "params_digest": AGREED.hex(),
        "noise": NOISE,
        "rounds": 3,
        "client": CLIENT.public.hex(),
        "coordinator": "",
        "signature": receipt().signature.hex(),
    }


@pytest.mark.parametrize(
    "change",
    [
        {"session": session(2)},
        {"params_digest": bytes(32)},
        {"noise": {**NOISE, "variance": 1234.4}},
        {"noise": {}},
        {"rounds": 2},
        {"client": STRANGER.public},
        {"coordinator": STRANGER.public},
        {"signature": b""},
        {"signature": bytes(64)},
    ],
)
def test_a_receipt_that_was_changed_does_not_hold(change):
    with pytest.raises(LedgerError, match="changed or forged"):
        verify_receipt(replace(receipt(), **change))


def test_a_receipt_with_a_flipped_bit_is_refused_wherever_it_is():
    """Guarantee 1 of `verify_receipt`."""
    text = receipt().to_json().encode()
    for position in range(len(text)):
        for bit in range(8):
            damaged = bytearray(text)
            damaged[position] ^= 1 << bit
            with pytest.raises(LedgerError):
                verify_receipt(Receipt.from_json(bytes(damaged)))


def test_a_receipt_by_somebody_else_is_refused():
    with pytest.raises(LedgerError, match=r"a receipt by .*, not by"):
        verify_receipt(receipt(), STRANGER.public)
    forged = replace(receipt(), signature=STRANGER.sign(Label.RECEIPT, receipt().signed()))
    with pytest.raises(LedgerError, match="changed or forged"):
        verify_receipt(forged)
    for_another_use = replace(receipt(), signature=CLIENT.sign(Label.LEDGER, receipt().signed()))
    with pytest.raises(LedgerError, match="changed or forged"):
        verify_receipt(for_another_use)


@pytest.mark.parametrize(
    ("bad", "match"),
    [
        ({"session": bytes(3)}, "session is"),
        ({"params_digest": b""}, "params_digest is"),
        ({"rounds": 0}, "rounds is 0"),
        ({"noise": {"x": object()}}, "facts.x is a object"),
    ],
)
def test_bad_receipts_are_not_made(bad, match):
    good = {"session": session(1), "params_digest": AGREED, "noise": NOISE, "rounds": 1}
    with pytest.raises(ConfigurationError, match=match):
        make_receipt(CLIENT, **{**good, **bad})


@pytest.mark.parametrize(
    "edit",
    [
        lambda value: value.pop("noise"),
        lambda value: value.update(extra=1),
        lambda value: value.update(rounds=True),
        lambda value: value.update(rounds=2.0),
        lambda value: value.update(client="00" * 32),
        lambda value: value.update(client=value["client"].upper()),
        lambda value: value.update(signature="zz" * 64),
        lambda value: value.update(session=5),
        lambda value: value.update(noise=[]),
    ],
)
def test_json_that_is_no_receipt_is_refused(edit):
    value = json.loads(receipt().to_json())
    edit(value)
    with pytest.raises(LedgerError):
        Receipt.from_json(json.dumps(value))


@given(st.text(max_size=80) | st.binary(max_size=80))
def test_whatever_the_text_reading_a_receipt_raises_a_ledger_error(text):
    with pytest.raises(LedgerError):
        Receipt.from_json(text)
