"""`ocmt doctor`: what this machine has and lacks, with the remedy for each gap."""
