"""Every derived key is bound to its session, its pair and its use; every secret is drawn at full width."""

import itertools

import pytest
from harness import Play, make_params

from privfl import Phase
from privfl.masking import secrets
from privfl.masking.client import MaskingClient
from privfl.primitives.entropy import OsEntropy
from privfl.primitives.keys import KeyPair
from privfl.primitives.labels import Label
from privfl.primitives.secret import Secret

SESSIONS = (bytes(32), bytes(31) + b"\1")
OURS, THEIRS = KeyPair(Secret(bytes(range(32)))), KeyPair(Secret(bytes(range(1, 33))))


def test_pair_seeds_are_equal_at_both_ends_and_bound_to_session_and_pair():
    seeds = set()
    for session, (me, peer) in itertools.product(SESSIONS, [(1, 2), (1, 3), (2, 3)]):
        here = secrets.pair_seed(OURS, THEIRS.public, session=session, me=me, peer=peer)
        there = secrets.pair_seed(THEIRS, OURS.public, session=session, me=peer, peer=me)
        assert here == there
        seeds.add(here.reveal())
    assert len(seeds) == 6


def test_channel_keys_differ_by_session_pair_and_direction():
    """Each seals once under the fixed nonce: no two of them may be equal."""
    keys = set()
    for session, (me, peer) in itertools.product(SESSIONS, [(1, 2), (1, 3), (2, 1)]):
        outgoing, incoming = secrets.channel_keys(OURS, THEIRS.public, session=session, me=me, peer=peer)
        assert outgoing != incoming
        assert secrets.channel_keys(THEIRS, OURS.public, session=session, me=peer, peer=me) == (incoming, outgoing)
        keys |= {(session, outgoing.reveal())}
    assert len({key for _, key in keys}) == 6


def test_self_masks_and_commitments_are_bound_to_session_and_client():
    seed = Secret(bytes(32))
    masks = {secrets.self_mask(seed, session=s, me=me).key.reveal() for s in SESSIONS for me in (1, 2)}
    told = {secrets.commitment(seed, session=s, me=me) for s in SESSIONS for me in (1, 2)}
    confirmed = {secrets.confirmation(seed, session=s, me=1, peer=p) for s in SESSIONS for p in (2, 3)}
    assert len(masks) == len(told) == len(confirmed) == 4


def test_what_is_published_about_a_seed_is_no_part_of_it():
    seed = Secret(OsEntropy().token_bytes(32))
    published = secrets.commitment(seed, session=bytes(32), me=1)
    assert published not in seed.reveal()
    assert seed.reveal()[:16] not in published


@pytest.mark.parametrize("crowd", [b"", b"\x07"])
def test_pairwise_masks_cancel_and_self_masks_do_not(crowd):
    import numpy as np

    from privfl.primitives.prg import apply_masks

    seed = Secret(bytes(16))
    words = np.zeros(100, np.uint32)
    apply_masks(words, [secrets.pairwise_mask(seed, me=1, peer=2, context=bytes(32), crowd=crowd)])
    assert words.any()
    apply_masks(words, [secrets.pairwise_mask(seed, me=2, peer=1, context=bytes(32), crowd=crowd)])
    assert not words.any()
    mask = secrets.self_mask(Secret(bytes(32)), session=bytes(32), me=1)
    apply_masks(words, [mask])
    assert words.any()
    apply_masks(words, [secrets.opposite(mask)])
    assert not words.any()


@pytest.mark.parametrize("varied", ["context", "crowd"])
def test_pairwise_masks_follow_from_what_was_shown(varied):
    """Context and participants: a seed itself keys no stream."""
    seed, keys = Secret(bytes(range(16))), set()
    for shown in (bytes(32), bytes(31) + b"\1", b"\1" + bytes(31)):
        mask = secrets.pairwise_mask(seed, me=1, peer=2, **{"context": bytes(32), "crowd": b""} | {varied: shown})
        keys.add(mask.key.reveal())
    assert len(keys) == 3
    assert {len(key) for key in keys} == {16}
    assert seed.reveal() not in keys


@pytest.mark.parametrize("context", [b"", bytes(31), bytes(33)])
def test_no_pairwise_mask_is_made_before_the_context_is_known(context):
    with pytest.raises(ValueError, match="under a context of"):
        secrets.pairwise_mask(Secret(bytes(16)), me=1, peer=2, context=context, crowd=b"")


def test_bound_session_ids_follow_from_session_and_context():
    others = (bytes(32), bytes(31) + b"\1")
    made = {secrets.bound_session(session, context) for session in SESSIONS for context in others}
    assert len(made | set(SESSIONS)) == 6


def test_key_leaves_cannot_pose_as_absent_ones():
    assert len(secrets.key_leaf(1, bytes(32), bytes(32))) != len(secrets.absent_leaf(1))
    assert secrets.absent_leaf(1) != secrets.absent_leaf(2)


def test_labels_are_distinct_and_none_begins_another():
    values = sorted(label.value for label in Label)
    assert len(set(values)) == len(values)
    with_ends = (Label.MASKING_CHANNEL, Label.MASKING_PAIR, Label.MASKING_SELF)
    for first, second in itertools.permutations(with_ends, 2):
        assert not first.value.startswith(second.value)


class CountingEntropy:
    def __init__(self):
        self.drawn = []

    def token_bytes(self, length):
        self.drawn.append(length)
        return OsEntropy().token_bytes(length)


@pytest.mark.parametrize("threshold", [3, 4])
def test_every_secret_is_drawn_at_full_width(threshold):
    """Two X25519 keys, a 256-bit self-mask seed, (t − 1) coefficients for each of 64 shared bytes; no 32-bit seed."""
    play = Play(make_params(n=6, threshold=threshold))
    entropy = CountingEntropy()
    play.clients[10] = MaskingClient(play.params, 10, entropy=entropy)
    play.clients[10].submit(play.vectors[10])
    play.to(Phase.UNMASK)
    assert entropy.drawn == [32, 32, 32, (threshold - 1) * 64]


def test_two_sessions_share_no_secret():
    params = make_params(n=5)
    seen = set()
    for _ in range(2):
        play = Play(params).to(Phase.UNMASK)
        for session in play.clients.values():
            state = session._state
            for seed in (state.self_seed, *state.pair_seeds.values()):
                seen.add(seed.reveal())
    assert len(seen) == 2 * (5 + 10)  # five self-mask seeds and ten pairs, all different


def test_secrets_are_gone_when_their_use_is_over():
    play = Play(make_params(n=5))
    play.to(Phase.MASKED_INPUT)
    state = play.clients[10]._state
    assert not any(isinstance(getattr(state, field), KeyPair) for field in state.__dataclass_fields__)
    play.to(Phase.UNMASK)
    assert "incoming_keys" not in play.clients[10]._state.__dataclass_fields__
    play.step()
    assert [*play.clients[10]._state.__dataclass_fields__] == ["why"]
