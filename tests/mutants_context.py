"""Defects of contexts that come late, planted on purpose."""

from mutants import SECRETS, Mutant

LATE = "test_late_context.py"
PARAMS = "test_params.py"

MUTANTS = (
    Mutant(
        "masks do not follow from the context",
        "masking/secrets.py",
        "seed.reveal(), context, crowd)",
        "seed.reveal(), crowd)",
        (
            f"{SECRETS}::test_pairwise_masks_follow_from_what_was_shown",
            f"{LATE}::test_a_sum_over_two_contexts_is_noise_whatever_the_server_says",
        ),
    ),
    Mutant(
        "masks without a context",
        "masking/secrets.py",
        "    if len(context) != DIGEST_BYTES:\n",
        "    if False:\n",
        (f"{SECRETS}::test_no_pairwise_mask_is_made_before_the_context_is_known",),
    ),
    Mutant(
        "witnesses sign no context",
        "masking/agreement.py",
        '    return (session, number.to_bytes(4, "big"), context, participants, survivors)',
        '    return (session, number.to_bytes(4, "big"), participants, survivors)',
        (f"{LATE}::test_one_context_of_two_finds_a_quorum",),
    ),
    Mutant(
        "signatures of another context are counted",
        "masking/client.py",
        "        self._witness.check_unmask(state, request, context=self.params.context)\n",
        "        self._witness.check_unmask(state, request, context=bytes(32))\n",
        (f"{LATE}::test_one_context_of_two_finds_a_quorum",),
    ),
    Mutant(
        "clients draw witnesses by the context",
        "masking/witness.py",
        "quorum.witnesses, params.keys_digest)",
        "quorum.witnesses, params.digest)",
        (f"{LATE}::test_two_contexts_of_a_session_share_their_witnesses",),
    ),
    Mutant(
        "the server draws witnesses by the context",
        "masking/book.py",
        "self.quorum.witnesses, self.params.keys_digest)",
        "self.quorum.witnesses, self.params.digest)",
        (f"{LATE}::test_two_contexts_of_a_session_share_their_witnesses",),
    ),
    Mutant(
        "restored states claimed for one context only",
        "lockstep/client.py",
        "        return self.params.keys_digest\n",
        "        return self.params.digest\n",
        (f"{LATE}::test_a_state_woken_twice_and_bound_to_two_contexts_answers_once",),
    ),
    Mutant(
        "keys made for any nonce",
        "params.py",
        'msgspec.structs.replace(agreed, context=b""))',
        'msgspec.structs.replace(agreed, context=b"", nonce=b""))',
        (
            f"{PARAMS}::test_keys_are_made_for_all_but_the_context",
            f"{LATE}::test_keys_of_one_nonce_are_good_for_no_other",
        ),
    ),
    Mutant(
        "keys made for one context",
        "params.py",
        'msgspec.structs.replace(agreed, context=b""))',
        "agreed)",
        (
            f"{PARAMS}::test_keys_are_made_for_all_but_the_context",
            f"{LATE}::test_keys_are_advertised_and_shared_before_the_context_is_known",
        ),
    ),
    Mutant(
        "a second context takes the first one's place",
        "params.py",
        "        if self.context and context != self.context:",
        "        if False:",
        (f"{PARAMS}::test_a_context_that_was_to_come_is_filled_in_once",),
    ),
    Mutant(
        "sessions are bound anew",
        "lockstep/party.py",
        "    if params.context and context != params.context:",
        "    if False:",
        (f"{LATE}::test_a_session_serves_one_context",),
    ),
    Mutant(
        "clients upload before they know the context",
        "lockstep/client.py",
        "        if not self.params.context:\n",
        "        if False:\n",
        (f"{LATE}::test_vectors_are_not_uploaded_before_the_context_is_known",),
    ),
    Mutant(
        "the server takes uploads before it knows the context",
        "masking/book.py",
        ' if self.params.context else b""',
        "",
        (f"{LATE}::test_the_server_takes_no_vector_before_the_context_is_known",),
    ),
    Mutant(
        "bound session ids without the context",
        "masking/secrets.py",
        "    return digest(Label.MASKING_BOUND, session, context)",
        "    return digest(Label.MASKING_BOUND, session)",
        (
            f"{SECRETS}::test_bound_session_ids_follow_from_session_and_context",
            f"{LATE}::test_a_client_with_another_context_drops_out_and_spoils_nothing",
        ),
    ),
    Mutant(
        "sessions that are over are bound",
        "lockstep/server.py",
        "        self._open_step()\n        self.params = bound",
        "        self.params = bound",
        (f"{LATE}::test_a_session_that_is_over_is_bound_to_nothing",),
    ),
)
