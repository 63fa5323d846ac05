"""Runs a command that is not trusted, such as a coding agent, with a deadline and within bounds.

`running` is the controller's side. It starts `launcher`, a small process of its own, which starts
the command, watches it, and ends it with everything it left behind; `kernel` is what the command
gives up before its first instruction, through the calls in `linux`, which the tracer's sandbox uses
too; `installed` finds the files that a command consists of.

Covered at level `full`, on Linux for x86_64 and aarch64:
- writing: Landlock lets files be made, changed, run and removed in one folder, which also holds
  the command's HOME and TMPDIR, and `/dev/null` be written. Modes, owners and times of files can
  not be changed: Landlock has no say in that, so seccomp has the calls do nothing, and report
  success, since tools take a failure there for one of their own.
- reading: system folders (/usr, and of /etc what programs look up), /proc, the command's own
  program and interpreter, and what is named as `readable`; `hidden` paths stay shut inside of
  those. Nothing of the user's home and of the run but what is among them.
- other processes: what they have in memory, their environment and their open files can not be
  read (Landlock), nor they be traced, slowed, pinned or limited (seccomp). From Landlock 6 on
  (Linux 6.12) they can not be signalled either; before, they can be, and `check` says so.
- the way out through a service: no sockets but those of TCP, UDP and netlink can be made, so no
  bus, no container engine and no key agent is reached; without `network`, none at all.
- system calls: none that mounts, loads code into the kernel, makes namespaces, uses keys, bpf,
  io_uring or shared memory of System V, and none that is newer than this list.
- privileges: all capabilities are dropped, for a run as root; new ones can not be gained.

Covered at every level: the deadline, the bounds below, a clean environment, and that nothing the
command started outlives it, whichever session it moved to.
- memory and processes: counted over the whole tree, ten times a second; RLIMIT_NPROC too, which
  the kernel does not apply to root; there the one who counts has a real-time priority, so that
  the counted can not keep it from it. Pages that processes share count for each of them.
- the size of any one file (RLIMIT_FSIZE), and what the folder holds, looked at once a second: it
  may be over its bound for that long. Space of removed files that are still open is not counted.

Not covered:
- bugs in the kernel, side channels, and what the agent tells the network it may use.
- services of this machine that listen on TCP or UDP without asking who is there.
- names, sizes and times of files anywhere (`stat`), and command lines of other processes.
- copies of hidden data in what is readable.
- processes left behind when the launcher itself is killed by someone else.
"""
