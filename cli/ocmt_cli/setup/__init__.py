"""`ocmt setup HOST`: the checklist of a new server as code; what is not OCMT's is kept."""
