# Synthesis, then simulation of the result against the stored vectors.
source [file join [file dirname [info script]] project.tcl]
csynth_design
cosim_design -argv [join $vectors]
exit
