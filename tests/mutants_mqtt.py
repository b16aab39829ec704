"""Defects of streams over MQTT, planted on purpose."""

from mutants import Mutant

STREAMS, PIPES = "test_mqtt_streams.py", "test_mqtt_pipes.py"
HOSTILE, BROKER, CLI = "test_mqtt_hostile.py", "test_mqtt_broker.py", "test_mqtt_cli.py"
MQTT = "integrations/mqtt"

MUTANTS = (
    Mutant(
        "frames that come twice are taken twice",
        f"{MQTT}/stream.py",
        "        if frame.number < self._taken:\n",
        "        if False:\n",
        (f"{STREAMS}::test_guarantee_1_repeated_messages_alone_change_nothing",),
    ),
    Mutant(
        "frames that are missing are not missed",
        f"{MQTT}/stream.py",
        "        if frame.number > self._taken:\n",
        "        if False:\n",
        (
            f"{STREAMS}::test_a_frame_that_is_missing_resets_the_stream",
            f"{STREAMS}::test_guarantee_1_what_comes_out_is_a_prefix_of_what_went_in",
        ),
    ),
    Mutant(
        "frames without a checksum",
        f"{MQTT}/frames.py",
        "    if message[-_SUM_BYTES:] != _sum(body, name, way):\n",
        "    if False:\n",
        (
            f"{STREAMS}::test_a_frame_that_was_damaged_is_none",
            f"{STREAMS}::test_a_frame_of_another_stream_or_way_is_none",
            f"{STREAMS}::test_guarantee_1_what_comes_out_is_a_prefix_of_what_went_in",
        ),
    ),
    Mutant(
        "checksums without the stream",
        f"{MQTT}/frames.py",
        "zlib.crc32(bytes([way]) + name)",
        "0",
        (f"{STREAMS}::test_a_frame_of_another_stream_or_way_is_none",),
    ),
    Mutant(
        "frames of any length",
        f"{MQTT}/frames.py",
        "    if len(payload) not in _PAYLOADS[kind] or (",
        "    if (",
        (f"{STREAMS}::test_a_frame_with_another_payload_than_its_kind_has_is_none",),
    ),
    Mutant(
        "a stream without a window",
        f"{MQTT}/stream.py",
        "            if self._held + self._owed > WINDOW_BYTES:\n",
        "            if False:\n",
        (f"{STREAMS}::test_guarantee_2_no_more_is_taken_in_than_the_window",),
    ),
    Mutant(
        "small frames are free",
        f"{MQTT}/stream.py",
        "    return len(piece) + FRAME_COST_BYTES\n",
        "    return len(piece)\n",
        (f"{STREAMS}::test_guarantee_2_small_frames_fill_the_window_too",),
    ),
    Mutant(
        "credit for what was never sent",
        f"{MQTT}/stream.py",
        "            if self._room > WINDOW_BYTES:\n",
        "            if False:\n",
        (f"{STREAMS}::test_credit_for_what_was_never_sent_resets_the_stream",),
    ),
    Mutant(
        "no credit for what was passed on",
        f"{MQTT}/stream.py",
        "        if self._owed < _CREDIT_AT_BYTES:\n",
        "        if True:\n",
        (f"{STREAMS}::test_what_is_passed_on_makes_room_again_and_nothing_gets_stuck",),
    ),
    Mutant(
        "resets wait for their turn",
        f"{MQTT}/stream.py",
        "        if frame.kind is Kind.RESET:\n",
        "        if frame.kind is Kind.RESET and frame.number >= self._taken:\n",
        (f"{STREAMS}::test_a_reset_is_heard_whatever_its_place",),
    ),
    Mutant(
        "streams that were reset go on",
        f"{MQTT}/stream.py",
        '        if self.broken:\n            return b""\n',
        "",
        (f"{STREAMS}::test_guarantee_3_after_a_reset_nothing_goes_in_or_out",),
    ),
    Mutant(
        "streams that were closed go on",
        f"{MQTT}/stream.py",
        "        if self.over or (frame.kind is Kind.OPEN) !=",
        "        if (frame.kind is Kind.OPEN) !=",
        (f"{STREAMS}::test_a_stream_that_was_closed_is_over_and_takes_no_more",),
    ),
    Mutant(
        "the other end is not told of a reset",
        f"{MQTT}/pipe.py",
        "            self.reset()\n            return str(error)\n",
        "            self._over.set()\n            return str(error)\n",
        (f"{PIPES}::test_a_message_that_is_lost_ends_both_connections_and_no_wrong_byte_comes_out[7]",),
    ),
    Mutant(
        "losses that nothing follows",
        f"{MQTT}/pipe.py",
        "            message = self._stream.probe()\n",
        "            message = None\n",
        (f"{PIPES}::test_a_loss_that_nothing_follows_is_noticed_all_the_same",),
    ),
    Mutant(
        "slow readers are not waited for",
        f"{MQTT}/pipe.py",
        "                        await writer.drain()\n",
        "                        pass\n",
        (f"{PIPES}::test_guarantee_1_no_more_than_the_window_is_held_for_a_slow_reader",),
    ),
    Mutant(
        "packets of any length",
        f"{MQTT}/gate.py",
        "self._length > MOST_PACKET_BYTES or (",
        "(",
        (f"{STREAMS}::test_guarantee_1_of_gates_packets_that_nobody_asked_for_do_not_pass",),
    ),
    Mutant(
        "packets that have to be kept",
        f"{MQTT}/gate.py",
        " or (kind == _PUBLISH and qos > 1)",
        "",
        (f"{STREAMS}::test_guarantee_1_of_gates_packets_that_nobody_asked_for_do_not_pass",),
    ),
    Mutant(
        "a gate that nobody stands at",
        f"{MQTT}/gate.py",
        "        self._gate.look(piece)\n",
        "",
        (f"{HOSTILE}::test_guarantee_1_of_connections_a_broker_that_sends_what_nobody_asked_for_is_left[auth]",),
    ),
    Mutant(
        "a broker that takes nothing is read on",
        f"{MQTT}/connection.py",
        "            self._loop.remove_reader(self._file)\n            self._loop.add_writer(",
        "            self._writing = False\n            self._loop.add_writer(",
        (f"{HOSTILE}::test_a_broker_that_sends_for_ever_and_reads_nothing_is_not_read_for_ever",),
    ),
    Mutant(
        "certificates that name nobody in topics",
        f"{MQTT}/address.py",
        ' and not set(user) & set("/+#$")',
        "",
        (f"{HOSTILE}::test_a_certificate_that_names_nobody_is_refused_before_anything_is_dialled",),
    ),
    Mutant(
        "who is rung for asks at once",
        "integrations/http/patience.py",
        "least_s=max(lost.retry_after_s, ROUSED_S)",
        "least_s=0.0",
        (f"{HOSTILE}::test_guarantee_1_of_patience_no_pause_is_cut_to_nothing",),
    ),
    Mutant(
        "a coordinator under any name",
        "cli/through_broker.py",
        "    if options.name is None:\n",
        "    if False:\n",
        (f"{CLI}::test_join_names_the_option_that_is_missing",),
    ),
)

WITH_BROKER = (
    Mutant(
        "users have any number of streams",
        f"{MQTT}/bridge.py",
        "        if len(own) >= MOST_PER_USER:\n",
        "        if False:\n",
        (f"{HOSTILE}::test_guarantee_1_who_opens_many_streams_loses_the_own_oldest_and_nobody_else_s",),
    ),
    Mutant(
        "streams are made room for at another's cost",
        f"{MQTT}/bridge.py",
        "        own = [where for where in self._pipes if where[0] == user]\n",
        "        own = list(self._pipes)\n",
        (f"{HOSTILE}::test_guarantee_1_who_opens_many_streams_loses_the_own_oldest_and_nobody_else_s",),
    ),
    Mutant(
        "streams are opened as often as anybody likes",
        f"{MQTT}/bridge.py",
        "        if allowance.take():\n",
        "        if True:\n",
        (f"{HOSTILE}::test_guarantee_1_a_flood_of_streams_opens_few",),
    ),
    Mutant(
        "no end to all streams",
        f"{MQTT}/bridge.py",
        "            if len(self._pipes) < self._most:\n",
        "            if True:\n",
        (f"{HOSTILE}::test_guarantee_1_there_is_an_end_to_all_streams",),
    ),
    Mutant(
        "all frames of unknown streams are answered",
        f"{MQTT}/bridge.py",
        " and self._answers.take():\n",
        ":\n",
        (f"{HOSTILE}::test_guarantee_2_frames_of_unknown_streams_cost_nothing_and_few_are_answered",),
    ),
    Mutant(
        "frames that the broker kept",
        f"{MQTT}/bridge.py",
        "        if where is None or retained:",
        "        if where is None:",
        (f"{HOSTILE}::test_what_a_user_has_the_broker_keep_is_not_taken",),
    ),
    Mutant(
        "doors for any number of connections",
        f"{MQTT}/tunnel.py",
        "        if job is None or len(self._jobs) >= MOST_STREAMS:\n",
        "        if job is None:\n",
        (f"{BROKER}::test_guarantee_1_of_tunnels_no_more_streams_than_there_may_be",),
    ),
    Mutant(
        "names of coordinators are not looked at",
        f"{MQTT}/client.py",
        "    if not _HOST.fullmatch(name):\n",
        "    if False:\n",
        (f"{BROKER}::test_a_name_that_is_none[a/b]",),
    ),
)
"""Caught by tests that need one."""
