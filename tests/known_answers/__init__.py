"""Known answers: scripts of whole sessions and tables of single values, written to `tests/vectors/` and replayed.

    .venv/bin/python tests/known_answers          # from the root of the repository: writes all files anew

| module | what |
|---|---|
| `script` | what a script of a session is, and how it is replayed |
| `recording` | how a script is written by playing it; how messages are forged |
| `honest` | sessions in which everybody keeps to the protocol, whoever drops |
| `lying_server`, `lying_clients` | sessions in which one message is forged and must fail |
| `values`, `values_kahe` | single values: derivations, shares, proofs, graph, planner; draws, products, ciphertexts |
| `files` | all of them as files |
| `reference`, `reference_kahe`, `recomputed` | the same formulas again, without privfl |
| `published` | vectors that others published |
"""
