"""What several benches need: real agents, and the machine's figures."""
