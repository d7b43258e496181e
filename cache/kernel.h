// Kernels in the store: what a user may call one, and finding it.
//
//   debian:VERSION[:FLAVOUR]   VERSION a prefix in whole components (7.3 matches 7.3.4, not 7.30) or exact
//   (6.18.15);
//                              FLAVOUR cloud (default), generic, rt
//   PATH                       a vmlinuz or vmlinux: anything with a '/', or that begins with '.'
//
// An entry (kind "kernel") has vmlinux (ELF), and where there is one vmlinuz, btf (the .BTF section), config,
// MODULE.ko; its KernelFacts name the parts that are missing and why. Reading never touches the network.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cache/store.h"

namespace ktstr::cache {

struct KernelSpec {
  enum class Source { debian, path };
  Source source;
  std::string version;  // debian
  std::string flavour;  // debian: "cloud", "generic", ...
  std::string path;     // path, absolute

  // Canonical: "debian:7.3:cloud" or the absolute path.
  std::string text() const;
};

// Throws Error "kernel-spec-invalid" (usage) with the forms above as hint; does not touch files.
KernelSpec parseKernelSpec(std::string_view spec);

// "7.3" matches "7.3", "7.3.4"; not "7.30".
bool versionMatches(std::string_view wanted, std::string_view version);
// Compares dotted numbers: <0, 0, >0.
int compareVersions(std::string_view a, std::string_view b);

// The entry that a spec stands for, verified. A prefix stands for what it was resolved to when it was got.
// Throws Error "kernel-not-cached" (usage; hint: `ktstr kernel get SPEC`), "cache-entry-corrupt"
// (quarantined; get it again), for a path also "kernel-file-missing" and the errors of reading it.
Entry findKernel(const Store& store, std::string_view spec);
// The same without an exception when it is only not there. onCorrupt as in Store::find.
std::optional<Entry> findKernelIfThere(const Store& store, const KernelSpec& spec,
                                       const Store::OnCorrupt& onCorrupt = {});

std::vector<Entry> listKernels(const Store& store);  // by version, newest first
// Throws Error "kernel-not-cached".
void removeKernel(const Store& store, std::string_view spec);

// Fills a draft from an image file's bytes (bzImage or ELF): vmlinuz, vmlinux, btf, and the facts that come
// from them (release, version, build id, BTF, sched_ext, what is missing). Errors of kernel_image.h.
void fillKernel(Draft& draft, std::string_view image);
// Adds to a kernel's list of missing parts: "config: package linux-base-X is no longer in the archive".
void addMissing(rpc::KernelFacts::Builder facts, const std::string& what);

// Entry for a path: found by content; made if need be.
Entry addKernelFile(const Store& store, const KernelSpec& spec, const Store::OnCorrupt& onCorrupt = {});

}  // namespace ktstr::cache
