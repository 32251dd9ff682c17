# C simulation against the stored vectors.
source [file join [file dirname [info script]] project.tcl]
csim_design -argv [join $vectors]
exit
