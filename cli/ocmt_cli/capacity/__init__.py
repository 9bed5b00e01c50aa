"""`ocmt capacity`: how many people a machine holds, from figures that were measured."""
