"""`ocmt backup` and `ocmt restore`: the servers' data to this machine, and back.

A backup is a folder: `data/` (databases, an archive an agent, fit to be stored anywhere), `keys/`
(the `.env` files with the vault's keys, to be stored apart: each is worthless without the other)
and `manifest.json`, which has the SHA-256 of every file and what is left out of single agents.

`hostside` runs on the servers; what an agent has put into its folder is safe there and here.

Order: management's database first, then each agent server's database, then its agents' files. What
is made in between is then at worst state without a user, which nobody sees, and never a user whose
agent's record points at state that is missing.
"""
