// Getting kernels and kernel sources into the store: from the cache if they are there, else through the
// fetcher.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "cache/fetcher.h"
#include "cache/kernel.h"
#include "cache/store.h"

namespace ktstr::cache {

struct GetOptions {
  bool update = false;  // resolve the version anew, with fresh package lists, even if the cache has a match
  bool withModules = false;  // also kvm.ko, kvm-amd.ko, kvm-intel.ko, irqbypass.ko
};

struct GetReport {
  std::function<void(std::string_view line)> note;  // something the user should know; never empty
  OnProgress progress;                              // never empty
};

// The kernel of a spec, from wherever it comes. Two at once do the work once. A corrupt entry is noted and
// got again. Without network a cached kernel that matches a prefix is taken instead, and noted. Throws Errors
// of kernel.h, kernel_image.h, debian.h, deb_archive.h and fetcher.h.
Entry getKernel(const Store& store, const KernelSpec& spec, Fetcher& fetcher, const GetOptions& options,
                const GetReport& report);

// What a spec stands for: itself, or each kernel of a range (range.h). As a version's prefix, a range stands
// for what it was resolved to when that was asked first; options.update asks anew. Throws Errors of range.h
// and fetcher.h.
std::vector<std::string> expandSpec(const Store& store, const std::string& spec, Fetcher& fetcher,
                                    const GetOptions& options, const GetReport& report);

// Kind "source": the tree that kernels of this version are built from. Its only file ends in ".tar.xz".
Entry getSource(const Store& store, const KernelSpec& spec, Fetcher& fetcher, const GetOptions& options,
                const GetReport& report);
// Path of that file.
std::string sourcePath(const Entry& source);
// The source that is cached for a spec, without touching the network.
std::optional<Entry> findSourceIfThere(const Store& store, const KernelSpec& spec,
                                       const Store::OnCorrupt& onCorrupt = {});

}  // namespace ktstr::cache
