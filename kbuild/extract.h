// Unpacking a part of a source archive, none of whose bytes are trusted.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace ktstr::kbuild {

struct ExtractRequest {
  std::string directory = {};  // existing and empty; nobody else writes in it
  // Paths below the archive's top directory: "tools/lib/" is a subtree, "Makefile" a file. unwanted wins.
  std::vector<std::string> wanted = {};
  std::vector<std::string> unwanted = {};
  uint64_t maxBytes = uint64_t{1} << 30;  // written
  uint64_t maxFiles = 200'000;            // files, directories and links written
  std::function<void()> onProgress = {};  // called often; may throw to give up
};

struct ExtractResult {
  uint64_t files = 0;  // files and links
  uint64_t bytes = 0;
};

// Reads a tar archive (any compression libarchive knows) from offset 0 of `archive` and writes the wanted
// members without their top directory. Everything is written beneath `directory`, and every link leads there
// too: a member that says otherwise, wanted or not, ends it. Modes are reduced to 0755 or 0644; owners and
// times are ours.
//
// Throws Error
//   "archive-unsafe"     an absolute name, "..", a link out of the tree, a member written through a link or
//   twice,
//                        a device; names the member
//   "archive-corrupt"    it cannot be decoded; with libarchive's words
//   "archive-too-large"  more than maxBytes or maxFiles
//   "disk-full", "write-failed"
ExtractResult extractTree(int archive, const ExtractRequest& request);

}  // namespace ktstr::kbuild
