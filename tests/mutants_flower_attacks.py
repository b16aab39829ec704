"""Holes of the integration with Flower that an attack went through, opened again, with the tests that must see it."""

from mutants import Mutant

ATTACKS = "test_flower_attacks.py"
SUITES = "test_suites.py"
FOLDER = "integrations/flower"
SAME = f"{ATTACKS}::test_whatever_the_app_answered_the_server_hears_the_same"
COSTS_NOTHING = f"{ATTACKS}::test_a_request_that_is_none_for_the_vector_costs_nothing"
OWN_SESSIONS = f"{ATTACKS}::test_the_first_request_of_a_session_is_none_for_a_vector"
TERMS = f"{ATTACKS}::test_terms_are_for_a_run_and_the_next_may_have_others"
RATE = f"{ATTACKS}::test_a_node_that_is_told_another_learning_rate_drops_out_alone"
UNSAID = f"{ATTACKS}::test_without_run_config_nodes_that_have_one_refuse_and_say_what_is_missing"
BITS = f"{ATTACKS}::test_too_few_bits_are_refused_by_the_node"
UNCHANGED = f"{ATTACKS}::test_a_model_that_did_not_change_is_not_evaluated_again"
ONCE = f"{ATTACKS}::test_a_node_evaluates_a_model_once_in_a_run_whoever_asks"
PLACES = f"{ATTACKS}::test_where_a_node_keeps_what_is_told_to_nobody"
LINE = f"{ATTACKS}::test_no_node_writes_into_the_servers_log_but_one_line"
LYING = f"{ATTACKS}::test_a_model_that_lies_about_its_arrays_costs_the_node_one_step"
KEY = f"{ATTACKS}::test_of_several_that_make_a_key_at_once_the_slow_get_that_of_the_first"
LOOK = f"{SUITES}::test_a_look_at_a_request_for_the_vector_changes_nothing"

MUTANTS = (
    # What the server hears after the app was called.
    Mutant(
        "an app without an answer is told from one with a wrong one",
        f"{FOLDER}/mod.py",
        "        if self.asked is not None:\n",
        "        if self.asked is not None and reply is not None:\n",
        (SAME,),
    ),
    Mutant(
        "what an app's answer breaks is told",
        f"{FOLDER}/mod.py",
        "        except Exception:  # noqa: BLE001 - whatever the app's answer is, it is the node's\n",
        "        except ZeroDivisionError:\n",
        (SAME, f"{ATTACKS}::test_an_app_that_answers_anything_drops_out_alone"),
    ),
    Mutant(
        "a charge that fails is told",
        f"{FOLDER}/mod.py",
        "            node.books.charge(asked.session.params, asked.cost)\n",
        "            try:\n"
        "                node.books.charge(asked.session.params, asked.cost)\n"
        "            except Exception as error:\n"
        "                self.why = str(error)\n"
        "                return\n",
        (SAME,),
    ),
    Mutant(
        "failures before a vector is made have words of their own",
        f"{FOLDER}/mod.py",
        "        self.why = _KEPT\n        try:\n            if reply.has_error():\n",
        '        try:\n            self.why = "the app failed" if reply.has_error() else _KEPT\n'
        "            if reply.has_error():\n",
        (SAME,),
    ),
    # What is looked at first.
    Mutant(
        "a request is looked at when the app has worked",
        f"{FOLDER}/mod.py",
        "    session.check_upload(request)\n",
        "",
        (COSTS_NOTHING, OWN_SESSIONS),
    ),
    Mutant(
        "garbage takes a session off the shelf",
        f"{FOLDER}/mod.py",
        "        if session is not None and isinstance(error, DecodeError):\n",
        "        if False:\n",
        (COSTS_NOTHING,),
    ),
    Mutant(
        "garbage fixes the terms of a run",
        f"{FOLDER}/mod.py",
        "    session.check_upload(request)\n    node.check_terms(terms)",
        "    node.check_terms(terms)\n    session.check_upload(request)",
        (COSTS_NOTHING, OWN_SESSIONS),
    ),
    Mutant(
        "any request passes for one for the vector",
        "lockstep/client.py",
        "            if not isinstance(incoming.message, self._upload_request) or self._handler(incoming) is None:\n",
        "            if False:\n",
        (LOOK,),
    ),
    Mutant(
        "a look at requests for the vector before their turn",
        "lockstep/client.py",
        "            if not isinstance(incoming.message, self._upload_request) or self._handler(incoming) is None:\n",
        "            if not isinstance(incoming.message, self._upload_request):\n",
        (OWN_SESSIONS,),
    ),
    Mutant(
        "a look without a context",
        "lockstep/client.py",
        "            self._require_context()\n            self._check_upload(",
        "            self._check_upload(",
        (f"{SUITES}::test_a_look_at_a_request_needs_the_context",),
    ),
    Mutant(
        "a look at the type of a request alone",
        "lockstep/client.py",
        "            self._check_upload(self._state, incoming)\n",
        "",
        (LOOK, f"{SUITES}::test_a_look_tells_that_an_update_to_the_context_was_sent_before", COSTS_NOTHING),
    ),
    Mutant(
        "a look at a session at work",
        "lockstep/client.py",
        '            raise LocalProtocolError(f"{self.party} is answering a request: it cannot look at another")\n',
        "            pass\n",
        (f"{SUITES}::test_a_look_is_not_taken_at_two_requests_at_once",),
    ),
    Mutant(
        "a look does not open the shares",
        "masking/client.py",
        "        self._checked_shares(state, incoming)\n\n    def _checked_shares",
        "        self._require_bound(state, incoming)\n\n    def _checked_shares",
        (LOOK, f"{SUITES}::test_a_look_tells_that_an_update_to_the_context_was_sent_before"),
    ),
    Mutant(
        "a look passes over what was sent to the context",
        "ckks/client.py",
        " or self._guard.claimed(CONTEXT, self.params.context):\n",
        ":\n",
        (f"{SUITES}::test_a_look_tells_that_an_update_to_the_context_was_sent_before[ckks]",),
    ),
    Mutant(
        "a look at any session of ckks",
        "ckks/client.py",
        "        self._require_session(incoming)\n        if ",
        "        if ",
        (f"{LOOK}[ckks]",),
    ),
    # Terms.
    Mutant(
        "terms last for ever",
        f"{FOLDER}/node.py",
        "        run = self._in_run(terms.kind.encode())\n",
        "        run = terms.kind.encode()\n",
        (TERMS,),
    ),
    Mutant(
        "terms of training bind evaluation",
        f"{FOLDER}/node.py",
        "        run = self._in_run(terms.kind.encode())\n",
        '        run = self._in_run(b"")\n',
        (f"{ATTACKS}::test_terms_of_training_and_of_evaluation_are_apart",),
    ),
    Mutant(
        "terms of one round",
        f"{FOLDER}/node.py",
        "encode(structs.replace(terms, round=0))",
        "encode(terms)",
        (TERMS,),
    ),
    Mutant(
        "the largest weight may vary within a run",
        f"{FOLDER}/node.py",
        "encode(structs.replace(terms, round=0))",
        "encode(structs.replace(terms, round=0, weight_max=0.0))",
        (TERMS,),
    ),
    Mutant(
        "the weight may be another within a run",
        f"{FOLDER}/node.py",
        "encode(structs.replace(terms, round=0))",
        'encode(structs.replace(terms, round=0, weighted_by="", metrics=()))',
        (TERMS,),
    ),
    # What apps are told beside the model.
    Mutant(
        "nodes take the server's word for the run configuration",
        f"{FOLDER}/mod.py",
        "    setting = Setting.of(message, run=context.run_id, run_config=context.run_config)\n",
        "    setting = Setting.of(message, run=context.run_id, run_config={})\n",
        (RATE, UNSAID),
    ),
    Mutant(
        "names of a run configuration without what they say",
        f"{FOLDER}/model.py",
        "    return (key.encode(), *_of_value(value))\n",
        "    return (key.encode(),)\n",
        (RATE,),
    ),
    Mutant(
        "the group left out of the context",
        f"{FOLDER}/model.py",
        "setting.group.encode(), configured)",
        "configured)",
        (f"{ATTACKS}::test_a_node_that_is_told_another_group_drops_out_alone",),
    ),
    Mutant(
        "sessions are bound to what the server says",
        f"{FOLDER}/mod.py",
        "    if step.context != bound_to:",
        "    bound_to = step.context\n    if False:",
        (RATE, UNSAID),
    ),
    # Rounding.
    Mutant(
        "any number of bits",
        f"{FOLDER}/home.py",
        "        if terms.privacy is None and terms.bits < self.bits:",
        "        if False:",
        (BITS,),
    ),
    Mutant(
        "the fewer bits of two policies",
        "integrations/policy.py",
        "        bits=max(one.bits, other.bits),\n",
        "        bits=min(one.bits, other.bits),\n",
        (BITS,),
    ),
    Mutant(
        "an app's policy without a least number of bits",
        "integrations/policy.py",
        "    bits: int = 8\n",
        "    bits: int = 2\n",
        (BITS,),
    ),
    Mutant(
        "rounded to the nearest",
        f"{FOLDER}/terms.py",
        "dice=_dice())",
        "dice=None)",
        (f"{ATTACKS}::test_no_clip_makes_a_sum_of_the_largest_alone",),
    ),
    # The committee.
    Mutant(
        "members of a committee are enrolled once",
        f"{FOLDER}/office.py",
        "        elif not self.members.keys() <= set(nodes) or self._missed:\n",
        "        elif False:\n",
        (f"{ATTACKS}::test_members_that_come_back_under_other_ids_are_enrolled_again_and_their_key_goes_on",),
    ),
    Mutant(
        "sums that were given up before cost an opening",
        f"{FOLDER}/office.py",
        "        self._opened += convened  #",
        "        self._opened += 1  #",
        (
            f"{ATTACKS}::test_openings_are_counted_when_members_were_asked",
            f"{ATTACKS}::test_a_sum_that_no_member_was_asked_to_open_costs_no_opening",
        ),
    ),
    Mutant(
        "openings that failed are not counted",
        f"{FOLDER}/office.py",
        "        self._opened += convened  #",
        "        self._opened += opened  #",
        (f"{ATTACKS}::test_openings_are_counted_when_members_were_asked",),
    ),
    Mutant(
        "keys of committees are used for one opening more",
        f"{FOLDER}/office.py",
        "self._opened >= epoch.committee.openings:",
        "self._opened > epoch.committee.openings:",
        (f"{ATTACKS}::test_a_sum_that_no_member_was_asked_to_open_costs_no_opening",),
    ),
    # Directories and keys.
    Mutant(
        "a link to nothing is a directory that can be made",
        "integrations/home.py",
        "        if named and not folder.is_dir():",
        "        if named and not (folder.parent.is_dir() or folder.is_dir()):",
        (f"{ATTACKS}::test_a_volume_that_is_not_mounted_stops_the_node",),
    ),
    Mutant(
        "a link to nothing is no policy",
        "integrations/home.py",
        "        if path.is_symlink():",
        "        if False:",
        (f"{ATTACKS}::test_a_link_to_nothing_is_no_missing_file",),
    ),
    Mutant(
        "the last of several keys stays",
        "roster.py",
        "            os.link(beside, path)\n    finally:\n        Path(beside).unlink()\n",
        "            os.replace(beside, path)\n    finally:\n        Path(beside).unlink(missing_ok=True)\n",
        (KEY,),
    ),
    Mutant(
        "who is slower in making a key fails",
        "roster.py",
        "        with suppress(FileExistsError):\n            os.link(",
        "        with suppress(ZeroDivisionError):\n            os.link(",
        (KEY,),
    ),
    Mutant(
        "drafts of keys stay behind",
        "roster.py",
        "    finally:\n        Path(beside).unlink()\n",
        "    finally:\n        pass\n",
        (KEY,),
    ),
    # Evaluation.
    Mutant(
        "the wrapper has an unchanged model evaluated again",
        f"{FOLDER}/rounds.py",
        "        if evaluated in self._models_evaluated:\n",
        "        if False:\n",
        (UNCHANGED,),
    ),
    Mutant(
        "an evaluation of which nothing came counts as one",
        f"{FOLDER}/rounds.py",
        "        if under_way.evaluated is not None and summed.contributors:\n",
        "        if under_way.evaluated is not None:\n",
        (f"{ATTACKS}::test_a_model_of_whose_evaluation_nothing_came_may_be_evaluated_again",),
    ),
    Mutant(
        "what was evaluated is forgotten",
        f"{FOLDER}/mod.py",
        "                node.evaluated(asked.model)\n",
        "                pass\n",
        (ONCE,),
    ),
    Mutant(
        "a model is evaluated once for ever",
        f"{FOLDER}/node.py",
        '        return (self._context.run_id % 2**64).to_bytes(8, "big") + what\n',
        "        return what\n",
        (ONCE, TERMS),
    ),
    # What a node says of itself.
    Mutant(
        "the server is told where a node keeps what",
        f"{FOLDER}/node.py",
        "        own = isinstance(error, LedgerError) or str(self._home.folder) in why\n",
        "        own = isinstance(error, LedgerError)\n",
        (f"{ATTACKS}::test_no_path_is_told_when_the_guard_is_gone",),
    ),
    Mutant(
        "the server is told what is wrong with a node's books",
        f"{FOLDER}/node.py",
        "        return UNTOLD if own else why[:_WHY_LENGTH]\n",
        "        return why[:_WHY_LENGTH]\n",
        (PLACES,),
    ),
    Mutant(
        "words of nodes are logged as they are",
        f"{FOLDER}/holding.py",
        '    return "".join(sign if sign.isprintable() else " " for sign in why)[:_WHY_LENGTH]\n',
        "    return why\n",
        (LINE,),
    ),
    Mutant(
        "words of errors are logged as they are",
        f"{FOLDER}/post.py",
        "printable(str(reply.error.reason))",
        "reply.error.reason",
        (LINE,),
    ),
    Mutant(
        "words at enrolment are logged as they are",
        f"{FOLDER}/post.py",
        "                why = printable(str(error))",
        "                why = str(error)",
        (LINE,),
    ),
    Mutant(
        "words of errors are written into records as they are",
        f"{FOLDER}/rounds.py",
        "summed.record.refusals[node] = printable(str(reply.error.reason))",
        "summed.record.refusals[node] = str(reply.error.reason)",
        (LINE,),
    ),
    # Runs.
    Mutant(
        "sessions of an earlier run are waited for",
        f"{FOLDER}/rounds.py",
        "        self._ahead: dict[str, SecureSum] = {}\n",
        '        self._ahead: dict[str, SecureSum] = self.__dict__.get("_ahead", {})\n',
        (f"{ATTACKS}::test_a_wrapper_starts_anew_with_other_nodes_and_in_another_run",),
    ),
    # Arrays.
    Mutant(
        "headers of arrays are believed",
        f"{FOLDER}/model.py",
        "        _check_header(array)\n",
        "",
        (LYING,),
    ),
    Mutant(
        "what numpy raises of an array goes on",
        f"{FOLDER}/model.py",
        "    except Exception:  # noqa: BLE001 - what numpy's parsers of a header raise is anything: TokenError, say\n",
        "    except (TypeError, OSError, EOFError):\n",
        (f"{LYING}[an archive]",),
    ),
)
