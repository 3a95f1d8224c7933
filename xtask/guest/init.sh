#!/bin/sh
# The VM's first program, in the initramfs: puts the root file system together and moves into it.
# The root is the machine's own, read-only over 9p, below the programs fetched for the VM, below a tmpfs. A VM of another
# processor has the fetched programs alone.
# Written for busybox; what goes wrong is said to the kernel log, and the VM ends without a verdict.

fail() {
    echo "dnstrace vm: $*" >/dev/kmsg
    echo b >/proc/sysrq-trigger
}

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev

. /settings

for module in $MODULES; do
    insmod "/modules/$module" || fail "cannot load $module"
done

# What lies below does not change while the VM runs, so the kernel may keep what it has read.
unchanging=trans=virtio,version=9p2000.L,msize=512000,cache=loose,ro
mkdir -p /writes /sysroot
lower=
for layer in $LAYERS; do
    mkdir "/$layer"
    mount -t 9p -o $unchanging "$layer" "/$layer" || fail "cannot mount the files of $layer"
    lower=$lower${lower:+:}/$layer
done
mount -t tmpfs -o size=75% writes /writes
mkdir /writes/upper /writes/work
mount -t overlay -o "lowerdir=$lower,upperdir=/writes/upper,workdir=/writes/work" root /sysroot ||
    fail "cannot mount the root file system"

mkdir -p /sysroot/proc /sysroot/sys /sysroot/dev /sysroot/run /sysroot/tmp /sysroot/share /sysroot/lib/modules
mount -t tmpfs -o mode=755 run /sysroot/run
mkdir /sysroot/run/vm
cp -a /bin /settings /main /start /command /sysroot/run/vm
mount -t 9p -o $unchanging modules /sysroot/lib/modules || fail "cannot mount the kernel's modules"
mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000 share /sysroot/share || fail "cannot mount /share"
if [ -n "$PROGRAMS" ]; then
    mkdir -p "/sysroot$PROGRAMS"
    mount -t 9p -o $unchanging programs "/sysroot$PROGRAMS" || fail "cannot mount the programs"
fi
for place in proc sys dev; do
    mount --move /$place /sysroot/$place
done

exec switch_root /sysroot /run/vm/bin/sh /run/vm/main
