"""`ocmt setup HOST`: prepare a server for deploys, without changing what is not OCMT's."""
