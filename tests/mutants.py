"""Defects planted on purpose, each with the tests that must catch it. If one survives, the test suite is at fault."""

from dataclasses import dataclass

CHECKS = "test_masking_checks.py"
SESSION = "test_masking_session.py"
SLEEP = "test_sleep.py"
LIES = "test_masking_lies.py"
LOCKSTEP = "test_lockstep.py"
SECRETS = "test_masking_secrets.py"
VIEW = "test_server_view.py"
ACTIVE = "test_masking_active.py"
MACHINE = "test_state_machine.py::TestMaskingUnderAttack"


@dataclass(frozen=True)
class Mutant:
    """One defect: in `file`, `before` (which stands there once) becomes `after`."""

    name: str
    file: str
    before: str
    after: str
    caught_by: tuple[str, ...]


MUTANTS = (
    Mutant(
        "disjointness check deleted",
        "masking/checks.py",
        "    check_disjoint(request)\n",
        "",
        (f"{CHECKS}::test_unmask_survivors_and_dropped_must_be_disjoint", MACHINE),
    ),
    Mutant(
        "itself may be listed",
        "masking/checks.py",
        "    check_not_self(request, limits)\n",
        "",
        (f"{CHECKS}::test_unmask_refuses_itself_among_dropped",),
    ),
    Mutant(
        "foreign and early drop-outs may be named",
        "masking/checks.py",
        "    check_known(request, alive)\n",
        "",
        (f"{CHECKS}::test_unmask_refuses_a_client_that_had_dropped_before",),
    ),
    Mutant(
        "neighbours may be left out",
        "masking/checks.py",
        "    check_complete(request, alive)\n",
        "",
        (f"{CHECKS}::test_unmask_refuses_lists_that_leave_a_neighbour_out",),
    ),
    Mutant(
        "threshold of survivors off by one",
        "masking/checks.py",
        "        len(request.survivors) < limits.threshold,",
        "        len(request.survivors) < limits.threshold - 1,",
        (f"{CHECKS}::test_unmask_refuses_fewer_survivors_than_the_threshold",),
    ),
    Mutant(
        "minimum of contributors off by one",
        "masking/checks.py",
        "_refuse(count < limits.minimum,",
        "_refuse(count < limits.minimum - 1,",
        (f"{CHECKS}::test_unmask_refuses_fewer_contributors_than_the_minimum",),
    ),
    Mutant(
        "contributor count not compared with what is seen",
        "masking/checks.py",
        "        limits.complete and count != neighbours + 1,",
        "        False,",
        (f"{CHECKS}::test_unmask_refuses_a_contributor_count_that_contradicts_what_it_sees",),
    ),
    Mutant(
        "opened shares not counted",
        "masking/client.py",
        "        checks.check_opened(len(held), self._limits)\n",
        "",
        (f"{CHECKS}::test_masked_input_refuses_when_fewer_shares_than_the_threshold_open",),
    ),
    Mutant(
        "graph not checked by the client",
        "masking/checks.py",
        "    _refuse(not numbers <= allowed,",
        "    _refuse(False and not numbers <= allowed,",
        (f"{CHECKS}::test_share_keys_refuses_neighbours_outside_the_ring",),
    ),
    Mutant(
        "masks only where the share opened",
        "masking/client.py",
        "{peer: state.pair_seeds[peer] for peer in request.peers}",
        "{peer: state.pair_seeds[peer] for peer in held}",
        (f"{CHECKS}::test_masked_input_goes_on_when_enough_shares_open_and_masks_with_everybody_on_the_list",),
    ),
    Mutant(
        "session id not checked",
        "masking/client.py",
        "    if incoming.session != session:",
        "    if False:",
        (f"{CHECKS}::test_unmask_of_another_session_is_refused",),
    ),
    Mutant(
        "session id missing from the key derivation of pairs",
        "masking/secrets.py",
        "        own.agree(peer_public),\n        salt=session,",
        "        own.agree(peer_public),\n        salt=bytes(32),",
        (f"{SECRETS}::test_pair_seeds_are_equal_at_both_ends_and_bound_to_session_and_pair",),
    ),
    Mutant(
        "one channel key for both directions (nonce used twice)",
        "masking/secrets.py",
        "ends=(peer, me), length=aead.KEY_BYTES",
        "ends=(me, peer), length=aead.KEY_BYTES",
        (f"{SECRETS}::test_channel_keys_differ_by_session_pair_and_direction",),
    ),
    Mutant(
        "self mask omitted by everybody",
        "masking/secrets.py",
        "    return Mask(derive(seed, salt=session, label=Label.MASKING_SELF, ends=(me,), length=PRG_KEY_BYTES))",
        "    return Mask(Secret(bytes(PRG_KEY_BYTES)))",
        (f"{SECRETS}::test_self_masks_and_commitments_are_bound_to_session_and_client",),
    ),
    Mutant(
        "self mask not added by clients and not removed by the server",
        "masking/secrets.py",
        "def self_mask(seed: Secret, *, session: bytes, me: int) -> Mask:",
        "def self_mask(seed: Secret, *, session: bytes, me: int) -> Mask:\n"
        "    import privfl.primitives.prg as prg\n"
        "    if not hasattr(prg, '_true'):\n"
        "        prg._true = prg._Expansion\n"
        "        prg._Expansion = lambda masks, *rest: prg._true(\n"
        "            [mask for mask in masks if mask.key.reveal() != b'none of these!!!'], *rest)\n"
        "    return Mask(Secret(b'none of these!!!'))\n\n\n"
        "def _unused_self_mask(seed: Secret, *, session: bytes, me: int) -> Mask:",
        (f"{VIEW}::test_pair_seeds_alone_do_not_open_an_upload_that_came_late",),
    ),
    Mutant(
        "pairwise masks of one sign",
        "masking/secrets.py",
        "    return Mask(key, negative=peer > me)",
        "    return Mask(key, negative=False)",
        (f"{SESSION}::test_sum_is_exact_without_dropouts", MACHINE),
    ),
    Mutant(
        "32-bit seeds",
        "masking/client.py",
        "        seed = Secret(self._entropy.token_bytes(SECRET_BYTES))",
        "        seed = Secret(self._entropy.token_bytes(4) * 8)",
        (f"{SECRETS}::test_every_secret_is_drawn_at_full_width",),
    ),
    Mutant(
        "sharing polynomial one degree short",
        "primitives/shamir.py",
        "    random_bytes = entropy.token_bytes((threshold - 1) * len(secret))\n"
        "    coefficients = np.frombuffer(random_bytes, np.uint8).reshape(threshold - 1, len(secret))",
        "    random_bytes = entropy.token_bytes((threshold - 1) * len(secret))\n"
        "    coefficients = np.frombuffer(random_bytes, np.uint8).reshape(threshold - 1, len(secret))[1:]",
        ("test_primitives.py::test_fewer_shares_than_the_threshold_say_nothing",),
    ),
    Mutant(
        "commitment to the self-mask seed unchecked",
        "masking/opening.py",
        "        if secrets.commitment(seed, session=session, me=number) != book.shared[number].commitment:",
        "        if False:",
        (f"{LIES}::test_a_wrong_self_mask_seed_is_refused_and_rebuilt_from_shares",),
    ),
    Mutant(
        "confirmation of the pair seed unchecked",
        "masking/opening.py",
        "            if told != confirmation_of(book.shared[number], entry.number):",
        "            if False:",
        (f"{LIES}::test_a_wrong_pair_seed_is_refused_and_rebuilt_from_shares",),
    ),
    Mutant(
        "who contradicts everybody stays",
        "masking/server.py",
        "        return book.able(agreeing)",
        "        return book.able(set(book.shared))",
        (f"{LIES}::test_wrong_confirmations_to_everybody_cost_the_liar_its_place",),
    ),
    Mutant(
        "liars can have an honest client left out",
        "masking/server.py",
        "if len(self._contradicted_by(n)) < book.setting.threshold}",
        "if len(self._contradicted_by(n)) < 2}",
        (f"{LIES}::test_liars_cannot_have_an_honest_client_left_out",),
    ),
    Mutant(
        "the word of a survivor settles a contested pair",
        "masking/opening.py",
        "            if told == confirmation_of(book.shared[entry.number], number):",
        "            if True:",
        (f"{LIES}::test_a_contested_pair_of_which_the_survivor_lied_is_settled_from_shares",),
    ),
    Mutant(
        "clients can grind the graph",
        "masking/server.py",
        "secrets.server_leaf(book.entropy.token_bytes(SECRET_BYTES))",
        "secrets.server_leaf(bytes(SECRET_BYTES))",
        (f"{SESSION}::test_the_graph_depends_on_what_the_server_draws_when_all_keys_are_in",),
    ),
    Mutant(
        "advertisements not checked by clients",
        "masking/witness.py",
        "        for peer in request.neighbours:\n            agreement.check_advertisement(",
        "        for peer in ():\n            agreement.check_advertisement(",
        (f"{ACTIVE}::test_swapped_keys_are_refused_by_their_neighbours",),
    ),
    Mutant(
        "advertisements valid in every session",
        "masking/agreement.py",
        '    return (session, number.to_bytes(4, "big"), key_id, channel_key, mask_key)',
        '    return (number.to_bytes(4, "big"), key_id, channel_key, mask_key)',
        (f"{ACTIVE}::test_keys_signed_for_another_session_are_refused",),
    ),
    Mutant(
        "own keys not looked for under the root",
        "masking/witness.py",
        "            (me, own, request.own_proof),\n",
        "",
        (f"{ACTIVE}::test_a_client_whose_own_keys_were_swapped_refuses",),
    ),
    Mutant(
        "consistency signatures unchecked",
        "masking/agreement.py",
        "        except (RemoteProtocolError, KeyError):\n            continue\n",
        "        except (RemoteProtocolError, KeyError):\n            pass\n",
        (f"{ACTIVE}::test_unmask_needs_a_quorum_of_valid_signatures",),
    ),
    Mutant(
        "quorum off by one",
        "masking/checks.py",
        "        held < limits.signatures,",
        "        held < limits.signatures - 1,",
        (f"{ACTIVE}::test_unmask_needs_a_quorum_of_valid_signatures",),
    ),
    Mutant(
        "signatures of anybody count",
        "masking/checks.py",
        '    _refuse(bool(strangers), f"signatures of',
        '    _refuse(False, f"signatures of',
        (f"{ACTIVE}::test_signatures_of_others_than_witnesses_are_refused",),
    ),
    Mutant(
        "unmask need not follow from the signed set",
        "masking/witness.py",
        "        checks.check_told_of(request, survivors, state.pair_seeds.keys())\n",
        "",
        (f"{ACTIVE}::test_unmask_must_follow_from_the_set_that_was_signed",),
    ),
    Mutant(
        "masks thinned out of the participants shown",
        "masking/client.py",
        "            self._witness.check_crowd(state, request)\n",
        "            pass\n",
        (f"{ACTIVE}::test_masks_are_not_thinned_out_of_the_participants_shown",),
    ),
    Mutant(
        "participants need not be those of the masks",
        "masking/witness.py",
        "        checks.check_same_crowd(participants, state.crowd)\n",
        "",
        (f"{ACTIVE}::test_a_thinned_set_of_participants_is_neither_signed_nor_unmasked",),
    ),
    Mutant(
        "masks do not follow from the participants",
        "masking/secrets.py",
        "seed.reveal(), context, crowd)",
        "seed.reveal(), context)",
        (f"{SECRETS}::test_pairwise_masks_follow_from_what_was_shown",),
    ),
    Mutant(
        "nonces accepted twice",
        "masking/client.py",
        "        self._guard.claim(NONCE, self.params.nonce)\n",
        "",
        (f"{ACTIVE}::test_a_nonce_is_accepted_once",),
    ),
    Mutant(
        "an unmasked update sent again",
        "masking/client.py",
        "        if self._witness is None:\n            self._guard.claim(CONTEXT, self.params.context)\n",
        "",
        (f"{ACTIVE}::test_an_update_is_not_sent_again_once_it_was_unmasked",),
    ),
    Mutant(
        "an update sent in two sessions of a context",
        "masking/client.py",
        "        if self._witness:\n            # A server that lies could",
        "        if False:\n            # A server that lies could",
        (f"{ACTIVE}::test_an_update_is_sent_in_one_session_of_a_context_only",),
    ),
    Mutant(
        "witnesses drawn by the root",
        "masking/book.py",
        "self.quorum.witnesses, self.params.keys_digest)",
        "self.quorum.witnesses, self.graph.root)",
        (f"{ACTIVE}::test_two_roots_of_the_same_keys_share_their_witnesses",),
    ),
    Mutant(
        "witnesses unmask other sets than they signed",
        "masking/client.py",
        "        checks.check_signed_by_itself(request, state.participants, state.survivors)\n",
        "",
        (f"{ACTIVE}::test_a_witness_unmasks_nothing_else_than_it_signed",),
    ),
    Mutant(
        "everybody signs",
        "masking/witness.py",
        "        checks.check_witness(self.numbers, self._limits)\n",
        "",
        (f"{ACTIVE}::test_only_witnesses_are_asked_to_sign_and_only_they_do",),
    ),
    Mutant(
        "two quorums without a common honest witness",
        "masking/planner.py",
        "    everybody = (clients + corrupt) // 2 + 1  # nothing is left to chance",
        "    everybody = clients // 2 + 1",
        (f"{ACTIVE}::test_two_sets_of_survivors_never_both_find_a_quorum",),
    ),
    Mutant(
        "the ring may be cut",
        "masking/planner.py",
        "    return 2 * (math.log(n) + tail) - math.log(2) < _log_statistical_bound(threat)",
        "    return True",
        ("test_masking_graph.py::test_what_each_condition_of_the_active_model_costs",),
    ),
    Mutant(
        "sums that no contributions give are decoded",
        "encoding/update.py",
        "        if not fits:",
        "        if False:",
        ("test_encoding.py::test_ten_clients_of_whom_one_writes_a_negative_weight_are_refused",),
    ),
    Mutant(
        "rebuilt secrets not compared with what was committed to",
        "masking/recovery.py",
        "            if found is not None:\n                return found",
        "            return Secret(shamir.reconstruct(chosen, columns))",
        (f"{LIES}::test_wrong_shares_are_worked_around_with_surplus_ones",),
    ),
    Mutant(
        "low-order keys accepted by the server",
        "masking/server.py",
        "        check_public_key(message.mask_key)\n",
        "",
        (f"{LIES}::test_low_order_keys_cost_their_sender_its_place_and_nobody_else_anything",),
    ),
    Mutant(
        "sum out of range released",
        "lockstep/server.py",
        "    if total.size and (int(total.min()) < -limit or int(total.max()) > limit):",
        "    if False:",
        (f"{LIES}::test_a_vector_far_out_of_bound_ends_the_round_instead_of_giving_a_sum",),
    ),
    Mutant(
        "dirty padding of a packed vector accepted",
        "encoding/bitpack.py",
        "    if np.bitwise_and(padding, padding.dtype.type((1 << bits) - 1)).any():",
        "    if False:",
        ("test_packing.py::test_padding_that_is_not_zero_is_refused_and_changes_nothing",),
    ),
    Mutant(
        "packed ring a bit too small",
        "encoding/residues.py",
        "    return (2 * contributors * bound).bit_length()",
        "    return max((2 * contributors * bound).bit_length() - 1, 1)",
        ("test_packing.py::test_extreme_sums_do_not_wrap_in_the_packed_ring",),
    ),
    Mutant(
        "packed vectors sent without masks",
        "lockstep/client.py",
        "                add_masks(block[: stop - start])\n",
        "                add_masks(block[: stop - start].copy())\n",
        (f"{VIEW}::test_every_upload_is_uniform_whatever_the_vector",),
    ),
    Mutant(
        "woken states claim nothing",
        "lockstep/waking.py",
        "            self._guard.claim(_RESTORED, self._claim_key())\n",
        "",
        (
            f"{SLEEP}::test_a_state_woken_twice_answers_once",
            f"{SLEEP}::test_a_state_restored_in_two_processes_answers_once",
            f"{SLEEP}::test_a_refusal_spends_the_state_for_all_its_copies",
        ),
    ),
    Mutant(
        "a woken state is claimed after it has answered",
        "lockstep/party.py",
        "            self._before(incoming, expected=handler is not None)\n"
        "            state, response = (handler or _refuse_out_of_order)(self._state, incoming)\n",
        "            state, response = (handler or _refuse_out_of_order)(self._state, incoming)\n"
        "            self._before(incoming, expected=handler is not None)\n",
        (f"{SLEEP}::test_a_refusal_spends_the_state_for_all_its_copies",),
    ),
    Mutant(
        "spent states are woken",
        "lockstep/waking.py",
        "        if self._guard.claimed(_RESTORED, self._claim_key()):",
        "        if False:",
        (f"{SLEEP}::test_no_earlier_state_is_woken_after_a_later_one_has_answered",),
    ),
    Mutant(
        "a session goes on after it was put to sleep",
        "lockstep/waking.py",
        '            self._end("put to sleep: wake it from its bytes")\n',
        "",
        (f"{SLEEP}::test_a_session_put_to_sleep_is_over",),
    ),
    Mutant(
        "sessions at rest share one key",
        "primitives/sealing.py",
        "    return derive(Secret(key), salt=salted, label=label, length=aead.KEY_BYTES)",
        "    return derive(Secret(key), salt=b'', label=label, length=aead.KEY_BYTES)",
        (f"{SLEEP}::test_every_sleep_is_sealed_under_a_key_of_its_own",),
    ),
    Mutant(
        "a lying server chooses how many are corrupt",
        "session.py",
        "least = ThreatModel().corrupt if",
        "least = 0.0 if",
        ("test_masking_active.py::test_a_server_that_may_lie_does_not_choose_how_many_are_corrupt",),
    ),
    Mutant(
        "any policy allows sessions without signatures",
        "masking/client.py",
        "settled(signs=credentials is not None)",
        "settled(signs=credentials is not None and policy is None)",
        ("test_masking_active.py::test_who_has_credentials_is_not_talked_into_a_session_without_signatures",),
    ),
    Mutant(
        "plain spoken to whoever proposes it",
        "plain/suite.py",
        "policy = (policy or ClientPolicy()).settled(signs=credentials is not None)",
        "policy = policy or ClientPolicy(minimum_contributors=1, suites=frozenset({'plain'}))",
        ("test_masking_session.py::test_plain_must_be_allowed_by_name",),
    ),
    Mutant(
        "number of corrupt clients not asked for",
        "session.py",
        "        if math.floor(threat.corrupt * clients + 1e-9) < self.corrupt_clients:",
        "        if False:",
        ("test_masking_active.py::test_a_client_can_insist_on_a_number_of_corrupt_clients_whatever_the_cohort",),
    ),
    Mutant(
        "counter of the cipher little-endian",
        "primitives/prg.py",
        '.to_bytes(_BLOCK_BYTES, "big")',
        '.to_bytes(_BLOCK_BYTES, "little")',
        ("test_known_answers.py::test_the_stream_is_the_references_across_chunks_and_workers",),
    ),
    Mutant(
        "one-time key re-used across sessions",
        "kahe/cipher.py",
        "    return sampler(distribution(), entropy, N).draw(N)",
        "    return Gaussian(*(Stream(Secret(bytes(16))) for _ in range(2)), largest_batch=N).draw(N)",
        ("test_kahe_session.py::test_keys_and_uploads_are_fresh_in_every_session",),
    ),
    Mutant(
        "sum of keys released for two sets",
        "masking/client.py",
        '        return SessionOver("the shares were told"), self._frame(answer, session).finish()',
        "        return state, self._frame(answer, session).finish()",
        ("test_kahe_session.py::test_the_sum_of_keys_is_told_for_one_set_only",),
    ),
    Mutant(
        "errors omitted from ciphertexts",
        "kahe/cipher.py",
        "                np.add(signed, errors.draw(len(part)), out=signed)",
        "                errors.draw(len(part))",
        ("test_kahe_session.py::test_ciphertexts_carry_errors",),
    ),
    Mutant(
        "draws that straddle a step settled without their bits",
        "primitives/sampling.py",
        "((first < last) & reached)",
        "(first < last)",
        ("test_lattice.py::test_bisection_finds_the_value_on_either_side_of_every_threshold",),
    ),
    Mutant(
        "only the first of several steps in an interval looked at",
        "primitives/sampling.py",
        '    passed[several] = np.searchsorted(high, words[several], side="right")',
        "",
        ("test_lattice.py::test_bisection_finds_the_value_on_either_side_of_every_threshold",),
    ),
    Mutant(
        "a sampler's two streams of one key",
        "primitives/sampling.py",
        "    return Sampler(distribution, Stream(coarse), Stream(fine), largest_batch=largest_batch)",
        "    return Sampler(distribution, Stream(coarse), Stream(coarse), largest_batch=largest_batch)",
        ("test_lattice.py::test_a_sampler_takes_two_keys_from_its_entropy_the_coarse_one_first",),
    ),
    Mutant(
        "long transforms trusted like short ones",
        "lattice/fourier.py",
        "        levels = self.half.bit_length() - 1",
        "        levels = min(self.half.bit_length() - 1, 10)",
        ("test_lattice.py::test_the_bound_is_the_theorems",),
    ),
    Mutant(
        "errors of the first block used again",
        "kahe/cipher.py",
        "for seed in seeds[start // BLOCK])",
        "for seed in seeds[0])",
        ("test_known_answers.py::test_a_table_is_evaluated_byte_for_byte",),
    ),
    Mutant(
        "one-time key kept",
        "kahe/client.py",
        "            key = cipher.draw_key(self._entropy)\n",
        "            key = self._key = cipher.draw_key(self._entropy)\n",
        (f"{VIEW}::test_a_client_of_kahe_holds_its_one_time_key_nowhere_once_it_has_answered",),
    ),
    Mutant(
        "pairwise masks left off the one-time key",
        "kahe/client.py",
        "            apply_masks(tail[:N], masks)\n",
        "            apply_masks(tail[:N], masks[:1])\n",
        (f"{VIEW}::test_the_server_and_fewer_than_t_neighbours_learn_neither_key_nor_vector_of_a_client_of_kahe",),
    ),
    Mutant(
        "masked key added before its ciphertext is refused",
        "kahe/server.py",
        "        self._ring.add(tail[KEY_BYTES:], self._total)  # refuses first, if at all\n"
        "        self.masked += np.frombuffer(tail[:KEY_BYTES], np.uint32)\n",
        "        self.masked += np.frombuffer(tail[:KEY_BYTES], np.uint32)\n"
        "        self._ring.add(tail[KEY_BYTES:], self._total)\n",
        ("test_known_answers.py::test_a_session_is_replayed_byte_for_byte",),
    ),
    Mutant(
        "no room left in the ring for noise to be seen",
        "kahe/planner.py",
        "    if _crowded(bits, scale, reach):",
        "    if False:",
        ("test_kahe_session.py::test_noise_is_not_released_as_a_sum",),
    ),
    Mutant(
        "public polynomials of one seed for all sessions",
        "kahe/cipher.py",
        "    return Secret(digest(Label.KAHE_PUBLIC, session)[:PRG_KEY_BYTES])",
        "    return Secret(digest(Label.KAHE_PUBLIC)[:PRG_KEY_BYTES])",
        ("test_kahe_session.py::test_keys_and_uploads_are_fresh_in_every_session",),
    ),
    Mutant(
        "counts that the error of the sum drowns",
        "encoding/counts.py",
        "        return self.bound // (2 * self.error + 1) + 1",
        "        return self.bound + 1",
        ("test_kahe_session.py::test_counts_are_exact_and_means_right_where_sums_are_not",),
    ),
    Mutant(
        "masks left off the one-time key",
        "kahe/client.py",
        "            apply_masks(tail[:N], masks)\n",
        "",
        ("test_kahe_session.py::test_small_cohorts_give_the_exact_sum_with_clients_lost_in_every_phase",),
    ),
    Mutant(
        "unmask answered again and again",
        "masking/client.py",
        '        return SessionOver("the shares were told"), self._frame(answer, session).finish()',
        "        return state, self._frame(answer, session).finish()",
        (f"{CHECKS}::test_unmask_is_answered_once",),
    ),
    Mutant(
        "secrets kept after a refusal",
        "lockstep/party.py",
        '            self._end(self._state.why if isinstance(self._state, SessionOver) else f"refused: {why}")\n',
        "",
        (f"{CHECKS}::test_unmask_refuses_foreign_ids_among_dropped", MACHINE),
    ),
    Mutant(
        "minimum of the client's policy ignored",
        "masking/client.py",
        "            minimum=max(params.minimum_contributors, policy.minimum_contributors, _floor(params)),",
        "            minimum=max(params.minimum_contributors, _floor(params)),",
        (f"{SESSION}::test_client_policy_outranks_the_parameters",),
    ),
    Mutant(
        "server adds a repeated upload twice",
        "lockstep/server.py",
        "            if sender.number not in step.waiting:\n"
        "                return  # delivered again: the first answer counts\n",
        "",
        (f"{SESSION}::test_a_byte_identical_repeat_gets_the_same_response_in_every_phase", MACHINE),
    ),
    Mutant(
        "parties of any role answer",
        "lockstep/server.py",
        "        return party.role is step.role and party.number in self._taking_part",
        "        return party.number in self._taking_part",
        (f"{LOCKSTEP}::test_only_parties_of_the_step_s_role_are_asked_and_heard",),
    ),
    Mutant(
        "the vector is kept by a session that is over",
        "lockstep/client.py",
        "        self._vector, self._vector_taken = None, True\n",
        "        self._vector_taken = True\n",
        (f"{SESSION}::test_a_vector_is_dropped_with_the_session_that_refuses",),
    ),
    Mutant(
        "half of a committee opens",
        "params.py",
        "        majority = self.members // 2 + 1",
        "        majority = (self.members + 1) // 2",
        ("test_params.py::test_a_committee_opens_by_more_than_half_of_its_members",),
    ),
    Mutant(
        "server releases under the minimum",
        "masking/book.py",
        "        if len(left) < minimum or not left:",
        "        if not left:",
        (f"{SESSION}::test_minimum_contributors_is_the_servers_floor_as_well",),
    ),
    Mutant(
        "non-canonical encodings accepted",
        "wire/codec.py",
        "    if _ENCODER.encode(message) != envelope.body:",
        "    if False:",
        ("test_wire.py::test_every_other_encoding_of_a_message_is_refused",),
    ),
    Mutant(
        "decoders made side by side",
        "wire/typed.py",
        "        with _MAKING:\n            made",
        "        with threading.Lock():\n            made",
        ("test_wire.py::test_guarantee_1_a_type_may_be_decoded_first_by_several_threads_at_once[decoders]",),
    ),
    Mutant(
        "plain values made structs beside decoders",
        "wire/typed.py",
        "    with _MAKING:\n        return",
        "    with threading.Lock():\n        return",
        tuple(
            f"test_wire.py::test_guarantee_1_a_type_may_be_decoded_first_by_several_threads_at_once[{asked}]"
            for asked in ("values", "both")
        ),
    ),
    Mutant(
        "trailing bytes accepted",
        "wire/envelope.py",
        "    if len(raw) != expected:",
        "    if len(raw) < expected:",
        (f"{SESSION}::test_undecodable_bytes_leave_client_and_server_unmoved",),
    ),
    Mutant(
        "ring one bit short",
        "encoding/residues.py",
        "    return (2 * contributors * bound).bit_length()",
        "    return (contributors * bound).bit_length()",
        ("test_encoding.py::test_the_ring_is_the_smallest_word_in_which_extreme_sums_do_not_wrap",),
    ),
    Mutant(
        "workers restart the stream",
        "primitives/prg.py",
        "    counter = (first_byte // _BLOCK_BYTES).to_bytes",
        "    counter = (0 * first_byte // _BLOCK_BYTES).to_bytes",
        ("test_primitives.py::test_masking_is_a_straightforward_expansion_for_every_number_of_workers",),
    ),
    # ckks: the ceremony
    Mutant(
        "room for all bounds though the sum has one of its own",
        "params.py",
        "    return contributors * bound if sum_bound is None else min(contributors * bound, sum_bound)\n",
        "    return contributors * bound\n",
        ("test_suites.py::test_a_sum_beyond_its_bound_is_not_released_as_one",),
    ),
)
