"""What `ocmt setup` runs on a host. Standard library only: nothing of ours is there yet."""
