"""`ocmt test`: the checks and the test tiers."""
