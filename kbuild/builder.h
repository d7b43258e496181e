// One whole build in two parts: the kit that a kernel source makes, once; from it make and static link of
// schedulers.
#pragma once

#include <string>
#include <vector>

#include "kbuild/command.h"
#include "kbuild/own_sources.h"
#include "kbuild/progress.h"
#include "kbuild/tools.h"

namespace ktstr::kbuild {

struct BuildRequest {
  std::string archive;     // linux-source-*.tar.*, or a kit
  std::string btf;         // kernel BTF: raw, or an ELF file with a .BTF section
  std::string output;      // existing directory: gets what is built, build.log, and nothing else
  std::string scratch;     // existing, empty, private directory; emptied again before returning or throwing
  std::string failureLog;  // where the log is put if the build fails; its directory is made
  unsigned jobs = 1;
  OwnSources own = {};  // to be built in place of the tree's, if there are any
};

inline constexpr const char* kitFile = "kit.tar";

// Both throw Error "build-failed" (failureLog is there then, and named), "sched-ext-missing", those of
// extractTree(); Interrupted.

// Makes the file kitFile (recipe.h, kitParts()) from the kernel's source.
void buildKit(const BuildRequest& request, const Tools& tools, const Interrupts& interrupts,
              Progress& progress);

// Builds, from a kit, every scheduler of the source, or else the user's own; returns their names.
std::vector<std::string> buildSchedulers(const BuildRequest& request, const Tools& tools,
                                         const Interrupts& interrupts, Progress& progress);

}  // namespace ktstr::kbuild
