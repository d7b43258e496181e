# The cache: kernels, kernel analysis results, initramfs bases, built schedulers.
@0xb7a1c2f0d5e61305;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("ktstr::rpc");

struct CachedFile {
  name @0 :Text;      # "vmlinuz", "vmlinux", "btf", "config", ...
  size @1 :UInt64;
  sha256 @2 :Text;    # hex
}

struct EntryRecord {
  # metadata.json of an entry; the entry's directory holds the files it names.
  kind @0 :Text;             # "kernel", "base", "analysis", "scheduler"
  key @1 :Text;              # content address or identity the entry is found by
  files @2 :List(CachedFile);
  createdUnix @3 :UInt64;
  kernel @4 :KernelFacts;    # for kind "kernel"
  attributes @5 :List(Attribute);
}

struct Attribute {
  name @0 :Text;
  value @1 :Text;
}

struct KernelFacts {
  spec @0 :Text;             # what was asked for: "debian:7.3"
  source @1 :Text;           # "debian" or "path"
  release @2 :Text;          # 7.3.4+deb13-cloud-amd64
  version @3 :Text;          # 7.3.4
  flavour @4 :Text;          # "cloud", "generic", ""
  packages @5 :List(Text);   # name_version of each package used
  buildId @6 :Text;          # hex
  hasBtf @7 :Bool;
  hasSchedExt @8 :Bool;      # BTF has struct sched_ext_ops
  missing @9 :List(Text);    # parts that could not be had, each with its reason
}

interface AnalysisStore {
  # What the monitor holds of the cache: decoded symbols by kernel build id. Served by `ktstr-cache serve`.
  lookup @0 (buildId :Text) -> (found :Bool, analysis :import "machine.capnp".Fd);
  # Once per attach. A read-only descriptor of the stored bytes, verified by digest.
  store @1 (buildId :Text, analysis :import "machine.capnp".Fd) -> ();
  # At most once per attach, after a miss. The descriptor is a memfd sealed against writing and shrinking;
  # at most 64 MiB. Stored atomically; a second writer of the same build id is a no-op.
}
