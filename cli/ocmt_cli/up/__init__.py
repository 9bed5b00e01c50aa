"""`ocmt up`: prepares, starts both servers, keeps them running, and finally stops everything."""
