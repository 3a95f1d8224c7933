#!/run/vm/bin/sh
# The VM's process 1 after /init: makes the rest of a running system, runs the command, reports its exit code.

. /run/vm/settings
PATH=/run/vm/bin

# The repository may lie in /tmp, which gets emptied.
mkdir /run/vm/repository
mount --rbind "$REPOSITORY" /run/vm/repository
mount -t tmpfs -o mode=1777 tmp /tmp
if ! [ -d "$REPOSITORY" ]; then
    mkdir -p "$REPOSITORY"
    mount --rbind /run/vm/repository "$REPOSITORY"
fi

# An overlay cannot hold the upper directory of another one, which containerd wants to make.
mkdir -p /var/lib/containerd
mount -t tmpfs containerd /var/lib/containerd
mkdir -p /dev/pts /dev/shm
mount -t devpts -o mode=620,ptmxmode=666 pts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
ln -s /proc/self/fd /dev/fd
ln -s /proc/self/fd/0 /dev/stdin
ln -s /proc/self/fd/1 /dev/stdout
ln -s /proc/self/fd/2 /dev/stderr
mount -t securityfs security /sys/kernel/security
mount -t tracefs tracing /sys/kernel/tracing
mount -t debugfs debug /sys/kernel/debug

# As systemd mounts them, so that paths in /proc/PID/cgroup look as on a node.
case $CGROUP in
v1)
    mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
    mkdir /sys/fs/cgroup/unified /sys/fs/cgroup/systemd
    mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified
    mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
    for controllers in cpuset cpu,cpuacct blkio memory devices freezer net_cls,net_prio perf_event hugetlb pids; do
        mkdir "/sys/fs/cgroup/$controllers"
        mount -t cgroup -o "$controllers" cgroup "/sys/fs/cgroup/$controllers" ||
            rmdir "/sys/fs/cgroup/$controllers"
    done
    ;;
v2)
    mount -t cgroup2 -o nsdelegate cgroup2 /sys/fs/cgroup
    ;;
esac

hostname node
ifconfig lo up

# Every other process ends with the command: one that it left behind would keep the output open for ever.
kill_all_but() {
    for process in /proc/[0-9]*; do
        pid=${process#/proc/}
        case " 1 $* " in
        *" $pid "*) ;;
        *) kill -9 "$pid" ;;
        esac
    done
}

# The ways out of the VM. The driver finds them some time after it is loaded.
for name in stdout stderr verdict; do
    until port=$(grep -lx "$name" /sys/class/virtio-ports/*/name); do
        sleep 0.01
    done
    port=${port%/name}
    ln -s "/dev/${port##*/}" "/run/vm/$name"
done 2>/dev/null

# A port can be opened once only, and programs open /dev/stderr again: they get a pipe instead.
mkfifo /run/vm/stdout.pipe /run/vm/stderr.pipe
cat /run/vm/stdout.pipe >/run/vm/stdout &
out=$!
cat /run/vm/stderr.pipe >/run/vm/stderr &
err=$!

echo "booted $(cut -d ' ' -f 1 /proc/uptime)" >/run/vm/verdict
setsid env -i "$SHELL_OF_COMMAND" /run/vm/start </dev/null >/run/vm/stdout.pipe 2>/run/vm/stderr.pipe
code=$?

{
    kill_all_but $out $err
    # What is frozen does not die.
    (sleep 10 && kill -9 $out $err) &
    wait $out $err
} 2>/dev/null
echo "exit $code" >/run/vm/verdict
# With no device to flush, and faster than an orderly end.
echo b >/proc/sysrq-trigger
