"""`ocmt sync`: follow an upstream that lands hundreds of commits a day, and never decide twice.

Layers, each importing only those before it: `git` (the only module that starts git), `history` and
`policy` (what landed, how it is classed), `security`, `taken` and `ledger` (what matters, what is
decided), `forecast` (what will conflict), `plan`, then the effects: `apply`, `checks`, `publish`.
"""
