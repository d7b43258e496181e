// Schedulers of the user's own: sources that are built as if the kernel tree had them in tools/sched_ext.
#pragma once

#include <string>
#include <vector>

namespace ktstr::kbuild {

struct SourceFile {
  std::string name;  // without directory
  std::string content;
};

struct OwnSources {
  std::vector<std::string> schedulers;  // scx_NAME, sorted
  std::vector<SourceFile> files;        // by name
  std::string digest;                   // SHA-256 of names and contents, hex
};

// Reads from each directory, and not from those below it, all scx_NAME.bpf.c with their scx_NAME.c, and all
// headers (*.h); whatever else is there is left alone. NAME is of [a-z0-9_], a header's of [A-Za-z0-9_.-], at
// most 64 characters; a file has at most 1 MiB. Throws Error (exit code 2)
//   "scheduler-source-missing"  no such directory, no scheduler in it, or one half of one
//   "scheduler-name-invalid"    a name that make or C could not take
//   "scheduler-source-twice"    two directories have a file of one name
// and those of readFile().
OwnSources readOwnSources(const std::vector<std::string>& directories);

// Writes them to `directory`. A file of the tree's that has the name of one of them is replaced.
void layOwnSources(const OwnSources& sources, const std::string& directory);

}  // namespace ktstr::kbuild
