"""`ocmt doctor`: checks what this machine has and lacks, with the cure for each gap."""
