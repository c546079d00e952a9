"""An interpreter of PTX, which runs what nvcc and Triton compile on a machine without a device.

`program.Program` reads the text of a kernel. `machine.Machine` runs it: the registers of all
threads of a launch are numpy arrays, and each statement runs for the threads that are at it.
`memory` holds the buffers of a call and refuses what a device would do in silence: an access beside
a buffer, a misaligned one, a store to an input, a race between threads, an access ahead of
`griddepcontrol.wait`.

The interpreter shows what the PTX means. It shows neither what ptxas makes of it nor time. A NaN
has the payload of this machine's arithmetic, except where a conversion to 16 bits makes one.
"""
