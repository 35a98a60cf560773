# Sourced by tools/uninstall; tools/deb puts it into the package's postrm.

# remove_state STATE RUN: delete the files of netd and netd-runtime in these folders, and the folders if they are empty then.
# Volumes may be mounts of other file systems (volume create -o type=nfs), whose files are not deleted.
remove_state() {
  while read -r _ _ _ _ target _; do
    case $target in "$1/volumes/"* | "$2/"*) umount -l "$target" || true ;; esac
  done </proc/self/mountinfo
  for name in containers layers recipes volumes build-mounts tmp no-layers btrfs; do
    rm -rf --one-file-system "$1/$name"
  done
  # Layers of the storage driver btrfs are subvolumes, which --one-file-system does not enter.
  rm -rf "$1/btrfs" "$1/layers"
  rm -f "$1"/netd.db* "$1"/runtime.db* "$1"/netd.lock "$1"/netd-runtime.lock "$1"/netd.log "$1"/netd-runtime.log
  rm -rf "$2/netns" "$2/sandboxes" "$2/shims"
  rm -f "$2"/*.sock "$2"/*.lock "$2"/dns.log "$2"/forwarding4 "$2"/forwarding6
  for folder in "$1" "$2"; do
    [ ! -d "$folder" ] || rmdir --ignore-fail-on-non-empty "$folder" || true
  done
}
