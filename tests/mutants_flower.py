"""Defects planted in the integration with Flower, each with the tests that must catch it."""

from mutants import Mutant

MOD = "test_flower_mod.py"
STRATEGY = "test_flower_strategy.py"
FOLDER = "integrations/flower"
CLEAR = f"{MOD}::test_nothing_of_a_node_leaves_in_clear"
NO_APP = f"{MOD}::test_a_message_without_protection_is_refused_and_the_app_not_called"
RESTORED = f"{MOD}::test_a_restored_state_answers_nothing_a_second_time"
SHOWN = f"{MOD}::test_a_context_is_what_a_node_is_shown_all_of_it"
TERMS = f"{MOD}::test_terms_that_contradict_themselves_are_refused_and_the_app_not_called"
POLICY = f"{MOD}::test_an_owners_policy_outranks_app_and_server"
SIGNED = f"{MOD}::test_a_signed_request_is_for_one_node_one_run_and_one_content"
GARBAGE = f"{STRATEGY}::test_a_node_that_answers_garbage_harms_nobody_else"
SILENT = f"{STRATEGY}::test_a_node_that_is_silent_once_is_missing_from_few_sums_and_comes_back"
GIVEN = f"{STRATEGY}::test_the_strategy_is_given_a_reply_for_each_contributor_and_an_error_for_each_other"
RECORD = f"{STRATEGY}::test_a_record_says_it_all"
ENROLLED = f"{STRATEGY}::test_an_enrolment_is_for_one_node_one_run_and_one_challenge"
ROUNDS = f"{STRATEGY}::test_three_rounds_of_a_strategy_end_where_they_do_without_protection"

MUTANTS = (
    # The mod: what leaves.
    Mutant(
        "the app's records ride along with the protected answer",
        f"{FOLDER}/mod.py",
        "        return _message(answer, message)\n",
        "        answered = _message(answer, message)\n"
        "        if reply is not None and not reply.has_error():\n"
        "            answered.content.update(reply.content)\n"
        "        return answered\n",
        (CLEAR, f"{MOD}::test_what_was_not_agreed_on_stays_with_the_node_and_its_log_says_so"),
    ),
    Mutant(
        "an app talks a node that can sign into anything",
        f"{FOLDER}/mod.py",
        "        if home.credentials and (home.policy is None or home.policy.session.servers is None):\n",
        "        if False:\n",
        (f"{MOD}::test_no_app_talks_a_node_that_can_sign_into_a_session_without_signatures",),
    ),
    Mutant(
        "what an app raises is told in its words",
        f"{FOLDER}/mod.py",
        "    except Exception:  # noqa: BLE001 - whatever it is, it is the node's\n",
        "    except ZeroDivisionError:\n",
        (f"{MOD}::test_what_an_app_raises_is_for_its_log_alone_and_keys_of_the_next_round_are_kept",),
    ),
    Mutant(
        "the reason of an app's error is told",
        f"{FOLDER}/mod.py",
        "            if reply.has_error():\n",
        "            if reply.has_error():\n                self.why = reply.error.reason\n",
        (f"{MOD}::test_of_an_error_that_the_app_answers_nothing_is_told",),
    ),
    Mutant(
        "what is wrong with an app's answer is told",
        f"{FOLDER}/mod.py",
        '            _LOG.error("privfl sends no contribution: %s", error)\n',
        '            _LOG.error("privfl sends no contribution: %s", error)\n            self.why = str(error)\n',
        (f"{MOD}::test_a_reply_that_is_not_as_agreed_stays_with_the_node_and_the_others_go_on",),
    ),
    Mutant(
        "the node's own settings are told",
        f"{FOLDER}/mod.py",
        '"privfl cannot answer for this node: %s", error, exc_info=not isinstance(error, PrivflError))\n'
        "            return Message(Error(_REFUSED, UNTOLD), reply_to=message)\n",
        '"privfl cannot answer for this node: %s", error, exc_info=not isinstance(error, PrivflError))\n'
        "            return Message(Error(_REFUSED, str(error)), reply_to=message)\n",
        (
            f"{MOD}::test_a_policy_that_cannot_be_read_stops_the_node",
            f"{MOD}::test_a_home_that_others_can_get_at_is_refused",
        ),
    ),
    Mutant(
        "the app works for a context that the server did not state",
        f"{FOLDER}/mod.py",
        "    if step.context != bound_to:",
        "    if False:",
        (f"{MOD}::test_a_node_that_is_shown_something_else_than_the_others_sends_nothing",),
    ),
    Mutant(
        "the run's configuration left out of the context",
        f"{FOLDER}/model.py",
        "setting.group.encode(), configured)",
        "setting.group.encode())",
        (SHOWN,),
    ),
    Mutant(
        "messages without protection reach the app",
        f"{FOLDER}/mod.py",
        "                _check_clear(message, node.policy)\n",
        "",
        (NO_APP, f"{MOD}::test_a_server_that_sends_no_protected_request_gets_nothing"),
    ),
    Mutant(
        "types in clear need only one side's word",
        f"{FOLDER}/home.py",
        "        clear=one.clear & other.clear,\n",
        "        clear=one.clear | other.clear,\n",
        (f"{MOD}::test_types_in_clear_must_be_so_for_app_and_owner",),
    ),
    Mutant(
        "two sums of one reply",
        f"{FOLDER}/mod.py",
        "step.terms is not None for step in steps) > 1:",
        "step.terms is not None for step in steps) > 2:",
        (f"{MOD}::test_two_sums_of_one_reply_are_refused",),
    ),
    Mutant(
        "requests are left in the message that the app sees",
        f"{FOLDER}/carrying.py",
        "    config, arrays = content.pop(RECORD, None), content.pop(ARRAYS, None)\n",
        "    config, arrays = content.get(RECORD, None), content.get(ARRAYS, None)\n",
        (
            f"{MOD}::test_the_app_and_other_mods_see_messages_as_the_strategy_made_them",
            f"{MOD}::test_a_clipping_mod_works_behind_it",
        ),
    ),
    Mutant(
        "integers are learned",
        f"{FOLDER}/model.py",
        '_FLOATS: Final = ("float16", "float32", "float64")',
        '_FLOATS: Final = ("float16", "float32", "float64", "int64")',
        (f"{MOD}::test_integer_arrays_are_neither_changed_nor_sent",),
    ),
    Mutant(
        "a weight above the largest is written as the largest",
        f"{FOLDER}/terms.py",
        "        weight = _number(metrics, terms.weighted_by)\n",
        "        weight = min(_number(metrics, terms.weighted_by), terms.weight_max)\n",
        (f"{MOD}::test_a_reply_that_is_not_as_agreed_stays_with_the_node_and_the_others_go_on",),
    ),
    Mutant(
        "where an update is not finite is told",
        f"{FOLDER}/terms.py",
        "            if not np.isfinite(array).all():",
        "            if False:",
        (f"{MOD}::test_a_reply_that_is_not_as_agreed_stays_with_the_node_and_the_others_go_on",),
    ),
    # The mod: what vectors are bound to.
    Mutant(
        "the model left out of the context",
        f"{FOLDER}/model.py",
        "    return array.dtype.encode(), repr(tuple(array.shape)).encode(), array.stype.encode(), array.data\n",
        "    return array.dtype.encode(), repr(tuple(array.shape)).encode(), array.stype.encode()\n",
        (SHOWN, f"{MOD}::test_nodes_that_a_lying_server_shows_different_things_make_noise"),
    ),
    Mutant(
        "the configuration left out of the context",
        f"{FOLDER}/model.py",
        'records = b"".join(_of_record(name, content[name]) for name in sorted(content))',
        'records = b"".join(_of_record(name, content[name]) for name in sorted(content.array_records))',
        (SHOWN, f"{MOD}::test_nodes_that_a_lying_server_shows_different_things_make_noise"),
    ),
    Mutant(
        "the terms left out of the context",
        f"{FOLDER}/model.py",
        "*ends, encode(terms), records)",
        "*ends, records)",
        (SHOWN, f"{MOD}::test_nodes_that_a_lying_server_shows_different_things_make_noise"),
    ),
    Mutant(
        "the run left out of the context",
        f"{FOLDER}/model.py",
        "    ends = (run, setting.message_type",
        "    ends = (setting.message_type",
        (SHOWN,),
    ),
    Mutant(
        "lists of texts run together in the context",
        f"{FOLDER}/model.py",
        '        return (b"list", *(part for item in value for part in _of_value(item)), b"end")\n',
        '        return (b"list", b"".join(part for item in value for part in _of_value(item)[1:]))\n',
        (SHOWN,),
    ),
    Mutant(
        "terms of another kind of message",
        f"{FOLDER}/mod.py",
        "    if terms.kind != kind:",
        "    if False:",
        (TERMS,),
    ),
    Mutant(
        "the vector of a session is not compared with the terms",
        f"{FOLDER}/mod.py",
        "    if codec.vector != session.params.vector:",
        "    if False:",
        (TERMS,),
    ),
    Mutant(
        "metrics that hold the weight",
        f"{FOLDER}/terms.py",
        " or terms.weighted_by in names:",
        ":",
        (TERMS, f"{STRATEGY}::test_settings_that_do_not_work_are_refused_at_once"),
    ),
    Mutant(
        "terms change within a run",
        f"{FOLDER}/node.py",
        "            self._home.guard.claim(_TERMS_OF_RUN, run)\n",
        "            pass\n",
        (f"{MOD}::test_terms_stay_as_a_node_first_saw_them_in_a_run",),
    ),
    Mutant(
        "a model is evaluated again and again",
        f"{FOLDER}/mod.py",
        "        node.check_not_evaluated(model)\n",
        "        pass\n",
        (f"{MOD}::test_a_model_is_evaluated_once_in_a_run",),
    ),
    Mutant(
        "a directory that is not there is made",
        "integrations/home.py",
        "        if named and not folder.is_dir():",
        "        if False:",
        (f"{MOD}::test_a_home_that_its_owner_names_must_be_there",),
    ),
    # The node: sessions and states.
    Mutant(
        "a guard that forgets",
        "integrations/home.py",
        "            guard=FileGuard(folder / _CLAIMS),\n",
        "            guard=FileGuard(folder.with_name(os.urandom(8).hex())),\n",
        (RESTORED, f"{MOD}::test_of_a_nonce_no_second_session_is_begun_with_another_cohort"),
    ),
    Mutant(
        "a session under another name than its nonce",
        f"{FOLDER}/node.py",
        "        if params.nonce != step.session:",
        "        if False:",
        (f"{MOD}::test_a_first_request_that_contradicts_itself_is_refused",),
    ),
    Mutant(
        "sessions never leave the shelf",
        f"{FOLDER}/keeping.py",
        "        while len(self._kept) > MOST_KEPT:",
        "        while False:",
        (f"{MOD}::test_a_node_keeps_no_more_sessions_than_it_can_need",),
    ),
    Mutant(
        "a newer session goes before an old one",
        f"{FOLDER}/keeping.py",
        "            del self._kept[next(iter(self._kept))]",
        "            del self._kept[next(reversed(self._kept))]",
        (f"{MOD}::test_a_node_keeps_no_more_sessions_than_it_can_need",),
    ),
    # The node: its owner.
    Mutant(
        "the owner's policy is not asked",
        f"{FOLDER}/mod.py",
        "        policy = stricter(self._policy, home.policy) if home.policy else self._policy\n",
        "        policy = self._policy\n",
        (POLICY, f"{MOD}::test_an_owner_names_the_server_in_the_policy"),
    ),
    Mutant(
        "the owner's policy replaces the app's",
        f"{FOLDER}/mod.py",
        "        policy = stricter(self._policy, home.policy) if home.policy else self._policy\n",
        "        policy = home.policy or self._policy\n",
        (f"{MOD}::test_an_apps_policy_holds_where_the_owner_says_nothing",),
    ),
    Mutant(
        "suites of either policy",
        "integrations/policy.py",
        "        suites=a.suites & b.suites,\n",
        "        suites=a.suites | b.suites,\n",
        (POLICY, f"{MOD}::test_policies_are_joined_strictly"),
    ),
    Mutant(
        "the smaller minimum of two policies",
        "integrations/policy.py",
        "        minimum_contributors=max(a.minimum_contributors, b.minimum_contributors),\n",
        "        minimum_contributors=min(a.minimum_contributors, b.minimum_contributors),\n",
        (POLICY, f"{MOD}::test_policies_are_joined_strictly"),
    ),
    Mutant(
        "what is unsaid of corrupt clients is loosened",
        "integrations/policy.py",
        "        return max(said, ThreatModel().corrupt) if said else None\n",
        "        return said\n",
        (f"{MOD}::test_what_is_unsaid_of_corrupt_clients_is_not_loosened",),
    ),
    Mutant(
        "the owner's minimum does not reach the session",
        f"{FOLDER}/node.py",
        "            policy=self.policy.session,\n",
        "            policy=type(self.policy.session)(),\n",
        (f"{MOD}::test_an_owners_minimum_holds_when_sums_are_opened",),
    ),
    Mutant(
        "any metric may enter sums",
        f"{FOLDER}/node.py",
        "        self.policy.check_terms(terms)\n",
        "",
        (f"{MOD}::test_an_owners_list_of_metrics_outranks_what_was_agreed",),
    ),
    Mutant(
        "any metric may be the weight",
        f"{FOLDER}/home.py",
        "        for name in (terms.weighted_by, *(name for name, _ in terms.metrics)):",
        "        for name in (name for name, _ in terms.metrics):",
        (f"{MOD}::test_an_owners_list_of_metrics_holds_for_the_weight",),
    ),
    Mutant(
        "unknown words of a policy are passed over",
        "integrations/policy.py",
        "        for key in table:\n            if key not in known:",
        "        for key in [key for key in table if key not in known and table.pop(key) is None]:\n"
        "            if key not in known:",
        (f"{MOD}::test_a_policy_that_cannot_be_read_stops_the_node",),
    ),
    Mutant(
        "a policy that cannot be opened is none",
        "integrations/home.py",
        '        raise ConfigurationError(f"{path} cannot be read: {error}") from None\n',
        "        return None\n",
        (f"{MOD}::test_a_policy_is_not_left_out_because_it_cannot_be_opened",),
    ),
    Mutant(
        "a directory that others can read is used",
        "integrations/home.py",
        "_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO",
        "_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH",
        (f"{MOD}::test_a_home_that_others_can_get_at_is_refused",),
    ),
    Mutant(
        "a directory of somebody else is used",
        "integrations/home.py",
        "    if said.st_uid != os.geteuid() or said.st_mode & _OTHERS:",
        "    if said.st_mode & _OTHERS:",
        (f"{MOD}::test_a_home_of_somebody_else_is_refused",),
    ),
    Mutant(
        "the app says where a node's directory is",
        f"{FOLDER}/home.py",
        "    told = context.node_config.get(HOME_KEY)\n",
        "    told = None if default is not None else context.node_config.get(HOME_KEY)\n",
        (f"{MOD}::test_a_home_is_the_supernodes_the_apps_or_one_for_run_and_node",),
    ),
    # Who signs requests.
    Mutant(
        "any server is answered",
        f"{FOLDER}/mod.py",
        "                node.check_server(carried)\n",
        "",
        (f"{MOD}::test_only_the_server_that_a_node_names_is_answered", SIGNED),
    ),
    Mutant(
        "requests signed for any node",
        f"{FOLDER}/carrying.py",
        'ends = ((run % 2**64).to_bytes(8, "big"), (node % 2**64).to_bytes(8, "big"))',
        'ends = ((run % 2**64).to_bytes(8, "big"),)',
        (SIGNED,),
    ),
    Mutant(
        "requests signed for any run",
        f"{FOLDER}/carrying.py",
        'ends = ((run % 2**64).to_bytes(8, "big"), (node % 2**64).to_bytes(8, "big"))',
        'ends = ((node % 2**64).to_bytes(8, "big"),)',
        (SIGNED,),
    ),
    Mutant(
        "long requests are not signed",
        f"{FOLDER}/carrying.py",
        "*(digest(Label.FLOWER_REQUEST, str(place).encode(), long[place]) for place in sorted(long))",
        "",
        (f"{MOD}::test_long_requests_are_signed_as_well",),
    ),
    Mutant(
        "any name of an array",
        f"{FOLDER}/carrying.py",
        "array.stype != _STYPE or name not in _PLACES:",
        "array.stype != _STYPE or not name.isdigit():",
        (f"{MOD}::test_an_array_that_belongs_to_no_step_is_refused", GARBAGE),
    ),
    Mutant(
        "other encodings of what is said",
        f"{FOLDER}/messages.py",
        "    if encode(said) != raw:",
        "    if False:",
        (f"{MOD}::test_too_many_steps_and_other_encodings_are_refused",),
    ),
    # The wrapper: which strategies.
    Mutant(
        "a strategy's own aggregation passes",
        f"{FOLDER}/linear.py",
        '_OWN: Final = ("aggregate_train", "aggregate_evaluate", "_check_and_log_replies")',
        '_OWN: Final = ("aggregate_evaluate", "_check_and_log_replies")',
        (f"{STRATEGY}::test_what_might_need_single_replies_is_refused_unless_vouched_for",),
    ),
    Mutant(
        "a metrics function of one's own passes",
        f"{FOLDER}/linear.py",
        'for name in ("train_metrics_aggr_fn", "evaluate_metrics_aggr_fn"):',
        'for name in ("train_metrics_aggr_fn",):',
        (f"{STRATEGY}::test_what_might_need_single_replies_is_refused_unless_vouched_for",),
    ),
    # The wrapper: sums.
    Mutant(
        "every contributor weighs as much as all of them",
        f"{FOLDER}/rounds.py",
        "weighted_by: mean.weight / len(nodes)",
        "weighted_by: mean.weight",
        (GIVEN,),
    ),
    Mutant(
        "nodes that are not in the sum are passed over in silence",
        f"{FOLDER}/rounds.py",
        "        lost = [node for node in under_way.instructions if node not in contributors]\n",
        "        lost = [node for node in failed if node not in contributors]\n",
        (GIVEN, f"{STRATEGY}::test_a_round_that_nobody_answers_gives_the_strategy_errors_alone"),
    ),
    Mutant(
        "the mean alone, without the model that it moves",
        f"{FOLDER}/model.py",
        "np.asarray(np.add(old, step[name], dtype=kind))",
        "np.asarray(step[name].astype(kind))",
        (ROUNDS,),
    ),
    Mutant(
        "arrays without dimensions are forgotten",
        f"{FOLDER}/model.py",
        "np.asarray(np.add(old, step[name], dtype=kind))",
        "np.add(old, step[name], dtype=kind)",
        (f"{STRATEGY}::test_arrays_without_dimensions_are_summed",),
    ),
    Mutant(
        "models take the types of means",
        f"{FOLDER}/model.py",
        "            arrays[name] = Array(array.numpy().astype(before.dtype))\n",
        "            arrays[name] = array\n",
        (f"{STRATEGY}::test_other_floats_keep_their_type",),
    ),
    Mutant(
        "half precision is subtracted in half precision",
        f"{FOLDER}/model.py",
        "        kind = np.float64 if np.float64 in (old.dtype, new.dtype) else np.float32\n",
        "        kind = np.float16 if np.float16 in (old.dtype, new.dtype) else np.float64\n",
        (f"{STRATEGY}::test_updates_of_half_precision_are_whole",),
    ),
    Mutant(
        "different messages to different nodes",
        f"{FOLDER}/rounds.py",
        "    if any(message.content is not first and message.content != first for message in messages):",
        "    if False:",
        (f"{STRATEGY}::test_messages_that_no_sum_can_serve_are_refused",),
    ),
    # The wrapper: who drops out.
    Mutant(
        "garbage in an answer ends the run",
        f"{FOLDER}/post.py",
        "        except DecodeError as error:\n            answers",
        "        except ZeroDivisionError as error:\n            answers",
        (GARBAGE,),
    ),
    Mutant(
        "a wrong response ends the run",
        f"{FOLDER}/holding.py",
        "        except RemoteProtocolError as error:\n            self._refused(",
        "        except ZeroDivisionError as error:\n            self._refused(",
        (GARBAGE,),
    ),
    Mutant(
        "who was refused counts among the contributors",
        f"{FOLDER}/holding.py",
        '            self._refused(node, why or "no answer")\n            return\n',
        '            self._refused(node, why or "no answer")\n            self._took(node)\n            return\n',
        (GARBAGE, f"{MOD}::test_a_reply_that_is_not_as_agreed_stays_with_the_node_and_the_others_go_on"),
    ),
    Mutant(
        "who missed the keys of a round is not asked for those of the next",
        f"{FOLDER}/rounds.py",
        "        return [one for one in (self.summed, *self.ahead) if node in one.waiting]\n",
        "        asked = [one for one in (self.summed, *self.ahead) if node in one.waiting]\n"
        "        return asked if self.summed in asked else []\n",
        (SILENT,),
    ),
    Mutant(
        "sessions are used again for nodes that are not in them",
        f"{FOLDER}/rounds.py",
        "        and numbers.keys() <= prepared.numbers.keys()\n",
        "",
        (f"{STRATEGY}::test_a_node_that_is_new_joins_at_once_and_one_that_left_is_not_waited_for",),
    ),
    Mutant(
        "sessions are used again for another model",
        f"{FOLDER}/rounds.py",
        "        and prepared.params.vector == codec.vector\n",
        "",
        (f"{STRATEGY}::test_a_model_that_changes_its_shape_is_summed_with_new_keys",),
    ),
    # The wrapper: exchanges, deadlines, records.
    Mutant(
        "keys are made in the last round for another",
        f"{FOLDER}/rounds.py",
        'self._plans.has_keys("train") and number != self.last:',
        'self._plans.has_keys("train"):',
        (f"{STRATEGY}::test_in_the_last_round_no_keys_are_made_for_another",),
    ),
    Mutant(
        "keys are never made ahead",
        f"{FOLDER}/rounds.py",
        "        self._ahead |= {one.record.kind: one for one in under_way.ahead}\n",
        "",
        (f"{STRATEGY}::test_a_round_takes_few_exchanges",),
    ),
    Mutant(
        "messages outlive the server's patience",
        f"{FOLDER}/post.py",
        "Message(content, node, message_type, ttl=self._timeout)",
        "Message(content, node, message_type)",
        (f"{STRATEGY}::test_deadlines_reach_the_messages",),
    ),
    Mutant(
        "training has no deadline",
        f"{FOLDER}/rounds.py",
        "Message(shown, node, message_type, ttl=self._train_timeout, ",
        "Message(shown, node, message_type, ",
        (f"{STRATEGY}::test_deadlines_reach_the_messages",),
    ),
    Mutant(
        "bytes of refused answers are counted",
        f"{FOLDER}/holding.py",
        "        self.record.download_bytes += len(request)\n",
        "        self.record.download_bytes += len(request) + 1\n",
        (f"{STRATEGY}::test_bytes_of_a_record_are_those_of_the_protocol",),
    ),
    Mutant(
        "uploads are not counted",
        f"{FOLDER}/holding.py",
        "        self.record.upload_bytes += len(response)\n",
        "",
        (f"{STRATEGY}::test_bytes_of_a_record_are_those_of_the_protocol",),
    ),
    Mutant(
        "keys that were made ahead took no time",
        f"{FOLDER}/rounds.py",
        "            if not one.over:\n                one.record.seconds",
        "            if one is summed and not one.over:\n                one.record.seconds",
        (RECORD,),
    ),
    Mutant(
        "drop-outs are not said",
        f"{FOLDER}/holding.py",
        "tuple(sorted(set(self.numbers) - self.contributors))",
        "()",
        (RECORD, SILENT),
    ),
    # Enrolment.
    Mutant(
        "an enrolment for any node",
        f"{FOLDER}/node.py",
        "    return (challenge, roster.digest, *ends, number.to_bytes(4",
        "    return (challenge, roster.digest, ends[0], number.to_bytes(4",
        (f"{ENROLLED}[node]",),
    ),
    Mutant(
        "an enrolment for any run",
        f"{FOLDER}/node.py",
        "    return (challenge, roster.digest, *ends, number.to_bytes(4",
        "    return (challenge, roster.digest, ends[1], number.to_bytes(4",
        (f"{ENROLLED}[run]",),
    ),
    Mutant(
        "an enrolment for any challenge",
        f"{FOLDER}/node.py",
        "    return (challenge, roster.digest, *ends",
        "    return (roster.digest, *ends",
        (f"{ENROLLED}[challenge]",),
    ),
    Mutant(
        "enrolments are not verified",
        f"{FOLDER}/post.py",
        "        verify(public, said.signature, Label.FLOWER_ENROLMENT, *parts)\n",
        "",
        (f"{STRATEGY}::test_an_impostor_takes_nobodys_place", ENROLLED),
    ),
    Mutant(
        "two nodes with one number",
        f"{FOLDER}/post.py",
        "                if number in found.values():",
        "                if False:",
        (f"{STRATEGY}::test_of_two_nodes_with_one_identity_one_is_left_out",),
    ),
)
