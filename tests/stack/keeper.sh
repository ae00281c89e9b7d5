#!/usr/bin/env bash
# Keeps one part of the test stack for the process that holds the other end of standard input, and leaves nothing
# behind when that end closes, however its holder died: the part's whole process group is killed, waited for, and
# its folder removed.
#
# usage: keeper.sh FOLDER COMMAND [ARGUMENT ...]
# Words on standard input, one a line: start | stop | kill | alive. Each gets one line back: done, or gone (of alive).
set -um
folder=$1
shift
part=

# What a part puts aside (SeaweedFS its logs, Java its unpacked libraries) goes with the folder too.
mkdir -p "$folder/tmp"
export TMPDIR=$folder/tmp

# The holder may be gone when an answer is written, and Ctrl-C in a terminal must not end this before the part.
# Handlers, not '': what is ignored would stay ignored in the part.
trap : INT TERM HUP PIPE

# A group: the part and what it started. A finished group leader counts until bash has waited for it.
running() { [ -n "$part" ] && kill -0 -- "-$part" 2>/dev/null; }

# finish SIGNAL TENTHS: a signal, time to follow it, then no choice. A group that even SIGKILL does not end within
# ten seconds hangs in the kernel: nobody could do more.
finish() {
    local tenth
    running && kill "-$1" -- "-$part" 2>/dev/null
    for ((tenth = 0; tenth < $2; tenth++)); do running || break; sleep 0.1; done
    running && kill -KILL -- "-$part" 2>/dev/null
    for ((tenth = 0; tenth < 200; tenth++)); do running || break; sleep 0.05; done
    part=
}

while read -r word; do
    case $word in
        start) "$@" </dev/null >>"$folder/log" 2>&1 & part=$! ;;
        # Apache Kafka's orderly shutdown takes a second or two; on a busy machine more.
        stop) finish TERM 300 ;;
        kill) finish KILL 0 ;;
        alive) running || { echo gone; continue; } ;;
    esac
    echo "done"
done

finish KILL 0
rm -rf -- "$folder"
