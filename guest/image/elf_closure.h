// The shared libraries a set of programs needs, found as ld.so would find them (LD_LIBRARY_PATH is not used:
// results must not depend on the caller's environment), and where they go in the guest so that ld.so finds
// them there.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "guest/image/elf_needs.h"
#include "guest/image/library_paths.h"

namespace ktstr {

// A file or, with a linkTarget, a symbolic link.
struct ClosureFile {
  std::string guestPath;
  std::string hostPath;    // "" for a link
  std::string linkTarget;  // a guest path
};

// Each library's content is taken once, by its canonical path, with links for the other paths it is found by.
// A library found by $ORIGIN goes to the same place relative to the guest's path of its user; one found
// through ld.so.conf goes beside the interpreter, as guests have no ld.so.cache.
class ElfClosure {
 public:
  explicit ElfClosure(LibraryPaths paths = systemLibraryPaths()) : paths_(std::move(paths)) {}

  // Adds what a file needs, but not the file itself. Not an ELF file: nothing. Throws Error
  // "binary-wrong-architecture", "binary-invalid", "library-missing" (initramfs.h), or "library-conflict" if
  // two different libraries would have one path in the guest.
  void add(const std::string& hostPath, const std::string& guestPath);

  const std::vector<ClosureFile>& files() const { return files_; }

 private:
  struct Object {
    std::string hostPath;
    std::string guestPath;
    ElfNeeds needs;
    int loader;  // index of the object that needed this one; -1 for the program
  };
  struct Place {
    std::string hostDirectory;
    std::string guestDirectory;
    std::string why;
  };
  std::vector<Place> searchPlaces(const std::vector<Object>& objects, int user,
                                  const std::string& linkerDirectory);
  void addRunPath(const Object& object, const std::vector<std::string>& path, const char* why,
                  std::vector<Place>& places);
  Object find(const std::vector<Object>& objects, int user, const std::string& name,
              const std::string& linkerDirectory);
  void put(const std::string& hostPath, const std::string& guestPath);

  LibraryPaths paths_;
  std::vector<ClosureFile> files_;
  std::map<std::string, std::string> guestPathOf_;  // of content, by canonical host path
  std::map<std::string, std::string> canonicalOf_;  // canonical host path behind each guest path
};

}  // namespace ktstr
