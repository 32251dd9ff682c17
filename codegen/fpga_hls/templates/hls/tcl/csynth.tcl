# Synthesis; its report is work/solution/syn/report/run_accelerator_csynth.xml.
source [file join [file dirname [info script]] project.tcl]
csynth_design
exit
