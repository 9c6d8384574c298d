#!/.maquina/busybox sh
# The first process of a guest, and its agent: a shell that does what the host sends it.
#
# Every fork and every exec of this file is paid at each start of a machine, so builtins do what
# they can. The host sends calls of the functions below, one a line, on port 1 of the console;
# the answers go out on port 2. See maquina.guest.agent for the other side.

box=/.maquina/busybox
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# Where the program $1 is, in $program: by PATH, as the image has it. The shell by itself would
# prefer busybox's own commands.
find_program() {
    program=$1
    case $1 in */*) return ;; esac
    local IFS=:
    for directory in $PATH; do
        [ -f "$directory/$1" ] && [ -x "$directory/$1" ] && program=$directory/$1 && return
    done
}

login_shell() {
    for shell in /bin/bash /bin/sh; do [ -x $shell ] && break; done
    echo $shell
}

# Become a command: $1 its number, $2 its directory, $3 how many variables follow, then those,
# then the program and its arguments, or nothing for a login shell. In a session of its own, so that
# a signal reaches all of it.
become() {
    read -r pid rest </proc/self/stat
    echo "pid $1 $pid" >&3
    cd "$2" || exit 125
    local count=$3
    shift 3
    while [ "$count" -gt 0 ]; do
        export "$1"
        shift
        count=$((count - 1))
    done
    [ $# -gt 0 ] || set -- "$(login_shell)" -l
    find_program "$1"
    shift
    [ -d "$program" ] && echo "$program: is a directory" >&2 && exit 126
    [ -e "$program" ] || { echo "$program: not found" >&2; exit 127; }
    [ -x "$program" ] || { echo "$program: permission denied" >&2; exit 126; }
    exec 3>&-
    exec $box setsid $session "$program" "$@"
}

# Wait until a file of a port is there: the host may have plugged it in just now.
await() {
    until [ -c "$1" ]; do $box usleep 1000; done
}

# A command with pipes: $1 its number, $2 to $4 the ports of its streams (0: none), the rest as in
# `become`. The command has pipes and not the ports, which can be opened only once at a time.
with_pipes() {
    id=$1 in=/dev/null out=$port$3 err=$port$4
    [ "$2" = 0 ] || in=$port$2
    shift 4
    for file in "$in" "$out" "$err"; do await "$file"; done
    {
        {
            $box cat <"$in" 3>&- | {
                (become "$id" "$@")
                echo "exit $id $?" >&3
            } 2>&1 >&4 | $box cat >"$err" 3>&- 4>&-
        } 4>&1 | $box cat >"$out" 3>&-
    } 2>/dev/null
}

# A command on a terminal: $1 its number, $2 the terminal, the rest as in `become`.
with_terminal() {
    id=$1 terminal=/dev/$2 session=-c
    shift 2
    await "$terminal"
    (become "$id" "$@") <>"$terminal" >&0 2>&0
    echo "exit $id $?" >&3
}

# Run "$@" beside the agent. Not with `&`, which would leave it deaf to SIGINT for ever: the second
# half of a pipeline kills the shell that waits for it, and the first process adopts the other.
start() {
    (
        read -r self rest </proc/self/stat
        "$@" | kill -PIPE "$self" # a signal of whose victims shells say nothing
    )
}

# Load kernel modules, in this order.
load() {
    for module; do $box insmod "$module"; done
}

# Bring up the network: $1 the address, $2 its mask, $3 the gateway, $4 the name server.
network() {
    $box ifconfig eth0 "$1" netmask "$2"
    $box route add default gw "$3"
    echo "nameserver $4" >/etc/resolv.conf
}

# Send the signal $1 to the session that $2 leads, or to $2 alone while it does not lead one yet.
signal() {
    kill "$1" "-$2" || kill "$1" "$2"
} 2>/dev/null

hostname() {
    echo "$1" >/proc/sys/kernel/hostname
}

# Leave nothing unwritten, then switch the machine off.
power_off() {
    $box sync
    $box poweroff -f
}

# The agent itself. It reads the port as a script, which the shell does in large pieces.
agent() {
    for port in /dev/vport*p1; do port=${port%1}; done
    exec 3>"${port}2"
    echo ready >&3
    while :; do
        . "${port}1"
        $box usleep 1000 # nobody is at the host's end (yet)
    done
}

$box cp -a /.maquina/dev / # the kernel has mounted /dev itself: devtmpfs.mount=1
$box mount -a -T /.maquina/fstab
$box ifconfig lo 127.0.0.1
# In the foreground: waiting for it, this shell reaps whatever process loses its parent.
(agent)
power_off
