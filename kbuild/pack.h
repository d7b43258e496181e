// The other direction of extract.h: a part of a tree as a tar archive.
#pragma once

#include <string>
#include <vector>

namespace ktstr::kbuild {

// Writes an uncompressed archive of `parts`, paths below `directory`, in their order: files, and directories
// with all that is in them, sorted. Their names begin with a top directory, as extractTree() expects. Modes
// are kept, owners and times are not; what is neither file, directory nor symbolic link is left out, and so
// is a part that is not there. Throws Error "write-failed", "open-failed", "read-failed".
void packTree(const std::string& directory, const std::vector<std::string>& parts, const std::string& output);

}  // namespace ktstr::kbuild
