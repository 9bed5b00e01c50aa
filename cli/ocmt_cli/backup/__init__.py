"""`ocmt backup` and `ocmt restore`: copy the servers' data to this machine, and back.

A backup is a folder: `data/` (databases, and an archive for each agent), `keys/` (the `.env` files
with the vault's keys, to be stored elsewhere: the secrets in the data cannot be read without them)
and `manifest.json` (the SHA-256 of every file, and what was left out of the agents).

`hostside` runs on the hosts and treats the content of agents' folders as hostile.

Order: management's database, then each agent server's database, then its agents' files. So a user
who is added meanwhile may leave state without an account, which is harmless, and one who is deleted
meanwhile an account without state, which gets a new agent.
"""
