"""`ocmt capacity`: computes how many users a machine can hold, from measured figures."""
