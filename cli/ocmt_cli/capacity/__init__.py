"""`ocmt capacity`: how many users a machine holds, from measured figures."""
