"""`ocmt upgrade`: OpenClaw images follow upstream's releases, too."""
