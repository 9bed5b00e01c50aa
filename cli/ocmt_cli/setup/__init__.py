"""`ocmt setup HOST`: the checklist of a new server as code; what is there already is left."""
