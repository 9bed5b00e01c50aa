"""`ocmt sync`: follow an upstream that lands hundreds of commits a day, and decide on each once.

From the bottom up: `git` is the only module that starts git. `history` reads commits, `policy`
classes them, `security` marks those about security, `already_picked` finds those that the fork has
in another form, and `ledger` holds past decisions; `divergence` puts these together. `forecast`
predicts conflicts, and `plan` chooses. `apply`, `checks` and `publish` change branches.
"""
