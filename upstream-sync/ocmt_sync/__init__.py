"""`ocmt sync`: follows an upstream with hundreds of commits a day, deciding on each only once.

From the bottom up: only `git` starts git. `history` reads commits, `policy` classifies them,
`security` marks those about security, `already_picked` finds those that the fork has in another
form, and `ledger` stores past decisions; `divergence` combines these. `forecast` predicts
conflicts, and `plan` chooses commits. `apply` and `decide` change the sync branch, `checks` tests
it, and `publish` pushes it.
"""
