"""`ocmt up`: prepare, start both servers, keep them running, and stop all of it at the end."""
