"""The `ocmt` command."""
