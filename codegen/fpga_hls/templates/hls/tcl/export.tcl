# Synthesis, then an IP core.
source [file join [file dirname [info script]] project.tcl]
csynth_design
export_design -format ip_catalog
exit
