# What all steps share: sources, part and clock. Read by the other scripts; `settings.tcl` names part and period.
source [file join [file dirname [info script]] settings.tcl]
set here [file normalize [file join [file dirname [info script]] ..]]
open_project -reset [file join $here work]
set_top run_accelerator
add_files [file join $here src accelerator.cpp] -cflags "-std=c++14 -I[file join $here src]"
add_files -tb [file join $here src testbench.cpp] -cflags "-std=c++14 -I[file join $here src]"
open_solution -reset solution -flow_target vivado
set_part $part
create_clock -period $period_ns -name default
set vectors [list [file join $here vectors input.bin] [file join $here vectors expected.bin]]
