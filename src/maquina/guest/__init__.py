"""What goes inside a guest, and the host's side of talking to it.

A guest needs one directory, `/.maquina`: a static busybox, a script that is the first process and
the agent, and a list of what to mount (`files`). The agent takes commands from a port of the
virtio console and answers on another; each command's streams have ports of their own, so several
commands at once and terminals need nothing more (`init.sh` is the guest's side).

Reading order: `words` (how arguments travel), `ports` (byte streams over console ports), `agent`
(commands: start, signal, exit status), `pumps` (between ports and the host's files), `files`.
"""
