// How the kernel's tools/sched_ext becomes static scheduler binaries. Data and command lines only.
#pragma once

#include <string>
#include <vector>

#include "kbuild/command.h"
#include "kbuild/tools.h"

namespace ktstr::kbuild {

// Part of every cache key: raise it when a change here makes other binaries.
inline constexpr int recipeVersion = 1;

// Where things are during a build; all below one scratch directory but btf.
struct Layout {
  std::string source;  // top of the kernel tree's part
  std::string build;   // the tree's O=, existing
  std::string home;    // $HOME and $TMPDIR of the commands, existing
  std::string btf;     // kernel BTF: raw, or an ELF file with a .BTF section
};

// Subtrees of the kernel source that the build reads, as for ExtractRequest.
const std::vector<std::string>& wantedSources();
const std::vector<std::string>& unwantedSources();

// The kit is what every build of schedulers from one kernel source has in common: the part of the source that
// is read, with libbpf and bpftool already made. These are its parts below the scratch directory, the source
// first, so that unpacked in this order nothing in it looks older to make than what it is made from.
const std::vector<std::string>& kitParts();
// Key of its cache entry.
std::string kitKey(const std::string& sourceDigest, const Tools& tools);

// Key of the cache entry: changes with the source, the BTF, the compilers, the recipe, and the user's own
// sources (empty: there are none).
std::string entryKey(const std::string& sourceDigest, const std::string& btfId, const Tools& tools,
                     const std::string& ownDigest = {});

// Where the tree has its schedulers.
std::string schedulerDirectory(const std::string& source);

// Schedulers that the tree has, sorted: each scx_X with scx_X.c and scx_X.bpf.c in tools/sched_ext. Throws
// Error "sched-ext-missing" if there are none (before 6.12).
std::vector<std::string> schedulersIn(const std::string& source);

// What the commands see of the environment, and nothing else of the caller's. With HOME, SHELL and a user's
// name given, no shell or interpreter asks the user database, which would take a socket to nscd.
std::vector<std::string> buildEnvironment(const std::string& home);

// Makes the tree's own libbpf and bpftool: 20 s of CPU time.
Command kitCommand(const Tools& tools, const Layout& layout, unsigned jobs);
// Compiles `schedulers`, or if there are none all that the tree's Makefile names: a second of CPU time for
// each. Layout::source and build are an unpacked kit.
Command makeCommand(const Tools& tools, const Layout& layout, unsigned jobs,
                    const std::vector<std::string>& schedulers = {});
// Links one of them statically, so that it runs in a guest without libraries.
Command linkCommand(const Tools& tools, const Layout& layout, const std::string& scheduler,
                    const std::string& output);

}  // namespace ktstr::kbuild
