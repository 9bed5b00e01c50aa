"""`ocmt test`: every check and test tier that this machine can run."""
