"""`ocmt up`: prepare, start both servers, keep them running, and stop everything in the end."""
