"""Confinement of untrusted processes on Linux: the tracer's child, and commands such as agents.

Modules:
- `linux`: wrappers of Landlock, seccomp, resource limits and capabilities, for both sandboxes.
- `namespaces`: a file system of a process's own, for kernels without Landlock; terminals and a /tmp
  of its own for those with it.
- `tracer_policy`: what the tracer's child may do while it runs a candidate program. Its docstring
  says what is and is not covered there.
- `command_policy`: what a sandboxed command may do.
- `command`: the controller's side of a command: start, wait, stop.
- `command_launcher`: a small process that starts the command, supervises it, and kills it with
  all its descendants.
- `command_spec`: the messages between these two.
- `command_files`: the files that a command consists of.

May import `types` and `clock`; never jax.

The rest of this page is the threat model of sandboxed commands.

Covered at isolation `full`, on Linux for x86_64 and aarch64:
- writing: Landlock lets the command create, change, execute and remove files in one folder, which
  also holds its HOME and TMPDIR, and write to `/dev/null`. Modes, owners and timestamps of files
  cannot be changed: Landlock does not control that, so seccomp makes these calls do nothing and
  report success, since tools treat a failure there as fatal.
- reading: system folders (/usr, and of /etc what programs look up), /proc, the command's own
  program and interpreter, and the paths listed as `readable`. `hidden` paths stay unreadable
  inside of those. Of the user's home and of the run, nothing else is readable.
- other processes: their memory, environment and open files cannot be read (Landlock). They can
  not be traced, slowed down, pinned or limited (seccomp). From Landlock 6 on (Linux 6.12) they can
  not be signalled either; on older kernels they can, and `command_policy.check` says so.
- escaping through a service: only TCP, UDP and netlink sockets can be created, so no message bus,
  container engine or key agent is reachable. Without `network`, no sockets can be created at all.
- system calls: none that mounts, loads code into the kernel, creates namespaces, or uses keys,
  bpf, io_uring or System V shared memory, and none that is newer than this list.
- privileges: all capabilities are dropped, also for a run as root, and cannot be regained.
Where the kernel has no Landlock, `namespaces` protects files and other processes' memory instead.

Covered at every level: the timeout, the limits below, a clean environment, and that no process
started by the command outlives it, whichever session it moved to.
- memory and processes: summed over the whole process tree, ten times a second. RLIMIT_NPROC is set
  too, but the kernel does not apply it to root; for root the supervisor has a real-time priority,
  so that a fork bomb cannot starve it. Shared pages count once for each process.
- the size of any one file (RLIMIT_FSIZE), and the disk usage of the folder, checked once a second:
  it may exceed its limit for that long. Space of deleted files that are still open does not count.

Not covered:
- bugs in the kernel, side channels, and what an agent sends over a network that it may use.
- services on this machine that listen on TCP or UDP without authentication.
- names, sizes and timestamps of files anywhere (`stat`), and command lines of other processes.
- copies of hidden data in readable files.
- processes left behind when the launcher itself is killed by someone else.
"""
