"""`ocmt backup` and `ocmt restore`: the servers' data to this machine, and back.

A backup is a folder: `data/` (databases, agents' state, fit to be stored anywhere), `keys/` (the
`.env` files with the vault's keys, to be stored apart: each is worthless without the other) and
`manifest.json`, which has the SHA-256 of every file.

Order: management's database first, then each agent server's database, then its agents' files. What
is made in between is then at worst state without a user, which nobody sees, and never a user whose
agent's record points at state that is missing.
"""
